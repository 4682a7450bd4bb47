//! Data moving: the dataflow that keeps every model up to date, one file for each stateful operator.
//!
//! ```text
//!   feed(moment, table, deltas)*  close(moment)            Output { models, faults }
//!            │                        │                              ▲
//!            ▼                        ▼                              │
//!        inputs ──► one timely dataflow over all models, N workers ──┘  (consolidated, whole Moments)
//! ```
//!
//! Invariants:
//! - A row that is fed at a Moment has its whole effect in that Moment's [`Output`], in no other.
//! - Models that read a model read its changes; nothing is computed twice for two readers of one model.
//! - A row that cannot be computed becomes a [`Fault`] of its model, with a diff like any row: when the row
//!   goes, so does the fault.
//!
//! It does not keep its state over a restart: the daemon feeds the base arrangements again.
//! timely and differential-dataflow are named here and nowhere else.

mod build;
mod join;
mod map;
mod reduce;
mod worker;

pub use worker::Flow;

use crate::row::{Delta, Diff};
use serde::{Deserialize, Serialize};

/// What one Moment changed: for each model, in the order in which they were given.
#[derive(Debug, Default)]
pub struct Output {
    pub models: Vec<Vec<Delta>>,
    pub faults: Vec<Vec<(Fault, Diff)>>,
}

/// A row of a model that cannot be computed, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fault {
    pub message: String,
    /// The row it happened to, as `name=value` pairs.
    pub sample: String,
}
