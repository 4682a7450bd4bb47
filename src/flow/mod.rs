//! Data moving: the dataflow that keeps every model up to date, one file for each stateful operator.
//!
//! ```text
//!   feed(moment, table, rows)*  close(moment, clock)       Output { models, faults, due }
//!            │                        │                              ▲
//!            ▼                        ▼                              │
//!        inputs ──► one timely dataflow over all models, N workers ──┘  (whole Moments)
//!
//!   rows ──► arrange ──steps──► join, semi, top, … ──► rows ──► reduce ──► rows
//!              │ spine                                                │ spine
//! ```
//!
//! Invariants:
//! - What depends on the clock is as the reading says with which a Moment closes; readings never go back.
//! - A row that is fed at a Moment has its whole effect in that Moment's [`Output`], in no other; but for models that are
//!   computed as a whole and those that read them, while they are unsettled ([`Settle`]).
//! - Models that read a model read its changes; nothing is computed twice for two readers of one model, a part
//!   that occurs twice (`plan::Node::fingerprint`) is computed once, and two that need the same rows by the
//!   same key share one arrangement.
//! - All state is in spines (`state::Spine`): an operator keeps nothing else from one Moment to the next.
//! - A row that cannot be computed becomes a [`Fault`] of its model, with a diff like any row: when the row
//!   goes, so does the fault.
//!
//! - Between two Moments nothing is in flight: [`Flow::pin`] gives all that must be kept, and a start from it computes
//!   nothing again.
//!
//! It does not write or read anything: what is kept, and when, is the daemon's affair.
//! timely is named here and nowhere else.

mod accumulate;
mod arrange;
mod build;
mod distinct;
mod join;
mod layout;
mod map;
mod recursion;
mod reduce;
mod regroup;
mod rerun;
mod semi;
mod shape;
mod spines;
mod stamp;
mod stream;
mod temporal;
mod ticks;
mod top;
mod unnest;
mod worker;

pub use layout::{Arrangement, Layout};
pub use stamp::outlives;
pub use worker::Flow;

use crate::row::{Clock, Diff, Rows};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// What one Moment changed: for each model, in the order in which they were given.
#[derive(Debug, Default)]
pub struct Output {
    /// Sorted, each row once.
    pub models: Vec<Rows>,
    pub faults: Vec<Vec<(Fault, Diff)>>,
    /// When the clock has come so far the models may change by themselves, and not before.
    pub due: Option<Clock>,
    /// Models that are computed as a whole and were not ([`Settle`]): they are as they were at an earlier Moment.
    pub unsettled: Vec<usize>,
    /// Those that were, and what it took.
    pub reruns: Vec<(usize, Duration)>,
}

/// Whether models that are computed as a whole are, at the end of a Moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    Not,
    /// Those that were not of late, by what it takes.
    IfRested,
    Now,
}

impl Output {
    fn of(models: usize) -> Output {
        let faults = (0..models).map(|_| Vec::new()).collect();
        Output { models: vec![Rows::default(); models], faults, ..Output::default() }
    }

    fn note_due(&mut self, at: Clock) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// A row of a model that cannot be computed, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fault {
    pub message: String,
    /// The row it happened to, as `name=value` pairs.
    pub sample: String,
}

/// Where a model's operators put its faults.
#[derive(Clone)]
struct Faults {
    model: usize,
    share: Rc<RefCell<Output>>,
}

impl Faults {
    fn new(model: usize, share: Rc<RefCell<Output>>) -> Faults {
        Faults { model, share }
    }

    fn push(&self, fault: Fault, diff: Diff) {
        self.share.borrow_mut().faults[self.model].push((fault, diff));
    }
}
