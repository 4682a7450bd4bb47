//! The base arrangements: what each source table holds, by key; what turns a Change into exact deltas.
//!
//! A source may say no more than a key, or leave out what did not change: the row as it was is here. A table is a
//! spine whose rows begin with their key, and `open`, what the open Moment has changed so far.

use super::{Arrangements, Batch, Batches, Bodies, Spine, Walk};
use crate::error::{Error, Result};
use crate::row::{Change, Codec, Delta, NewRow, Row, RowWriter, Rows, Table, TableName};
use std::collections::HashMap;
use std::sync::Arc;

pub struct Base {
    bodies: Arc<Bodies>,
    tables: Vec<Held>,
}

struct Held {
    /// In a checkpoint.
    place: String,
    name: String,
    /// Of the rows as the source has them.
    codec: Codec,
    key: Vec<usize>,
    order: Order,
    spine: Spine,
    /// The same, to look rows up in.
    settled: Batches,
    /// What a huge transaction has changed so far.
    ahead: Spine,
    /// By key: the row as it was before, and as it is now.
    open: HashMap<Row, Was>,
}

struct Was {
    old: Option<Row>,
    new: Option<Row>,
}

impl Base {
    /// `tables` with the ids under which they are kept, each as `from` has it.
    pub fn new(tables: &[(u32, Table)], bodies: &Arc<Bodies>, from: &mut Arrangements) -> Base {
        let held = |(id, table): &(u32, Table)| {
            let place = Base::name(*id, &table.name);
            let batches = from.by_name.remove(&place).and_then(|workers| workers.into_iter().next());
            let settled = batches.unwrap_or_else(|| Arc::new([]));
            Held {
                place,
                name: table.name.to_string(),
                codec: Codec::new(table.schema.clone()),
                key: table.key.clone(),
                order: Order::new(table),
                spine: Spine::restore(settled.to_vec(), bodies.clone()),
                settled,
                ahead: Spine::new(bodies.clone()),
                open: HashMap::new(),
            }
        };
        Base { bodies: bodies.clone(), tables: tables.iter().map(held).collect() }
    }

    /// How a checkpoint names the table kept under `id`.
    pub fn name(id: u32, table: &TableName) -> String {
        format!("source table {table}, copy {id}")
    }

    /// Rows of a first copy; they are all new.
    pub fn load(&mut self, table: usize, rows: &[Row]) {
        let held = &mut self.tables[table];
        let mut kept = Rows::default();
        for row in rows {
            held.order.keep(row.bytes(), 1, &mut kept);
        }
        held.add(&kept, &self.bodies);
    }

    /// What a change means for the rows of its table.
    pub fn apply(&mut self, table: usize, change: Change, deltas: &mut Vec<Delta>) -> Result<()> {
        let held = &mut self.tables[table];
        match change {
            Change::Insert(row) => {
                let old = held.set(&held.key(&row), Some(row.clone()));
                deltas.extend(old.map(|old| (old, -1)));
                deltas.push((row, 1));
            }
            Change::Update { old_key, new } => held.update(old_key, new, deltas)?,
            Change::Delete { key } => {
                let Some(old) = held.set(&key, None) else { return Err(held.unknown("delete")) };
                deltas.push((old, -1));
            }
            Change::Truncate => {
                let batches = held.settled.iter().chain(held.ahead.batches().iter()).cloned().collect();
                let settled = Content { batches, order: held.order.clone() };
                let mut keys: Vec<Row> = held.open.keys().cloned().collect();
                let mut rows = settled.walk();
                while let Some(row) = rows.advance() {
                    keys.push(held.key(&Row::from(row)));
                }
                for key in keys {
                    deltas.extend(held.set(&key, None).map(|row| (row, -1)));
                }
            }
        }
        Ok(())
    }

