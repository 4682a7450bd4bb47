//! Bodies in files: each file is written once, in the order of its bodies' numbers, and taken in by RocksDB as it
//! is; so no body goes through a log or a memtable, and none is moved by a compaction that we did not ask for.
//!
//! ```text
//!   put ──► gathered ──full, or a checkpoint──► sealed: [1..812] [813..1604] … files of the deepest level
//!                                                 all dead: deleted whole
//!                                                 mostly dead, or too many: those that live move together
//! ```

use super::damaged;
use crate::error::{Doing, Result};
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, IngestExternalFileOptions, Options, SstFileWriter,
    WriteBatch, WriteOptions,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// So much is gathered for a file, in memory: what the store adds to the budget of bodies, once or twice.
const SEGMENT_BYTES: usize = 16 << 20;
/// Of more segments than this, neighbours become one.
const SEGMENTS_MAX: usize = 96;
/// So many at once.
const NEIGHBOURS: usize = 32;
/// So many segments that are mostly dead are mended after one checkpoint.
const AT_ONCE: usize = 2;

type Gathered = BTreeMap<u64, Vec<u8>>;

pub(super) struct Segments {
    /// For files that RocksDB has not taken in yet.
    dir: PathBuf,
    options: Options,
    /// One file at a time; whoever holds it knows that nothing is being sealed.
    sealer: Mutex<()>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    gathered: Gathered,
    bytes: usize,
    /// On its way into a file.
    sealing: Arc<Gathered>,
    /// By their first numbers; they do not overlap.
    files: BTreeMap<u64, Segment>,
}

/// A run of numbers whose bodies are in files of their own.
struct Segment {
    last: u64,
    /// So many of its bodies are needed, and so many are not.
    live: usize,
    gone: usize,
    /// The numbers of those that are not.
    dead: Vec<Range<u64>>,
}

impl Segment {
    /// Of a file with so many bodies, of which these are needed.
    fn found(first: u64, last: u64, bodies: usize, live: &[u64]) -> Segment {
        let starts = [first].into_iter().chain(live.iter().map(|id| id + 1));
        let gaps = starts.zip(live.iter().copied().chain([last + 1])).map(|(start, end)| start..end);
        let dead = gaps.filter(|gap| !gap.is_empty()).collect();
        Segment { last, live: live.len(), gone: bodies.saturating_sub(live.len()), dead }
    }

    fn bury(&mut self, id: u64) {
        self.live -= 1;
        self.gone += 1;
        match self.dead.last_mut().filter(|dead| dead.end == id) {
            Some(dead) => dead.end += 1,
            None => self.dead.push(id..id + 1),
        }
    }
}

impl Segments {
    /// With the files that `db` has; `live` are all numbers that are needed, in order. What is not needed goes.
    pub fn open(dir: PathBuf, options: Options, db: &DB, family: &ColumnFamily, live: &[u64]) -> Result<Segments> {
        let told = |e| damaged(&dir, e);
        let mut inner = Inner { next: 1 + live.last().copied().unwrap_or(0), ..Inner::default() };
        for file in db.live_files().map_err(told)?.into_iter().filter(|file| file.column_family_name == super::BLOCK) {
            let number = |key: Option<Vec<u8>>| key.and_then(|key| Some(u64::from_be_bytes(key.try_into().ok()?)));
            let (Some(first), Some(last)) = (number(file.start_key), number(file.end_key)) else { continue };
            inner.next = inner.next.max(last + 1);
            let within = live.partition_point(|id| *id < first)..live.partition_point(|id| *id <= last);
            let live = &live[within];
            // A file of the first level has nothing but the marks of a compaction that was cut short.
            if file.level > 0 {
                inner.files.insert(first, Segment::found(first, last, file.num_entries as usize, live));
            }
        }
        let segments = Segments { dir, options, sealer: Mutex::default(), inner: Mutex::new(inner) };
        segments.clear(db, family)?;
        Ok(segments)
    }

    pub fn put(&self, body: Vec<u8>, db: &DB, family: &ColumnFamily) -> Result<u64> {
        let (id, full) = {
            let mut inner = self.inner();
            let id = inner.next;
            inner.next += 1;
            inner.bytes += body.len();
            inner.gathered.insert(id, body);
            (id, inner.bytes >= SEGMENT_BYTES)
        };
        if full {
            self.seal(db, family)?;
        }
        Ok(id)
    }

    /// A body that is in no file yet.
    pub fn gathered(&self, id: u64) -> Option<Vec<u8>> {
        let inner = self.inner();
        inner.gathered.get(&id).or_else(|| inner.sealing.get(&id)).cloned()
    }

    /// Puts all that was gathered into files; it is durable when this returns.
    pub fn seal(&self, db: &DB, family: &ColumnFamily) -> Result<()> {
        let _sealer = self.sealer();
        let gathered = {
            let mut inner = self.inner();
            inner.bytes = 0;
            inner.sealing = Arc::new(std::mem::take(&mut inner.gathered));
            inner.sealing.clone()
        };
        let (Some((first, _)), Some((last, _))) = (gathered.first_key_value(), gathered.last_key_value()) else {
            return Ok(());
        };
        let path = self.dir.join(format!("{first}.sst"));
        let mut file = SstFileWriter::create(&self.options);
        let written = file.open(&path).and_then(|()| {
            gathered.iter().try_for_each(|(id, body)| file.put(id.to_be_bytes(), body))?;
            file.finish()?;
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            db.ingest_external_file_cf_opts(family, &options, vec![&path])
        });
        written.map_err(|e| damaged(&self.dir, e)).doing("write blocks of the state")?;
        let mut inner = self.inner();
        inner.files.insert(*first, Segment { last: *last, live: gathered.len(), gone: 0, dead: Vec::new() });
        inner.sealing = Arc::default();
        Ok(())
    }

