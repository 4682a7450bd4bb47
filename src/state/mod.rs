//! Data at rest: the arrangements, and the checkpoint that makes them true.
//!
//! ```text
//!  rows ──► Batch (sorted, in blocks) ──► Spine: a few batches, merged as they age
//!              │ slots                       │ pinned at a Moment
//!              ▼                             ▼
//!            Bodies: in memory under     Arrangements ──write with Checkpoint──► Store (RocksDB)
//!            one budget, or stored                                                │
//!                  ▲──────────────── restore: heads only, nothing computed ◄──────┘
//! ```
//!
//! A [`Checkpoint`] at a Moment says: these batches are every arrangement at this Cut, and this is what was
//! staged outside and may not be published yet. It is one synced write, after the bodies that it names. [`Base`] is
//! what each source table holds, by key: it turns what a source tells into exact deltas.
//!
//! Invariants:
//! - What the store holds and no checkpoint names is nothing: it is cleared at start.
//! - What a checkpoint names is deleted only after the write of one that names it no longer.
//! - One process at a time: the directory is locked; a second daemon is told which process has it.
//! - A directory of another format, or of no format of ours, is refused and left as it is.

mod base;
mod batch;
mod block;
mod bodies;
mod head;
mod merge;
mod rocks;
mod spine;

pub use base::{Base, Content};
pub use batch::{Batch, Cursor, Walk};
pub use bodies::{BlockStore, Bodies, Body};
pub use merge::merge;
pub use rocks::Store;
pub use spine::{Batches, Spine};

use crate::error::{Error, Result};
use crate::row::{Clock, Cut, Moment, Table, TableName, type_name, type_named};
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes with every change of what is written, rows included.
pub const FORMAT: u32 = 4;

/// What is true on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub format: u32,
    pub moment: Moment,
    /// What the clock said at the Moment: from here it goes on, if the machine's were set back.
    #[serde(default)]
    pub clock: Clock,
    /// Only sources whose first copy is complete are in it.
    pub cut: Cut,
    pub tables: Vec<Kept>,
    /// `None` where only the source tables are kept: the models are then computed anew.
    pub maintained: Option<Maintained>,
    /// What the committer had staged and not yet published; in its own words.
    pub staged: Option<serde_json::Value>,
}

/// The models as they were maintained when the checkpoint was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Maintained {
    /// The same if and only if the dataflow is.
    pub dataflow: String,
    /// In the order of the dataflow.
    pub models: Vec<KeptModel>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptModel {
    pub rows: i64,
    /// The Moment that its table shows once what was staged is published.
    pub shown: Option<Moment>,
}

/// Arrangements as they are at one Moment, by name; of each, what every worker has.
#[derive(Clone, Default)]
pub struct Arrangements {
    pub by_name: BTreeMap<String, Vec<Batches>>,
}

impl Arrangements {
    /// What each takes, over all workers, in the order of their names.
    pub fn sizes(&self) -> Vec<Size> {
        let size = |(name, workers): (&String, &Vec<Batches>)| {
            let mut size = Size { name: name.clone(), ..Size::default() };
            for batch in workers.iter().flat_map(|batches| batches.iter()) {
                size.batches += 1;
                size.rows += batch.rows();
                size.bytes_on_disk += batch.bytes_on_disk();
                for slot in batch.slots() {
                    size.bytes += slot.size();
                    size.bytes_in_memory += if slot.resident() { slot.size() } else { 0 };
                }
            }
            size
        };
        self.by_name.iter().map(size).collect()
    }
}

/// What an arrangement takes. Rows are counted as often as they are in a batch: one that went and is not merged
/// away yet counts twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Size {
    pub name: String,
    pub rows: usize,
    pub batches: usize,
    pub bytes: usize,
    pub bytes_in_memory: usize,
    /// Before the store packs them.
    pub bytes_on_disk: usize,
}

/// A source table as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The number under which its rows are stored; never used again for another table.
    pub id: u32,
    pub source: String,
    pub name: TableName,
    /// Every column of the table, with its type, when it was described.
    pub described: Vec<(String, String)>,
    /// The columns that are stored, in order.
    pub columns: Vec<String>,
    pub key: Vec<String>,
}

impl Kept {
    /// `described` is the whole table, `table` what is kept of it.
    pub fn new(id: u32, source: &str, described: &SchemaRef, table: &Table) -> Kept {
        let name = |i: &usize| table.schema.field(*i).name().clone();
        Kept {
            id,
            source: source.to_string(),
            name: table.name.clone(),
            described: described.fields().iter().map(|f| (f.name().clone(), type_name(f.data_type()))).collect(),
            columns: table.schema.fields().iter().map(|f| f.name().clone()).collect(),
            key: table.key.iter().map(name).collect(),
        }
    }

    /// The schema of the whole table.
    pub fn described(&self) -> Result<SchemaRef> {
        let field = |(name, data_type): &(String, String)| match type_named(data_type) {
            Some(data_type) => Ok(Field::new(name, data_type, true)),
            None => Err(Error::corrupt(format!("the checkpoint names an unknown type `{data_type}`"))),
        };
        Ok(Arc::new(Schema::new(self.described.iter().map(field).collect::<Result<Vec<_>>>()?)))
    }

    /// The table as it is kept.
    pub fn table(&self) -> Result<Table> {
        let described = self.described()?;
        let unknown = |_| Error::corrupt(format!("the checkpoint of `{}` names an unknown column", self.name));
        let columns = self.columns.iter().map(|c| described.index_of(c)).collect::<Result<Vec<_>, _>>();
        let schema: SchemaRef = described.project(&columns.map_err(unknown)?).map_err(unknown)?.into();
        let key = self.key.iter().map(|c| schema.index_of(c)).collect::<Result<Vec<_>, _>>().map_err(unknown)?;
        Ok(Table { name: self.name.clone(), schema, key })
    }

    /// Whether the stored rows serve for `table` of `source` as they are: the same columns and key. That a
    /// column may be NULL or not is the source's affair and changes no row.
    pub fn serves(&self, source: &str, table: &Table) -> bool {
        let shape = |table: &Table| {
            let column = |f: &Arc<Field>| (f.name().clone(), f.data_type().clone());
            (table.schema.fields().iter().map(column).collect::<Vec<_>>(), table.key.clone())
        };
        let same = |kept: Table| kept.name == table.name && shape(&kept) == shape(table);
        self.source == source && self.table().is_ok_and(same)
    }
}
