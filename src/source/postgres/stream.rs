//! The loop that follows the server: frames in, events out, reports back, and a new connection when one
//! breaks.
//!
//! ```text
//!            ┌──────────── frame ───────────┐
//!   Wire ───►│ Assembly ─► Whole ─► Outlet  │   told: the last position that went out
//!     ▲      └──────────────────────────────┘
//!     └── report(arrived, durable) at most a second apart, also while the outlet is full
//! ```
//!
//! Invariants: positions told only grow. `durable` is only what the daemon acknowledged; it is never made
//! up from what was read, not even on an idle server.

use super::connect::Server;
use super::copy;
use super::decode::{Assembly, Whole};
use super::describe::{self, Domains, Kept};
use super::slot::{self, Names, SLOT_POLL, SLOT_WAIT};
use super::wire::{Frame, Wire};
use crate::error::{Error, Result, Who};
use crate::row::{Position, Table};
use crate::source::{Event, Outlet};
use crate::world;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_postgres::Client;

/// The server learns at least this often what is durable, and that we live.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// An idle server moves on with every other table's commit; the daemon need not hear of each.
const IDLE_EVERY: Duration = Duration::from_millis(100);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long a stop waits to hear that the server has read the last report.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Everything a follower needs to connect again.
#[derive(Clone)]
pub struct Route {
    pub server: Server,
    pub names: Names,
    pub tables: Vec<Table>,
}

/// A stream about to be read.
pub struct Opened {
    wire: Wire,
    assembly: Assembly,
}

impl Route {
    /// Checks that nothing was missed, and opens the stream behind `position`.
    pub async fn open(&self, position: u64) -> Result<Opened> {
        let sql = self.server.sql().await?;
        let (kept, domains) = self.look_up(&sql).await?;
        slot::check_publication(&sql, &self.names, &kept).await?;
        slot::check_slot(&sql, &self.names.slot, position).await?;
        let wire = Wire::connect(&self.server).await.map_err(|e| e.into_error())?;
        self.stream(wire, &sql, position, kept, domains).await
    }

    /// The kept tables as the catalog knows them now.
    pub async fn look_up(&self, sql: &Client) -> Result<(Vec<Kept>, Domains)> {
        let domains = describe::domains(sql).await?;
        let mut kept = Vec::new();
        for table in &self.tables {
            kept.push(describe::kept(sql, &self.server, &domains, table.clone()).await?);
        }
        Ok((kept, domains))
    }

    /// Begins to stream on a connection that is there.
    pub async fn stream(
        &self,
        mut wire: Wire,
        sql: &Client,
        position: u64,
        kept: Vec<Kept>,
        domains: Domains,
    ) -> Result<Opened> {
        let version: i32 = sql
            .query_one("SELECT current_setting('server_version_num')::int4", &[])
            .await
            .map_err(super::connect::failed)?
            .get(0);
        // From Postgres 14 on large transactions come before they commit, which is most of their speed.
        let protocol = if version >= 140_000 { 2 } else { 1 };
        let (protocol_text, publications) = (protocol.to_string(), super::connect::quoted(&self.names.publication));
        let mut options = vec![("proto_version", protocol_text.as_str()), ("publication_names", &publications)];
        if protocol >= 2 {
            options.push(("streaming", "on"));
        }
        let waited = world::instant();
        loop {
            match wire.stream(&self.names.slot, position, &options).await {
                Ok(()) => return Ok(Opened { wire, assembly: Assembly::new(kept, domains, protocol) }),
                Err(e) if e.slot_is_active() && waited.elapsed() < SLOT_WAIT => tokio::time::sleep(SLOT_POLL).await,
                Err(e) if e.slot_is_active() => return Err(slot::busy(sql, &self.names.slot).await),
                Err(e) => return Err(e.into_error()),
            }
        }
    }
}

/// What a follower begins with.
pub enum Start {
    /// The slot is new: its picture is to be copied first, then the wire that made it streams.
    Copy {
        sql: Client,
        wire: Wire,
        position: u64,
        kept: Vec<Kept>,
        domains: Domains,
    },
    Stream {
        opened: Opened,
        position: u64,
    },
}

/// One source at work until it is stopped or fails for good.
pub struct Follower {
    pub route: Route,
    pub outlet: Outlet,
    pub acknowledged: watch::Receiver<Option<Position>>,
}

/// Why a follower does not go on as it is.
enum Halt {
    /// Nobody listens any more.
    Stopped,
    Error(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Error(error)
    }
}

impl Follower {
    pub async fn run(mut self, start: Start) {
        let outlet = self.outlet.clone();
        if let Err(Halt::Error(error)) = self.follow(start).await {
            tracing::warn!(%error, "postgres source ends");
            // Where nobody listens, nobody needs to know.
            let _ = outlet.send(Event::Failed(error)).await;
        }
    }

