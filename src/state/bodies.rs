//! Where the bodies of blocks are: in memory under one budget, the rest in a [`BlockStore`].
//!
//! A [`Slot`] stands for a block wherever its body is: batches hold slots, and a body that is asked for and
//! not in memory is fetched. When the budget is reached, something is put out: first what is new and nobody has
//! asked for since, then what nobody has asked for of late; what the store does not have yet is written first.
//!
//! Invariants:
//! - A body that the last checkpoint names is deleted only after one that names it no longer: what nobody holds any
//!   more is said to the store, which knows ([`BlockStore::forget`]).
//! - A body that cannot be read ends its thread with the error: going on would publish a doubt.

use super::block::Block;
use crate::error::Result;
use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

/// What is new takes this part of the memory, where others want it.
const NEW_SHARE: usize = 12;

/// One of so many that are read stays as if it had been asked for before.
const STAYS: usize = 16;

/// Keeps bodies, and heads of batches, by number. What it was given may be lost in a crash until a checkpoint
/// has been written.
pub trait BlockStore: Send + Sync {
    /// Gives its number: always a greater one.
    fn put(&self, body: Vec<u8>) -> Result<u64>;
    fn get(&self, id: u64) -> Result<Body<'_>>;
    /// Nobody holds it any more; only the last checkpoint may still name it.
    fn forget(&self, id: u64);
}

/// What a store has under a number, wherever it is.
pub type Body<'a> = Box<dyn Deref<Target = [u8]> + 'a>;

/// Something that the store has, for as long as this lives.
pub struct Stored {
    id: u64,
    bodies: Arc<Bodies>,
}

impl Stored {
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.bodies.store().forget(self.id);
    }
}

/// How much a block is.
#[derive(Clone, Copy)]
pub struct Extent {
    pub rows: u32,
    /// So many of the rows take back.
    pub negative: u32,
    /// What it takes in memory.
    pub size: u32,
}

/// A block, wherever its body is.
pub struct Slot {
    first: Box<[u8]>,
    extent: Extent,
    stored: OnceLock<Arc<Stored>>,
    held: Mutex<Option<Arc<Block>>>,
    touched: AtomicBool,
    bodies: Arc<Bodies>,
}

impl Slot {
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    pub fn extent(&self) -> Extent {
        self.extent
    }

    pub fn rows(&self) -> usize {
        self.extent.rows as usize
    }

    /// What the body takes in memory.
    pub fn size(&self) -> usize {
        self.extent.size as usize
    }

    pub fn resident(&self) -> bool {
        self.body().is_some()
    }

    /// The body for one who reads all of a batch once: what was not in memory does not stay there.
    pub fn glance(&self) -> Arc<Block> {
        let held = self.body().clone();
        held.unwrap_or_else(|| Arc::new(self.read()))
    }

    pub fn block(self: &Arc<Slot>) -> Arc<Block> {
        if let Some(block) = self.body().as_ref() {
            if !self.touched.load(Relaxed) {
                self.touched.store(true, Relaxed);
            }
            return block.clone();
        }
        let block = Arc::new(self.read());
        {
            let mut body = self.body();
            if let Some(block) = body.as_ref() {
                return block.clone();
            }
            *body = Some(block.clone());
        }
        self.bodies.admit(self, Clock::read);
        block
    }

    /// The body as the store has it; it is put there if it is not.
    pub fn stored(&self) -> Result<Arc<Stored>> {
        let body = self.body();
        if let Some(stored) = self.stored.get() {
            return Ok(stored.clone());
        }
        let block = body.as_ref().expect("a body is in memory or in the store");
        let stored = Arc::new(self.bodies.put(block.write())?);
        Ok(self.stored.get_or_init(|| stored).clone())
    }

    fn read(&self) -> Block {
        let id = self.stored.get().expect("what is not in memory is in the store").id();
        let block = self.bodies.get(id).and_then(|written| Block::read(&written));
        block.unwrap_or_else(|error| panic!("{error}"))
    }

    fn body(&self) -> MutexGuard<'_, Option<Arc<Block>>> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.held.get_mut().is_ok_and(|body| body.is_some()) {
            self.bodies.resident.fetch_sub(self.size(), Relaxed);
        }
    }
}

