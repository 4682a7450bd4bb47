//! Out: what was maintained becomes what everybody can read, exactly once.
//!
//! ```text
//!  minted ──stage──► staged ──checkpoint names it──► publish ──► published ──► acknowledged (to the sources)
//!           files durable,                           one atomic catalog
//!           nobody sees them                         transaction over all tables
//! ```
//!
//! A crash before the checkpoint leaves files that nobody names: the Moment is minted and staged again. A
//! crash after it leaves a [`Staged`] in the checkpoint, and [`Sink::open`] finishes it: it asks the catalog
//! what happened and never assumes. So no Moment is lost and none is published twice.
//!
//! This folder knows rows and Moments; it does not know models' SQL, sources or the dataflow.

pub mod iceberg;
pub mod ledger;

use crate::error::Result;
use crate::row::{Clock, Cut, Delta, Fingerprint, Moment};
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The table that a model is published to.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub model: String,
    /// dbt's schema.
    pub namespace: String,
    pub table: String,
    pub schema: SchemaRef,
    pub description: String,
    /// A description per column, as many as the schema has fields; empty where there is none.
    pub column_descriptions: Vec<String>,
    /// Changes when, and only when, the meaning of the model does.
    pub definition: String,
}

/// What one Moment changes, over all tables. Deltas are consolidated. A target that is not listed stays as
/// it is; one that is listed without deltas is published all the same where it never was, or where its
/// definition or schema has changed.
pub struct Publication<'a> {
    pub moment: Moment,
    pub clock: Clock,
    pub cut: &'a Cut,
    /// By number of the target in the list given to [`Sink::open`].
    pub changes: Vec<(usize, Vec<Delta>)>,
}

/// Files that are durable and invisible, and the catalog entries that will show them: what a checkpoint
/// must hold so that a crash between staging and publishing is finished and not repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    pub moment: Moment,
    pub cut: Cut,
    pub tables: Vec<StagedTable>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedTable {
    pub namespace: String,
    pub table: String,
    /// The metadata file that must be current for the publication to be right.
    pub old_location: String,
    pub new_location: String,
    pub snapshot_id: i64,
    /// Files that the new snapshot no longer names.
    pub superseded: Vec<Superseded>,
    /// Sequence numbers of the snapshots that readers may still ask for afterwards.
    pub retained: Vec<i64>,
}

/// A file that only older snapshots name: those with sequence numbers from `first` to `last`. It is removed
/// once none of them is retained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superseded {
    pub path: String,
    pub first: i64,
    pub last: i64,
}

impl fmt::Display for StagedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.table)
    }
}

/// What a table shows now.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    pub moment: Moment,
    pub cut: Cut,
    pub snapshot_id: i64,
    pub rows: u64,
    pub fingerprint: Fingerprint,
    pub definition: String,
}

/// A place that models are published to.
pub trait Sink: Send {
    /// Opens the table of each target and makes those that are not there. Where a crash left `staged`
    /// between the checkpoint and the catalog, finishes it first. Called once.
    fn open(&mut self, targets: &[Target], staged: Option<&Staged>) -> Result<()>;

    /// What target `t` shows; `None` before its first publication.
    fn published(&self, t: usize) -> Option<&Published>;

    /// The newest Moment that was ever published here, by any target: only later ones may be staged, also
    /// where a state that was lost would begin to count anew.
    fn newest(&self) -> Option<Moment>;

    /// The rows that target `t` shows, in its present schema: what a restart levels its models against.
    /// Empty where the schema has changed since: the next publication replaces everything.
    fn content(&mut self, t: usize) -> Result<Vec<Delta>>;

    /// Writes the files of a publication, durably, so that nobody sees them. Names each target at most once.
    fn stage(&mut self, publication: &Publication) -> Result<Staged>;

    /// Shows what was staged last, over all its tables at once, or fails and shows nothing. May be called
    /// again after an error, and after it succeeded.
    fn publish(&mut self, staged: &Staged) -> Result<()>;
}
