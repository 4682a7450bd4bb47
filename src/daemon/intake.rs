//! What sources tell, made exact, and put to the dataflow in steps that keep nobody waiting.
//!
//! ```text
//!  Event ──► waiting ──► base ──► open ────────────────────────► a step of the dataflow
//!                         └─► a huge transaction: piece by piece ─► unfed ──┘ (one piece a step)
//! ```
//!
//! A transaction of millions of rows is taken in and fed in pieces. While it is taken in, what other sources tell
//! goes by; what its own source tells waits, since it came later. Once it is whole its rows are *unfed*: each step
//! takes a piece of them. A model that reads a table with unfed rows is behind and not published; the others are as
//! fresh as ever. A checkpoint keeps unfed rows, so that a Cut is always whole.

use crate::error::{Error, Result};
use crate::row::{Change, Delta, Position, Rows};
use crate::source::Event;
use crate::state::{Arrangements, Base, Batch, Batches, Bodies};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many rows are taken in, or fed, at once: what a step takes stays far below a second.
pub const PIECE_ROWS: usize = 100_000;
const UNFED: &str = "unfed";

pub struct Intake {
    base: Base,
    bodies: Arc<Bodies>,
    /// For each source, the numbers of its tables.
    tables_of: Vec<Vec<usize>>,
    waiting: VecDeque<(usize, Event)>,
    taking: Option<Taking>,
    /// By number of the table, what the open Moment changes.
    open: BTreeMap<usize, Rows>,
    /// For each source, whether `open` has rows of it.
    open_of: Vec<bool>,
    /// Pieces of huge transactions by number of their table, the first to be fed first.
    unfed: VecDeque<(usize, Arc<Batch>)>,
    /// What waits can go on only after the open Moment has closed.
    stuck: bool,
}

/// A huge transaction that is being taken in.
struct Taking {
    source: usize,
    changes: std::vec::IntoIter<(usize, Change)>,
    rows: usize,
    position: Position,
    committed_us: i64,
    pieces: Vec<(usize, Arc<Batch>)>,
}

/// What became of what was heard.
pub enum Told {
    /// Rows of a first copy, for the dataflow.
    Copied {
        table: usize,
        rows: Rows,
    },
    /// A source has come to a position: with a transaction of so many rows, or without.
    Moved {
        source: usize,
        position: Position,
        rows: usize,
        committed_us: Option<i64>,
    },
    /// The open Moment must close before anything else of its source can be taken in.
    Close,
    Failed {
        source: usize,
        error: Error,
    },
}

impl Intake {
    pub fn new(base: Base, bodies: &Arc<Bodies>, tables_of: Vec<Vec<usize>>, from: &mut Arrangements) -> Intake {
        let unfed = from.by_name.remove(UNFED).unwrap_or_default();
        let by_table = unfed.into_iter().enumerate();
        let unfed =
            by_table.flat_map(|(table, batches)| batches.iter().map(|b| (table, b.clone())).collect::<Vec<_>>());
        Intake {
            base,
            bodies: bodies.clone(),
            open_of: vec![false; tables_of.len()],
            tables_of,
            waiting: VecDeque::new(),
            taking: None,
            open: BTreeMap::new(),
            unfed: unfed.collect(),
            stuck: false,
        }
    }

    pub fn base(&self) -> &Base {
        &self.base
    }

    pub fn hear(&mut self, source: usize, event: Event) {
        self.waiting.push_back((source, event));
        self.stuck = false;
    }

    /// How many events wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether [`Intake::turn`] has something to do.
    pub fn busy(&self) -> bool {
        self.taking.is_some() || (!self.waiting.is_empty() && !self.stuck)
    }

    /// Does one piece of what is to be done.
    pub fn turn(&mut self) -> Result<Vec<Told>> {
        let mut told = Vec::new();
        if let Some(taking) = self.taking.take() {
            told.extend(self.take_piece(taking)?);
        }
        // What other sources tell goes by; a second huge transaction waits for the first.
        let mut blocked: Vec<usize> = self.taking.iter().map(|taking| taking.source).collect();
        let mut left = VecDeque::new();
        while let Some((source, event)) = self.waiting.pop_front() {
            let huge = matches!(&event, Event::Transaction { changes, .. } if changes.len() > PIECE_ROWS);
            if blocked.contains(&source) || (huge && self.taking.is_some()) {
                blocked.push(source);
                left.push_back((source, event));
            } else if huge && self.open_of[source] {
                blocked.push(source);
                left.push_back((source, event));
                told.push(Told::Close);
            } else {
                told.extend(self.take(source, event)?);
                blocked.extend(self.taking.iter().map(|taking| taking.source));
            }
        }
        self.waiting = left;
        self.stuck = told.iter().all(|told| matches!(told, Told::Close));
        Ok(told)
    }

