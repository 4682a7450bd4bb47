//! The catalog: which metadata file each table shows, in one SQLite file.
//!
//! Its tables are those of pyiceberg's SqlCatalog (version 1), so that pyiceberg and others open it as it
//! is; two more are ours. Publishing compares and swaps the locations of all tables of a Moment in one
//! transaction: nobody ever sees a part of a Moment, and whoever comes second changes nothing.

use crate::commit::ledger::{self, Seen, Verdict};
use crate::commit::{Staged, StagedTable, Superseded};
use crate::error::{Error, Result};
use crate::row::Moment;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Under this name others find our tables.
const NAME: &str = "driftless";
const BUSY_MS: u64 = 5_000;
/// How many Moments the catalog remembers.
const MOMENTS_KEPT: u64 = 1_000;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL,
        table_namespace VARCHAR(255) NOT NULL,
        table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000),
        previous_metadata_location VARCHAR(1000),
        iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name));
    CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL,
        namespace VARCHAR(255) NOT NULL,
        property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000) NOT NULL,
        PRIMARY KEY (catalog_name, namespace, property_key));
    CREATE TABLE IF NOT EXISTS driftless_moments (
        pipeline TEXT NOT NULL,
        moment INTEGER NOT NULL,
        cut TEXT NOT NULL,
        tables TEXT NOT NULL,
        PRIMARY KEY (pipeline, moment));
    CREATE TABLE IF NOT EXISTS driftless_superseded (
        path TEXT NOT NULL PRIMARY KEY,
        table_namespace TEXT NOT NULL,
        table_name TEXT NOT NULL,
        first_sequence INTEGER NOT NULL,
        last_sequence INTEGER NOT NULL,
        expired_ms INTEGER);";

pub struct Catalog {
    db: Connection,
    path: PathBuf,
}

impl Catalog {
    pub fn open(path: &Path) -> Result<Catalog> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| {
                Error::operator(format!("cannot make the folder of catalog `{}`", path.display()))
                    .hint("check rights and free space there")
                    .because(e)
            })?;
        }
        let open = || {
            let db = Connection::open(path)?;
            db.busy_timeout(Duration::from_millis(BUSY_MS))?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")?;
            db.execute_batch(TABLES)?;
            Ok(db)
        };
        let db = open().map_err(|e| fault(path, e))?;
        Ok(Catalog { db, path: path.into() })
    }

    pub fn open_to_read(path: &Path) -> Result<Catalog> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let db = Connection::open_with_flags(path, flags)?;
            db.busy_timeout(Duration::from_millis(BUSY_MS))?;
            Ok(db)
        };
        let db = open().map_err(|e| fault(path, e))?;
        Ok(Catalog { db, path: path.into() })
    }

    /// The metadata file that a table shows.
    pub fn location(&self, namespace: &str, table: &str) -> Result<Option<String>> {
        match location(&self.db, namespace, table) {
            // A daemon is just making the file: its tables come a moment later.
            Err(rusqlite::Error::SqliteFailure(_, Some(what))) if what.starts_with("no such table") => Ok(None),
            found => found.map_err(|e| fault(&self.path, e)),
        }
    }

    /// Enters new tables, all or none: namespace, name and location each.
    pub fn create(&mut self, tables: &[(&str, &str, String)]) -> Result<()> {
        let create = |tx: &Transaction| {
            for (namespace, table, location) in tables {
                tx.execute(
                    "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?1, ?2, 'exists', 'true')",
                    params![NAME, namespace],
                )?;
                tx.execute(
                    "INSERT INTO iceberg_tables VALUES (?1, ?2, ?3, ?4, NULL, 'TABLE')",
                    params![NAME, namespace, table, location],
                )?;
            }
            Ok(())
        };
        let begin = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
        let done = begin.and_then(|tx| create(&tx).and_then(|()| tx.commit()));
        done.map_err(|e| fault(&self.path, e))
    }

    /// The newest Moment that a pipeline published here.
    pub fn last_moment(&self, pipeline: &str) -> Result<Option<Moment>> {
        let sql = "SELECT max(moment) FROM driftless_moments WHERE pipeline = ?1";
        let moment = self.db.query_row(sql, [pipeline], |row| row.get::<_, Option<i64>>(0));
        Ok(moment.map_err(|e| fault(&self.path, e))?.map(|m| Moment(m as u64)))
    }

    /// Shows all tables of a Moment at once. `history` says whether the metadata at a location that is
    /// neither old nor new has grown out of what was staged.
    pub fn publish(
        &mut self,
        pipeline: &str,
        staged: &Staged,
        now_ms: i64,
        history: impl Fn(&str, &StagedTable) -> bool,
    ) -> Result<()> {
        let path = &self.path;
        let fault = |e| fault(path, e);
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
        let mut seen = Vec::new();
        for table in &staged.tables {
            seen.push(match location(&tx, &table.namespace, &table.table).map_err(fault)? {
                None => Seen::Absent,
                Some(at) if at == table.old_location || at == table.new_location || !history(&at, table) => {
                    Seen::At(at)
                }
                Some(beyond) => Seen::Beyond(beyond),
            });
        }
        if ledger::recover(staged, &seen)? == Verdict::Done {
            return Ok(());
        }
        for table in &staged.tables {
            if !swap(&tx, table, now_ms).map_err(fault)? {
                return Err(Error::bug(format!("table `{table}` moved inside our own transaction")));
            }
        }
        note(&tx, pipeline, staged).map_err(fault)?;
        tx.commit().map_err(fault)
    }

    /// Files that left the last retained snapshot before `before_ms`.
    pub fn expired(&self, before_ms: i64, limit: usize) -> Result<Vec<String>> {
        let sql = "SELECT path FROM driftless_superseded WHERE expired_ms <= ?1 LIMIT ?2";
        self.paths(sql, params![before_ms, limit as i64])
    }

    /// Files of a table that wait for their snapshots to go.
    pub fn superseded(&self, namespace: &str, table: &str) -> Result<Vec<String>> {
        let sql = "SELECT path FROM driftless_superseded WHERE table_namespace = ?1 AND table_name = ?2";
        self.paths(sql, params![namespace, table])
    }

    /// Forgets superseded files that have been removed.
    pub fn forget(&mut self, paths: &[String]) -> Result<()> {
        let forget = |tx: &Transaction| {
            let mut delete = tx.prepare("DELETE FROM driftless_superseded WHERE path = ?1")?;
            paths.iter().try_for_each(|path| delete.execute([path]).map(drop))
        };
        let begin = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
        let done = begin.and_then(|tx| forget(&tx).and_then(|()| tx.commit()));
        done.map_err(|e| fault(&self.path, e))
    }

    fn paths(&self, sql: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<String>> {
        let read = || self.db.prepare(sql)?.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>();
        read().map_err(|e| fault(&self.path, e))
    }
}

