//! What the source sets up at the server and checks before every start: a publication and a slot.
//!
//! The publication says which tables, the slot how far they have been taken. Neither is ever made anew
//! behind the back of a position: a slot or a publication that lacks what the position needs means that
//! changes were missed, and that is said.

use super::connect::{failed, in_use, quoted, refused_for_rights};
use super::describe::{Kept, sql_name};
use super::wire::parse_lsn;
use crate::error::{Doing, Error, Result};
use crate::row::Position;
use crate::world;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::Client;

#[derive(Clone, Debug)]
pub struct Names {
    pub slot: String,
    pub publication: String,
}

/// After a kill -9 the server may hold the slot for the dead daemon a while.
pub const SLOT_WAIT: Duration = Duration::from_secs(30);
pub const SLOT_POLL: Duration = Duration::from_millis(200);

const COPY_ANEW: &str = "remove the state directory and run again: the tables are copied anew, and what was published \
                         is brought level by difference";

/// Makes the publication name exactly these tables; where the role may not, prints the SQL that would.
pub async fn publish(sql: &Client, names: &Names, kept: &[Kept]) -> Result<()> {
    let tables: Vec<String> = kept.iter().map(|k| format!("ONLY {}", sql_name(&k.table.name))).collect();
    let (name, tables) = (quoted(&names.publication), tables.join(", "));
    let (enough, statement) = match covering(sql, names, kept).await? {
        Covering::Exactly => return Ok(()),
        Covering::More => (true, format!("ALTER PUBLICATION {name} SET TABLE {tables}")),
        Covering::Less(_) => (false, format!("ALTER PUBLICATION {name} SET TABLE {tables}")),
        Covering::Missing => (false, format!("CREATE PUBLICATION {name} FOR TABLE {tables}")),
    };
    match sql.batch_execute(&statement).await {
        Ok(()) => Ok(()),
        Err(e) if refused_for_rights(&e) && enough => Ok(()),
        Err(e) if refused_for_rights(&e) => {
            Err(Error::operator(format!("the tables may not be published by this user: {}", failed(e).what()))
                .hint(format!("run as the owner of the tables: `{statement}`")))
        }
        Err(e) => Err(failed(e)).doing(format!("set up publication `{}`", names.publication)),
    }
}

/// Refuses where changes of a table cannot have been published all along.
pub async fn check_publication(sql: &Client, names: &Names, kept: &[Kept]) -> Result<()> {
    let publication = &names.publication;
    match covering(sql, names, kept).await? {
        Covering::Exactly | Covering::More => Ok(()),
        Covering::Missing => {
            Err(Error::operator(format!("publication `{publication}` is gone, so changes were missed")).hint(COPY_ANEW))
        }
        Covering::Less(table) => Err(Error::operator(format!(
            "publication `{publication}` does not name table `{table}`, so changes of it were missed"
        ))
        .hint(COPY_ANEW)),
    }
}

/// Drops the slot if it is there; what it remembers belongs to a state that is no more.
pub async fn drop_slot(sql: &Client, slot: &str) -> Result<()> {
    let waited = world::instant();
    loop {
        let Some(found) = find(sql, slot).await? else { return Ok(()) };
        found.check_ours(slot)?;
        match sql.execute("SELECT pg_drop_replication_slot($1)", &[&slot]).await {
            Ok(_) => return Ok(()),
            Err(e) if in_use(&e) && waited.elapsed() < SLOT_WAIT => tokio::time::sleep(SLOT_POLL).await,
            Err(e) if in_use(&e) => return Err(busy(sql, slot).await),
            Err(e) => return Err(failed(e)).doing(format!("drop slot `{slot}`")),
        }
    }
}

pub async fn drop_publication(sql: &Client, names: &Names) -> Result<()> {
    let statement = format!("DROP PUBLICATION IF EXISTS {}", quoted(&names.publication));
    match sql.batch_execute(&statement).await {
        Ok(()) => Ok(()),
        Err(e) if refused_for_rights(&e) => {
            Err(Error::operator(format!("publication `{}` may not be dropped by this user", names.publication))
                .hint(format!("run as its owner: `{statement}`")))
        }
        Err(e) => Err(failed(e)),
    }
}

