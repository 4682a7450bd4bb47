//! A batch: sorted rows in blocks, never changed once built. A cursor walks it; merging makes one of many.
//!
//! A key is a prefix of a row: columns end by themselves (`row::Codec`), so that the rows of a key are those
//! that begin with its bytes, and they stand together.

use super::block::{BLOCK_BYTES, Block, Builder};
use super::bodies::{Bodies, Slot, Stored};
use crate::error::{Error, Result};
use crate::row::{Diff, Rows, compare, lead};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::xxh3_64;

/// Runs of rows longer than this are sought out and copied whole when batches are merged.
const RUN_ROWS: usize = 3;

#[derive(Default)]
pub struct Batch {
    slots: Vec<Arc<Slot>>,
    /// The lead of each slot's first row: where to look, without touching the slots.
    leads: Vec<u128>,
    rows: usize,
    /// The last row, once somebody has asked.
    last: OnceLock<Box<[u8]>>,
    /// Where the store has the head: all that is needed to bring the batch back, bodies aside.
    head: OnceLock<Stored>,
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
        Batch { slots, leads, rows, last: OnceLock::new(), head: OnceLock::new() }
    }

    /// The number of the batch's head in the store. What is not there yet is put there, bodies included.
    pub fn stored(&self, bodies: &Arc<Bodies>) -> Result<u64> {
        if let Some(head) = self.head.get() {
            return Ok(head.id());
        }
        let mut to = Vec::new();
        for slot in &self.slots {
            Written::write(slot, slot.stored()?, &mut to);
        }
        to.extend_from_slice(&xxh3_64(&to).to_le_bytes());
        let head = bodies.put(&to)?;
        let id = head.id();
        let _ = self.head.set(head);
        Ok(id)
    }

    /// As it was stored under this number; no body is read.
    pub fn restore(id: u64, bodies: &Arc<Bodies>) -> Result<Batch> {
        let written = bodies.get(id)?;
        let slots = Written::read(&written)?.into_iter().map(|w| bodies.restore(w.first, w.rows, w.size, w.id));
        let batch = Batch::of_slots(slots.collect());
        let _ = batch.head.set(bodies.claim(id));
        Ok(batch)
    }

    /// The numbers of the bodies that a stored head names.
    pub fn names(head: &[u8]) -> Result<Vec<u64>> {
        Ok(Written::read(head)?.into_iter().map(|written| written.id).collect())
    }

    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    pub fn rows(&self) -> usize {
        self.rows
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

/// A slot as a head has it.
struct Written<'a> {
    id: u64,
    rows: u32,
    size: u32,
    first: &'a [u8],
}

impl Written<'_> {
    fn write(slot: &Slot, id: u64, to: &mut Vec<u8>) {
        to.extend_from_slice(&id.to_le_bytes());
        for number in [slot.rows(), slot.size(), slot.first().len()] {
            to.extend_from_slice(&(number as u32).to_le_bytes());
        }
        to.extend_from_slice(slot.first());
    }

    fn read(head: &[u8]) -> Result<Vec<Written<'_>>> {
        let damaged = || Error::corrupt("a batch of the state does not match its checksum");
        let (mut rest, checksum) = head.split_last_chunk::<8>().ok_or_else(damaged)?;
        if xxh3_64(rest) != u64::from_le_bytes(*checksum) {
            return Err(damaged());
        }
        let mut slots = Vec::new();
        while let Some((id, after)) = rest.split_first_chunk::<8>() {
            let (numbers, after) = after.split_first_chunk::<12>().ok_or_else(damaged)?;
            let number = |at: usize| u32::from_le_bytes(numbers[at..at + 4].try_into().expect("4 of 12 bytes"));
            let (first, after) = after.split_at_checked(number(8) as usize).ok_or_else(damaged)?;
            slots.push(Written { id: u64::from_le_bytes(*id), rows: number(0), size: number(4), first });
            rest = after;
        }
        Ok(slots)
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
    fn extend(&mut self, block: &Block, rows: Range<usize>) {
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

/// One batch of many: equal rows meet, and what comes to nothing is gone.
pub fn merge(batches: &[Arc<Batch>], bodies: &Arc<Bodies>) -> Batch {
    let batches: Vec<&Batch> = batches.iter().map(|batch| &**batch).filter(|batch| !batch.is_empty()).collect();
    let shared = shared(&batches);
    let mut inputs: Vec<Input> = batches.iter().map(|batch| Input::new(batch, shared)).collect();
    let mut builder = BatchBuilder::new(bodies.clone());
    let mut row = Vec::new();
    while inputs.len() > 1 {
        let (least, next) = two_least(&inputs);
        match inputs[least].compare(&inputs[next]) {
            std::cmp::Ordering::Equal => {
                let mut diff = inputs[least].diff();
                for other in (0..inputs.len()).filter(|other| *other != least) {
                    if inputs[other].compare(&inputs[least]).is_eq() {
                        diff += inputs[other].diff();
                    }
                }
                row.clear();
                row.extend_from_slice(inputs[least].row());
                if diff != 0 {
                    builder.push(&row, diff);
                }
                let row_lead = lead(&row[shared..]);
                inputs.retain_mut(|input| (input.lead != row_lead || input.row() != row) || input.step());
            }
            _ => {
                let [input, bound] = inputs.get_disjoint_mut([least, next]).expect("two different inputs");
                if !input.run(Some(bound), &mut builder) {
                    inputs.swap_remove(least);
                }
            }
        }
    }
    if let Some(input) = inputs.first_mut() {
        input.run(None, &mut builder);
    }
    builder.finish()
}

/// How many bytes the rows of all batches begin with: those of the least and of the greatest row.
fn shared(batches: &[&Batch]) -> usize {
    let Some(least) = batches.iter().map(|batch| batch.slots[0].first()).min() else { return 0 };
    let same = |batch: &&Batch| {
        let block = batch.slots[batch.slots.len() - 1].block();
        least.iter().zip(block.row(block.rows() - 1)).take_while(|(a, b)| a == b).count()
    };
    batches.iter().map(same).min().unwrap_or(0)
}

/// The input with the least row, and the one with the least of the others.
fn two_least(inputs: &[Input]) -> (usize, usize) {
    let (mut least, mut next) = if inputs[1].compare(&inputs[0]).is_lt() { (1, 0) } else { (0, 1) };
    for other in 2..inputs.len() {
        if inputs[other].compare(&inputs[least]).is_lt() {
            (least, next) = (other, least);
        } else if inputs[other].compare(&inputs[next]).is_lt() {
            next = other;
        }
    }
    (least, next)
}

/// A batch that is being merged, at its next row.
struct Input<'a> {
    batch: &'a Batch,
    slot: usize,
    block: Arc<Block>,
    at: usize,
    /// So many bytes are the same in all rows of all inputs.
    shared: usize,
    /// The lead of what follows them.
    lead: u128,
}

