//! A spine: one arrangement as batches of growing age, merged so that they stay few.
//!
//! ```text
//!   oldest ───────────────────────────► youngest
//!   [ 9.1 M ] [ 1.2 M ] [ 160 k ] [ 20 k ] [ 300 ] ← insert
//!                └── being merged, elsewhere ──┘
//! ```
//!
//! Sizes have classes, each four times the one before. Neighbours that together reach the next class become
//! one: so there are a few batches of each class, and a row is written once for each. Small merges are done at
//! once; large ones elsewhere, while readers go on with what they have: a batch never changes, and whoever holds
//! a list of batches holds a state that stays as it is. A spine that falls behind its merges waits for them, so that
//! the number of batches has a bound.
//!
//! What took rows back lies beside them until they meet in a merge: when a third of all rows would go, all are merged.
//! The largest merges are done piece by piece, from the least row on, and what a piece was made of is let go: an
//! arrangement never takes twice its memory.
//!
//! What a checkpoint has and what none has yet are merged apart: so what a checkpoint must write is what is new.

use super::batch::Batch;
use super::bodies::Bodies;
use super::merge::{merge, merge_first};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, OnceLock};

/// Merges of fewer rows are done at once: less work than telling another thread.
const ROWS_AT_ONCE: usize = 64 << 10;
/// Merges of more rows have a thread of their own: those of fewer do not wait for them.
const ROWS_MANY: usize = 1 << 20;
/// What is merged in one piece, in bytes.
const PIECE_BYTES: usize = 16 << 20;
/// When one of so many rows would go, all are merged.
const GONE_PART: usize = 3;
/// More batches than this are not gathered while merges run.
const BATCHES_MAX: usize = 32;

pub struct Spine {
    /// The oldest first.
    batches: Vec<Arc<Batch>>,
    /// In the order of the batches.
    merging: Vec<Merging>,
    bodies: Arc<Bodies>,
}

/// These of the batches are being made one.
struct Merging {
    run: Range<usize>,
    result: Receiver<Merged>,
}

/// What became one, and what is left of the batches and still to be merged.
struct Merged {
    done: Arc<Batch>,
    rest: Vec<Arc<Batch>>,
}

/// Batches that together are an arrangement at some time; it stays as it is while the spine goes on.
pub type Batches = Arc<[Arc<Batch>]>;

impl Spine {
    pub fn new(bodies: Arc<Bodies>) -> Spine {
        Spine::restore(Vec::new(), bodies)
    }

    /// As [`Spine::batches`] gave them; nothing is read and nothing merged.
    pub fn restore(batches: Vec<Arc<Batch>>, bodies: Arc<Bodies>) -> Spine {
        Spine { batches, merging: Vec::new(), bodies }
    }

