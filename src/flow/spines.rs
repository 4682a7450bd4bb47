//! The state of a dataflow: where it is kept, and what of it is there already.

use super::stream::owner;
use crate::row::Clock;
use crate::state::{Arrangements, Batches, Bodies, Spine};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What a dataflow begins with, for all workers.
#[derive(Clone)]
pub(super) struct Kept {
    pub bodies: Arc<Bodies>,
    /// What all workers had when it was kept, by name, and what the clock said; `None` where the dataflow begins anew.
    pub from: Option<(Arc<Arrangements>, Clock)>,
    /// What of a dataflow before serves one that begins anew.
    pub before: Arc<Arrangements>,
}

/// The spines of a worker.
pub(super) struct Spines {
    kept: Kept,
    worker: usize,
    workers: usize,
    named: Vec<(String, Rc<RefCell<Spine>>)>,
    /// Of the dataflow before.
    outlived: Vec<Rc<RefCell<Spine>>>,
}

impl Spines {
    pub fn new(kept: Kept, worker: usize, workers: usize) -> Spines {
        Spines { kept, worker, workers, named: Vec::new(), outlived: Vec::new() }
    }

    /// Whether the dataflow goes on; or it begins anew.
    pub fn go_on(&self) -> bool {
        self.kept.from.is_some()
    }

    pub fn clock(&self) -> Clock {
        self.kept.from.as_ref().map_or(Clock::UNREAD, |(_, clock)| *clock)
    }

    /// How many there are of a model.
    pub fn of(&self, model: &str) -> usize {
        self.named.iter().filter(|(name, _)| name.starts_with(model)).count()
    }

    /// The spine of this name: what was kept of it for this worker. `key` is by what rows are shared out.
    pub fn spine(&mut self, name: String, key: impl Fn(&[u8]) -> &[u8]) -> Rc<RefCell<Spine>> {
        let kept = |(from, _): &(Arc<Arrangements>, Clock)| {
            from.by_name.get(&name).cloned().expect("it is the dataflow that was kept")
        };
        let spine = self.share(self.kept.from.as_ref().map(kept), key);
        self.named.push((name, spine.clone()));
        spine
    }

    /// What the dataflow before had under this name, until this one is first kept.
    pub fn outlived(&mut self, name: &str, key: impl Fn(&[u8]) -> &[u8]) -> Rc<RefCell<Spine>> {
        let spine = self.share(self.kept.before.by_name.get(name).cloned(), key);
        self.outlived.push(spine.clone());
        spine
    }

    /// This worker's share of what all had.
    fn share(&self, kept: Option<Vec<Batches>>, key: impl Fn(&[u8]) -> &[u8]) -> Rc<RefCell<Spine>> {
        let batches = match kept {
            None => Vec::new(),
            Some(kept) if kept.len() == self.workers => kept[self.worker].to_vec(),
            Some(kept) => {
                let own = |row: &[u8]| owner(key(row), self.workers) == self.worker;
                let batches = kept.iter().flat_map(|batches| batches.iter());
                batches.map(|batch| Arc::new(batch.filter(own, &self.kept.bodies))).collect()
            }
        };
        Rc::new(RefCell::new(Spine::restore(batches, self.kept.bodies.clone())))
    }

    /// All have been built: nobody holds what was kept.
    pub fn built(&mut self) {
        (self.kept.from, self.kept.before) = (None, Arc::default());
    }

    /// All of them, for a checkpoint; what is left of the dataflow before goes.
    pub fn pin(&mut self) -> Vec<(String, Batches)> {
        for spine in self.outlived.drain(..) {
            spine.replace(Spine::new(self.kept.bodies.clone()));
        }
        self.named.iter().map(|(name, spine)| (name.clone(), spine.borrow().pin())).collect()
    }
}
