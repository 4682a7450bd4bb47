//! Groups with sums and counts: one accumulator for each group, and nothing of its rows.
//!
//! A Moment's rows add up by group as they come in; at its end each touched group's accumulator is looked up,
//! the old row retracted and the new one asserted. It forgets by subtracting; integers and decimals add up
//! exactly, as do doubles (`accumulate`), so that nothing is left behind when a row leaves. The accumulators are an
//! arrangement of their own: a group's key, then its sums, once each.
//!
//! NULLs are not summed and not counted, but they are rows of their group. A group without rows is gone; the
//! group of everything (no key) is always there.

use super::accumulate::{add, read, show, slots, write};
use super::arrange::Outlet;
use super::stream::{RowStream, Time, WholeRows, by_key, owner, upper};
use super::{Fault, Faults};
use crate::plan::Aggregate;
use crate::row::{Codec, Diff, Rows};
use crate::state::{Batch, Cursor, Spine};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::operators::generic::Operator;
use xxhash_rust::xxh3::xxh3_64;

/// `codec` is that of the input, whose first `key` columns are the group; `begun` where the spine goes on from
/// what was kept.
pub(super) fn reduce<'scope>(
    rows: RowStream<'scope>,
    codec: Codec,
    key: usize,
    aggregates: &[Aggregate],
    spine: Rc<RefCell<Spine>>,
    begun: bool,
    faults: Faults,
) -> RowStream<'scope> {
    let aggregates = aggregates.to_vec();
    let peers = rows.scope().peers();
    let index = rows.scope().index();
    rows.unary_frontier::<WholeRows, _, _, _>(by_key(codec.clone(), key), "Reduce", move |capability, _| {
        let mut capability = Some(capability);
        let mut waiting: BTreeMap<Time, Groups> = BTreeMap::new();
        // The group of everything is there before any row is.
        let mut unborn = !begun && key == 0 && owner(&[], peers) == index;
        move |(input, frontier), output| {
            let fresh = || Groups::new(&aggregates);
            input.for_each(|time, rows| {
                waiting.entry(*time.time()).or_insert_with(fresh).add(rows, &codec, key, &aggregates)
            });
            let Some(held) = &mut capability else { return };
            let (lower, upper) = (*held.time(), upper(frontier));
            if unborn && upper.is_none_or(|upper| upper > lower) {
                let first = waiting.keys().next().copied().unwrap_or(lower).min(upper.map_or(lower, |u| u - 1));
                waiting.entry(first).or_insert_with(fresh).touch(&[]);
                unborn = false;
            }
            while let Some(entry) = waiting.first_entry().filter(|e| upper.is_none_or(|upper| *e.key() < upper)) {
                let (time, groups) = entry.remove_entry();
                let held = held.delayed(&time);
                let mut session = output.session_with_builder(&held);
                let mut out = Outlet::new(|rows| session.give_container(rows));
                let fault = |group: &[u8], message: &str, diff: Diff| {
                    let sample = codec.show_prefix(group, key);
                    faults.push(Fault { message: message.to_string(), sample }, diff);
                };
                let mut spine = spine.borrow_mut();
                let change = groups.settle(&spine.batches(), key == 0, &aggregates, &mut out, fault);
                let bodies = spine.bodies().clone();
                spine.insert(Arc::new(Batch::of(&change, &bodies)));
                out.flush();
            }
            match upper {
                Some(upper) => held.downgrade(&upper),
                None => capability = None,
            }
        }
    })
}

/// What a Moment's rows add up to, by group. An accumulator is a count of rows, then the slots of each aggregate.
struct Groups {
    /// Each group's key once, numbered as they came.
    keys: Rows,
    sums: Vec<i128>,
    width: usize,
    /// A hash table of the keys: at a key's hash, or the next free place, the upper half of the hash and the number
    /// of the key, plus one. 0 is free; at least half are.
    places: Vec<u64>,
}

impl Groups {
    fn new(aggregates: &[Aggregate]) -> Groups {
        let width = 1 + aggregates.iter().map(slots).sum::<usize>();
        Groups { keys: Rows::default(), sums: Vec::new(), width, places: Vec::new() }
    }

