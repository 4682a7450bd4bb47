//! A batch: sorted rows in blocks, never changed once built. A cursor walks it.
//!
//! A key is a prefix of a row: columns end by themselves (`row::Codec`), so that the rows of a key are those
//! that begin with its bytes, and they stand together.

use super::block::{BLOCK_BYTES, Block, Builder};
use super::bodies::{Bodies, Slot};
use super::head::{Head, Homes};
use crate::error::Result;
use crate::row::{Diff, Rows, compare, lead};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

#[derive(Default)]
pub struct Batch {
    slots: Vec<Arc<Slot>>,
    /// The lead of each slot's first row: where to look, without touching the slots.
    leads: Vec<u128>,
    rows: usize,
    negative: usize,
    /// The last row, once somebody has asked.
    last: OnceLock<Box<[u8]>>,
    homes: Homes,
}

impl Batch {
    /// From rows in any order.
    pub fn of(rows: &Rows, bodies: &Arc<Bodies>) -> Batch {
        let mut builder = BatchBuilder::new(bodies.clone());
        rows.consolidate_into(|row, diff| builder.push(row, diff));
        builder.finish()
    }

    pub fn of_slots(slots: Vec<Arc<Slot>>) -> Batch {
        let leads = slots.iter().map(|slot| lead(slot.first())).collect();
        let rows = slots.iter().map(|slot| slot.rows()).sum();
        let negative = slots.iter().map(|slot| slot.extent().negative as usize).sum();
        Batch { slots, leads, rows, negative, last: OnceLock::new(), homes: Homes::default() }
    }

    /// That was made of these, which are still there.
    pub fn made_of(self, parts: &[Arc<Batch>]) -> Batch {
        Batch { homes: Homes::of(parts.iter().map(|part| &part.homes)), ..self }
    }

    /// The numbers of the heads under which the store has it. What is not there yet is put there, bodies included.
    pub fn stored(&self, bodies: &Arc<Bodies>) -> Result<Vec<u64>> {
        self.homes.heads(&self.slots, bodies)
    }

    /// As it was stored under this number; no body is read.
    pub fn restore(id: u64, bodies: &Arc<Bodies>) -> Result<Batch> {
        let (head, slots) = Head::restore(id, bodies)?;
        Ok(Batch { homes: Homes::stored(head), ..Batch::of_slots(slots) })
    }

    /// The numbers of the bodies that a stored head names.
    pub fn names(head: &[u8]) -> Result<Vec<u64>> {
        Head::names(head)
    }

    /// Whether a checkpoint has it, or will have it once it is written.
    pub fn promised(&self) -> bool {
        self.homes.promised()
    }

    pub fn promise(&self) {
        self.homes.promise();
    }

    /// What the store has of it, before it packs it.
    pub fn bytes_on_disk(&self) -> usize {
        self.homes.bytes()
    }

    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many of the rows take back.
    pub fn negative(&self) -> usize {
        self.negative
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Stands before the first row.
    pub fn cursor(&self) -> Cursor<'_> {
        let mut cursor = Cursor { batch: self, slot: 0, block: None, at: 0 };
        cursor.enter(0);
        cursor
    }

    /// Whether there is a row that is not less than `key`: cheap, where keys only grow and most lie behind.
    pub fn reaches(&self, key: &[u8]) -> bool {
        let Some(slot) = self.slots.last() else { return false };
        let last = self.last.get_or_init(|| {
            let block = slot.block();
            block.row(block.rows() - 1).into()
        });
        compare(last, key).is_ge()
    }

    /// Stands at the first row that is not less than `key`; touches no slot before it.
    pub fn seek(&self, key: &[u8]) -> Cursor<'_> {
        let mut cursor = Cursor { batch: self, slot: 0, block: None, at: 0 };
        if !self.slots.is_empty() {
            cursor.enter(cursor.slot_of(key));
            cursor.seek(key);
        }
        cursor
    }

    /// The rows that are less than `key`, and the others. Blocks are shared, but for the one that is cut.
    pub fn split(&self, key: &[u8], bodies: &Arc<Bodies>) -> [Batch; 2] {
        let at = self.slots.partition_point(|slot| slot.first() < key);
        let (mut less, mut others) = (self.slots[..at].to_vec(), self.slots[at..].to_vec());
        if let Some(block) = less.last().map(|slot| slot.glance()) {
            let cut = block.seek(0, key);
            if cut < block.rows() {
                let part = |rows: Range<usize>| {
                    let mut builder = BatchBuilder::new(bodies.clone());
                    builder.extend(&block, rows);
                    builder.finish().slots
                };
                less.pop();
                less.extend(part(0..cut));
                others.splice(0..0, part(cut..block.rows()));
            }
        }
        [less, others].map(Batch::of_slots)
    }

    /// These rows, and behind them the others.
    pub fn followed_by(&self, others: &Batch) -> Batch {
        Batch::of_slots(self.slots.iter().chain(&others.slots).cloned().collect())
    }

    /// The rows that pass.
    pub fn filter(&self, pass: impl Fn(&[u8]) -> bool, bodies: &Arc<Bodies>) -> Batch {
        let (mut cursor, mut builder) = (self.cursor(), BatchBuilder::new(bodies.clone()));
        while let Some((row, diff)) = cursor.row() {
            if pass(row) {
                builder.push(row, diff);
            }
            cursor.step();
        }
        builder.finish()
    }
}

