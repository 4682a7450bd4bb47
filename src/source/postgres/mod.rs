//! Postgres: changes by logical replication (pgoutput over a slot), the first copy by COPY.
//!
//! ```text
//!   url ─► connect ─► describe ─► slot ─► copy ─► stream ◄─► wire ◄─► server
//!                        │                  │        │
//!                        └── types ─────────┴── decode
//! ```
//!
//! - `connect`: one URL, two ways in; the settings under which the server prints values.
//! - `describe`: the catalog: may we, and what do the tables look like.
//! - `slot`: publication and slot, made once, checked at every start.
//! - `copy`: the picture that belongs to the slot's first position.
//! - `stream`: the loop; `decode`: messages into whole transactions; `wire`: the replication connection.
//! - `types`: text into values, the same for copy and stream.
//!
//! A position is the end of a commit record, or on a quiet server the end of the log as the server told it.
//! Not promised yet: TLS, partitioned tables, copying in parallel, spilling transactions to disk.

mod connect;
mod copy;
mod decode;
pub(super) mod describe;
mod slot;
mod stream;
pub(super) mod types;
mod wire;

use super::{Outlet, Source, Tail};
use crate::error::{Doing, Error, Result};
use crate::row::{Position, Table, TableName};
use crate::world;
use connect::{Server, failed};
use futures::FutureExt;
use futures::future::BoxFuture;
use slot::Names;
use std::time::Duration;
use stream::{Follower, Route, Start};
use tokio::sync::watch;
use tokio_postgres::Client;
use wire::{NewSlot, Wire};

/// What Postgres allows a name to be long.
const NAME_BYTES_MAX: usize = 63;
/// A slot waits for every open transaction; after this long somebody should know.
const SLOT_SLOW: Duration = Duration::from_secs(5);
const STARTS_MAX: usize = 5;

#[derive(Clone)]
pub struct Settings {
    /// As libpq takes it: `postgres://user@host:port/database` or `host=… user=…`.
    pub url: String,
    /// The source's name in the dbt project.
    pub name: String,
    pub slot: String,
    pub publication: String,
}

pub struct Postgres {
    name: String,
    server: Server,
    names: Names,
    sql: Option<Client>,
}

impl Postgres {
    /// Names of slot and publication are made fit for Postgres; nothing is connected yet.
    pub fn new(settings: Settings) -> Result<Postgres> {
        let server = Server::parse(&settings.url).doing(format!("set up source `{}`", settings.name))?;
        let names = Names { slot: fit_name(&settings.slot), publication: fit_name(&settings.publication) };
        Ok(Postgres { name: settings.name, server, names, sql: None })
    }

    async fn sql(&mut self) -> Result<&Client> {
        if self.sql.as_ref().is_none_or(|sql| sql.is_closed()) {
            self.sql = Some(self.server.sql().await?);
        }
        Ok(self.sql.as_ref().expect("set above"))
    }

    async fn describe_all(&mut self, names: &[TableName]) -> Result<Vec<Table>> {
        let server = self.server.clone();
        let sql = self.sql().await?;
        describe::check_server(sql, &server).await?;
        let domains = describe::domains(sql).await?;
        let mut tables = Vec::new();
        for name in names {
            tables.push(describe::table(sql, &server, &domains, name).await?);
        }
        Ok(tables)
    }

    /// The end of a record that stands behind every commit of the past and before a commit of our own.
    ///
    /// That commit is flushed before the call returns, so the stream passes the position at once, however
    /// idle the server. The log's own end would not do: the insert position may lie behind a page header
    /// that nothing follows yet, and the flush position before a commit that was not waited for.
    async fn present_position(&mut self) -> Result<Position> {
        let sql = self.sql().await?;
        let emit = "SELECT pg_logical_emit_message(true, 'driftless', '')::text";
        let text: String = match sql.query_one(emit, &[]).await {
            Ok(row) => row.get(0),
            // A transaction with a number of its own leaves a commit record too, flushed a little later.
            Err(e) if connect::refused_for_rights(&e) => sql
                .query_one("SELECT pg_current_wal_insert_lsn()::text, txid_current()", &[])
                .await
                .map_err(failed)?
                .get(0),
            Err(e) => return Err(failed(e)),
        };
        wire::parse_lsn(&text).map(Position::Lsn).ok_or_else(|| Error::corrupt(format!("`{text}` is no position")))
    }

