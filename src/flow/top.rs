//! The first rows of each group in an order: `limit`, `distinct on`, `row_number() <= k`, min, max, first, last.
//!
//! The rows are arranged by group and, within it, in the order (`row::Sorted`). A change reads its group from
//! its first row to the last place that is asked for, as it was and as it is, in one walk over all batches; what
//! lies behind is not touched. Nor is what lay before: rows that left stay in old batches until they are merged, and
//! where the oldest row always leaves first (a queue) there are many. Therefore each group's first row is kept in an
//! arrangement of its own.

use super::arrange::{Arranged, Outlet};
use super::reduce::find;
use super::stream::{RowStream, WholeRows};
use crate::row::{Datum, Diff, Rows, Sorted, append};
use crate::state::{Batch, Cursor, Spine};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// `places` count from 0; rows come turned back, with their place (from 1) behind them if `numbered`. `firsts` has the
/// first row of each group.
pub(super) fn top<'scope>(
    rows: Arranged<'scope>,
    sorted: Sorted,
    places: Range<u64>,
    numbered: bool,
    firsts: Rc<RefCell<Spine>>,
) -> RowStream<'scope> {
    let key = rows.key;
    rows.steps.unary::<WholeRows, _, _, _>(Pipeline, "Top", move |_, _| {
        move |input, output| {
            input.for_each(|time, steps| {
                let mut session = output.session_with_builder(&time);
                let mut out = Outlet::new(|rows| session.give_container(rows));
                for step in steps.drain(..) {
                    let mut firsts = firsts.borrow_mut();
                    let known = firsts.batches();
                    let mut known: Vec<Cursor> = known.iter().rev().map(|batch| batch.cursor()).collect();
                    let mut moved = Rows::default();
                    let mut before: Vec<Cursor> = step.before.iter().map(|batch| batch.cursor()).collect();
                    let mut delta = step.delta.cursor();
                    let mut group = Vec::new();
                    while let Some((row, _)) = delta.row() {
                        group.clear();
                        group.extend_from_slice(&row[..sorted.codec().prefix(row, key)]);
                        let first = find(&mut known, &group, |rest| [&group, rest].concat());
                        let mut front = Front { group: &group, places: &places, first: None };
                        front.walk(first.as_deref(), &mut before, &mut delta, |row, old, new| {
                            changes(old, new, numbered, |place, diff| {
                                let rows = out.rows();
                                sorted.turn_back(row, rows.open());
                                if let Some(place) = place {
                                    append(rows.open(), &Datum::Decimal(i128::from(place) + 1));
                                }
                                out.end(diff);
                            });
                        });
                        if front.first != first {
                            first.iter().for_each(|row| moved.push(row, -1));
                            front.first.iter().for_each(|row| moved.push(row, 1));
                        }
                    }
                    drop(known);
                    let bodies = firsts.bodies().clone();
                    firsts.insert(Arc::new(Batch::of(&moved, &bodies)));
                }
                out.flush();
            });
        }
    })
}

/// The front of a group, being read.
struct Front<'a> {
    group: &'a [u8],
    places: &'a Range<u64>,
    /// The first row, as it is now.
    first: Option<Vec<u8>>,
}

impl Front<'_> {
    /// Hears of each row at the front which of the places it had before the step, and which it has now. `first` was
    /// the group's first row; there was none before it. Leaves `delta` behind the group.
    fn walk(
        &mut self,
        first: Option<&[u8]>,
        before: &mut [Cursor],
        delta: &mut Cursor,
        mut hear: impl FnMut(&[u8], Range<u64>, Range<u64>),
    ) {
        let changed = delta.row().map(|(row, _)| row.to_vec()).expect("a group is read because it has changed");
        let from = first.map_or(changed.as_slice(), |first| first.min(&changed));
        before.iter_mut().for_each(|batch| batch.seek(from));
        let end = self.places.end;
        // Where no row was, none need be looked for.
        let (mut old_place, mut new_place) = (if first.is_some() { 0 } else { end }, 0);
        let mut row = Vec::new();
        while old_place < end || new_place < end {
            let least = before.iter().chain([&*delta]).filter_map(|cursor| cursor.row().map(|(row, _)| row)).min();
            let Some(least) = least.filter(|least| least.starts_with(self.group)) else { break };
            row.clear();
            row.extend_from_slice(least);
            let old: Diff = before.iter_mut().map(|batch| pass(batch, &row)).sum();
            let new = old + pass(delta, &row);
            if new > 0 && self.first.is_none() {
                self.first = Some(row.clone());
            }
            let taken = |place: &mut u64, copies: Diff| {
                let from = self.places.start.max(*place);
                *place += copies.max(0) as u64;
                from..end.min(*place).max(from)
            };
            hear(&row, taken(&mut old_place, old), taken(&mut new_place, new));
        }
        while delta.row().is_some_and(|(row, _)| row.starts_with(self.group)) {
            delta.step();
        }
    }
}

/// Steps over a row, if it is the next, and says how often it is there.
pub(super) fn pass(cursor: &mut Cursor, row: &[u8]) -> Diff {
    match cursor.row() {
        Some((found, diff)) if found == row => {
            cursor.step();
            diff
        }
        _ => 0,
    }
}

/// What a row's places mean for what is put out: without numbers only how many there are, else each.
fn changes(old: Range<u64>, new: Range<u64>, numbered: bool, mut put: impl FnMut(Option<u64>, Diff)) {
    if numbered {
        old.clone().filter(|place| !new.contains(place)).for_each(|place| put(Some(place), -1));
        new.filter(|place| !old.contains(place)).for_each(|place| put(Some(place), 1));
    } else {
        let diff = (new.end - new.start) as Diff - (old.end - old.start) as Diff;
        if diff != 0 {
            put(None, diff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Bodies;

    fn batch(numbers: Range<u32>, diff: Diff) -> Batch {
        let mut rows = Rows::default();
        numbers.for_each(|number| rows.push(&number.to_be_bytes(), diff));
        Batch::of(&rows, &Bodies::resident_only())
    }

    #[test]
    fn only_the_front_of_a_group_is_read() {
        let (all, gone, delta) = (batch(0..10_000, 1), batch(0..5_000, -1), batch(5_000..5_001, -1));
        let mut front = Front { group: &[], places: &(0..2), first: None };
        let mut heard = Vec::new();
        let mut before = [all.cursor(), gone.cursor()];
        let first = 5_000u32.to_be_bytes();
        front.walk(Some(&first), &mut before, &mut delta.cursor(), |row, old, new| {
            let number = u32::from_be_bytes(row.try_into().expect("as it was made"));
            heard.push((number, old.count(), new.count()));
        });
        assert_eq!(heard, [(5_000, 1, 0), (5_001, 1, 1), (5_002, 0, 1)]);
        assert_eq!(front.first, Some(5_001u32.to_be_bytes().to_vec()));
    }

    #[test]
    fn a_group_without_rows_has_no_first() {
        let (all, delta) = (batch(7..8, 2), batch(7..8, -2));
        let mut front = Front { group: &[], places: &(0..u64::MAX), first: None };
        let mut left = 0;
        let first = 7u32.to_be_bytes();
        front.walk(Some(&first), &mut [all.cursor()], &mut delta.cursor(), |_, old, new| {
            left += old.count();
            assert!(new.is_empty());
        });
        assert_eq!((left, front.first), (2, None));
    }
}