    /// These are needed no more, and no checkpoint names them.
    pub fn bury(&self, dead: Vec<u64>, db: &DB, family: &ColumnFamily) -> Result<()> {
        let _sealer = self.sealer();
        {
            let mut inner = self.inner();
            for id in dead {
                match inner.gathered.remove(&id) {
                    Some(body) => inner.bytes -= body.len(),
                    None => inner.files.range_mut(..=id).next_back().expect("it was put into a file").1.bury(id),
                }
            }
        }
        self.clear(db, family)
    }

    /// Deletes what is dead, and makes few files of many.
    fn clear(&self, db: &DB, family: &ColumnFamily) -> Result<()> {
        let told = |e| damaged(&self.dir, e);
        let (dead, runs) = self.inner().due();
        for (first, segment) in dead {
            db.delete_file_in_range_cf(family, first.to_be_bytes(), segment.last.to_be_bytes()).map_err(told)?;
        }
        for run in runs {
            let mut marks = WriteBatch::default();
            for dead in run.values().flat_map(|segment| &segment.dead) {
                marks.delete_range_cf(family, dead.start.to_be_bytes(), dead.end.to_be_bytes());
            }
            let mut unlogged = WriteOptions::default();
            unlogged.disable_wal(true);
            db.write_opt(marks, &unlogged).map_err(told)?;
            let (Some((first, _)), Some((_, end))) = (run.first_key_value(), run.last_key_value()) else { continue };
            let mut options = CompactOptions::default();
            options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
            let (from, to) = (first.to_be_bytes(), end.last.to_be_bytes());
            db.compact_range_cf_opt(family, Some(from), Some(to), &options);
            let live = run.values().map(|segment| segment.live).sum();
            self.inner().files.insert(*first, Segment { last: end.last, live, gone: 0, dead: Vec::new() });
        }
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn sealer(&self) -> MutexGuard<'_, ()> {
        self.sealer.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    /// Takes out the segments that nobody needs, and the runs of segments that are to become one.
    fn due(&mut self) -> (Vec<(u64, Segment)>, Vec<BTreeMap<u64, Segment>>) {
        let dead = self.files.extract_if(.., |_, segment| segment.live == 0).collect();
        let thin = self.files.extract_if(.., |_, segment| segment.gone > segment.live).take(AT_ONCE);
        let mut runs: Vec<_> = thin.map(|segment| BTreeMap::from([segment])).collect();
        if self.files.len() > SEGMENTS_MAX {
            let all: Vec<(u64, usize)> = self.files.iter().map(|(first, segment)| (*first, segment.live)).collect();
            let live = |run: &&[(u64, usize)]| run.iter().map(|(_, live)| live).sum::<usize>();
            if let Some([(first, _), .., (last, _)]) = all.windows(NEIGHBOURS).min_by_key(live) {
                runs.push(self.files.extract_if(first..=last, |_, _| true).collect());
            }
        }
        (dead, runs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BLOCK, Store, family};
    use super::*;
    use crate::state::BlockStore;

    #[test]
    fn bodies_are_there_until_they_are_buried_and_then_their_room_is_free() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut store = Store::open(dir.path()).expect("opens");
        let mut live: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut dice = 1u64;
        let mut below = |bound: u64| {
            dice = dice.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (dice >> 33) % bound
        };
        for round in 0..400 {
            for _ in 0..below(20) {
                let body: Vec<u8> = (0..1 + below(5_000)).map(|_| below(256) as u8).collect();
                let id = store.put(body.clone()).expect("written");
                assert!(live.last_key_value().is_none_or(|(last, _)| *last < id), "numbers grow");
                live.insert(id, body);
            }
            let block = family(&store.db, BLOCK);
            if round % 3 != 0 {
                store.segments.seal(&store.db, block).expect("sealed");
            }
            // Most die young; some live long; sometimes all go.
            let dies = if round % 90 == 89 { 1 } else { 4 };
            let dead: Vec<u64> = live.keys().copied().filter(|_| below(dies) == 0).collect();
            dead.iter().for_each(|id| drop(live.remove(id)));
            store.segments.bury(dead, &store.db, block).expect("buried");
            assert!(store.segments.inner().files.len() <= SEGMENTS_MAX, "round {round}: too many files");
            if round % 50 == 49 {
                store.segments.seal(&store.db, block).expect("sealed");
                let (dir, needed) = (dir.path().join("incoming"), live.keys().copied().collect::<Vec<_>>());
                let options = store.segments.options.clone();
                store.segments = Segments::open(dir, options, &store.db, block, &needed).expect("opens");
            }
            for (id, body) in live.iter().filter(|_| below(10) == 0) {
                assert_eq!(&store.get(*id).expect("there"), body, "round {round}");
            }
        }
        for (id, body) in &live {
            assert_eq!(&store.get(*id).expect("there"), body);
        }
        let needed: usize = live.values().map(Vec::len).sum();
        assert!(store.disk_bytes() < 3 * needed as u64 + 100_000, "{} for {needed}", store.disk_bytes());
        let all: Vec<u64> = live.keys().copied().collect();
        store.segments.bury(all.clone(), &store.db, family(&store.db, BLOCK)).expect("buried");
        assert!(store.get(all[0]).is_err(), "its file is gone");
    }
}
