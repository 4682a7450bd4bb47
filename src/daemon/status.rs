//! What the daemon says of itself: one document, for people and machines.

use crate::row::{Cut, Moment};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub pipeline: String,
    pub pid: u32,
    pub phase: Phase,
    /// The last closed Moment: what the maintained models hold.
    pub moment: Moment,
    pub cut: Cut,
    /// The last Moment on disk: what the tables show, and what sources were told.
    pub durable_moment: Moment,
    pub durable_cut: Cut,
    /// From the last commit at a source to its Moment's close, in milliseconds.
    pub lag_ms: Option<i64>,
    pub rows_copied: u64,
    pub models: Vec<ModelStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A first copy is under way.
    Copying,
    Live,
    Stopping,
    /// No daemon runs; this is what the last one left.
    Stopped,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelStatus {
    pub name: String,
    /// `namespace.table` in the catalog; `None` where the model is maintained and not published.
    pub table: Option<String>,
    pub rows: i64,
    pub changes: u64,
    pub changes_per_s: f64,
    pub published: Option<PublishedStatus>,
    /// Rows that cannot be computed; while there are any the last good snapshot stays.
    pub faults: Vec<crate::flow::Fault>,
    /// Whether the model, or one that it reads, has faults.
    pub withheld: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublishedStatus {
    pub moment: Moment,
    pub snapshot_id: i64,
    pub rows: u64,
    pub fingerprint: String,
}

impl From<&crate::commit::Published> for PublishedStatus {
    fn from(published: &crate::commit::Published) -> PublishedStatus {
        PublishedStatus {
            moment: published.moment,
            snapshot_id: published.snapshot_id,
            rows: published.rows,
            fingerprint: published.fingerprint.to_string(),
        }
    }
}