/// Who has a body in memory, the longest first.
#[derive(Default)]
struct Clock {
    /// What merges have made and probes have read, and nobody has asked for since: much that nobody will, or not
    /// before there is no room for it.
    new: VecDeque<Weak<Slot>>,
    asked: VecDeque<Weak<Slot>>,
    reads: usize,
    /// Those that are gone are cleared away when there are so many in all.
    clear_at: usize,
}

impl Clock {
    fn len(&self) -> usize {
        self.new.len() + self.asked.len()
    }

    fn made(&mut self, slot: Weak<Slot>) {
        self.new.push_back(slot);
        self.clear();
    }

    /// Few of what is read stay at once: where more is asked for in turn than there is room for, the same part of it
    /// stays, and not always what is asked for last; and when something else is asked for, it takes over.
    fn read(&mut self, slot: Weak<Slot>) {
        self.reads += 1;
        let stays = self.reads.is_multiple_of(STAYS);
        let queue = if stays { &mut self.asked } else { &mut self.new };
        queue.push_back(slot);
        self.clear();
    }

    fn clear(&mut self) {
        if self.len() > self.clear_at {
            let there = |slot: &Weak<Slot>| slot.strong_count() > 0;
            self.new.retain(there);
            self.asked.retain(there);
            self.clear_at = 1024 + 2 * self.len();
        }
    }

    /// Takes out the first that was not touched since it was seen last; but so many at most are `spared`.
    fn unused(&mut self, spared: &mut usize) -> Option<Arc<Slot>> {
        loop {
            let many_new = self.new.len() > self.len() / NEW_SHARE;
            let queue = if many_new { &mut self.new } else { &mut self.asked };
            let slot = queue.pop_front()?;
            let Some(slot) = slot.upgrade() else { continue };
            if *spared == 0 || !slot.touched.swap(false, Relaxed) {
                return Some(slot);
            }
            *spared -= 1;
            self.asked.push_back(Arc::downgrade(&slot));
        }
    }
}

pub struct Bodies {
    store: Option<Arc<dyn BlockStore>>,
    budget: AtomicUsize,
    resident: AtomicUsize,
    clock: Mutex<Clock>,
}

impl Bodies {
    /// All in memory, whatever it takes.
    pub fn resident_only() -> Arc<Bodies> {
        Bodies::new(None, usize::MAX)
    }

    pub fn new(store: Option<Arc<dyn BlockStore>>, budget: usize) -> Arc<Bodies> {
        Arc::new(Bodies {
            store,
            budget: AtomicUsize::new(budget),
            resident: AtomicUsize::new(0),
            clock: Mutex::default(),
        })
    }

    pub fn keep(self: &Arc<Bodies>, first: &[u8], block: Block) -> Arc<Slot> {
        let (rows, negative, size) = (block.rows() as u32, block.negative() as u32, block.size() as u32);
        let slot = Arc::new(Slot {
            first: first.into(),
            extent: Extent { rows, negative, size },
            stored: OnceLock::new(),
            held: Mutex::new(Some(Arc::new(block))),
            touched: AtomicBool::new(false),
            bodies: self.clone(),
        });
        self.admit(&slot, Clock::made);
        slot
    }

    /// A slot whose body is in the store.
    pub fn restore(self: &Arc<Bodies>, first: &[u8], extent: Extent, body: Arc<Stored>) -> Arc<Slot> {
        Arc::new(Slot {
            first: first.into(),
            extent,
            stored: OnceLock::from(body),
            held: Mutex::new(None),
            touched: AtomicBool::new(false),
            bodies: self.clone(),
        })
    }

    /// What all bodies in memory take.
    pub fn resident(&self) -> usize {
        self.resident.load(Relaxed)
    }

    pub fn put(self: &Arc<Bodies>, body: Vec<u8>) -> Result<Stored> {
        Ok(self.claim(self.store().put(body)?))
    }

