//! The base arrangements: what each source table holds, by key; what turns a Change into exact deltas.
//!
//! A source may say no more than a key, or leave out what did not change: the row as it was is here. Rows
//! lie in three layers, the youngest wins: `fresh` (since the last freeze), `frozen` (on its way to disk with
//! a checkpoint), and the store.

use super::Store;
use crate::error::{Error, Result};
use crate::row::{Change, Codec, Delta, NewRow, Row, RowWriter, Table};
use std::collections::HashMap;
use std::sync::Arc;

/// By table and key: the row as it is now, or that it is gone.
type Layer = HashMap<(usize, Row), Option<Row>>;

pub struct Base {
    store: Arc<Store>,
    tables: Vec<Shape>,
    fresh: Layer,
    frozen: Option<Arc<Layer>>,
}

struct Shape {
    id: u32,
    name: String,
    codec: Codec,
    key: Vec<usize>,
}

/// What changed up to a checkpoint, to be written with it.
pub struct Frozen {
    layer: Arc<Layer>,
    ids: Vec<u32>,
}

impl Frozen {
    /// Table id, key, and the row or that it is gone.
    pub fn changes(&self) -> impl Iterator<Item = (u32, &Row, Option<&Row>)> {
        self.layer.iter().map(|((table, key), row)| (self.ids[*table], key, row.as_ref()))
    }
}

impl Base {
    /// `tables` with the ids under which the store has them.
    pub fn new(store: Arc<Store>, tables: &[(u32, Table)]) -> Base {
        let shape = |(id, table): &(u32, Table)| Shape {
            id: *id,
            name: table.name.to_string(),
            codec: Codec::new(table.schema.clone()),
            key: table.key.clone(),
        };
        Base { store, tables: tables.iter().map(shape).collect(), fresh: Layer::new(), frozen: None }
    }

    /// Rows of a first copy, straight to the store; they are all new.
    pub fn load(&self, table: usize, rows: &[Row]) -> Result<()> {
        let shape = &self.tables[table];
        self.store.load(shape.id, rows.iter().map(|row| (shape.codec.project(row, &shape.key), row)))
    }

    /// What a change means for the rows of its table.
    pub fn apply(&mut self, table: usize, change: Change, deltas: &mut Vec<Delta>) -> Result<()> {
        match change {
            Change::Insert(row) => {
                let key = self.key(table, &row);
                let old = self.row(table, &key)?;
                deltas.extend(old.map(|old| (old, -1)));
                self.set(table, key, Some(row.clone()));
                deltas.push((row, 1));
            }
            Change::Update { old_key, new } => self.update(table, old_key, new, deltas)?,
            Change::Delete { key } => {
                let Some(old) = self.row(table, &key)? else { return Err(self.unknown(table, "delete")) };
                self.set(table, key, None);
                deltas.push((old, -1));
            }
            Change::Truncate => {
                for (key, row) in self.rows(table)? {
                    self.set(table, key, None);
                    deltas.push((row, -1));
                }
            }
        }
        Ok(())
    }

    /// Every row of a table as it is now.
    pub fn rows(&self, table: usize) -> Result<Vec<(Row, Row)>> {
        let mut rows: HashMap<Row, Row> = self.store.rows(self.tables[table].id).collect::<Result<_>>()?;
        for layer in self.frozen.as_deref().into_iter().chain([&self.fresh]) {
            for ((_, key), row) in layer.iter().filter(|((t, _), _)| *t == table) {
                match row {
                    Some(row) => rows.insert(key.clone(), row.clone()),
                    None => rows.remove(key),
                };
            }
        }
        Ok(rows.into_iter().collect())
    }

    /// All that changed since the last freeze, for the next checkpoint. The one before has been thawed.
    pub fn freeze(&mut self) -> Frozen {
        assert!(self.frozen.is_none(), "one checkpoint is written at a time");
        let layer = Arc::new(std::mem::take(&mut self.fresh));
        self.frozen = Some(layer.clone());
        Frozen { layer, ids: self.tables.iter().map(|shape| shape.id).collect() }
    }

    /// What was frozen is in the store now.
    pub fn thaw(&mut self) {
        self.frozen = None;
    }

