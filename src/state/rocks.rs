//! The store on RocksDB; the only file that names it.
//!
//! Two column families: `block` (number → body of a block, or head of a batch; see [`segments`]) and `meta` (the
//! checkpoint, and which batches it names). Never single rows. Bodies are in files before the one synced write of
//! the checkpoint that names them. They are cached by `Bodies`, decoded, under our own budget: not here.

mod segments;

use super::{Arrangements, Batch, BlockStore, Bodies, Body, Checkpoint, FORMAT};
use crate::error::{Doing, Error, Result};
use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DB, DBCompressionType, DBPinnableSlice, Options, ReadOptions,
    WriteBatch, WriteOptions,
};
use segments::Segments;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BLOCK: &str = "block";
const META: &str = "meta";
const CHECKPOINT: &[u8] = b"checkpoint";
const NAMED: &[u8] = b"arrangements";

/// Which batches a checkpoint names.
#[derive(Default, Serialize, Deserialize)]
struct Named {
    /// For each arrangement, for each worker, the batches' heads.
    heads: BTreeMap<String, Vec<Vec<u64>>>,
}

pub struct Store {
    segments: Segments,
    db: Arc<DB>,
    /// Bodies have checksums of their own.
    unchecked: ReadOptions,
    dir: PathBuf,
    /// Held as long as the store is; the file names the process.
    _lock: File,
}

impl Store {
    /// Opens the store that a daemon has left in `dir`.
    pub fn open_left(dir: &Path) -> Result<Store> {
        if !dir.join("rocks").exists() {
            return Err(Error::operator(format!("the state directory `{}` holds nothing yet", dir.display()))
                .hint("start `driftless run` first"));
        }
        Store::open(dir)
    }

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
        let older = || {
            let message = format!("`{}` has another format, this program writes {FORMAT}", dir.display());
            Error::operator(message)
                .hint("run the version that wrote it, or point `state:` at an empty directory to copy anew")
        };
        let families = DB::list_cf(&Options::default(), &rocks).unwrap_or_default();
        if families.iter().any(|family| ![BLOCK, META, "default"].contains(&family.as_str())) {
            return Err(older()).doing(doing());
        }
        let mut options = Options::default();
        // What is packed is slow to read, and what lives long is read most.
        options.set_compression_type(DBCompressionType::None);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        options.set_keep_log_file_num(2);
        options.set_max_open_files(512);
        // Only lists of batches go through it.
        options.set_write_buffer_size(4 << 20);
        let mut table = BlockBasedOptions::default();
        table.disable_cache();
        options.set_block_based_table_factory(&table);
        let mut blocks = options.clone();
        blocks.set_disable_auto_compactions(true);
        let families = [(BLOCK, &blocks), (META, &options)];
        let families = families.map(|(name, options)| ColumnFamilyDescriptor::new(name, options.clone()));
        let db = DB::open_cf_descriptors(&options, &rocks, families).map_err(|e| damaged(&rocks, e)).doing(doing())?;
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        if meta::<Format>(&db, dir, CHECKPOINT)?.is_some_and(|Format { format }| format != FORMAT) {
            return Err(older()).doing(doing());
        }
        let incoming = dir.join("incoming");
        // What a process that was killed has left there is nothing.
        let fresh = std::fs::remove_dir_all(&incoming).or_else(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        });
        fresh.and_then(|()| std::fs::create_dir(&incoming)).map_err(|e| unusable(dir, e)).doing(doing())?;
        let mut unchecked = ReadOptions::default();
        unchecked.set_verify_checksums(false);
        let live = live(&db, dir)?;
        let db = Arc::new(db);
        let segments = Segments::open(db.clone(), incoming, options, &live)?;
        Ok(Store { segments, db, unchecked, dir: dir.to_path_buf(), _lock: lock })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        meta(&self.db, &self.dir, CHECKPOINT)
    }

    /// The arrangements that the last checkpoint names; no body is read.
    pub fn arrangements(&self, bodies: &Arc<Bodies>) -> Result<Arrangements> {
        let named: Named = meta(&self.db, &self.dir, NAMED)?.unwrap_or_default();
        let mut arrangements = Arrangements::default();
        for (name, workers) in named.heads {
            let batch = |id: &u64| Batch::restore(*id, bodies).map(Arc::new);
            let batches = |heads: Vec<u64>| heads.iter().map(batch).collect::<Result<_>>();
            let workers = workers.into_iter().map(batches).collect::<Result<Vec<_>>>();
            let workers = workers.doing(format!("read arrangement `{name}`"))?;
            arrangements.by_name.insert(name, workers);
        }
        Ok(arrangements)
    }

    /// Makes `checkpoint` true: first the bodies that are not stored yet, then, in one synced write, what names
    /// them. What nobody held before goes after it.
    pub fn write(&self, checkpoint: &Checkpoint, arrangements: &Arrangements, bodies: &Arc<Bodies>) -> Result<()> {
        let dead = self.segments.begin_naming();
        let mut named = Named::default();
        for (name, workers) in &arrangements.by_name {
            let heads = |batches: &super::Batches| {
                let heads = batches.iter().map(|batch| batch.stored(bodies)).collect::<Result<Vec<_>>>()?;
                Ok(heads.concat())
            };
            let workers = workers.iter().map(heads).collect::<Result<_>>().doing("write a checkpoint")?;
            named.heads.insert(name.clone(), workers);
        }
        let meta = family(&self.db, META);
        self.segments.seal().doing("write a checkpoint")?;
        let plain = |e| Error::bug("a checkpoint is plain data").because(e);
        let mut batch = WriteBatch::default();
        batch.put_cf(meta, CHECKPOINT, serde_json::to_vec(checkpoint).map_err(plain)?);
        batch.put_cf(meta, NAMED, serde_json::to_vec(&named).map_err(plain)?);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.write_opt(batch, &synced).map_err(|e| damaged(&self.dir, e)).doing("write a checkpoint")?;
        self.segments.end_naming(dead).doing("write a checkpoint")
    }

    /// What all files of the store take on disk.
    pub fn disk_bytes(&self) -> u64 {
        let size =
            |family| self.db.property_int_value_cf(self::family(&self.db, family), "rocksdb.total-sst-files-size");
        [BLOCK, META].into_iter().filter_map(|family| size(family).ok().flatten()).sum()
    }
}

