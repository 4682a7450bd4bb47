//! MariaDB 10.11 and later, followed by its row binlog and GTIDs.
//!
//! ```text
//!  describe ── catalog ──► Table            information_schema, once per call
//!  start ───── copy ─────► Copied, CopyDone one consistent snapshot and the GTID position that belongs to it
//!       └───── stream ───► events           one connection at a time, mended with back-off
//!                 └─ group    events → whole groups, their position, what to do about DDL
//!                      ├─ plan       a table map → how its rows become changes
//!                      ├─ wire       bytes → table maps and rows
//!                      ├─ value      one cell → Datum
//!                      └─ statement  the few statements that matter as text
//! ```
//!
//! Invariant: a position told is the GTID list after a complete group, never inside one.
//!
//! It does not promise what a binlog does not hold, and refuses it by name instead: rows that a foreign key
//! changes by CASCADE or SET NULL, tables of engines without transactions, system-versioned tables. Changes
//! made under `sql_log_bin = 0` cannot be known.

mod catalog;
mod connect;
mod copy;
mod describe;
mod group;
mod plan;
mod statement;
mod stream;
mod types;
mod value;
mod wire;

use super::{Event, Outlet, Source, Tail};
use crate::error::{Doing, Error, Result};
use crate::row::{Fingerprint, Position, Row, Table, TableName};
use connect::Server;
use futures::future::BoxFuture;
use tokio::sync::watch;

/// What a MariaDB source is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `mysql://user:password@host:port/database`; without a password `MYSQL_PWD` is taken.
    pub url: String,
    /// The source's name, as in `driftless.yml`.
    pub name: String,
    /// The pipeline's name: with `name` it decides under which server id we follow.
    pub pipeline: String,
}

pub struct MySql {
    server: Server,
    server_id: u32,
}

impl MySql {
    pub fn new(settings: Settings) -> Result<MySql> {
        let server = Server::parse(&settings.url, std::env::var("MYSQL_PWD").ok(), &settings.name)?;
        Ok(MySql { server, server_id: server_id(&settings.pipeline, &settings.name) })
    }

    /// Follows under this server id; it must be unlike that of every other replica of the server.
    pub fn with_server_id(mut self, server_id: u32) -> MySql {
        self.server_id = server_id;
        self
    }

    async fn prepare(self, tables: Vec<Table>, resume: Option<Position>, outlet: Outlet) -> Result<Tail> {
        let resume = match resume {
            None => None,
            Some(Position::Gtid(gtid)) => Some(gtid),
            Some(other) => {
                let what = format!("position `{other}` of source `{}` is not one of MariaDB", self.server.name());
                return Err(Error::operator(what).hint("give this source a name that no other kind of source had"));
            }
        };
        let (server, server_id) = (self.server, self.server_id);
        let mut conn = server.connect().await?;
        describe::check_server(&mut conn, &server).await?;
        let (snapshot, position) = match resume {
            Some(gtid) => (None, gtid),
            None => {
                let (conn, gtid) = copy::snapshot(&server).await?;
                (Some(conn), gtid)
            }
        };
        let followed = catalog::Followed::read(&mut conn, &server, tables).await?;
        server.close(conn).await;

        let (acknowledged, mut stopped) = watch::channel(None);
        let stream = stream::Stream::new(server.clone(), server_id, followed, position.clone(), outlet.clone());
        let thread = stream.thread();
        let ours = server.clone();
        let work = async move {
            if let Some(conn) = snapshot {
                if let Err(end) = copy::copy(&ours, conn, stream.followed(), &outlet).await {
                    return end.tell(&outlet).await;
                }
                if outlet.send(Event::CopyDone { position: Position::Gtid(position) }).await.is_err() {
                    return;
                }
            }
            stream.run().await;
        };
        let task = tokio::spawn(async move {
            // A MariaDB server keeps no place for its readers, so what is acknowledged concerns nobody
            // there; only the channel's end matters: then the reading stops, wherever it stands.
            let gone = async { while stopped.changed().await.is_ok() {} };
            tokio::select! { () = gone => {}, () = work => {} }
            thread.hang_up(&server).await;
        });
        Ok(Tail::new(acknowledged, task))
    }
}

impl Source for MySql {
    fn describe<'a>(&'a mut self, names: &'a [TableName]) -> BoxFuture<'a, Result<Vec<Table>>> {
        Box::pin(async move {
            let mut conn = self.server.connect().await?;
            let tables = describe::describe(&mut conn, &self.server, names).await?;
            self.server.close(conn).await;
            Ok(tables)
        })
    }

    fn present(&mut self) -> BoxFuture<'_, Result<Position>> {
        Box::pin(async move {
            let mut conn = self.server.connect().await?;
            let gtid = catalog::present(&mut conn, &self.server).await?;
            self.server.close(conn).await;
            Ok(Position::Gtid(gtid))
        })
    }

    fn start(
        self: Box<Self>,
        tables: Vec<Table>,
        resume: Option<Position>,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<Tail>> {
        Box::pin(async move {
            let doing = format!("start source `{}`", self.server.name());
            self.prepare(tables, resume, outlet).await.doing(doing)
        })
    }

    /// Nothing was set up at the server.
    fn forget(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// Why copying or following ended.
enum End {
    Closed,
    Failed(Error),
}

impl End {
    async fn tell(self, outlet: &Outlet) {
        if let End::Failed(error) = self {
            // Whoever would read it has gone: then nobody needs to know.
            let _ = outlet.send(Event::Failed(error)).await;
        }
    }
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        End::Failed(error)
    }
}

impl From<super::Closed> for End {
    fn from(_: super::Closed) -> End {
        End::Closed
    }
}

/// In the upper half of the range, where people do not number their own servers; the same at every start,
/// so that the server drops a connection of ours that broke as soon as we come back.
fn server_id(pipeline: &str, name: &str) -> u32 {
    let identity = format!("{pipeline}\0{name}");
    Fingerprint::of(&Row::from(identity.as_bytes())) as u32 | 1 << 31
}

#[cfg(test)]
mod tests {
    use super::server_id;

    #[test]
    fn the_server_id_is_steady_and_in_the_upper_half() {
        assert_eq!(server_id("shop", "orders"), server_id("shop", "orders"));
        assert_ne!(server_id("shop", "orders"), server_id("shop", "users"));
        assert!(server_id("shop", "orders") >= 1 << 31);
    }
}