    fn take(&mut self, source: usize, event: Event) -> Result<Option<Told>> {
        Ok(Some(match event {
            Event::Copied { table, rows } => {
                let table = self.tables_of[source][table];
                self.base.load(table, &rows);
                let mut copied = Rows::default();
                rows.iter().for_each(|row| copied.push(row.bytes(), 1));
                Told::Copied { table, rows: copied }
            }
            Event::CopyDone { position } | Event::Idle { position } => {
                Told::Moved { source, position, rows: 0, committed_us: None }
            }
            Event::Transaction { changes, position, committed_us } if changes.len() > PIECE_ROWS => {
                let (rows, changes, pieces) = (changes.len(), changes.into_iter(), Vec::new());
                self.taking = Some(Taking { source, changes, rows, position, committed_us, pieces });
                return Ok(None);
            }
            Event::Transaction { changes, position, committed_us } => {
                let (rows, mut deltas) = (changes.len(), Vec::new());
                for (table, change) in changes {
                    let table = self.tables_of[source][table];
                    self.base.apply(table, change, &mut deltas)?;
                    let open = self.open.entry(table).or_default();
                    deltas.drain(..).for_each(|(row, diff)| open.push(row.bytes(), diff));
                }
                self.open_of[source] |= rows > 0;
                Told::Moved { source, position, rows, committed_us: Some(committed_us) }
            }
            Event::Failed(error) => Told::Failed { source, error },
        }))
    }

    fn take_piece(&mut self, mut taking: Taking) -> Result<Option<Told>> {
        let mut piece: BTreeMap<usize, Rows> = BTreeMap::new();
        let mut deltas: Vec<Delta> = Vec::new();
        for (table, change) in taking.changes.by_ref().take(PIECE_ROWS) {
            let table = self.tables_of[taking.source][table];
            self.base.apply(table, change, &mut deltas)?;
            let rows = piece.entry(table).or_default();
            deltas.drain(..).for_each(|(row, diff)| rows.push(row.bytes(), diff));
        }
        self.tables_of[taking.source].iter().for_each(|table| self.base.advance(*table));
        for (table, rows) in piece {
            taking.pieces.push((table, Arc::new(Batch::of(&rows, &self.bodies))));
        }
        if taking.changes.len() > 0 {
            self.taking = Some(taking);
            return Ok(None);
        }
        self.tables_of[taking.source].iter().for_each(|table| self.base.settle(*table));
        self.unfed.extend(taking.pieces);
        let Taking { source, position, rows, committed_us, .. } = taking;
        Ok(Some(Told::Moved { source, position, rows, committed_us: Some(committed_us) }))
    }

    /// The next step of the dataflow: all that is open, and a piece of what is unfed. What sources have told is part
    /// of the tables from now on.
    pub fn step(&mut self) -> Vec<(usize, Rows)> {
        let taking = self.taking.as_ref().map(|taking| taking.source);
        for tables in self.tables_of.iter().enumerate().filter(|(source, _)| Some(*source) != taking).map(|(_, t)| t) {
            tables.iter().for_each(|table| self.base.settle(*table));
        }
        self.open_of.fill(false);
        self.stuck = false;
        let mut step: Vec<(usize, Rows)> = std::mem::take(&mut self.open).into_iter().collect();
        if let Some((table, batch)) = self.unfed.pop_front() {
            let (mut rows, mut piece) = (Rows::with_capacity(batch.rows(), 0), batch.cursor());
            while let Some((row, diff)) = piece.row() {
                rows.push(row, diff);
                piece.step();
            }
            step.push((table, rows));
        }
        step
    }

    /// Whether a table has rows that the dataflow has not been given.
    pub fn unfed(&self, table: usize) -> bool {
        self.unfed.iter().any(|(unfed, _)| *unfed == table)
    }

    pub fn all_fed(&self) -> bool {
        self.unfed.is_empty()
    }