fn location(db: &Connection, namespace: &str, table: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT metadata_location FROM iceberg_tables
               WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3";
    db.query_row(sql, params![NAME, namespace, table], |row| row.get(0)).optional()
}

/// Swaps one table's location and notes what falls out of use; false where the old one was not there.
fn swap(tx: &Transaction, table: &StagedTable, now_ms: i64) -> rusqlite::Result<bool> {
    let StagedTable { namespace, table: name, old_location, new_location, .. } = table;
    let swapped = tx.execute(
        "UPDATE iceberg_tables SET metadata_location = ?1, previous_metadata_location = ?2
         WHERE catalog_name = ?3 AND table_namespace = ?4 AND table_name = ?5 AND metadata_location = ?2",
        params![new_location, old_location, NAME, namespace, name],
    )?;
    let mut insert =
        tx.prepare_cached("INSERT OR REPLACE INTO driftless_superseded VALUES (?1, ?2, ?3, ?4, ?5, NULL)")?;
    for Superseded { path, first, last } in &table.superseded {
        insert.execute(params![path, namespace, name, first, last])?;
    }
    let retained = serde_json::to_string(&table.retained).expect("numbers are JSON");
    let mut expire = tx.prepare_cached(
        "UPDATE driftless_superseded SET expired_ms = ?1
         WHERE table_namespace = ?2 AND table_name = ?3 AND expired_ms IS NULL AND NOT EXISTS (
             SELECT 1 FROM json_each(?4) WHERE value BETWEEN first_sequence AND last_sequence)",
    )?;
    expire.execute(params![now_ms, namespace, name, retained])?;
    Ok(swapped == 1)
}

/// Notes the Moment beside its tables.
fn note(tx: &Transaction, pipeline: &str, staged: &Staged) -> rusqlite::Result<()> {
    let cut = serde_json::to_string(&staged.cut).expect("a Cut is a map of names to positions");
    let tables = staged.tables.iter().map(|t| (t.to_string(), t.snapshot_id.into()));
    let tables = serde_json::Value::Object(tables.collect()).to_string();
    let moment = staged.moment.0;
    tx.execute(
        "INSERT OR REPLACE INTO driftless_moments VALUES (?1, ?2, ?3, ?4)",
        params![pipeline, moment as i64, cut, tables],
    )?;
    tx.execute(
        "DELETE FROM driftless_moments WHERE pipeline = ?1 AND moment <= ?2",
        params![pipeline, moment as i64 - MOMENTS_KEPT as i64],
    )?;
    Ok(())
}

fn fault(path: &Path, error: rusqlite::Error) -> Error {
    let path = path.display();
    let fault = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::retry(format!("catalog `{path}` is locked by another process"))
                .hint("end the process that holds a transaction open on it")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::corrupt(format!("catalog `{path}` is damaged")).hint("restore it from a copy")
        }
        Some(_) => Error::operator(format!("catalog `{path}` cannot be used"))
            .hint("check rights and free space of its folder"),
        None => Error::corrupt(format!("catalog `{path}` holds what we cannot read")).hint("restore it from a copy"),
    };
    fault.because(error)
}