/// A place in a batch. It only moves forward.
pub struct Cursor<'a> {
    batch: &'a Batch,
    slot: usize,
    /// `None` behind the last row.
    block: Option<Arc<Block>>,
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    pub fn row(&self) -> Option<(&[u8], Diff)> {
        self.block.as_ref().map(|block| (block.row(self.at), block.diff(self.at)))
    }

    #[inline]
    pub fn step(&mut self) {
        self.at += 1;
        if self.block.as_ref().is_some_and(|block| self.at == block.rows()) {
            self.enter(self.slot + 1);
        }
    }

    /// To the first row that is not less than `key`, if that is ahead.
    pub fn seek(&mut self, key: &[u8]) {
        if self.block.is_none() {
            return;
        }
        let slot = self.slot_of(key);
        if slot != self.slot {
            self.enter(slot);
        }
        let block = self.block.as_ref().expect("there is a slot for every key");
        self.at = block.seek(self.at, key);
        if self.at == block.rows() {
            self.enter(slot + 1);
        }
    }

    /// The last slot from here on whose first row is less than `key`, or this one.
    #[inline]
    fn slot_of(&self, key: &[u8]) -> usize {
        let (leads, lead) = (&self.batch.leads[self.slot..], lead(key));
        if leads.get(1).is_none_or(|next| lead < *next) {
            return self.slot;
        }
        let mut step = 1;
        while step < leads.len() && leads[step] < lead {
            step *= 2;
        }
        let from = step / 2;
        let to = leads.len().min(step + 1);
        let mut found = from + leads[from..to].partition_point(|first| *first < lead);
        // Slots of the very same lead are told apart by their whole first rows.
        while found < leads.len() && leads[found] == lead && self.batch.slots[self.slot + found].first() < key {
            found += 1;
        }
        self.slot + found.saturating_sub(1)
    }

    fn enter(&mut self, slot: usize) {
        self.slot = slot;
        self.at = 0;
        self.block = self.batch.slots.get(slot).map(|slot| slot.block());
    }
}

/// The rows of batches that are one arrangement together, in order, each once; nothing is made of them.
pub struct Walk<'a> {
    batches: Vec<Cursor<'a>>,
    row: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub fn over(batches: &'a [Arc<Batch>]) -> Walk<'a> {
        Walk { batches: batches.iter().map(|batch| batch.cursor()).collect(), row: Vec::new() }
    }

    pub fn advance(&mut self) -> Option<(&[u8], Diff)> {
        loop {
            let rows = self.batches.iter().filter_map(|batch| batch.row().map(|(row, _)| row));
            let least = rows.min_by(|a, b| compare(a, b))?;
            self.row.clear();
            self.row.extend_from_slice(least);
            let mut sum = 0;
            for batch in &mut self.batches {
                if let Some(diff) = batch.row().filter(|(row, _)| *row == self.row).map(|(_, diff)| diff) {
                    sum += diff;
                    batch.step();
                }
            }
            if sum != 0 {
                return Some((&self.row, sum));
            }
        }
    }
}

/// Builds a batch from rows that come in order, each once.
pub struct BatchBuilder {
    bodies: Arc<Bodies>,
    slots: Vec<Arc<Slot>>,
    open: Builder,
}

impl BatchBuilder {
    pub fn new(bodies: Arc<Bodies>) -> BatchBuilder {
        BatchBuilder { bodies, slots: Vec::new(), open: Builder::default() }
    }

    #[inline]
    pub fn push(&mut self, row: &[u8], diff: Diff) {
        self.open.push(row, diff);
        // What stays behind is half a block, so that no block is small where there are rows enough.
        if self.open.size() >= BLOCK_BYTES + BLOCK_BYTES / 2 {
            self.cut(BLOCK_BYTES);
        }
    }

    /// These rows of a block of another batch.
    pub fn extend(&mut self, block: &Block, rows: Range<usize>) {
        self.open.extend(block, rows);
        while self.open.size() >= BLOCK_BYTES + BLOCK_BYTES / 2 {
            self.cut(BLOCK_BYTES);
        }
    }

    /// A whole block of another batch, which is kept as it is.
    pub fn push_slot(&mut self, slot: Arc<Slot>) {
        self.cut(usize::MAX);
        self.slots.push(slot);
    }

    /// Whether a slot can be taken as it is, without leaving small blocks behind.
    pub fn takes(&self, slot: &Slot) -> bool {
        let whole = |size: usize| size >= BLOCK_BYTES / 2;
        whole(slot.size()) && (self.open.is_empty() || whole(self.open.size()))
    }

    pub fn finish(mut self) -> Batch {
        self.cut(usize::MAX);
        Batch::of_slots(self.slots)
    }

    fn cut(&mut self, bytes: usize) {
        if !self.open.is_empty() {
            let first = self.open.first().to_vec();
            let block = self.open.cut(bytes);
            self.slots.push(self.bodies.keep(&first, block));
        }
    }
}