    async fn follow(&mut self, start: Start) -> Result<(), Halt> {
        let (mut opened, mut told) = match start {
            Start::Stream { opened, position } => (Some(opened), position),
            Start::Copy { sql, wire, position, kept, domains } => {
                self.copy(&sql, &kept, position).await?;
                let route = self.route.clone();
                let streaming = route.stream(wire, &sql, position, kept, domains);
                // The wire has been silent all through the copy; if it was cut meanwhile, another will do.
                (self.unless_stopped(streaming).await?.ok(), position)
            }
        };
        let mut backoff = BACKOFF_FIRST;
        loop {
            if let Some(opened) = opened.take() {
                let begun_at = told;
                match self.session(opened, &mut told).await {
                    Err(Halt::Error(error)) if error.who() == Who::Retry => {
                        tracing::warn!(%error, "connection to postgres broke");
                    }
                    ended => return ended,
                }
                if told > begun_at {
                    backoff = BACKOFF_FIRST;
                }
            }
            self.unless_stopped(tokio::time::sleep(backoff)).await?;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            let route = self.route.clone();
            match self.unless_stopped(route.open(told)).await? {
                Ok(again) => opened = Some(again),
                Err(error) if error.who() == Who::Retry => tracing::warn!(%error, "postgres cannot be reached"),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn copy(&mut self, sql: &Client, kept: &[Kept], position: u64) -> Result<(), Halt> {
        let outlet = self.outlet.clone();
        if !self.unless_stopped(copy::copy(sql, kept, &outlet)).await?? {
            return Err(Halt::Stopped);
        }
        let done = Event::CopyDone { position: Position::Lsn(position) };
        self.unless_stopped(outlet.send(done)).await?.map_err(|_| Halt::Stopped)
    }

    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            done = work => Ok(done),
            () = stopped(&mut self.acknowledged) => Err(Halt::Stopped),
        }
    }

    /// Follows one connection to its end.
    async fn session(&mut self, opened: Opened, told: &mut u64) -> Result<(), Halt> {
        let Opened { wire, mut assembly } = opened;
        let mut link = Link {
            wire,
            arrived: 0,
            reported: world::instant(),
            acknowledged: self.acknowledged.clone(),
            outlet: self.outlet.clone(),
        };
        link.report(false).await?;
        // Where the server stands beyond what was told, with nothing to tell between.
        let mut idle_at = *told;
        let mut idled = world::instant();
        loop {
            let wait = match idle_at > *told {
                true => IDLE_EVERY.saturating_sub(idled.elapsed()),
                false => REPORT_EVERY.saturating_sub(link.reported.elapsed()),
            };
            let frame = tokio::select! {
                biased;
                () = stopped(&mut self.acknowledged) => {
                    link.farewell().await;
                    return Err(Halt::Stopped);
                }
                frame = link.wire.next() => Some(frame.map_err(|e| e.into_error())?),
                () = tokio::time::sleep(wait) => None,
            };
            match frame {
                Some(Frame::Data { log_end, message }) => {
                    link.arrived = link.arrived.max(log_end);
                    match assembly.take(message)? {
                        // The server may send again what was told before the connection broke.
                        Some(whole) if whole.end <= *told => {}
                        Some(whole) if whole.changes.is_empty() => idle_at = idle_at.max(whole.end),
                        Some(Whole { changes, end, committed_us }) => {
                            let position = Position::Lsn(end);
                            link.tell(Event::Transaction { changes, position, committed_us }).await?;
                            *told = end;
                        }
                        None => {}
                    }
                }
                Some(Frame::Keepalive { log_end, answer_now }) => {
                    link.arrived = link.arrived.max(log_end);
                    if assembly.between() {
                        idle_at = idle_at.max(log_end);
                    }
                    if answer_now {
                        link.report(false).await?;
                    }
                }
                None => {}
            }
            if idle_at > *told && idled.elapsed() >= IDLE_EVERY {
                link.tell(Event::Idle { position: Position::Lsn(idle_at) }).await?;
                *told = idle_at;
                idled = world::instant();
            }
            if link.reported.elapsed() >= REPORT_EVERY {
                link.report(false).await?;
            }
        }
    }
}

/// One connection, and the report that keeps it alive.
struct Link {
    wire: Wire,
    arrived: u64,
    reported: Instant,
    acknowledged: watch::Receiver<Option<Position>>,
    outlet: Outlet,
}

impl Link {
    async fn tell(&mut self, event: Event) -> Result<(), Halt> {
        let outlet = self.outlet.clone();
        let mut sent = std::pin::pin!(outlet.send(event));
        loop {
            let wait = REPORT_EVERY.saturating_sub(self.reported.elapsed());
            tokio::select! {
                biased;
                sent = &mut sent => return sent.map_err(|_| Halt::Stopped),
                () = stopped(&mut self.acknowledged) => return Err(Halt::Stopped),
                () = tokio::time::sleep(wait) => {}
            }
            self.report(false).await?;
        }
    }

    async fn report(&mut self, answer: bool) -> Result<(), Halt> {
        let durable = match &*self.acknowledged.borrow() {
            Some(Position::Lsn(lsn)) => *lsn,
            _ => 0,
        };
        self.reported = world::instant();
        self.wire.report(self.arrived, durable, answer).await.map_err(|e| Halt::Error(e.into_error()))
    }

    /// The last report, and a while for the server to read it.
    async fn farewell(&mut self) {
        if self.report(true).await.is_ok() {
            let answered = async { while let Ok(Frame::Data { .. }) = self.wire.next().await {} };
            // Silence is no harm: the daemon resumes from its own checkpoint, not from the slot.
            let _ = tokio::time::timeout(FAREWELL_MAX, answered).await;
        }
    }
}

/// Waits until the sender of acknowledgements is gone.
async fn stopped(acknowledged: &mut watch::Receiver<Option<Position>>) {
    while acknowledged.changed().await.is_ok() {}
}