    pub fn get(&self, id: u64) -> Result<Body<'_>> {
        self.store().get(id)
    }

    fn store(&self) -> &dyn BlockStore {
        self.store.as_deref().expect("only who has a store puts bodies there")
    }

    /// Takes up what the store has.
    pub fn claim(self: &Arc<Bodies>, id: u64) -> Stored {
        Stored { id, bodies: self.clone() }
    }

    /// As much as may be in memory from now on.
    pub fn allow(&self, budget: usize) {
        self.budget.store(budget, Relaxed);
        if self.resident() > budget {
            self.make_room();
        }
    }

    fn admit(&self, slot: &Arc<Slot>, take: fn(&mut Clock, Weak<Slot>)) {
        let resident = self.resident.fetch_add(slot.size(), Relaxed) + slot.size();
        if self.store.is_none() {
            return;
        }
        take(&mut self.clock(), Arc::downgrade(slot));
        if resident > self.budget.load(Relaxed) {
            self.make_room();
        }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Puts out what was not used since the last round, until the budget holds.
    fn make_room(&self) {
        let mut spared = self.clock().len();
        while self.resident() > self.budget.load(Relaxed) {
            // Written while others go on.
            let Some(slot) = self.clock().unused(&mut spared) else { return };
            if let Err(error) = slot.stored() {
                panic!("{error}");
            }
            if slot.body().take().is_some() {
                self.resident.fetch_sub(slot.size(), Relaxed);
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::block::Builder;
    use super::*;

    /// Keeps what it is given, and counts what it is asked for.
    #[derive(Default)]
    pub struct Counting {
        pub bodies: Mutex<Vec<Vec<u8>>>,
        asked: AtomicUsize,
    }

    impl BlockStore for Counting {
        fn put(&self, body: Vec<u8>) -> Result<u64> {
            let mut bodies = self.bodies.lock().expect("nobody dies holding it");
            bodies.push(body);
            Ok(bodies.len() as u64 - 1)
        }

        fn get(&self, id: u64) -> Result<Body<'_>> {
            self.asked.fetch_add(1, Relaxed);
            Ok(Box::new(self.bodies.lock().expect("nobody dies holding it")[id as usize].clone()))
        }

        fn forget(&self, _: u64) {}
    }

    fn block(number: u8) -> Block {
        let mut builder = Builder::default();
        builder.push(&[number; 1_000], 1);
        builder.cut(usize::MAX)
    }

    #[test]
    fn what_is_only_made_does_not_put_out_what_is_asked_for() {
        let store = Arc::new(Counting::default());
        let bodies = Bodies::new(Some(store.clone()), 20 * block(0).size());
        let asked_for: Vec<_> = (0..10).map(|number| bodies.keep(&[number], block(number))).collect();
        for _ in 0..50 {
            asked_for.iter().for_each(|slot| drop(slot.block()));
            // Much more than there is room for, read once by a merge.
            let made: Vec<_> = (0..100).map(|number| bodies.keep(&[number], block(number))).collect();
            made.iter().for_each(|slot| drop(slot.glance()));
            assert!(bodies.resident() <= 20 * block(0).size(), "the budget holds");
        }
        for (number, slot) in asked_for.iter().enumerate() {
            assert!(slot.resident(), "{number} was put out");
            assert_eq!(*slot.block(), block(number as u8));
        }
        let glanced = store.asked.load(Relaxed);
        assert!(glanced <= 50 * 100, "{glanced} reads: more than those of what was only made");
    }

    #[test]
    fn of_what_is_asked_for_in_turn_the_part_stays_that_there_is_room_for() {
        let store = Arc::new(Counting::default());
        let bodies = Bodies::new(Some(store.clone()), 100 * block(0).size());
        let turn = |slots: &[Arc<Slot>]| {
            let before = store.asked.load(Relaxed);
            slots.iter().for_each(|slot| drop(slot.block()));
            store.asked.load(Relaxed) - before
        };
        let keep = |number: u8| bodies.keep(&[number], block(number));
        let slots: Vec<_> = (0..130).map(keep).collect();
        for _ in 0..100 {
            turn(&slots);
        }
        let reads = turn(&slots);
        assert!(reads < 60, "{reads} of 130 were read again, with room for 100");
        // Something else is asked for.
        let others: Vec<_> = (100..190).map(keep).collect();
        for _ in 0..100 {
            turn(&others);
        }
        let reads = turn(&others);
        assert!(reads < 10, "{reads} of 90 were read again, with room for 100");
    }
}
