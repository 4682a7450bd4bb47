//! The first rows of each group in an order: `limit`, `distinct on`, `row_number() <= k`, min, max, first, last.
//!
//! The rows are arranged by group and, within it, in the order (`row::Sorted`). A change reads its group from
//! the front to the last place that is asked for, as it was and as it is, in one walk over all batches; what
//! lies behind is not touched. Rows that left while their batch has not been merged are walked over.

use super::arrange::{Arranged, Outlet};
use super::stream::{RowStream, WholeRows};
use crate::row::{Datum, Diff, Sorted, append};
use crate::state::Cursor;
use std::ops::Range;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// `places` count from 0; rows come turned back, with their place (from 1) behind them if `numbered`.
pub(super) fn top<'scope>(
    rows: Arranged<'scope>,
    sorted: Sorted,
    places: Range<u64>,
    numbered: bool,
) -> RowStream<'scope> {
    let key = rows.key;
    rows.steps.unary::<WholeRows, _, _, _>(Pipeline, "Top", move |_, _| {
        move |input, output| {
            input.for_each(|time, steps| {
                let mut session = output.session_with_builder(&time);
                let mut out = Outlet::new(|rows| session.give_container(rows));
                for step in steps.drain(..) {
                    let mut before: Vec<Cursor> = step.before.iter().map(|batch| batch.cursor()).collect();
                    let (mut delta, mut groups) = (step.delta.cursor(), step.delta.cursor());
                    let mut group = Vec::new();
                    while let Some((row, _)) = groups.row() {
                        group.clear();
                        group.extend_from_slice(&row[..sorted.codec().prefix(row, key)]);
                        front(&group, &mut before, &mut delta, &places, |row, old, new| {
                            changes(old, new, numbered, |place, diff| {
                                let rows = out.rows();
                                sorted.turn_back(row, rows.open());
                                if let Some(place) = place {
                                    append(rows.open(), &Datum::Decimal(i128::from(place) + 1));
                                }
                                out.end(diff);
                            });
                        });
                        while groups.row().is_some_and(|(row, _)| row.starts_with(&group)) {
                            groups.step();
                        }
                    }
                }
                out.flush();
            });
        }
    })
}

/// Hears of each row at the front of a group which of `places` it had before the step, and which it has now.
fn front(
    group: &[u8],
    before: &mut [Cursor],
    delta: &mut Cursor,
    places: &Range<u64>,
    mut hear: impl FnMut(&[u8], Range<u64>, Range<u64>),
) {
    before.iter_mut().for_each(|batch| batch.seek(group));
    delta.seek(group);
    let (mut old_place, mut new_place) = (0, 0);
    let mut row = Vec::new();
    while old_place < places.end || new_place < places.end {
        let least = before.iter().chain([&*delta]).filter_map(|cursor| cursor.row().map(|(row, _)| row)).min();
        let Some(least) = least.filter(|least| least.starts_with(group)) else { return };
        row.clear();
        row.extend_from_slice(least);
        let old: Diff = before.iter_mut().map(|batch| pass(batch, &row)).sum();
        let new = old + pass(delta, &row);
        let taken = |place: &mut u64, copies: Diff| {
            let from = *place;
            *place += copies.max(0) as u64;
            from.max(places.start)..(*place).min(places.end).max(from.max(places.start))
        };
        hear(&row, taken(&mut old_place, old), taken(&mut new_place, new));
    }
}

/// Steps over a row, if it is the next, and says how often it is there.
fn pass(cursor: &mut Cursor, row: &[u8]) -> Diff {
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
