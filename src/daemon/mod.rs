//! The daemon: where the folders meet. They know nothing of each other; this one hands rows from one to
//! the next and decides when.
//!
//! ```text
//!  sources ──events──► engine ──deltas──► flow ──output──► pending ──job──► publisher
//!     ▲                  │ asks step what is due               stage ► checkpoint ► publish
//!     └───acknowledge────┘◄──────────────published───────────────────────────┘
//! ```
//!
//! - [`Config`] is `driftless.yml`; [`Assembly`] is a project compiled against its sources as they are.
//! - `step` decides, and is pure; `engine` performs, and is dull; `publisher` is the one thread that writes
//!   outward, in the one order that a crash cannot break.
//! - `control` answers `status`, `verify` and `state` for other processes; `audit` compares what is published with a
//!   full recompute.
//!
//! Invariants:
//! - A Moment closes between source transactions, and only when every source has a position.
//! - A source is told of a position only when a checkpoint that holds it is on disk.
//! - A model with faults, or below one with faults, is not published; its last good snapshot stays.

mod assembly;
mod audit;
mod config;
pub mod control;
mod engine;
mod intake;
mod pending;
mod publisher;
mod start;
pub mod status;
mod step;

pub use crate::flow::{Arrangement, Layout};
pub use crate::state::Size;
pub use assembly::{Assembly, PlannedModel};
pub use audit::{Difference, ModelVerdict, Verdict, verify};
pub use config::{Config, MEMORY_BYTES, SourceConfig};
pub use control::{StateReport, state};
pub use engine::{Observed, Run, run};