    /// What a checkpoint must name, as of the last step.
    pub fn pin(&self, to: &mut Arrangements) {
        self.base.pin(to);
        let tables = self.tables_of.iter().flatten().max().map_or(0, |last| last + 1);
        let of = |table| self.unfed.iter().filter(|(t, _)| *t == table).map(|(_, batch)| batch.clone()).collect();
        to.by_name.insert(UNFED.into(), (0..tables).map(of).collect::<Vec<Batches>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Datum, Position, Row, RowWriter, Table, TableName};
    use arrow::datatypes::{DataType, Field, Schema};

    fn row(id: i64) -> Row {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int64(id));
        writer.finish()
    }

    /// Two sources with a table each.
    fn intake(bodies: &Arc<Bodies>, from: &mut Arrangements) -> Intake {
        let table = |name: &str| Table {
            name: TableName::new("public", name),
            schema: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
            key: vec![0],
        };
        let base = Base::new(&[(1, table("huge")), (2, table("small"))], bodies, from);
        Intake::new(base, bodies, vec![vec![0], vec![1]], from)
    }

    fn transaction(ids: std::ops::Range<i64>, lsn: u64) -> Event {
        let changes = ids.map(|id| (0, Change::Insert(row(id)))).collect();
        Event::Transaction { changes, position: Position::Lsn(lsn), committed_us: 0 }
    }

    fn told(intake: &mut Intake) -> String {
        let word = |told| match told {
            Told::Copied { table, rows } => format!("copied {table}: {}", rows.len()),
            Told::Moved { source, position, rows, .. } => format!("moved {source} to {position}: {rows}"),
            Told::Close => "close".into(),
            Told::Failed { source, error } => format!("failed {source}: {error}"),
        };
        let told: Vec<String> = intake.turn().expect("it takes").into_iter().map(word).collect();
        told.join(", ")
    }

    fn rows(intake: &Intake, table: usize) -> i64 {
        let content = intake.base().content(table);
        let (mut rows, mut count) = (content.walk(), 0);
        while rows.advance().is_some() {
            count += 1;
        }
        count
    }

    #[test]
    fn others_go_by_while_a_huge_transaction_is_taken_in_and_fed() {
        let bodies = Bodies::resident_only();
        let mut intake = intake(&bodies, &mut Arrangements::default());
        let piece = PIECE_ROWS as i64;
        let small = |id: i64, lsn| transaction(id..id + 1, lsn);
        intake.hear(0, small(0, 1));
        intake.hear(0, transaction(1..3 * piece, 2));
        intake.hear(0, small(-1, 3));
        intake.hear(1, small(0, 1));
        assert_eq!(told(&mut intake), "moved 0 to 0/1: 1, close, moved 1 to 0/1: 1");
        assert_eq!(intake.step().len(), 2);
        assert_eq!(told(&mut intake), "", "it begins");
        intake.hear(1, small(1, 2));
        assert_eq!(told(&mut intake), "moved 1 to 0/2: 1", "a piece, and who goes by");
        assert_eq!(intake.step().iter().map(|(table, rows)| (*table, rows.len())).collect::<Vec<_>>(), [(1, 1)]);
        assert_eq!((rows(&intake, 0), rows(&intake, 1)), (1, 2), "no part of it is shown");
        assert_eq!(told(&mut intake), "", "a piece");
        assert_eq!(told(&mut intake), "moved 0 to 0/2: 299999, moved 0 to 0/3: 1", "the last, and what came later");
        assert!(intake.unfed(0) && !intake.unfed(1));
        let step: Vec<_> = intake.step().into_iter().map(|(table, rows)| (table, rows.len())).collect();
        assert_eq!(step, [(0, 1), (0, PIECE_ROWS)], "what is open, and a piece");
        assert_eq!(rows(&intake, 0), 3 * piece + 1);

        // A checkpoint keeps what is not fed.
        let mut pinned = Arrangements::default();
        intake.pin(&mut pinned);
        let mut again = self::intake(&bodies, &mut pinned);
        for intake in [&mut intake, &mut again] {
            assert_eq!(intake.step()[0].1.len(), PIECE_ROWS);
            assert!(!intake.all_fed());
            assert_eq!(intake.step()[0].1.len(), PIECE_ROWS - 1);
            assert!(intake.all_fed() && intake.step().is_empty());
        }
    }
}
