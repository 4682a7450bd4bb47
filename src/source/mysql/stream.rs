//! The binlog, followed from a position until nobody listens.
//!
//! ```text
//!  connection ─► event ─► Assembly ─► Step ─► Outlet
//!      ▲                                 │
//!      └── back-off, from `position` ◄───┘ broken, silent for three heartbeats, or undecodable
//! ```
//!
//! Invariants:
//! - `position` is what has been told, and every connection begins there.
//! - What only the operator can mend ends the stream with one `Failed`; a connection is mended for ever;
//!   bytes that cannot be read are asked for again a few times, then they are `Failed` too.
//! - A panic in the client's decoder is a broken connection.

use super::catalog::Followed;
use super::connect::Server;
use super::group::{Assembly, Binlog, Group, Step};
use super::{End, Event, Outlet};
use crate::error::{Doing, Error, Result, Who};
use crate::row::{Gtid, Position};
use futures::{FutureExt, StreamExt};
use mysql_async::binlog::events::Event as Raw;
use mysql_async::binlog::{BinlogChecksumAlg, EventFlags};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often a server with nothing to say shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Two heartbeats may be late; a third is a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(15);

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A checksum that fails once is the network's fault; again and again, the file's.
const UNREADABLE_MAX: usize = 3;

/// Under load, how many groups that are not ours may pass before their position is told.
const UNTOLD_MAX: usize = 1_000;

pub(super) struct Stream {
    server: Server,
    server_id: u32,
    followed: Followed,
    assembly: Assembly,
    outlet: Outlet,
    /// After the last group that has ended.
    position: Gtid,
    /// Groups that have ended since the outlet last heard of a position.
    untold: usize,
    thread: Thread,
}

/// The server's thread that sends us its binlog; 0 while there is none.
#[derive(Clone, Default)]
pub(super) struct Thread(Arc<AtomicU32>);

impl Thread {
    /// Ends it for a stream that was dropped while it followed. By itself the server would notice at its
    /// next heartbeats, and hold its oldest binlogs until then.
    pub(super) async fn hang_up(self, server: &Server) {
        let id = self.0.load(Ordering::Relaxed);
        if id == 0 {
            return;
        }
        // A server that cannot be reached has hung up already; so has one that does not know the thread.
        if let Ok(mut conn) = server.connect().await {
            let _ = conn.query_drop(format!("KILL CONNECTION {id}")).await;
            server.close(conn).await;
        }
    }
}

impl Stream {
    pub(super) fn new(server: Server, server_id: u32, followed: Followed, position: Gtid, outlet: Outlet) -> Stream {
        let (assembly, thread) = (Assembly::default(), Thread::default());
        Stream { server, server_id, followed, assembly, outlet, position, untold: 0, thread }
    }

    pub(super) fn followed(&self) -> &Followed {
        &self.followed
    }

    pub(super) fn thread(&self) -> Thread {
        self.thread.clone()
    }