/// Whether the server still has everything behind `position`.
pub async fn check_slot(sql: &Client, slot: &str, position: u64) -> Result<()> {
    let at = Position::Lsn(position);
    let lost = |why: String| Err(Error::operator(format!("position {at} is lost: {why}")).hint(COPY_ANEW));
    let Some(found) = find(sql, slot).await? else {
        return lost(format!("slot `{slot}` is not there"));
    };
    found.check_ours(slot)?;
    if matches!(found.wal_status.as_deref(), Some("lost")) {
        return lost(format!("the server has removed log that slot `{slot}` still needed"));
    }
    match found.confirmed {
        Some(confirmed) if confirmed > position => {
            return lost(format!("slot `{slot}` has already let go of it, it stands at {}", Position::Lsn(confirmed)));
        }
        Some(_) => {}
        None => return lost(format!("slot `{slot}` was never finished")),
    }
    // A server restored from a backup has not come as far as its reader.
    if found.flushed < position {
        return lost(format!("the server's log ends at {}", Position::Lsn(found.flushed)));
    }
    Ok(())
}

/// Says who holds the slot.
pub async fn busy(sql: &Client, slot: &str) -> Error {
    let pid = match find(sql, slot).await {
        Ok(Some(Found { active_pid: Some(pid), .. })) => pid.to_string(),
        _ => "unknown".to_string(),
    };
    Error::operator(format!("slot `{slot}` is in use by pid {pid}"))
        .hint(format!("stop the other daemon that reads from it, or run `SELECT pg_terminate_backend({pid})`"))
}

struct Found {
    ours: bool,
    active_pid: Option<i32>,
    wal_status: Option<String>,
    confirmed: Option<u64>,
    /// How far the server's log is on disk.
    flushed: u64,
}

impl Found {
    fn check_ours(&self, slot: &str) -> Result<()> {
        if self.ours {
            return Ok(());
        }
        Err(Error::operator(format!(
            "slot `{slot}` belongs to something else: it is not a pgoutput slot of this database"
        ))
        .hint("give the source another name, or drop the slot by hand"))
    }
}

async fn find(sql: &Client, slot: &str) -> Result<Option<Found>> {
    let row = sql
        .query_opt(
            // Read through JSON, since Postgres 12 has no wal_status.
            "SELECT coalesce(plugin = 'pgoutput' AND database = current_database(), false), active_pid, \
               to_jsonb(s) ->> 'wal_status', confirmed_flush_lsn::text, pg_current_wal_flush_lsn()::text \
             FROM pg_replication_slots s WHERE slot_name = $1",
            &[&slot],
        )
        .await
        .map_err(failed)?;
    Ok(row.map(|row| Found {
        ours: row.get(0),
        active_pid: row.get(1),
        wal_status: row.get(2),
        confirmed: row.get::<_, Option<String>>(3).and_then(|text| parse_lsn(&text)),
        flushed: parse_lsn(row.get(4)).expect("Postgres prints an lsn as two hexadecimal numbers"),
    }))
}

/// How a publication compares with the tables that are kept.
enum Covering {
    Exactly,
    More,
    /// A table that it does not name.
    Less(String),
    Missing,
}

async fn covering(sql: &Client, names: &Names, kept: &[Kept]) -> Result<Covering> {
    let publication = &names.publication;
    let row = sql
        .query_opt(
            "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication WHERE pubname = $1",
            &[publication],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(Covering::Missing) };
    if !row.get::<_, bool>(0) {
        let hint = format!(
            "run `ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate')`, then copy anew",
            quoted(publication)
        );
        return Err(Error::operator(format!("publication `{publication}` leaves out some kinds of change")).hint(hint));
    }
    let rows = sql
        .query(
            // Read through JSON, since only Postgres 15 and later have row filters.
            "SELECT schemaname, tablename, to_jsonb(t) ->> 'rowfilter' FROM pg_publication_tables t WHERE pubname = $1",
            &[publication],
        )
        .await
        .map_err(failed)?;
    let mut named: BTreeSet<(String, String)> = BTreeSet::new();
    let wanted =
        |schema: &str, table: &str| kept.iter().any(|k| k.table.name.schema == schema && k.table.name.name == table);
    for row in rows {
        let (schema, table): (String, String) = (row.get(0), row.get(1));
        if wanted(&schema, &table) && row.get::<_, Option<String>>(2).is_some() {
            return Err(Error::operator(format!(
                "publication `{publication}` filters the rows of table `{schema}.{table}`"
            ))
            .hint(format!("run `DROP PUBLICATION {}`; the source makes its own", quoted(publication))));
        }
        named.insert((schema, table));
    }
    let missing = kept.iter().map(|k| &k.table.name).find(|n| !named.contains(&(n.schema.clone(), n.name.clone())));
    Ok(match missing {
        Some(table) => Covering::Less(table.to_string()),
        None if named.len() > kept.len() => Covering::More,
        None => Covering::Exactly,
    })
}