    fn update(&mut self, table: usize, old_key: Option<Row>, new: NewRow, deltas: &mut Vec<Delta>) -> Result<()> {
        let new_key = match &new {
            NewRow::Whole(row) => self.key(table, row),
            NewRow::Patch(cells) => self.patched_key(table, cells, old_key.as_ref())?,
        };
        let old_key = old_key.unwrap_or_else(|| new_key.clone());
        let Some(old) = self.row(table, &old_key)? else { return Err(self.unknown(table, "update")) };
        let row = match new {
            NewRow::Whole(row) => row,
            NewRow::Patch(cells) => {
                let spans = self.tables[table].codec.spans(old.bytes());
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
            self.set(table, old_key, None);
        }
        self.set(table, new_key, Some(row.clone()));
        if old != row {
            deltas.extend([(old, -1), (row, 1)]);
        }
        Ok(())
    }

    fn patched_key(&self, table: usize, cells: &[Option<crate::row::Datum>], old_key: Option<&Row>) -> Result<Row> {
        let shape = &self.tables[table];
        let mut writer = RowWriter::default();
        for (at, column) in shape.key.iter().enumerate() {
            match (&cells[*column], old_key) {
                (Some(datum), _) => writer.push(datum),
                // A key column that did not change is in the old key, where one was sent.
                (None, Some(old_key)) => {
                    let key_schema = shape.codec.schema().project(&shape.key).expect("key columns are columns");
                    let spans = Codec::new(key_schema.into()).spans(old_key.bytes());
                    writer.push_encoded(&old_key.bytes()[spans[at].clone()]);
                }
                (None, None) => {
                    return Err(Error::corrupt(format!("an update of `{}` came without its key", shape.name)));
                }
            }
        }
        Ok(writer.finish())
    }

    fn key(&self, table: usize, row: &Row) -> Row {
        let shape = &self.tables[table];
        shape.codec.project(row, &shape.key)
    }

    fn row(&self, table: usize, key: &Row) -> Result<Option<Row>> {
        let place = (table, key.clone());
        for layer in [Some(&self.fresh), self.frozen.as_deref()].into_iter().flatten() {
            if let Some(row) = layer.get(&place) {
                return Ok(row.clone());
            }
        }
        self.store.row(self.tables[table].id, key)
    }

    fn set(&mut self, table: usize, key: Row, row: Option<Row>) {
        self.fresh.insert((table, key), row);
    }

    fn unknown(&self, table: usize, what: &str) -> Error {
        let name = &self.tables[table].name;
        Error::corrupt(format!("the source tells of an {what} in `{name}` to a row that is not in our copy")).hint(
            "stop, move the state directory away and start: the source is then copied anew and the tables levelled",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Datum, TableName};
    use arrow::datatypes::{DataType, Field, Schema};

    fn row(id: i32, text: &str) -> Row {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int32(id));
        writer.push(&Datum::Text(text.into()));
        writer.finish()
    }

    fn key(id: i32) -> Row {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int32(id));
        writer.finish()
    }

    fn base(dir: &std::path::Path) -> Base {
        let fields = vec![Field::new("id", DataType::Int32, true), Field::new("text", DataType::Utf8, true)];
        let table = Table { name: TableName::new("public", "t"), schema: Arc::new(Schema::new(fields)), key: vec![0] };
        Base::new(Arc::new(Store::open(dir).expect("opens")), &[(1, table)])
    }

    #[test]
    fn changes_become_exact_deltas_whatever_layer_the_old_row_is_in() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut base = base(dir.path());
        base.load(0, &[row(1, "a"), row(2, "b")]).expect("loads");
        let apply = |base: &mut Base, change| {
            let mut deltas = Vec::new();
            base.apply(0, change, &mut deltas).map(|()| deltas)
        };
        let patch = NewRow::Patch(vec![Some(Datum::Int32(9)), None]);
        let moved = apply(&mut base, Change::Update { old_key: Some(key(1)), new: patch }).expect("applies");
        assert_eq!(moved, [(row(1, "a"), -1), (row(9, "a"), 1)]);
        let _frozen = base.freeze();
        assert_eq!(apply(&mut base, Change::Delete { key: key(9) }).expect("applies"), [(row(9, "a"), -1)]);
        assert!(apply(&mut base, Change::Delete { key: key(1) }).is_err());
        let same = Change::Update { old_key: None, new: NewRow::Whole(row(2, "b")) };
        assert_eq!(apply(&mut base, same).expect("applies"), []);
        apply(&mut base, Change::Insert(row(3, "c"))).expect("applies");
        let mut gone = apply(&mut base, Change::Truncate).expect("applies");
        gone.sort();
        assert_eq!(gone, [(row(2, "b"), -1), (row(3, "c"), -1)]);
    }
}