fn meta<T: for<'de> Deserialize<'de>>(db: &DB, dir: &Path, key: &[u8]) -> Result<Option<T>> {
    let bytes = db.get_cf(family(db, META), key).map_err(|e| damaged(dir, e))?;
    let parse = |bytes: Vec<u8>| {
        serde_json::from_slice(&bytes).map_err(|e| Error::corrupt("the checkpoint cannot be read").because(e))
    };
    bytes.map(parse).transpose()
}

/// The numbers of all that the last checkpoint needs, in order.
fn live(db: &DB, dir: &Path) -> Result<Vec<u64>> {
    let named: Named = meta(db, dir, NAMED)?.unwrap_or_default();
    let mut live: Vec<u64> = named.heads.into_values().flatten().flatten().collect();
    for head in live.clone() {
        live.extend(Batch::names(&block(db, dir, head, &ReadOptions::default())?)?);
    }
    live.sort_unstable();
    live.dedup();
    Ok(live)
}

fn block<'a>(db: &'a DB, dir: &Path, id: u64, how: &ReadOptions) -> Result<DBPinnableSlice<'a>> {
    let body = db.get_pinned_cf_opt(family(db, BLOCK), id.to_be_bytes(), how).map_err(|e| damaged(dir, e))?;
    body.ok_or_else(|| {
        Error::corrupt(format!("the store in `{}` has lost block {id}", dir.display()))
            .hint("move the state directory away: the next start copies the sources anew and levels the tables")
    })
}

fn family<'a>(db: &'a DB, name: &str) -> &'a rocksdb::ColumnFamily {
    db.cf_handle(name).expect("opened with all its column families")
}

impl BlockStore for Store {
    fn put(&self, body: Vec<u8>) -> Result<u64> {
        self.segments.put(body)
    }

    fn get(&self, id: u64) -> Result<Body<'_>> {
        match self.segments.gathered(id) {
            Some(body) => Ok(Box::new(body)),
            None => Ok(Box::new(block(&self.db, &self.dir, id, &self.unchecked)?)),
        }
    }

    fn forget(&self, id: u64) {
        self.segments.forget(id);
    }
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
