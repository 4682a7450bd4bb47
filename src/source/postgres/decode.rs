//! pgoutput messages in, whole transactions out.
//!
//! ```text
//!  Begin ─ changes ─ Commit ───────────────────────────────────────► Whole
//!  Start(xid) ─ changes of xid and its subtransactions ─ Stop         (large, not yet committed: as often
//!        └─ Abort(sub): that part is forgotten ─ … ─ Commit(xid) ──► Whole            as the server likes)
//!        └─ Abort(xid): all of it is forgotten
//! ```
//!
//! Nothing leaves before its commit, so what was rolled back is never seen, savepoints included.
//! What a table looks like comes in messages of its own, before its first change and after each change of
//! its shape. One that a streamed transaction brings is valid within that transaction, and for all only
//! once it has committed: until then another may commit in the old shape.
//!
//! Pure: no clock, no socket. Spilling a transaction larger than memory is not promised yet.

use super::describe::{Domains, Kept, kind_of, retyped, vanished};
use super::types::Kind;
use crate::error::{Error, Result};
use crate::row::{Change, Datum, NewRow, Row, RowWriter};
use bytes::Bytes;
use pg_walstream::{ColumnInfo, LogicalReplicationMessage as Message, LogicalReplicationParser, TupleData};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A committed transaction, as far as it concerns the kept tables.
#[derive(Debug)]
pub struct Whole {
    pub changes: Vec<(usize, Change)>,
    /// The end of its commit record.
    pub end: u64,
    pub committed_us: i64,
}

/// Transactions on their way to being whole.
pub struct Assembly {
    kept: Vec<Kept>,
    domains: Domains,
    parser: LogicalReplicationParser,
    shapes: Shapes,
    /// Between Begin and Commit.
    open: Option<Vec<(usize, Change)>>,
    /// The transaction whose chunk is being streamed.
    chunk: Option<u32>,
    streamed: HashMap<u32, Streamed>,
}

/// By the table's object id; `None` for a table that is not kept.
type Shapes = HashMap<u32, Option<Arc<Shape>>>;

/// How the tuples of one table are read at present.
struct Shape {
    table: usize,
    /// For each kept column its place in a tuple and how its text is read.
    columns: Vec<(usize, Kind)>,
    types: Vec<(u32, i32)>,
}

/// A large transaction that is still open at the server.
#[derive(Default)]
struct Streamed {
    shapes: Shapes,
    /// Per (sub)transaction its changes, each with its place in the whole. What cannot be read is no fault
    /// before it has committed.
    parts: BTreeMap<u32, Vec<Placed>>,
    changes_seen: u64,
}

type Placed = (u64, Result<(usize, Change)>);

/// Microseconds from 1970 to 2000, where Postgres begins to count.
const EPOCH_2000_US: i64 = 946_684_800_000_000;

impl Assembly {
    pub fn new(kept: Vec<Kept>, domains: Domains, protocol: u32) -> Assembly {
        Assembly {
            kept,
            domains,
            parser: LogicalReplicationParser::with_protocol_version(protocol),
            shapes: Shapes::new(),
            open: None,
            chunk: None,
            streamed: HashMap::new(),
        }
    }

    /// Whether the server is between transactions, so that a keepalive speaks for all before it.
    pub fn between(&self) -> bool {
        self.open.is_none() && self.chunk.is_none()
    }