    /// Makes room for more changes of a huge transaction: what it has changed so far is found, and is not part of the
    /// table yet.
    pub fn advance(&mut self, table: usize) {
        let held = &mut self.tables[table];
        let mut change = Rows::default();
        for (_, was) in held.open.drain().filter(|(_, was)| was.old != was.new) {
            for (row, diff) in [(was.old, -1), (was.new, 1)] {
                row.iter().for_each(|row| held.order.keep(row.bytes(), diff, &mut change));
            }
        }
        if !change.is_empty() {
            held.ahead.insert(Arc::new(Batch::of(&change, &self.bodies)));
        }
    }

    /// What was changed is part of the table.
    pub fn settle(&mut self, table: usize) {
        self.advance(table);
        let held = &mut self.tables[table];
        if !held.ahead.is_empty() {
            let ahead = std::mem::replace(&mut held.ahead, Spine::new(self.bodies.clone()));
            ahead.batches().iter().for_each(|batch| held.spine.insert(batch.clone()));
            held.settled = held.spine.batches();
        }
    }

    /// A table as the last Moment that closed has left it; it stays so.
    pub fn content(&self, table: usize) -> Content {
        let held = &self.tables[table];
        Content { batches: held.settled.clone(), order: held.order.clone() }
    }

    /// What a checkpoint must name, as of the last Moment that closed.
    pub fn pin(&self, to: &mut Arrangements) {
        for held in &self.tables {
            to.by_name.insert(held.place.clone(), vec![held.spine.pin()]);
        }
    }
}

impl Held {
    fn add(&mut self, rows: &Rows, bodies: &Arc<Bodies>) {
        self.spine.insert(Arc::new(Batch::of(rows, bodies)));
        self.settled = self.spine.batches();
    }

    fn update(&mut self, old_key: Option<Row>, new: NewRow, deltas: &mut Vec<Delta>) -> Result<()> {
        let new_key = match &new {
            NewRow::Whole(row) => self.key(row),
            NewRow::Patch(cells) => self.patched_key(cells, old_key.as_ref())?,
        };
        let old_key = old_key.unwrap_or_else(|| new_key.clone());
        let Some(old) = self.was(&old_key).new.clone() else { return Err(self.unknown("update")) };
        let row = match new {
            NewRow::Whole(row) => row,
            NewRow::Patch(cells) => {
                let spans = self.codec.spans(old.bytes());
                let mut writer = RowWriter::default();
                for (cell, span) in cells.iter().zip(spans) {
                    match cell {
                        Some(datum) => writer.push(datum),
                        None => writer.push_encoded(&old.bytes()[span]),
                    }
                }
                writer.finish()
            }
        };
        if old_key != new_key {
            self.set(&old_key, None);
        }
        self.set(&new_key, Some(row.clone()));
        if old != row {
            deltas.extend([(old, -1), (row, 1)]);
        }
        Ok(())
    }

    fn patched_key(&self, cells: &[Option<crate::row::Datum>], old_key: Option<&Row>) -> Result<Row> {
        let mut writer = RowWriter::default();
        for (at, column) in self.key.iter().enumerate() {
            match (&cells[*column], old_key) {
                (Some(datum), _) => writer.push(datum),
                // A key column that did not change is in the old key, where one was sent.
                (None, Some(old_key)) => {
                    let key_schema = self.codec.schema().project(&self.key).expect("key columns are columns");
                    let spans = Codec::new(key_schema.into()).spans(old_key.bytes());
                    writer.push_encoded(&old_key.bytes()[spans[at].clone()]);
                }
                (None, None) => {
                    return Err(Error::corrupt(format!("an update of `{}` came without its key", self.name)));
                }
            }
        }
        Ok(writer.finish())
    }

    fn key(&self, row: &Row) -> Row {
        self.codec.project(row, &self.key)
    }

    /// The row as it was before what is open.
    fn row_before(&self, key: &Row) -> Option<Row> {
        let ahead = self.ahead.batches();
        let key = key.bytes();
        for batch in self.settled.iter().chain(ahead.iter()).rev().filter(|batch| batch.reaches(key)) {
            let mut cursor = batch.seek(key);
            let mut known = false;
            while let Some((row, diff)) = cursor.row().filter(|(row, _)| row.starts_with(key)) {
                if diff > 0 {
                    return Some(self.order.give(row));
                }
                known = true;
                cursor.step();
            }
            if known {
                return None;
            }
        }
        None
    }