    pub(super) async fn run(mut self) {
        let (mut backoff, mut unreadable) = (BACKOFF_MIN, 0);
        loop {
            let before = self.position.clone();
            let end = match AssertUnwindSafe(self.connection()).catch_unwind().await {
                Ok(end) => end,
                Err(_) => End::Failed(Error::corrupt("the binlog client gave up on an event")),
            };
            self.thread.0.store(0, Ordering::Relaxed);
            let error = match end {
                End::Closed => return,
                End::Failed(error) => error,
            };
            if self.position != before {
                (backoff, unreadable) = (BACKOFF_MIN, 0);
            }
            unreadable += usize::from(error.who() == Who::Corrupt);
            let mended = match error.who() {
                Who::Retry => true,
                Who::Corrupt => unreadable < UNREADABLE_MAX,
                Who::Operator | Who::Bug => false,
            };
            if !mended {
                let doing = format!("follow `{}` after `{}`", self.server.address(), self.position);
                return End::Failed(error.doing(doing)).tell(&self.outlet).await;
            }
            let (name, after, wait_ms) = (self.server.name(), &self.position, backoff.as_millis());
            tracing::warn!(source = name, %after, wait_ms, %error, "connection lost");
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Follows over one connection for as long as it holds.
    async fn connection(&mut self) -> End {
        self.assembly.restart();
        let mut binlog = match self.dial().await {
            Ok(binlog) => binlog,
            Err(error) => return End::Failed(error),
        };
        tracing::info!(source = self.server.name(), after = %self.position, "following");
        loop {
            // A position is told as soon as there is nothing else to do, so that an idle source is seen to
            // be idle; while there is much to do, now and then.
            let ready = binlog.next().now_or_never();
            if self.untold > 0 && (ready.is_none() || self.untold >= UNTOLD_MAX) {
                let position = Position::Gtid(self.position.clone());
                if self.outlet.send(Event::Idle { position }).await.is_err() {
                    return End::Closed;
                }
                self.untold = 0;
            }
            let next = match ready {
                Some(next) => Ok(next),
                None => tokio::time::timeout(SILENCE_MAX, binlog.next()).await,
            };
            let raw = match next {
                Ok(Some(Ok(raw))) => raw,
                Ok(Some(Err(fault))) => return End::Failed(self.explain(fault)),
                Ok(None) => return End::Failed(self.lost("the server ended the stream")),
                Err(_) => return End::Failed(self.lost("no heartbeat")),
            };
            if let Err(end) = self.event(&raw).await {
                return end;
            }
        }
    }

    async fn dial(&self) -> Result<BinlogStream> {
        let mut conn = self.server.connect().await?;
        // 4: the server may speak of GTIDs as such, instead of hiding them in queries for old replicas.
        let heartbeat_ns = HEARTBEAT.as_nanos();
        let session = format!(
            "SET @mariadb_slave_capability = 4, @slave_connect_state = '{}', @slave_gtid_strict_mode = 1, \
             @master_heartbeat_period = {heartbeat_ns}",
            self.position
        );
        conn.query_drop(session).await.map_err(|fault| self.explain(fault))?;
        self.thread.0.store(conn.id(), Ordering::Relaxed);
        conn.get_binlog_stream(BinlogStreamRequest::new(self.server_id)).await.map_err(|fault| self.explain(fault))
    }

    async fn event(&mut self, raw: &Raw) -> Result<(), End> {
        let header = raw.header();
        let flags = header.flags_raw();
        let kind = header.event_type_raw();
        // The server makes up a rotate at the start, before it says whether there are checksums: the
        // client leaves the four bytes in its name. Nothing here needs it.
        if kind == ROTATE {
            return Ok(());
        }
        check_sum(raw)?;
        let event = Binlog {
            kind,
            server: header.server_id(),
            seconds: header.timestamp(),
            ignorable: flags & EventFlags::LOG_EVENT_IGNORABLE_F.bits() != 0,
            data: raw.data(),
        };
        match self.assembly.take(&self.followed, event)? {
            Step::More => Ok(()),
            Step::Ended(group) => self.tell(group).await,
            Step::Altered { table, group } => {
                let mut conn = self.server.connect().await?;
                let doing = || format!("read `{}` again after ALTER TABLE", self.followed.tables[table].name);
                let doing = doing();
                self.followed.read_again(&mut conn, &self.server, table).await.doing(doing)?;
                self.server.close(conn).await;
                self.tell(group).await
            }
        }
    }

    async fn tell(&mut self, group: Group) -> Result<(), End> {
        self.position.0.insert(group.domain, (group.server, group.sequence));
        if group.changes.is_empty() {
            self.untold += 1;
            return Ok(());
        }
        let position = Position::Gtid(self.position.clone());
        let (changes, committed_us) = (group.changes, group.committed_us);
        self.outlet.send(Event::Transaction { changes, position, committed_us }).await?;
        self.untold = 0;
        Ok(())
    }

    fn lost(&self, why: &str) -> Error {
        Error::retry(format!("lost the binlog of `{}`", self.server.address())).because(why)
    }

    /// What ends a connection to the binlog: a server's refusal, or the wire.
    fn explain(&self, fault: mysql_async::Error) -> Error {
        let address = self.server.address();
        match &fault {
            mysql_async::Error::Server(error) if error.code == 1236 => {
                let name = self.server.name();
                Error::operator(format!("`{address}` no longer has its binlog after `{}`", self.position))
                    .hint(format!("copy source `{name}` anew, and let the server keep its binlogs longer"))
                    .because(fault)
            }
            // An event that the client cannot parse is told as a fault of input and output.
            mysql_async::Error::Io(mysql_async::IoError::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::Other) =>
            {
                Error::corrupt(format!("an event in the binlog of `{address}` cannot be read")).because(fault)
            }
            _ => self.server.explain(fault),
        }
    }
}

const ROTATE: u8 = 4;

/// The client strips checksums and does not look at them.
fn check_sum(raw: &Raw) -> Result<()> {
    // Without checksums the format description keeps room for one all the same, with nothing in it.
    let crc32 = BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32;
    let Some(told) = raw.checksum().filter(|_| raw.footer().get_checksum_alg() == Ok(Some(crc32))) else {
        return Ok(());
    };
    if raw.calc_checksum(crc32) != u32::from_le_bytes(told) {
        let kind = raw.header().event_type_raw();
        return Err(Error::corrupt(format!("an event of type {kind} in the binlog does not match its checksum"))
            .hint("mariadb-binlog --verify-binlog-checksum"));
    }
    Ok(())
}