    pub fn take(&mut self, message: Bytes) -> Result<Option<Whole>> {
        let parsed = self.parser.parse_wal_message_bytes(message);
        let parsed = parsed.map_err(|e| Error::corrupt("a message of the replication stream is garbled").because(e))?;
        let xid = parsed.xid;
        match parsed.message {
            Message::Begin { .. } => self.open = Some(Vec::new()),
            Message::Commit { end_lsn, timestamp, .. } => {
                let changes = self.open.take().ok_or_else(|| out_of_order("a commit"))?;
                return Ok(Some(Whole { changes, end: end_lsn, committed_us: timestamp + EPOCH_2000_US }));
            }
            Message::StreamStart { xid, .. } => {
                self.chunk = Some(xid);
                self.streamed.entry(xid).or_default();
            }
            Message::StreamStop => self.chunk = None,
            Message::StreamAbort { xid, subtransaction_xid, .. } if xid == subtransaction_xid => {
                self.streamed.remove(&xid);
            }
            // A transaction that we know nothing of has nothing to take back.
            Message::StreamAbort { xid, subtransaction_xid, .. } => {
                if let Some(streamed) = self.streamed.get_mut(&xid) {
                    streamed.parts.remove(&subtransaction_xid);
                }
            }
            Message::StreamCommit { xid, end_lsn, timestamp, .. } => {
                let streamed = self.streamed.remove(&xid).unwrap_or_default();
                self.shapes.extend(streamed.shapes);
                let mut changes: Vec<_> = streamed.parts.into_values().flatten().collect();
                // Sorted runs, which a stable sort only merges.
                changes.sort_by_key(|(place, _)| *place);
                let changes = changes.into_iter().map(|(_, change)| change).collect::<Result<_>>()?;
                return Ok(Some(Whole { changes, end: end_lsn, committed_us: timestamp + EPOCH_2000_US }));
            }
            Message::Relation { relation_id, namespace, relation_name, columns, .. } => {
                let shape = self.shape(relation_id, &namespace, &relation_name, &columns);
                let Some(top) = self.chunk else {
                    self.shapes.insert(relation_id, shape?);
                    return Ok(None);
                };
                let (shape, fault) = match shape {
                    Ok(shape) => (shape, None),
                    Err(fault) => (None, Some(fault)),
                };
                self.streamed.entry(top).or_default().shapes.insert(relation_id, shape);
                if let Some(fault) = fault {
                    self.push(xid, Err(fault))?;
                }
            }
            Message::Insert { relation_id, tuple } => {
                if let Some(shape) = self.shape_of(relation_id)? {
                    let change = self.insert(&shape, &tuple);
                    self.push(xid, change.map(|change| (shape.table, change)))?;
                }
            }
            Message::Update { relation_id, old_tuple, new_tuple, key_type } => {
                if let Some(shape) = self.shape_of(relation_id)? {
                    let change = self.update(&shape, old_tuple, &new_tuple, key_type == Some('O'));
                    self.push(xid, change.map(|change| (shape.table, change)))?;
                }
            }
            Message::Delete { relation_id, old_tuple, .. } => {
                if let Some(shape) = self.shape_of(relation_id)? {
                    let key = self.key(&shape, &old_tuple);
                    self.push(xid, key.map(|key| (shape.table, Change::Delete { key })))?;
                }
            }
            Message::Truncate { relation_ids, .. } => {
                for relation_id in relation_ids {
                    if let Some(shape) = self.shape_of(relation_id)? {
                        self.push(xid, Ok((shape.table, Change::Truncate)))?;
                    }
                }
            }
            Message::Type { .. } | Message::Origin { .. } | Message::Message { .. } => {}
            // Two-phase decoding is not asked for: a prepared transaction comes as a plain one when it commits.
            _ => return Err(out_of_order("a prepared transaction")),
        }
        Ok(None)
    }

    fn push(&mut self, xid: Option<u32>, change: Result<(usize, Change)>) -> Result<()> {
        match (self.chunk, &mut self.open) {
            (Some(top), _) => {
                let streamed = self.streamed.get_mut(&top).expect("the chunk's start has made the entry");
                streamed.changes_seen += 1;
                streamed.parts.entry(xid.unwrap_or(top)).or_default().push((streamed.changes_seen, change));
            }
            (None, Some(changes)) => changes.push(change?),
            (None, None) => return Err(out_of_order("a change")),
        }
        Ok(())
    }

    /// How to read this table now; `None` where it is not kept.
    fn shape_of(&self, relation: u32) -> Result<Option<Arc<Shape>>> {
        let streamed = self.chunk.and_then(|xid| self.streamed.get(&xid)?.shapes.get(&relation));
        let shape = streamed.or_else(|| self.shapes.get(&relation));
        Ok(shape.ok_or_else(|| out_of_order("a change of a table that was not described"))?.clone())
    }

    fn shape(&self, oid: u32, schema: &str, name: &str, columns: &[ColumnInfo]) -> Result<Option<Arc<Shape>>> {
        let named = |k: &Kept| k.table.name.schema == schema && k.table.name.name == name;
        let Some(table) = self.kept.iter().position(|k| k.oid == oid) else {
            return match self.kept.iter().find(|k| named(k)) {
                Some(kept) => Err(replaced(&kept.table.name, "is not the table that was followed so far")),
                None => Ok(None),
            };
        };
        let kept = &self.kept[table];
        if !named(kept) {
            return Err(replaced(&kept.table.name, &format!("is now named `{schema}.{name}`")));
        }
        let known = self.shapes.get(&oid).and_then(|shape| shape.as_ref());
        let known = known.map_or(&kept.types, |shape| &shape.types);
        let (mut places, mut types) = (Vec::new(), Vec::new());
        for (i, field) in kept.table.schema.fields().iter().enumerate() {
            let Some(place) = columns.iter().position(|c| *c.name == **field.name()) else {
                return Err(vanished(&kept.table.name, field.name()));
            };
            let column = &columns[place];
            let kind = kind_of(&self.domains, column.type_id, column.type_modifier);
            let own_type = (column.type_id, column.type_modifier);
            if kind.arrow() != *field.data_type() || rewrites(known[i], own_type) {
                return Err(retyped(&kept.table.name, field.name()));
            }
            if kept.table.key.contains(&i) && !column.is_key() {
                return Err(Error::operator(format!(
                    "the replica identity of table `{}` is no longer its primary key",
                    kept.table.name
                ))
                .hint("restore the primary key, and `REPLICA IDENTITY DEFAULT`"));
            }
            places.push((place, kind));
            types.push(own_type);
        }
        Ok(Some(Arc::new(Shape { table, columns: places, types })))
    }