    fn touch(&mut self, group: &[u8]) -> &mut [i128] {
        if self.keys.len() * 2 >= self.places.len() {
            self.grow();
        }
        let number = match self.find(group) {
            Ok(number) => number,
            Err(free) => {
                let number = self.keys.len();
                self.places[free] = entry(xxh3_64(group), number);
                self.keys.push(group, 0);
                self.sums.resize(self.sums.len() + self.width, 0);
                number
            }
        };
        &mut self.sums[number * self.width..(number + 1) * self.width]
    }

    /// The number of a key, or the place for it.
    fn find(&self, group: &[u8]) -> Result<usize, usize> {
        let hash = xxh3_64(group);
        let last = self.places.len() - 1;
        let mut place = hash as usize & last;
        loop {
            let found = self.places[place];
            if found == 0 {
                return Err(place);
            }
            let number = (found as u32 - 1) as usize;
            if found == entry(hash, number) && self.keys.row(number) == group {
                return Ok(number);
            }
            place = (place + 1) & last;
        }
    }

    fn grow(&mut self) {
        self.places = vec![0; (self.places.len() * 2).max(16)];
        for (number, (key, _)) in self.keys.iter().enumerate() {
            let Err(free) = self.find(key) else { unreachable!("each key is there once") };
            self.places[free] = entry(xxh3_64(key), number);
        }
    }

    fn add(&mut self, rows: &Rows, codec: &Codec, key: usize, aggregates: &[Aggregate]) {
        let mut ends = Vec::new();
        for (row, diff) in rows.iter() {
            codec.ends(row, &mut ends);
            let column = |c: usize| &row[if c == 0 { 0 } else { ends[c - 1] as usize }..ends[c] as usize];
            let sums = self.touch(&row[..if key == 0 { 0 } else { ends[key - 1] as usize }]);
            sums[0] += i128::from(diff);
            let mut rest = &mut sums[1..];
            for aggregate in aggregates {
                let (own, others) = rest.split_at_mut(slots(aggregate));
                add(aggregate, own, codec, column, diff);
                rest = others;
            }
        }
    }

    /// Puts out what changes, and gives the change of the arrangement of accumulators.
    fn settle(
        self,
        state: &[Arc<Batch>],
        always: bool,
        aggregates: &[Aggregate],
        out: &mut Outlet<impl FnMut(&mut Rows)>,
        fault: impl Fn(&[u8], &str, Diff),
    ) -> Rows {
        let mut lookup: Vec<Cursor> = state.iter().rev().map(|batch| batch.cursor()).collect();
        let mut change = Rows::default();
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for number in self.keys.sorted() {
            let group = self.keys.row(number);
            let delta = &self.sums[number * self.width..(number + 1) * self.width];
            let found = find(&mut lookup, group, |sums| read(sums, &mut old));
            if found.is_none() {
                old.clear();
                old.resize(self.width, 0);
            }
            new.clear();
            new.extend(old.iter().zip(delta).map(|(old, delta)| old.wrapping_add(*delta)));
            let is = always || new[0] != 0;
            if found.is_some() && is && old == new {
                continue;
            }
            for (there, sums, diff) in [(found.is_some(), &old, -1), (is, &new, 1)] {
                if !there {
                    continue;
                }
                change.extend(group);
                write(sums, change.open());
                change.end(diff);
                let rows = out.rows();
                rows.extend(group);
                match show(sums[0], &sums[1..], aggregates, rows.open()) {
                    Ok(()) => out.end(diff),
                    Err(message) => {
                        rows.undo();
                        fault(group, &message, diff);
                    }
                }
            }
        }
        change
    }
}

/// What a group has in an arrangement of one row for each group, behind its key: as the youngest batch that knows of it
/// has it.
pub(super) fn find<R>(batches: &mut [Cursor], group: &[u8], read: impl FnOnce(&[u8]) -> R) -> Option<R> {
    for batch in batches {
        batch.seek(group);
        let mut known = false;
        while let Some((row, diff)) = batch.row().filter(|(row, _)| row.starts_with(group)) {
            if diff > 0 {
                return Some(read(&row[group.len()..]));
            }
            known = true;
            batch.step();
        }
        if known {
            return None;
        }
    }
    None
}

fn entry(hash: u64, number: usize) -> u64 {
    hash >> 32 << 32 | (number as u64 + 1)
}