    /// What the open Moment has made of a key so far.
    fn was(&mut self, key: &Row) -> &mut Was {
        if !self.open.contains_key(key) {
            let old = self.row_before(key);
            self.open.insert(key.clone(), Was { new: old.clone(), old });
        }
        self.open.get_mut(key).expect("it was put there")
    }

    /// Puts another row, or none, in the place of a key; gives what was there.
    fn set(&mut self, key: &Row, new: Option<Row>) -> Option<Row> {
        std::mem::replace(&mut self.was(key).new, new)
    }

    fn unknown(&self, what: &str) -> Error {
        let name = &self.name;
        Error::corrupt(format!("the source tells of an {what} in `{name}` to a row that is not in our copy")).hint(
            "stop, move the state directory away and start: the source is then copied anew and the tables levelled",
        )
    }
}

/// What a table holds.
#[derive(Clone)]
pub struct Content {
    batches: Batches,
    order: Order,
}

impl Content {
    /// Every row, in the order of its key.
    pub fn walk(&self) -> ContentWalk<'_> {
        ContentWalk { rows: Walk::over(&self.batches), order: &self.order, given: Rows::default() }
    }
}

pub struct ContentWalk<'a> {
    rows: Walk<'a>,
    order: &'a Order,
    given: Rows,
}

impl ContentWalk<'_> {
    pub fn advance(&mut self) -> Option<&[u8]> {
        let (row, diff) = self.rows.advance()?;
        debug_assert_eq!(diff, 1, "a key has one row");
        self.given.clear();
        self.order.put(row, &mut self.given);
        self.given.end(1);
        Some(self.given.row(0))
    }
}

/// From rows as the source has them to rows that begin with their key, and back.
#[derive(Clone)]
struct Order {
    codec: Codec,
    /// Of each column that is kept, where the source has it; `None` where the key leads already.
    there: Option<Vec<usize>>,
    kept: Codec,
    back: Vec<usize>,
}

impl Order {
    fn new(table: &Table) -> Order {
        let width = table.schema.fields().len();
        let mut there = table.key.clone();
        there.extend((0..width).filter(|column| !table.key.contains(column)));
        let back = (0..width).map(|c| there.iter().position(|at| *at == c).expect("every column is kept")).collect();
        let kept = table.schema.project(&there).expect("an order of its own columns");
        let there = (!there.iter().copied().eq(0..width)).then_some(there);
        Order { codec: Codec::new(table.schema.clone()), there, kept: Codec::new(Arc::new(kept)), back }
    }

    fn keep(&self, row: &[u8], diff: i64, to: &mut Rows) {
        match &self.there {
            None => to.extend(row),
            Some(there) => pick(&self.codec, row, there, to),
        }
        to.end(diff);
    }

    fn put(&self, kept: &[u8], to: &mut Rows) {
        match &self.there {
            None => to.extend(kept),
            Some(_) => pick(&self.kept, kept, &self.back, to),
        }
    }

    fn give(&self, kept: &[u8]) -> Row {
        let mut rows = Rows::default();
        self.put(kept, &mut rows);
        rows.end(1);
        Row::from(rows.row(0))
    }
}