impl Input<'_> {
    fn new(batch: &Batch, shared: usize) -> Input<'_> {
        let block = batch.slots[0].block();
        let lead = lead(&block.row(0)[shared..]);
        Input { batch, slot: 0, block, at: 0, shared, lead }
    }

    fn row(&self) -> &[u8] {
        self.block.row(self.at)
    }

    fn diff(&self) -> Diff {
        self.block.diff(self.at)
    }

    #[inline]
    fn compare(&self, other: &Input) -> std::cmp::Ordering {
        self.lead.cmp(&other.lead).then_with(|| compare(&self.row()[self.shared..], &other.row()[self.shared..]))
    }

    /// Whether there is a next row.
    #[inline]
    fn step(&mut self) -> bool {
        self.move_to(self.at + 1)
    }

    #[inline]
    fn move_to(&mut self, at: usize) -> bool {
        self.at = at;
        if at == self.block.rows() {
            return self.enter(self.slot + 1);
        }
        self.lead = lead(&self.row()[self.shared..]);
        true
    }

    fn enter(&mut self, slot: usize) -> bool {
        self.slot = slot;
        self.at = 0;
        let Some(slot) = self.batch.slots.get(slot) else { return false };
        self.block = slot.block();
        self.lead = lead(&self.row()[self.shared..]);
        true
    }

    /// Passes on the rows before `bound`'s, or all of them; the first is one. Whether there is a row left.
    fn run(&mut self, bound: Option<&Input>, builder: &mut BatchBuilder) -> bool {
        let mut passed = 0;
        loop {
            let whole = self.at == 0 && self.ends_before(bound) && builder.takes(&self.batch.slots[self.slot]);
            let more = if whole {
                self.pass(bound, builder)
            } else if passed < RUN_ROWS && bound.is_some() {
                builder.push(self.row(), self.diff());
                self.step()
            } else {
                let to = bound.map_or(self.block.rows(), |bound| self.block.seek(self.at, bound.row()));
                builder.extend(&self.block, self.at..to);
                self.move_to(to)
            };
            passed += 1;
            if !more || bound.is_some_and(|bound| self.compare(bound).is_ge()) {
                return more;
            }
        }
    }

    fn ends_before(&self, bound: Option<&Input>) -> bool {
        bound.is_none_or(|bound| self.block.row(self.block.rows() - 1) < bound.row())
    }

    /// Passes on this block as it is, and those behind it that end before the bound, unread.
    fn pass(&mut self, bound: Option<&Input>, builder: &mut BatchBuilder) -> bool {
        let slots = &self.batch.slots;
        let mut slot = self.slot;
        loop {
            builder.push_slot(slots[slot].clone());
            slot += 1;
            let ends_before = |bound: &Input| slots.get(slot + 1).is_some_and(|next| next.first() <= bound.row());
            if slot == slots.len() || !builder.takes(&slots[slot]) || !bound.is_none_or(ends_before) {
                return self.enter(slot);
            }
        }
    }
}
