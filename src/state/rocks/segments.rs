//! Bodies in files: each file is written once, in the order of its bodies' numbers, and taken in by RocksDB as it
//! is; so no body goes through a log or a memtable, and none is moved by a compaction that we did not ask for.
//!
//! ```text
//!   put ──► gathered ──full, or a checkpoint──► sealing ──thread──► [1..812] [813..1604] … files of the deepest level
//!                                                         another ──► all dead: deleted whole
//!                                                                     mostly dead, or too many: what lives moves together
//! ```
//!
//! Neither who writes nor who makes a checkpoint waits for what is deleted or moved.

use super::{BLOCK, damaged, family};
use crate::error::{Doing, Result};
use rocksdb::{
    BottommostLevelCompaction, CompactOptions, DB, IngestExternalFileOptions, Options, SstFileWriter, WriteBatch,
    WriteOptions,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// So much is gathered for a file.
const SEGMENT_BYTES: usize = 8 << 20;
/// More files than this are not on their way at once: who puts more waits.
const SEALING_MAX: usize = 2;
/// Of more segments than this, neighbours become one.
const SEGMENTS_MAX: usize = 96;
/// So many at once.
const NEIGHBOURS: usize = 32;
/// So many segments that are mostly dead are mended before somebody looks again at what is dead.
const AT_ONCE: usize = 2;

type Gathered = BTreeMap<u64, Vec<u8>>;
/// Neighbours, by their first numbers.
type Run = BTreeMap<u64, Segment>;

pub(super) struct Segments {
    files: Arc<Files>,
    workers: Vec<JoinHandle<()>>,
}

struct Files {
    db: Arc<DB>,
    /// For files that RocksDB has not taken in yet.
    dir: PathBuf,
    options: Options,
    state: Mutex<State>,
    /// Something was sealed, or is to be.
    turned: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    gathered: Gathered,
    bytes: usize,
    /// On their way into files, one after the other.
    sealing: VecDeque<Arc<Gathered>>,
    /// By their first numbers; they do not overlap.
    segments: Run,
    /// Numbers below may be named by the last checkpoint, or by one that is being written.
    named: u64,
    /// Of those, what nobody holds any more.
    dead: Vec<u64>,
    /// Needed no more, and not taken note of.
    buried: BTreeSet<u64>,
    /// After a start nothing is deleted or moved before the first checkpoint: it would take from the start.
    tidy: bool,
    mending: bool,
    /// From then on nothing is written any more.
    failed: Option<rocksdb::Error>,
    closed: bool,
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
    pub fn open(db: Arc<DB>, dir: PathBuf, options: Options, live: &[u64]) -> Result<Segments> {
        let found = db.live_files().map_err(|e| damaged(&dir, e))?;
        let mut state = State { next: 1 + live.last().copied().unwrap_or(0), ..State::default() };
        for file in found.into_iter().filter(|file| file.column_family_name == BLOCK) {
            let number = |key: Option<Vec<u8>>| key.and_then(|key| Some(u64::from_be_bytes(key.try_into().ok()?)));
            let (Some(first), Some(last)) = (number(file.start_key), number(file.end_key)) else { continue };
            state.next = state.next.max(last + 1);
            let within = live.partition_point(|id| *id < first)..live.partition_point(|id| *id <= last);
            // A file of the first level has nothing but the marks of a compaction that was cut short.
            if file.level > 0 {
                let segment = Segment::found(first, last, file.num_entries as usize, &live[within]);
                state.segments.insert(first, segment);
            }
        }
        state.named = state.next;
        state.tidy = live.is_empty();
        let files = Arc::new(Files { db, dir, options, state: Mutex::new(state), turned: Condvar::new() });
        let worker = |name: &str, work: fn(&Files)| {
            let files = files.clone();
            let started = std::thread::Builder::new().name(name.into()).spawn(move || work(&files));
            started.expect("a thread can be had at the start")
        };
        let workers = vec![worker("seal", Files::seal_all), worker("mend", Files::mend_all)];
        Ok(Segments { files, workers })
    }

    /// Gives the number of the body: the next.
    pub fn put(&self, body: Vec<u8>) -> Result<u64> {
        let mut state = self.files.state();
        while state.bytes >= SEGMENT_BYTES && state.sealing.len() >= SEALING_MAX && state.failed.is_none() {
            state = self.files.wait(state);
        }
        self.files.said(&state)?;
        if state.bytes >= SEGMENT_BYTES {
            state.hand_over();
            self.files.turned.notify_all();
        }
        let id = state.next;
        state.next += 1;
        state.bytes += body.len();
        state.gathered.insert(id, body);
        Ok(id)
    }

    /// A body that is in no file yet.
    pub fn gathered(&self, id: u64) -> Option<Vec<u8>> {
        let state = self.files.state();
        let mut sealing = state.sealing.iter();
        state.gathered.get(&id).or_else(|| sealing.find_map(|sealing| sealing.get(&id))).cloned()
    }

    /// All that was put is in files, and durable, when this returns.
    pub fn seal(&self) -> Result<()> {
        let mut state = self.files.state();
        state.hand_over();
        self.files.turned.notify_all();
        while !state.sealing.is_empty() && state.failed.is_none() {
            state = self.files.wait(state);
        }
        self.files.said(&state)
    }

    /// Nobody holds it any more.
    pub fn forget(&self, id: u64) {
        let mut state = self.files.state();
        match id < state.named {
            true => state.dead.push(id),
            false => state.bury(id),
        }
    }

    /// From now on, what is forgotten may be named by a checkpoint. Gives what only the last one names.
    pub fn begin_naming(&self) -> Vec<u64> {
        let mut state = self.files.state();
        state.named = u64::MAX;
        std::mem::take(&mut state.dead)
    }

    /// A checkpoint names what it names, and of these nothing: their room becomes free a while later.
    pub fn end_naming(&self, dead: Vec<u64>) -> Result<()> {
        let mut state = self.files.state();
        state.named = state.next;
        dead.into_iter().for_each(|id| state.bury(id));
        state.tidy = true;
        self.files.turned.notify_all();
        self.files.said(&state)
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.files.state().closed = true;
        self.files.turned.notify_all();
        self.workers.drain(..).for_each(|worker| drop(worker.join()));
    }
}

impl Files {
    fn seal_all(&self) {
        let mut state = self.state();
        while !state.closed {
            let Some(gathered) = state.sealing.front().cloned() else {
                state = self.wait(state);
                continue;
            };
            drop(state);
            let written = self.write(&gathered);
            state = self.state();
            match written {
                Ok((first, segment)) => drop(state.segments.insert(first, segment)),
                Err(error) => (state.failed, state.closed) = (Some(error), true),
            }
            state.sealing.pop_front();
            self.turned.notify_all();
        }
    }

    fn write(&self, gathered: &Gathered) -> Result<(u64, Segment), rocksdb::Error> {
        let ends = gathered.first_key_value().zip(gathered.last_key_value());
        let ((first, _), (last, _)) = ends.expect("nothing is not handed over");
        let path = self.dir.join(format!("{first}.sst"));
        let mut file = SstFileWriter::create(&self.options);
        file.open(&path)?;
        gathered.iter().try_for_each(|(id, body)| file.put(id.to_be_bytes(), body))?;
        file.finish()?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.db.ingest_external_file_cf_opts(family(&self.db, BLOCK), &options, vec![&path])?;
        Ok((*first, Segment { last: *last, live: gathered.len(), gone: 0, dead: Vec::new() }))
    }

    fn mend_all(&self) {
        let mut state = self.state();
        while !state.closed {
            let (dead, thin) = match state.tidy {
                true => state.due(),
                false => Default::default(),
            };
            state.mending = !dead.is_empty() || !thin.is_empty();
            if !state.mending {
                state = self.wait(state);
                continue;
            }
            drop(state);
            let mended = self.delete(&dead).and_then(|()| thin.into_iter().map(|run| self.mend(run)).collect());
            state = self.state();
            match mended {
                Ok(mended) => state.segments.extend::<Run>(mended),
                Err(error) => (state.failed, state.closed) = (Some(error), true),
            }
            self.turned.notify_all();
        }
    }

    fn delete(&self, dead: &[Range<u64>]) -> Result<(), rocksdb::Error> {
        let family = family(&self.db, BLOCK);
        let mut dead = dead.iter().map(|dead| (dead.start.to_be_bytes(), (dead.end - 1).to_be_bytes()));
        dead.try_for_each(|(first, last)| self.db.delete_file_in_range_cf(family, first, last))
    }

    /// What lives of these becomes one.
    fn mend(&self, run: Run) -> Result<(u64, Segment), rocksdb::Error> {
        let family = family(&self.db, BLOCK);
        let mut marks = WriteBatch::default();
        for dead in run.values().flat_map(|segment| &segment.dead) {
            marks.delete_range_cf(family, dead.start.to_be_bytes(), dead.end.to_be_bytes());
        }
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        self.db.write_opt(marks, &unlogged)?;
        let ends = run.first_key_value().zip(run.last_key_value());
        let ((first, _), (_, Segment { last, .. })) = ends.expect("a run is of one at least");
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        self.db.compact_range_cf_opt(family, Some(first.to_be_bytes()), Some(last.to_be_bytes()), &options);
        let live = run.values().map(|segment| segment.live).sum();
        Ok((*first, Segment { last: *last, live, gone: 0, dead: Vec::new() }))
    }

    fn said(&self, state: &State) -> Result<()> {
        let failed = state.failed.clone().map_or(Ok(()), Err);
        failed.map_err(|e| damaged(&self.dir, e)).doing("write blocks of the state")
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.turned.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn hand_over(&mut self) {
        self.bytes = 0;
        let gathered = std::mem::take(&mut self.gathered);
        if !gathered.is_empty() {
            self.sealing.push_back(Arc::new(gathered));
        }
    }

    /// It is needed no more.
    fn bury(&mut self, id: u64) {
        match self.gathered.remove(&id) {
            Some(body) => self.bytes -= body.len(),
            None => drop(self.buried.insert(id)),
        }
    }

    /// What is to be deleted, and what is to move together, once all is noted that is dead.
    fn due(&mut self) -> (Vec<Range<u64>>, Vec<Run>) {
        self.take_note();
        (self.dead(), self.thin())
    }

    /// Of what is buried and has a file by now.
    fn take_note(&mut self) {
        let first = |gathered: &Arc<Gathered>| gathered.first_key_value().map(|(id, _)| *id);
        let sealed = self.sealing.front().and_then(first).unwrap_or(u64::MAX);
        let later = self.buried.split_off(&sealed);
        for id in std::mem::replace(&mut self.buried, later) {
            self.segments.range_mut(..=id).next_back().expect("it was put into a file").1.bury(id);
        }
    }

    /// Takes out the segments that nobody needs; neighbours go together.
    fn dead(&mut self) -> Vec<Range<u64>> {
        let mut dead: Vec<Range<u64>> = Vec::new();
        let mut apart = true;
        self.segments.retain(|first, segment| {
            match dead.last_mut() {
                _ if segment.live > 0 => {}
                Some(before) if !apart => before.end = segment.last + 1,
                _ => dead.push(*first..segment.last + 1),
            }
            apart = segment.live > 0;
            apart
        });
        dead
    }

    /// Takes out what is to move together: segments that are mostly dead, and neighbours where there are too many.
    fn thin(&mut self) -> Vec<Run> {
        let thin = self.segments.extract_if(.., |_, segment| segment.gone > segment.live).take(AT_ONCE);
        let mut runs: Vec<Run> = thin.map(|segment| Run::from([segment])).collect();
        if self.segments.len() > SEGMENTS_MAX {
            let all: Vec<(u64, usize)> = self.segments.iter().map(|(first, segment)| (*first, segment.live)).collect();
            let live = |run: &&[(u64, usize)]| run.iter().map(|(_, live)| live).sum::<usize>();
            if let Some([(first, _), .., (last, _)]) = all.windows(NEIGHBOURS).min_by_key(live) {
                runs.push(self.segments.extract_if(first..=last, |_, _| true).collect());
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;
    use crate::state::BlockStore;

    /// A checkpoint.
    fn name(store: &Store) {
        let dead = store.segments.begin_naming();
        store.segments.end_naming(dead).expect("it goes on");
    }

    /// Waits until nothing is to be deleted or moved.
    fn settle(store: &Store) {
        for _ in 0..10_000 {
            let state = store.segments.files.state();
            let sealed = state.sealing.is_empty();
            let mended = |segment: &Segment| segment.live > 0 && segment.gone <= segment.live;
            let few = state.segments.len() <= SEGMENTS_MAX;
            if !state.mending && state.buried.is_empty() && sealed && few && state.segments.values().all(mended) {
                return;
            }
            drop(state);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("too many files, or what is dead is still there");
    }

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
        for round in 0..200 {
            for _ in 0..below(20) {
                let body: Vec<u8> = (0..1 + below(5_000)).map(|_| below(256) as u8).collect();
                let id = store.put(body.clone()).expect("written");
                assert!(live.last_key_value().is_none_or(|(last, _)| *last < id), "numbers grow");
                live.insert(id, body);
            }
            if round % 3 != 0 {
                store.segments.seal().expect("sealed");
            }
            // Most die young; some live long; sometimes all go.
            let dies = if round % 90 == 89 { 1 } else { 4 };
            let dead: Vec<u64> = live.keys().copied().filter(|_| below(dies) == 0).collect();
            dead.iter().for_each(|id| drop(live.remove(id)));
            dead.into_iter().for_each(|id| store.segments.forget(id));
            if round % 4 == 0 {
                name(&store);
                settle(&store);
            }
            if round % 50 == 49 {
                store.segments.seal().expect("sealed");
                name(&store);
                settle(&store);
                let (dir, needed) = (dir.path().join("incoming"), live.keys().copied().collect::<Vec<_>>());
                let options = store.segments.files.options.clone();
                store.segments = Segments::open(store.db.clone(), dir, options, &needed).expect("opens");
            }
            for (id, body) in live.iter().filter(|_| below(10) == 0) {
                assert_eq!(&store.get(*id).expect("there")[..], &body[..], "round {round}");
            }
        }
        for (id, body) in &live {
            assert_eq!(&store.get(*id).expect("there")[..], &body[..]);
        }
        store.segments.seal().expect("sealed");
        name(&store);
        settle(&store);
        let needed: usize = live.values().map(Vec::len).sum();
        assert!(store.disk_bytes() < 3 * needed as u64 + 100_000, "{} for {needed}", store.disk_bytes());
        let all: Vec<u64> = live.into_keys().collect();
        all.iter().for_each(|id| store.segments.forget(*id));
        settle(&store);
        assert!(store.get(all[0]).is_ok(), "the last checkpoint may name it");
        name(&store);
        settle(&store);
        assert!(store.get(all[0]).is_err(), "its file is gone");

        let young: Vec<u64> = (0..100).map(|_| store.put(vec![0; 1_000]).expect("written")).collect();
        store.segments.seal().expect("sealed");
        young.iter().for_each(|id| store.segments.forget(*id));
        store.segments.files.turned.notify_all();
        settle(&store);
        assert!(store.get(young[0]).is_err(), "no checkpoint can name it");
    }
}