fn pick(codec: &Codec, row: &[u8], columns: &[usize], to: &mut Rows) {
    let spans = codec.spans(row);
    columns.iter().for_each(|column| to.extend(&row[spans[*column].clone()]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Datum;
    use arrow::datatypes::{DataType, Field, Schema};

    /// The key is not the first column.
    fn row(id: i32, text: &str) -> Row {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Text(text.into()));
        writer.push(&Datum::Int32(id));
        writer.finish()
    }

    fn key(id: i32) -> Row {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int32(id));
        writer.finish()
    }

    fn base(bodies: &Arc<Bodies>, from: &mut Arrangements) -> Base {
        let fields = vec![Field::new("text", DataType::Utf8, true), Field::new("id", DataType::Int32, true)];
        let table = Table { name: TableName::new("public", "t"), schema: Arc::new(Schema::new(fields)), key: vec![1] };
        Base::new(&[(1, table)], bodies, from)
    }

    fn content(base: &Base) -> Vec<Row> {
        let (content, mut rows) = (base.content(0), Vec::new());
        let mut walk = content.walk();
        while let Some(row) = walk.advance() {
            rows.push(Row::from(row));
        }
        rows
    }

    #[test]
    fn changes_become_exact_deltas_wherever_the_old_row_is() {
        let bodies = Bodies::resident_only();
        let mut base = base(&bodies, &mut Arrangements::default());
        base.load(0, &[row(1, "a"), row(2, "b")]);
        let apply = |base: &mut Base, change| {
            let mut deltas = Vec::new();
            base.apply(0, change, &mut deltas).map(|()| deltas)
        };
        let patch = NewRow::Patch(vec![None, Some(Datum::Int32(9))]);
        let moved = apply(&mut base, Change::Update { old_key: Some(key(1)), new: patch }).expect("applies");
        assert_eq!(moved, [(row(1, "a"), -1), (row(9, "a"), 1)]);
        assert_eq!(content(&base), [row(1, "a"), row(2, "b")], "the Moment is still open");
        base.settle(0);
        assert_eq!(content(&base), [row(2, "b"), row(9, "a")]);
        assert_eq!(apply(&mut base, Change::Delete { key: key(9) }).expect("applies"), [(row(9, "a"), -1)]);
        assert!(apply(&mut base, Change::Delete { key: key(1) }).is_err());
        assert!(apply(&mut base, Change::Delete { key: key(9) }).is_err());
        let same = Change::Update { old_key: None, new: NewRow::Whole(row(2, "b")) };
        assert_eq!(apply(&mut base, same).expect("applies"), []);
        apply(&mut base, Change::Insert(row(3, "c"))).expect("applies");
        let mut gone = apply(&mut base, Change::Truncate).expect("applies");
        gone.sort();
        assert_eq!(gone, [(row(2, "b"), -1), (row(3, "c"), -1)]);
        apply(&mut base, Change::Insert(row(2, "d"))).expect("applies");
        base.settle(0);
        assert_eq!(content(&base), [row(2, "d")]);
    }

    #[test]
    fn a_base_goes_on_from_what_was_pinned() {
        let bodies = Bodies::resident_only();
        let mut first = base(&bodies, &mut Arrangements::default());
        first.load(0, &[row(1, "a"), row(2, "b")]);
        let mut pinned = Arrangements::default();
        first.pin(&mut pinned);
        first.apply(0, Change::Delete { key: key(1) }, &mut Vec::new()).expect("applies");
        first.settle(0);
        let mut second = base(&bodies, &mut pinned);
        let mut deltas = Vec::new();
        second.apply(0, Change::Delete { key: key(1) }, &mut deltas).expect("it is there still");
        assert_eq!(deltas, [(row(1, "a"), -1)]);
    }

    #[test]
    fn what_is_ahead_is_found_and_not_shown() {
        let bodies = Bodies::resident_only();
        let mut base = base(&bodies, &mut Arrangements::default());
        base.load(0, &[row(1, "a")]);
        let mut deltas = Vec::new();
        for text in ["b", "c"] {
            let new = NewRow::Whole(row(1, text));
            base.apply(0, Change::Update { old_key: None, new }, &mut deltas).expect("applies");
            base.advance(0);
        }
        assert_eq!(deltas, [(row(1, "a"), -1), (row(1, "b"), 1), (row(1, "b"), -1), (row(1, "c"), 1)]);
        assert_eq!(content(&base), [row(1, "a")]);
        base.settle(0);
        assert_eq!(content(&base), [row(1, "c")]);
    }
}
