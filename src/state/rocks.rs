//! The store on RocksDB; the only file that names it.
//!
//! Two column families: `block` (number → body of a block, or head of a batch) and `meta` (the checkpoint, and
//! which batches it names). Never single rows. Only the write of a checkpoint is synced: it carries all that
//! came before it in the log. Bodies are cached by `Bodies`, decoded, under our own budget: not here.

use super::{Arrangements, Batch, BlockStore, Bodies, Checkpoint, FORMAT};
use crate::error::{Doing, Error, Result};
use rocksdb::{BlockBasedOptions, ColumnFamilyDescriptor, DB, IteratorMode, Options, WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BLOCK: &str = "block";
const META: &str = "meta";
const CHECKPOINT: &[u8] = b"checkpoint";
const NAMED: &[u8] = b"arrangements";

/// RocksDB gathers so much before it writes a file: what it adds to our own budget, once or twice.
const MEMTABLE_BYTES: usize = 16 << 20;

/// Which batches a checkpoint names.
#[derive(Default, Serialize, Deserialize)]
struct Named {
    younger: u64,
    /// For each arrangement, for each worker, the batches' heads.
    heads: BTreeMap<String, Vec<Vec<u64>>>,
}

pub struct Store {
    db: DB,
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
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        options.set_keep_log_file_num(2);
        options.set_max_open_files(512);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_write_buffer_size(MEMTABLE_BYTES);
        let mut table = BlockBasedOptions::default();
        table.disable_cache();
        table.set_bloom_filter(10.0, false);
        options.set_block_based_table_factory(&table);
        let families = [BLOCK, META].map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
        let db = DB::open_cf_descriptors(&options, &rocks, families).map_err(|e| damaged(&rocks, e)).doing(doing())?;
        let store = Store { db, dir: dir.to_path_buf(), _lock: lock };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        match store.meta::<Format>(CHECKPOINT)? {
            Some(Format { format }) if format != FORMAT => Err(older()).doing(doing()),
            _ => Ok(store),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        self.meta(CHECKPOINT)
    }

    /// Makes ready for the bodies of this process: clears away what no checkpoint names, and gives the first number
    /// that is free.
    pub fn clear_unnamed(&self) -> Result<u64> {
        let named: Named = self.meta(NAMED)?.unwrap_or_default();
        let mut live: HashSet<u64> = HashSet::new();
        for head in named.heads.values().flatten().flatten() {
            live.insert(*head);
            live.extend(Batch::names(&self.get(*head)?)?);
        }
        let from = named.younger.to_be_bytes();
        let start = IteratorMode::From(&from, rocksdb::Direction::Forward);
        let (mut batch, mut next) = (WriteBatch::default(), named.younger.max(1));
        for entry in self.db.iterator_cf(self.family(BLOCK), start) {
            let (key, _) = entry.map_err(|e| damaged(&self.dir, e))?;
            let id = u64::from_be_bytes(key.as_ref().try_into().map_err(|_| self.foreign_key())?);
            next = next.max(id + 1);
            if !live.contains(&id) {
                batch.delete_cf(self.family(BLOCK), key);
            }
        }
        self.db.write(batch).map_err(|e| damaged(&self.dir, e)).doing("clear what no checkpoint names")?;
        Ok(next)
    }

    /// The arrangements that the last checkpoint names; no body is read.
    pub fn arrangements(&self, bodies: &Arc<Bodies>) -> Result<Arrangements> {
        let named: Named = self.meta(NAMED)?.unwrap_or_default();
        let mut arrangements = Arrangements::new(bodies);
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
    /// them. What nobody holds any more goes with it.
    pub fn write(&self, checkpoint: &Checkpoint, arrangements: &Arrangements, bodies: &Arc<Bodies>) -> Result<()> {
        let mut named = Named { younger: arrangements.younger, heads: BTreeMap::new() };
        for (name, workers) in &arrangements.by_name {
            let heads = |batches: &super::Batches| batches.iter().map(|batch| batch.stored(bodies)).collect();
            let workers = workers.iter().map(heads).collect::<Result<_>>().doing("write a checkpoint")?;
            named.heads.insert(name.clone(), workers);
        }
        let plain = |e| Error::bug("a checkpoint is plain data").because(e);
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(META), CHECKPOINT, serde_json::to_vec(checkpoint).map_err(plain)?);
        batch.put_cf(self.family(META), NAMED, serde_json::to_vec(&named).map_err(plain)?);
        for id in std::mem::take(&mut *bodies.dead()) {
            batch.delete_cf(self.family(BLOCK), id.to_be_bytes());
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.write_opt(batch, &synced).map_err(|e| damaged(&self.dir, e)).doing("write a checkpoint")
    }

    /// What all files of the store take on disk.
    pub fn disk_bytes(&self) -> u64 {
        let size = |family| self.db.property_int_value_cf(self.family(family), "rocksdb.total-sst-files-size");
        [BLOCK, META].into_iter().filter_map(|family| size(family).ok().flatten()).sum()
    }

    fn meta<T: for<'de> Deserialize<'de>>(&self, key: &[u8]) -> Result<Option<T>> {
        let bytes = self.db.get_cf(self.family(META), key).map_err(|e| damaged(&self.dir, e))?;
        let parse = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes).map_err(|e| Error::corrupt("the checkpoint cannot be read").because(e))
        };
        bytes.map(parse).transpose()
    }

    fn foreign_key(&self) -> Error {
        Error::corrupt(format!("the store in `{}` holds what is not ours", self.dir.display()))
    }

    fn family(&self, name: &str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("opened with all its column families")
    }
}

impl BlockStore for Store {
    fn put(&self, id: u64, body: &[u8]) -> Result<()> {
        let written = self.db.put_cf(self.family(BLOCK), id.to_be_bytes(), body);
        written.map_err(|e| damaged(&self.dir, e)).doing("write a block of the state")
    }

    fn get(&self, id: u64) -> Result<Vec<u8>> {
        let body = self.db.get_cf(self.family(BLOCK), id.to_be_bytes()).map_err(|e| damaged(&self.dir, e))?;
        body.ok_or_else(|| {
            Error::corrupt(format!("the store in `{}` has lost block {id}", self.dir.display()))
                .hint("move the state directory away: the next start copies the sources anew and levels the tables")
        })
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
