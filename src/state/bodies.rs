//! Where the bodies of blocks are: in memory under one budget, the rest in a [`BlockStore`].
//!
//! A [`Slot`] stands for a block wherever its body is: batches hold slots, and a body that is asked for and
//! not in memory is fetched. What is in memory and was not used of late is put out when the budget is
//! reached; what the store does not have yet is written first.
//!
//! Invariants:
//! - A body that a checkpoint names is deleted only after a checkpoint that names it no longer:
//!   [`Bodies::dead`] collects what nobody holds any more until then.
//! - A body that cannot be read ends its thread with the error: going on would publish a doubt.

use super::block::Block;
use crate::error::Result;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

/// Keeps bodies, and heads of batches, by number. What it was given may be lost in a crash until a checkpoint
/// has been written.
pub trait BlockStore: Send + Sync {
    /// Gives its number: always a greater one.
    fn put(&self, body: Vec<u8>) -> Result<u64>;
    fn get(&self, id: u64) -> Result<Vec<u8>>;
}

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
        self.bodies.dead().push(self.id);
    }
}

/// A block, wherever its body is.
pub struct Slot {
    first: Box<[u8]>,
    rows: u32,
    size: u32,
    stored: OnceLock<Arc<Stored>>,
    held: Mutex<Option<Arc<Block>>>,
    touched: AtomicBool,
    bodies: Arc<Bodies>,
}

impl Slot {
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// What the body takes in memory.
    pub fn size(&self) -> usize {
        self.size as usize
    }

    pub fn resident(&self) -> bool {
        self.body().is_some()
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
        self.bodies.admit(self);
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
        block.unwrap_or_else(|error| std::panic::panic_any(error))
    }

    fn body(&self) -> MutexGuard<'_, Option<Arc<Block>>> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.held.get_mut().is_ok_and(|body| body.is_some()) {
            self.bodies.resident.fetch_sub(self.size as usize, Relaxed);
        }
    }
}

#[derive(Default)]
struct Clock {
    queue: VecDeque<Weak<Slot>>,
    /// Those that are gone are cleared away when there are so many in all.
    clear_at: usize,
}

impl Clock {
    fn push(&mut self, slot: Weak<Slot>) {
        self.queue.push_back(slot);
        if self.queue.len() > self.clear_at {
            self.queue.retain(|slot| slot.strong_count() > 0);
            self.clear_at = 1024 + 2 * self.queue.len();
        }
    }

    /// Takes out the first that was not touched since it was seen last; but so many at most are `spared`.
    fn unused(&mut self, spared: &mut usize) -> Option<Arc<Slot>> {
        loop {
            let slot = self.queue.pop_front()?;
            let Some(slot) = slot.upgrade() else { continue };
            if *spared == 0 || !slot.touched.swap(false, Relaxed) {
                return Some(slot);
            }
            *spared -= 1;
            self.queue.push_back(Arc::downgrade(&slot));
        }
    }
}

pub struct Bodies {
    store: Option<Arc<dyn BlockStore>>,
    budget: AtomicUsize,
    resident: AtomicUsize,
    /// Who has a body in memory, the longest first.
    clock: Mutex<Clock>,
    dead: Mutex<Vec<u64>>,
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
            dead: Mutex::default(),
        })
    }

    pub fn keep(self: &Arc<Bodies>, first: &[u8], block: Block) -> Arc<Slot> {
        let slot = Arc::new(Slot {
            first: first.into(),
            rows: block.rows() as u32,
            size: block.size() as u32,
            stored: OnceLock::new(),
            held: Mutex::new(Some(Arc::new(block))),
            touched: AtomicBool::new(false),
            bodies: self.clone(),
        });
        self.admit(&slot);
        slot
    }

    /// A slot whose body is in the store.
    pub fn restore(self: &Arc<Bodies>, first: &[u8], rows: u32, size: u32, body: Arc<Stored>) -> Arc<Slot> {
        Arc::new(Slot {
            first: first.into(),
            rows,
            size,
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

    /// Numbers of stored bodies that nobody holds any more; the caller may take them.
    pub fn dead(&self) -> MutexGuard<'_, Vec<u64>> {
        self.dead.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn put(self: &Arc<Bodies>, body: Vec<u8>) -> Result<Stored> {
        let store = self.store.as_ref().expect("only what has a store is written to one");
        Ok(self.claim(store.put(body)?))
    }

    pub fn get(&self, id: u64) -> Result<Vec<u8>> {
        self.store.as_ref().expect("what is not in memory is in a store").get(id)
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

    fn admit(&self, slot: &Arc<Slot>) {
        let resident = self.resident.fetch_add(slot.size(), Relaxed) + slot.size();
        if self.store.is_none() {
            return;
        }
        self.clock().push(Arc::downgrade(slot));
        if resident > self.budget.load(Relaxed) {
            self.make_room();
        }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Puts out what was not used since the last round, until the budget holds.
    fn make_room(&self) {
        let mut spared = self.clock().queue.len();
        while self.resident() > self.budget.load(Relaxed) {
            // Written while others go on.
            let Some(slot) = self.clock().unused(&mut spared) else { return };
            if let Err(error) = slot.stored() {
                std::panic::panic_any(error);
            }
            if slot.body().take().is_some() {
                self.resident.fetch_sub(slot.size(), Relaxed);
            }
        }
    }
}
