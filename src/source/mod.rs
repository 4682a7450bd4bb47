//! Change in: what a database says happened, as whole transactions, in order, nothing left out.
//!
//! ```text
//!             describe          start(resume: None)            start(resume: Some(position))
//!                │                     │                                  │
//!   names ──► Table (columns,   Copied* ─► CopyDone{position}             │
//!             key, or refused)         └──────────┬───────────────────────┘
//!                                                 ▼
//!                                (Transaction{position} | Idle{position})*   ◄── acknowledge(position)
//! ```
//!
//! Promises of every source:
//! - The first copy is one consistent picture; `CopyDone` carries the position at which it was taken, and the
//!   stream goes on from exactly there: no row twice, none missing.
//! - A `Transaction` is whole, committed, and in commit order; its position is its end. What was rolled
//!   back, savepoints included, is never seen.
//! - `Idle` says that everything before its position has been told.
//! - Nothing is told to the server as done before [`Tail::acknowledge`] said so.
//! - A broken connection is mended by the source itself, from the last position it told. What it cannot
//!   mend ends the stream with one `Failed`.
//!
//! It does not promise to know the whole of an old or new row: see [`Change`]. It does not know what a
//! Moment is: the daemon closes Moments between transactions.

pub mod mysql;
pub mod postgres;
pub mod replay;

use crate::error::{Error, Result};
use crate::row::{Change, Position, Row, Table, TableName};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// One database, or one recorded log.
pub trait Source: Send {
    /// The tables as they stand now: every column that a row can hold, in the source's order, and the
    /// primary key. Refuses by name: a table that is not there, one without a key, missing rights, a
    /// server that is not set up to be followed.
    fn describe<'a>(&'a mut self, names: &'a [TableName]) -> BoxFuture<'a, Result<Vec<Table>>>;

    /// The place its history has reached by now; what is committed before the call is before it.
    fn present(&mut self) -> BoxFuture<'_, Result<Position>>;

    /// Begins to tell, through `outlet`, of `tables` (their columns may be fewer than described). With no
    /// position to resume from it copies them first. Returns once the stream is set up.
    fn start(
        self: Box<Self>,
        tables: Vec<Table>,
        resume: Option<Position>,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<Tail>>;

    /// Removes what the source set up at the server (slot, publication). Data that was read stays read.
    fn forget(&mut self) -> BoxFuture<'_, Result<()>>;
}

/// What a source tells. `table` counts in the list given to [`Source::start`].
#[derive(Debug)]
pub enum Event {
    Copied { table: usize, rows: Vec<Row> },
    CopyDone { position: Position },
    Transaction { changes: Vec<(usize, Change)>, position: Position, committed_us: i64 },
    Idle { position: Position },
    Failed(Error),
}

/// How many events may wait between a source and the daemon: enough to keep both busy, few enough that a
/// slow daemon stops the reading (TCP then holds the server back) instead of filling memory.
pub const EVENTS_WAITING_MAX: usize = 1024;

/// Where a source puts its events: a bounded queue shared with the other sources.
#[derive(Clone)]
pub struct Outlet {
    source: usize,
    queue: mpsc::Sender<(usize, Event)>,
}

/// The daemon has gone and wants no more events.
#[derive(Debug)]
pub struct Closed;

impl Outlet {
    /// `source` is the number under which events arrive at the other end.
    pub fn new(source: usize, queue: mpsc::Sender<(usize, Event)>) -> Self {
        Outlet { source, queue }
    }

    pub async fn send(&self, event: Event) -> Result<(), Closed> {
        self.queue.send((self.source, event)).await.map_err(|_| Closed)
    }
}

/// A source at work. Dropping it stops the source; [`Tail::stop`] also waits until the server knows.
pub struct Tail {
    acknowledged: watch::Sender<Option<Position>>,
    task: JoinHandle<()>,
}

impl Tail {
    /// `task` ends soon after the other half of `acknowledged` finds its sender gone.
    pub fn new(acknowledged: watch::Sender<Option<Position>>, task: JoinHandle<()>) -> Self {
        Tail { acknowledged, task }
    }

    /// Everything up to `position` is durable here: the server may let go of it.
    pub fn acknowledge(&self, position: Position) {
        self.acknowledged.send_replace(Some(position));
    }

    pub async fn stop(self) {
        drop(self.acknowledged);
        // A panic of the source has been reported where it happened; stopping goes on.
        let _ = self.task.await;
    }
}