    pub fn bodies(&self) -> &Arc<Bodies> {
        &self.bodies
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn batches(&self) -> Batches {
        self.batches.as_slice().into()
    }

    /// The same, for a checkpoint.
    pub fn pin(&self) -> Batches {
        self.batches.iter().for_each(|batch| batch.promise());
        self.batches()
    }

    pub fn insert(&mut self, batch: Arc<Batch>) {
        if !batch.is_empty() {
            self.batches.push(batch);
        }
        self.tend();
    }

    /// Takes up what was merged, and begins what is due.
    pub fn tend(&mut self) {
        for number in (0..self.merging.len()).rev() {
            self.take_up(number, false);
        }
        loop {
            while let Some(run) = self.due() {
                let batches = self.batches[run.clone()].to_vec();
                if batches.iter().map(|batch| batch.rows()).sum::<usize>() <= ROWS_AT_ONCE {
                    self.replace(run, [Arc::new(merge(&batches, &self.bodies))]);
                } else {
                    self.begin(run, None);
                }
            }
            // The youngest is the smallest.
            let Some(youngest) = self.merging.len().checked_sub(1).filter(|_| self.batches.len() > BATCHES_MAX) else {
                return;
            };
            self.take_up(youngest, true);
        }
    }

    /// Neighbours that are due to become one: the longest run of what is not being merged already.
    fn due(&self) -> Option<Range<usize>> {
        let kept = self.batches.partition_point(|batch| batch.promised());
        let ends = self.merging.iter().map(|merging| merging.run.start).chain([self.batches.len()]);
        let starts = [0].into_iter().chain(self.merging.iter().map(|merging| merging.run.end));
        let free = starts.zip(ends).flat_map(|(start, end)| {
            let middle = kept.clamp(start, end);
            [start..middle, middle..end]
        });
        free.filter_map(|run| self.mostly_gone(&run).then(|| run.clone()).or_else(|| self.due_in(run))).last()
    }

    /// Whether much of these is there only to be taken back by the rest: where they begin with the oldest, in which
    /// it is.
    fn mostly_gone(&self, Range { start, end }: &Range<usize>) -> bool {
        let batches = &self.batches[*start..*end];
        let rows: usize = batches.iter().map(|batch| batch.rows()).sum();
        let gone = 2 * batches.iter().skip(1).map(|batch| batch.negative()).sum::<usize>();
        *start == 0 && rows > ROWS_AT_ONCE && gone * GONE_PART > rows
    }

    /// The longest run up to the end of these that is due.
    fn due_in(&self, Range { start, end }: Range<usize>) -> Option<Range<usize>> {
        let (mut due, mut class, mut rows) = (None, 0, 0);
        for from in (start..end).rev() {
            rows += self.batches[from].rows();
            class = class.max(size_class(self.batches[from].rows()));
            let whole = from == start || size_class(self.batches[from - 1].rows()) > class;
            if whole && size_class(rows) > class {
                due = Some(from..end);
            }
        }
        due
    }

    /// Merges these elsewhere; those behind the first, if that is `done`.
    fn begin(&mut self, run: Range<usize>, done: Option<Arc<Batch>>) {
        let parts = self.batches[run.start + usize::from(done.is_some())..run.end].to_vec();
        let before = self.merging.partition_point(|merging| merging.run.start < run.start);
        self.merging.insert(before, Merging { run, result: elsewhere(done, parts, &self.bodies) });
    }

    /// Gives the run of what stands there now.
    fn replace(&mut self, run: Range<usize>, merged: impl IntoIterator<Item = Arc<Batch>>) -> Range<usize> {
        let merged: Vec<_> = merged.into_iter().filter(|batch| !batch.is_empty()).collect();
        let now = run.start..run.start + merged.len();
        for later in self.merging.iter_mut().filter(|merging| merging.run.start >= run.end) {
            let moved = |at: usize| at + now.end - run.end;
            later.run = moved(later.run.start)..moved(later.run.end);
        }
        self.batches.splice(run, merged);
        now
    }

    /// Puts a finished merge in its place; `wait` for it if it is not.
    fn take_up(&mut self, number: usize, wait: bool) {
        let result = &self.merging[number].result;
        let merged = match wait {
            true => result.recv().map_err(|_| TryRecvError::Disconnected),
            false => result.try_recv(),
        };
        match merged {
            Ok(merged) => {
                let Merging { run, .. } = self.merging.remove(number);
                let Merged { done, rest } = merged;
                let goes_on = !rest.is_empty();
                let run = self.replace(run, std::iter::once(done.clone()).chain(rest));
                if goes_on {
                    self.begin(run, Some(done).filter(|done| !done.is_empty()));
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => panic!("a merge of the state has failed; the log says why"),
        }
    }
}

fn size_class(rows: usize) -> u32 {
    (rows.max(1) as u64).ilog2() / 2
}

type Job = Box<dyn FnOnce() + Send>;

/// Merges on a thread that does nothing else.
fn elsewhere(done: Option<Arc<Batch>>, parts: Vec<Arc<Batch>>, bodies: &Arc<Bodies>) -> Receiver<Merged> {
    static MERGERS: OnceLock<[Sender<Job>; 2]> = OnceLock::new();
    let mergers = MERGERS.get_or_init(|| ["merge", "merge of many"].map(merger));
    let many = done.is_some() || parts.iter().map(|batch| batch.rows()).sum::<usize>() > ROWS_MANY;
    let (finished, result) = channel();
    let bodies = bodies.clone();
    let job: Job = Box::new(move || {
        let (first, rest) = merge_first(&parts, PIECE_BYTES, &bodies);
        let done = match done {
            Some(done) => done.followed_by(&first),
            None => first,
        };
        drop(finished.send(Merged { done: Arc::new(done), rest }));
    });
    mergers[usize::from(many)].send(job).expect("the mergers live as long as the process");
    result
}

fn merger(name: &str) -> Sender<Job> {
    let (jobs, waiting) = channel::<Job>();
    let work = move || waiting.into_iter().for_each(|job| job());
    std::thread::Builder::new().name(name.into()).spawn(work).expect("a thread can be had at the start");
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::row::{Diff, Rows};
    use crate::state::Walk;
    use crate::state::bodies::tests::Counting;
    use std::collections::BTreeMap;

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (self.0 >> 33) % bound
        }
    }

    /// Rows of a width of their own, or of many widths, with leads that differ late or not at all.
    fn row(number: u64, shape: u64) -> Vec<u8> {
        let mut row = vec![1; if shape == 0 { 0 } else { 14 }];
        row.extend_from_slice(&number.to_be_bytes()[4..]);
        if shape == 2 {
            row.resize(row.len() + number as usize % 40, 7);
        }
        row
    }

    #[test]
    fn a_spine_holds_what_a_plain_map_holds_and_finds_it() {
        for seed in 1..60 {
            let mut dice = Dice(seed);
            let (inserts, rows_max, numbers) = match seed % 20 {
                0 => (40, 60_000, 1_000_000),
                _ => (60, 300, 400),
            };
            let bodies = Bodies::resident_only();
            let mut spine = Spine::new(bodies.clone());
            let mut plain: BTreeMap<Vec<u8>, Diff> = BTreeMap::new();
            for _ in 0..dice.below(inserts) {
                let mut rows = Rows::default();
                for _ in 0..dice.below(rows_max) {
                    let (row, diff) = (row(dice.below(numbers), seed % 3), dice.below(5) as Diff - 2);
                    rows.push(&row, diff);
                    *plain.entry(row).or_default() += diff;
                }
                plain.retain(|_, diff| *diff != 0);
                spine.insert(Arc::new(Batch::of(&rows, &bodies)));
            }
            let classes = (plain.len() as u64).max(1).ilog2() / 2 + 1;
            assert!(spine.batches().len() <= 8 * classes as usize + 8, "seed {seed}: too many batches");
            let whole = Arc::new(merge(&spine.batches(), &bodies));
            for batches in [&spine.batches()[..], std::slice::from_ref(&whole)] {
                let (mut walk, mut rows) = (Walk::over(batches), plain.iter());
                while let Some((row, diff)) = walk.advance() {
                    let expected = rows.next().map(|(row, diff)| (row.as_slice(), *diff));
                    assert_eq!(Some((row, diff)), expected, "seed {seed}: another row");
                }
                assert!(rows.next().is_none(), "seed {seed}: rows are missing");
            }

            let mut cursor = whole.cursor();
            let mut number = 0;
            while number < numbers {
                let key = row(number, seed % 3);
                cursor.seek(&key);
                let expected = plain.range(key..).next().map(|(row, diff)| (row.as_slice(), *diff));
                assert_eq!(cursor.row(), expected, "seed {seed}: seeking {number}");
                number += 1 + dice.below(numbers / 50);
            }
            drop(cursor);
            drop((whole, spine));
            assert_eq!(bodies.resident(), 0, "seed {seed}: what nobody holds takes no memory");
        }
    }

    #[test]
    fn what_is_taken_back_takes_little_memory_for_a_short_while() {
        let bodies = Bodies::resident_only();
        let (mut spine, mut dice) = (Spine::new(bodies.clone()), Dice(3));
        let wide = |number: u64, version: u64| {
            let mut row = row(number, 1);
            row.resize(500, version as u8);
            row
        };
        let mut versions = vec![0; 100_000];
        let mut rows = Rows::default();
        versions.iter().zip(0..).for_each(|(version, number)| rows.push(&wide(number, *version), 1));
        spine.insert(Arc::new(Batch::of(&rows, &bodies)));
        let (live, mut most) = (bodies.resident(), 0);
        for _ in 0..150 {
            let mut rows = Rows::default();
            for _ in 0..2_000 {
                let number = dice.below(versions.len() as u64);
                let version = &mut versions[number as usize];
                rows.push(&wide(number, *version), -1);
                *version += 1;
                rows.push(&wide(number, *version), 1);
            }
            spine.insert(Arc::new(Batch::of(&rows, &bodies)));
            while !spine.merging.is_empty() {
                most = most.max(bodies.resident());
                std::thread::yield_now();
                spine.tend();
            }
        }
        let bound = live + live / 2 + 3 * PIECE_BYTES;
        assert!(most <= bound, "{most} bytes for {live} that are there, more than {bound}");
        assert!(most > live + live / 4, "nothing was ever taken back");
        let batches = spine.batches();
        let (mut walk, mut expected) = (Walk::over(&batches), versions.iter().zip(0..));
        while let Some(found) = walk.advance() {
            let row = expected.next().map(|(version, number)| wide(number, *version));
            assert_eq!(Some(found), row.as_deref().map(|row| (row, 1)));
        }
        assert!(expected.next().is_none(), "rows are missing");
    }

    #[test]
    fn rows_in_order_are_written_once() {
        let bodies = Bodies::resident_only();
        let mut spine = Spine::new(bodies.clone());
        let mut first = Vec::new();
        for batch in 0..64u64 {
            let mut rows = Rows::default();
            (0..2_000).for_each(|number| rows.push(&row(batch * 2_000 + number, 1), 1));
            let batch = Arc::new(Batch::of(&rows, &bodies));
            first.extend(batch.slots().first().map(Arc::downgrade));
            spine.insert(batch);
        }
        let kept = first.iter().filter(|slot| slot.upgrade().is_some()).count();
        assert!(kept > 50, "{kept} of 64 blocks were passed on as they are");
    }

    #[test]
    fn checkpoints_write_what_is_new_and_hold_everything() {
        let store = Arc::new(Counting::default());
        let bodies = Bodies::new(Some(store.clone()), usize::MAX);
        let (mut spine, mut dice) = (Spine::new(bodies.clone()), Dice(7));
        let mut given = 0;
        for checkpoint in 0..40 {
            for _ in 0..5 {
                let mut rows = Rows::default();
                (0..4_000).for_each(|_| rows.push(&row(dice.below(1_000_000), 1), 1));
                given += rows.size();
                spine.insert(Arc::new(Batch::of(&rows, &bodies)));
            }
            // One that is given up promises what it does not keep.
            let pinned = spine.pin();
            if dice.below(20) == 0 {
                continue;
            }
            let heads: Vec<u64> =
                pinned.iter().flat_map(|batch| batch.stored(&bodies).expect("it takes all")).collect();
            if checkpoint % 8 == 7 {
                let restored = heads.iter().map(|id| Batch::restore(*id, &bodies).map(Arc::new));
                let restored: Vec<Arc<Batch>> = restored.collect::<Result<_>>().expect("it is there");
                let (mut now, mut then) = (Walk::over(&pinned), Walk::over(&restored));
                while let Some(row) = now.advance() {
                    assert_eq!(then.advance(), Some(row));
                }
                assert_eq!(then.advance(), None);
                assert!(restored.len() < 100, "{} pieces are a long way to a row", restored.len());
            }
        }
        let written: usize = store.bodies.lock().expect("nobody dies holding it").iter().map(Vec::len).sum();
        let times = written as f64 / given as f64;
        assert!(times < 3.0, "each row was written {times} times");
    }
}
