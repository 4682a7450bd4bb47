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
//! once; large ones by a thread of their own, while readers go on with what they have: a batch never changes, and
//! whoever holds a list of batches holds a state that stays as it is. A spine that falls behind its merges
//! waits for them, so that the number of batches has a bound.

use super::batch::{Batch, merge};
use super::bodies::Bodies;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, OnceLock};

/// Merges of fewer rows are done at once: less work than telling another thread.
const ROWS_AT_ONCE: usize = 64 << 10;
/// More batches than this are not gathered while a merge runs.
const BATCHES_MAX: usize = 32;

pub struct Spine {
    /// The oldest first.
    batches: Vec<Arc<Batch>>,
    merging: Option<Merging>,
    bodies: Arc<Bodies>,
}

/// `batches[from..to]` are being made one.
struct Merging {
    from: usize,
    to: usize,
    result: Receiver<Arc<Batch>>,
}

/// Batches that together are an arrangement at some time; it stays as it is while the spine goes on.
pub type Batches = Arc<[Arc<Batch>]>;

impl Spine {
    pub fn new(bodies: Arc<Bodies>) -> Spine {
        Spine::restore(Vec::new(), bodies)
    }

    /// As [`Spine::batches`] gave them; nothing is read and nothing merged.
    pub fn restore(batches: Vec<Arc<Batch>>, bodies: Arc<Bodies>) -> Spine {
        Spine { batches, merging: None, bodies }
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

    pub fn insert(&mut self, batch: Arc<Batch>) {
        if !batch.is_empty() {
            self.batches.push(batch);
        }
        self.tend();
    }

    /// Takes up what was merged, and begins what is due.
    pub fn tend(&mut self) {
        self.take_up(false);
        while let Some(from) = self.due() {
            let run = self.batches[from..].to_vec();
            let rows: usize = run.iter().map(|batch| batch.rows()).sum();
            if rows <= ROWS_AT_ONCE {
                self.replace(from, self.batches.len(), Arc::new(merge(&run, &self.bodies)));
            } else if self.merging.is_none() {
                self.merging = Some(Merging { from, to: self.batches.len(), result: elsewhere(run, &self.bodies) });
            } else if self.batches.len() < BATCHES_MAX {
                return;
            } else {
                self.take_up(true);
            }
        }
    }

    /// Where the longest run begins, from there to the youngest, that is due to become one.
    fn due(&self) -> Option<usize> {
        let settled = self.merging.as_ref().map_or(0, |merging| merging.to);
        let (mut due, mut class, mut rows) = (None, 0, 0);
        for from in (settled..self.batches.len()).rev() {
            rows += self.batches[from].rows();
            class = class.max(size_class(self.batches[from].rows()));
            let whole = from == settled || size_class(self.batches[from - 1].rows()) > class;
            if whole && size_class(rows) > class {
                due = Some(from);
            }
        }
        due
    }

    fn replace(&mut self, from: usize, to: usize, merged: Arc<Batch>) {
        let merged = (!merged.is_empty()).then_some(merged);
        self.batches.splice(from..to, merged);
    }

    /// Puts a finished merge in its place; `wait` for it if it is not.
    fn take_up(&mut self, wait: bool) {
        let Some(merging) = &self.merging else { return };
        let merged = match wait {
            true => merging.result.recv().map_err(|_| TryRecvError::Disconnected),
            false => merging.result.try_recv(),
        };
        match merged {
            Ok(merged) => {
                let Merging { from, to, .. } = self.merging.take().expect("it was there");
                self.replace(from, to, merged);
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => panic!("a merge of the state has failed; the log says why"),
        }
    }
}

fn size_class(rows: usize) -> u32 {
    (rows.max(1) as u64).ilog2() / 2
}

/// Merges on the one thread that does nothing else.
fn elsewhere(run: Vec<Arc<Batch>>, bodies: &Arc<Bodies>) -> Receiver<Arc<Batch>> {
    type Job = Box<dyn FnOnce() + Send>;
    static MERGER: OnceLock<std::sync::mpsc::Sender<Job>> = OnceLock::new();
    let merger = MERGER.get_or_init(|| {
        let (jobs, waiting) = channel::<Job>();
        let work = move || waiting.into_iter().for_each(|job| job());
        std::thread::Builder::new().name("merge".into()).spawn(work).expect("a thread can be had at the start");
        jobs
    });
    let (done, result) = channel();
    let bodies = bodies.clone();
    let job: Job = Box::new(move || drop(done.send(Arc::new(merge(&run, &bodies)))));
    merger.send(job).expect("the merger lives as long as the process");
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Diff, Rows};
    use crate::state::Walk;
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
}