    /// The kept columns of a tuple; `None` for a value that did not change and was not sent.
    fn cells(&self, shape: &Shape, tuple: &TupleData) -> Result<Vec<Option<Datum>>> {
        (0..shape.columns.len()).map(|i| self.cell(shape, tuple, i)).collect()
    }

    fn cell(&self, shape: &Shape, tuple: &TupleData, i: usize) -> Result<Option<Datum>> {
        let (place, kind) = shape.columns[i];
        let cell = tuple.get_column(place).ok_or_else(|| out_of_order("a row that is too short"))?;
        match cell.data_type {
            b'n' => Ok(Some(Datum::Null)),
            b'u' => Ok(None),
            b't' => self.kept[shape.table].read(i, kind, cell.as_bytes()).map(Some),
            _ => Err(out_of_order("a value in binary form")),
        }
    }

    fn key(&self, shape: &Shape, tuple: &TupleData) -> Result<Row> {
        let key = &self.kept[shape.table].table.key;
        let cells: Result<Vec<_>> = key.iter().map(|i| self.cell(shape, tuple, *i)).collect();
        whole(cells?).ok_or_else(|| out_of_order("half a key"))
    }

    fn insert(&self, shape: &Shape, tuple: &TupleData) -> Result<Change> {
        whole(self.cells(shape, tuple)?).map(Change::Insert).ok_or_else(|| out_of_order("half a row"))
    }

    /// The old tuple, where there is one, holds only the key unless `old_is_whole`.
    fn update(&self, shape: &Shape, old: Option<TupleData>, new: &TupleData, old_is_whole: bool) -> Result<Change> {
        let key = &self.kept[shape.table].table.key;
        let mut cells = self.cells(shape, new)?;
        let mut old_key = None;
        if let Some(old) = &old {
            for (i, cell) in cells.iter_mut().enumerate().filter(|(_, cell)| cell.is_none()) {
                if old_is_whole || key.contains(&i) {
                    *cell = self.cell(shape, old, i)?;
                }
            }
            let new_key = whole(key.iter().map(|i| cells[*i].clone()).collect());
            old_key = Some(self.key(shape, old)?).filter(|old_key| new_key.as_ref() != Some(old_key));
        }
        if key.iter().any(|i| cells[*i].is_none()) {
            return Err(out_of_order("a row without its key"));
        }
        let new = match cells.iter().all(Option::is_some) {
            true => NewRow::Whole(whole(cells).expect("every cell is there")),
            false => NewRow::Patch(cells),
        };
        Ok(Change::Update { old_key, new })
    }
}

/// The row of these values; `None` where one is missing.
fn whole(cells: Vec<Option<Datum>>) -> Option<Row> {
    let mut writer = RowWriter::default();
    for cell in &cells {
        writer.push(cell.as_ref()?);
    }
    Some(writer.finish())
}

/// Whether a change of type may have rewritten values, of which the stream says nothing.
fn rewrites(old: (u32, i32), new: (u32, i32)) -> bool {
    const TEXT: [u32; 2] = [25, 1043];
    const TIMES: [u32; 4] = [1083, 1114, 1184, 1266];
    let texts = TEXT.contains(&old.0) && TEXT.contains(&new.0);
    let wider = new.1 == -1 || (old.1 != -1 && new.1 >= old.1);
    let times = old.0 == new.0 && TIMES.contains(&new.0) && wider;
    old != new && !texts && !times
}

fn replaced(table: &crate::row::TableName, what: &str) -> Error {
    Error::operator(format!("table `{table}` {what}")).hint("remove the state directory to copy the table anew")
}

fn out_of_order(what: &str) -> Error {
    Error::corrupt(format!("the replication stream holds {what} where none can be"))
}