    async fn begin(self, tables: Vec<Table>, resume: Option<Position>, outlet: Outlet) -> Result<Tail> {
        let route = Route { server: self.server, names: self.names, tables };
        let start = match resume {
            None => first_start(&route).await?,
            Some(Position::Lsn(position)) => Start::Stream { opened: route.open(position).await?, position },
            Some(other) => {
                return Err(Error::operator(format!("position `{other}` is not one of a Postgres source"))
                    .hint("remove the state directory, or give the source its former kind back"));
            }
        };
        let (sender, acknowledged) = watch::channel(None);
        let follower = Follower { route, outlet, acknowledged };
        Ok(Tail::new(sender, tokio::spawn(follower.run(start))))
    }

    async fn forget_all(&mut self) -> Result<()> {
        let names = self.names.clone();
        let sql = self.sql().await?;
        slot::drop_slot(sql, &names.slot).await?;
        slot::drop_publication(sql, &names).await
    }
}

impl Source for Postgres {
    fn describe<'a>(&'a mut self, names: &'a [TableName]) -> BoxFuture<'a, Result<Vec<Table>>> {
        let doing = format!("describe source `{}`", self.name);
        async move { self.describe_all(names).await.doing(doing) }.boxed()
    }

    fn present(&mut self) -> BoxFuture<'_, Result<Position>> {
        let doing = format!("ask source `{}` how far it is", self.name);
        async move { self.present_position().await.doing(doing) }.boxed()
    }

    fn start(
        self: Box<Self>,
        tables: Vec<Table>,
        resume: Option<Position>,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<Tail>> {
        let doing = format!("start source `{}`", self.name);
        async move { self.begin(tables, resume, outlet).await.doing(doing) }.boxed()
    }

    fn forget(&mut self) -> BoxFuture<'_, Result<()>> {
        let doing = format!("forget source `{}`", self.name);
        async move { self.forget_all().await.doing(doing) }.boxed()
    }
}

/// Publication, then slot, then a transaction in the slot's picture: in this order, since the slot must not
/// see the tables unpublished, and the picture ends with the next command on the slot's connection.
///
/// A picture does not show all that was there: a table truncated or rewritten after it looks empty in it.
/// So if one was, between the slot and the locks of the copy, all of it is done again. (To lock first would
/// be plainer, but a slot waits for open transactions, and one of these may wait for our lock.)
async fn first_start(route: &Route) -> Result<Start> {
    let sql = route.server.sql().await?;
    for _ in 0..STARTS_MAX {
        let (kept, domains) = route.look_up(&sql).await?;
        slot::publish(&sql, &route.names, &kept).await?;
        slot::drop_slot(&sql, &route.names.slot).await?;
        let mut wire = Wire::connect(&route.server).await.map_err(|e| e.into_error())?;
        let NewSlot { position, snapshot } = new_slot(&mut wire, &route.names.slot).await?;
        let copying = route.server.sql().await?;
        copy::pin(&copying, &snapshot, &kept).await?;
        if route.look_up(&sql).await?.0 == kept {
            return Ok(Start::Copy { sql: copying, wire, position, kept, domains });
        }
    }
    Err(Error::retry("tables were changed again and again while their first copy was to begin"))
}

async fn new_slot(wire: &mut Wire, slot: &str) -> Result<NewSlot> {
    let begun = world::instant();
    let mut creating = std::pin::pin!(wire.create_slot(slot));
    loop {
        tokio::select! {
            created = &mut creating => {
                return created.map_err(|e| e.into_error()).doing(format!("create slot `{slot}`"));
            }
            () = tokio::time::sleep(SLOT_SLOW) => {
                let waited_s = begun.elapsed().as_secs();
                tracing::warn!(slot, waited_s, "slot waits for transactions that were open before it");
            }
        }
    }
}

/// Slots allow only `[a-z0-9_]`, and so many of them; a name cut short keeps a hash of the whole.
fn fit_name(name: &str) -> String {
    let fit: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if fit.len() <= NAME_BYTES_MAX {
        return fit;
    }
    let hash = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
    format!("{}_{hash:016x}", &fit[..NAME_BYTES_MAX - 17])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_fit_for_a_slot_and_stays_its_own() {
        assert_eq!(fit_name("driftless_Shop-EU_päivä"), "driftless_shop_eu_p_iv_");
        let (a, b) = (fit_name(&"a".repeat(80)), fit_name(&"a".repeat(81)));
        assert_eq!((a.len(), b.len()), (63, 63));
        assert_ne!(a, b);
    }
}
