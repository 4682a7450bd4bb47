//! The store on RocksDB; the only file that names it.
//!
//! Two column families: `base` (table id, key → row) and `meta` (the checkpoint). Only the write of a
//! checkpoint is synced: it carries all that came before it in the log.

use super::{Checkpoint, FORMAT, Frozen};
use crate::error::{Doing, Error, Result};
use crate::row::Row;
use rocksdb::{ColumnFamilyDescriptor, DB, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

const BASE: &str = "base";
const META: &str = "meta";
const CHECKPOINT: &[u8] = b"checkpoint";

pub struct Store {
    db: DB,
    dir: PathBuf,
    /// Held as long as the store is; the file names the process.
    _lock: File,
}

impl Store {
    /// Opens the store in `dir`, making it where there is none, for this process alone.
    pub fn open(dir: &Path) -> Result<Store> {
        let doing = || format!("open the state directory `{}`", dir.display());
        std::fs::create_dir_all(dir).map_err(|e| unusable(dir, e)).doing(doing())?;
        let lock = lock(dir).doing(doing())?;
        let rocks = dir.join("rocks");
        let foreign =
            rocks.exists() && !rocks.join("CURRENT").exists() && rocks.read_dir().is_ok_and(|mut d| d.next().is_some());
        if foreign {
            return Err(Error::corrupt(format!("`{}` is not a store of ours", rocks.display()))
                .hint("point `state:` in driftless.yml at an empty directory"));
        }
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        options.set_keep_log_file_num(2);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        let families = [BASE, META].map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
        let db = DB::open_cf_descriptors(&options, &rocks, families).map_err(|e| damaged(&rocks, e)).doing(doing())?;
        let store = Store { db, dir: dir.to_path_buf(), _lock: lock };
        if let Some(checkpoint) = store.checkpoint()? {
            if checkpoint.format != FORMAT {
                let message =
                    format!("`{}` has format {}, this program writes {FORMAT}", dir.display(), checkpoint.format);
                return Err(Error::operator(message)
                    .hint("run the version that wrote it, or point `state:` at an empty directory to copy anew"));
            }
        }
        Ok(store)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let bytes = self.db.get_cf(self.family(META), CHECKPOINT).map_err(|e| damaged(&self.dir, e))?;
        let parse = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes).map_err(|e| Error::corrupt("the checkpoint cannot be read").because(e))
        };
        bytes.map(parse).transpose()
    }

    /// What `fresh` changed and the checkpoint that makes it true, in one synced batch.
    pub fn write(&self, checkpoint: &Checkpoint, frozen: &Frozen) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (table, key, row) in frozen.changes() {
            match row {
                Some(row) => batch.put_cf(self.family(BASE), stored_key(table, key), row.bytes()),
                None => batch.delete_cf(self.family(BASE), stored_key(table, key)),
            }
        }
        let bytes = serde_json::to_vec(checkpoint).map_err(|e| Error::bug("a checkpoint is plain data").because(e))?;
        batch.put_cf(self.family(META), CHECKPOINT, bytes);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.write_opt(batch, &synced).map_err(|e| damaged(&self.dir, e)).doing("write a checkpoint")
    }

    /// Rows of a first copy: nothing until a checkpoint names their source.
    pub fn load<'a>(&self, table: u32, rows: impl Iterator<Item = (Row, &'a Row)>) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, row) in rows {
            batch.put_cf(self.family(BASE), stored_key(table, &key), row.bytes());
        }
        self.db.write(batch).map_err(|e| damaged(&self.dir, e)).doing("store rows of a first copy")
    }

    /// Forgets all rows of a table.
    pub fn clear(&self, table: u32) -> Result<()> {
        let (from, to) = (table.to_be_bytes(), (table + 1).to_be_bytes());
        self.db.delete_range_cf(self.family(BASE), from, to).map_err(|e| damaged(&self.dir, e)).doing("clear a table")
    }

    pub fn row(&self, table: u32, key: &Row) -> Result<Option<Row>> {
        let row =
            self.db.get_pinned_cf(self.family(BASE), stored_key(table, key)).map_err(|e| damaged(&self.dir, e))?;
        Ok(row.map(|bytes| Row::from(bytes.as_ref())))
    }

    /// Every row of a table with its key, in the order of keys, as the store stands now.
    pub fn rows(&self, table: u32) -> impl Iterator<Item = Result<(Row, Row)>> {
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_lower_bound(table.to_be_bytes());
        bounds.set_iterate_upper_bound((table + 1).to_be_bytes());
        let entries = self.db.iterator_cf_opt(self.family(BASE), bounds, IteratorMode::Start);
        entries.map(|entry| match entry {
            Ok((key, row)) => Ok((Row::from(&key[4..]), Row::from(row.as_ref()))),
            Err(e) => Err(damaged(&self.dir, e)),
        })
    }

    fn family(&self, name: &str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("opened with all its column families")
    }
}

fn stored_key(table: u32, key: &Row) -> Vec<u8> {
    [&table.to_be_bytes(), key.bytes()].concat()
}

/// The lock file names its holder, so that the second can say who the first is.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(|e| unusable(dir, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let by = if holder.is_empty() { "another process".into() } else { format!("process {holder}") };
            return Err(Error::operator(format!("the state directory `{}` is in use by {by}", dir.display()))
                .hint("stop the other daemon, or give this one its own `state:` in driftless.yml"));
        }
        Err(TryLockError::Error(e)) => return Err(unusable(dir, e)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    written.map_err(|e| unusable(dir, e))?;
    Ok(file)
}

fn unusable(dir: &Path, error: std::io::Error) -> Error {
    Error::operator(format!("the state directory `{}` cannot be written", dir.display()))
        .because(error)
        .hint("give the user who runs driftless the right to write there, or set `state:` in driftless.yml")
}

fn damaged(dir: &Path, error: rocksdb::Error) -> Error {
    let who = match error.kind() {
        rocksdb::ErrorKind::IOError => Error::operator(format!("the store in `{}` cannot be used", dir.display()))
            .hint("see that the disk has room and can be written"),
        _ => Error::corrupt(format!("the store in `{}` is damaged", dir.display()))
            .hint("move the state directory away: the next start copies the sources anew and levels the tables"),
    };
    who.because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let _first = Store::open(dir.path()).expect("opens");
        let Err(second) = Store::open(dir.path()) else { panic!("two stores on one directory") };
        assert!(second.what().contains(&format!("in use by process {}", std::process::id())), "{second}");
    }

    #[test]
    fn a_directory_of_something_else_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("rocks")).expect("made");
        std::fs::write(dir.path().join("rocks/thesis.txt"), "precious").expect("written");
        let Err(error) = Store::open(dir.path()) else { panic!("opened a foreign directory") };
        assert!(error.what().contains("not a store of ours"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path().join("rocks")).expect("listed").count(), 1);
    }
}
