//! Rows with what the clock said when they came, behind their columns, for as long as they stay.
//!
//! What each row was given is kept, or it could not be taken back. Of equal rows the one that came last goes first; what
//! goes and comes within one Moment has not changed.
//!
//! A dataflow that begins anew finds what the one before had kept: a row that was there keeps its stamp. Until it is first
//! kept itself, all its rows may still be to come.

use super::arrange::{Gathering, turns};
use super::stream::RowStream;
use super::temporal::{INSTANT_BYTES, Readings};
use super::top::pass;
use crate::row::{Clock, Codec, Datum, Diff, append};
use crate::state::{Batch, Cursor, Spine, Walk};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// The stamped rows of a model.
#[derive(Clone)]
pub(super) struct Stamps {
    pub kept: Rc<RefCell<Spine>>,
    /// Those of the dataflow before which have not come yet.
    pub before: Rc<RefCell<Spine>>,
}

/// What is kept of a model under the same name by each dataflow.
pub(super) fn name(model: &str) -> String {
    format!("{model}{SUFFIX}")
}

/// Whether an arrangement of this name serves a dataflow that begins anew.
pub fn outlives(arrangement: &str) -> bool {
    arrangement.strip_suffix(SUFFIX).is_some_and(|model| model.ends_with('"'))
}

/// Behind a model's name, which ends in a quote.
const SUFFIX: &str = " stamped";

/// By what a stamped row goes to its worker, and is found there again: as rows by all their columns do.
pub(super) fn row_of(stamped: &[u8]) -> &[u8] {
    &stamped[..stamped.len() - INSTANT_BYTES]
}

pub(super) fn stamp<'scope>(
    rows: RowStream<'scope>,
    codec: Codec,
    stamps: Stamps,
    readings: Rc<Readings>,
) -> RowStream<'scope> {
    let bodies = stamps.kept.borrow().bodies().clone();
    turns(rows, codec, "Stamp", bodies.clone(), move |news, out| {
        let (now, mut kept, mut before) = (readings.now(), stamps.kept.borrow_mut(), stamps.before.borrow_mut());
        let (there, known) = (kept.batches(), before.batches());
        let (mut changes, mut found) = (Gathering::new(&bodies), Gathering::new(&bodies));
        let mut news = Walk::over(news);
        while let Some((row, diff)) = news.advance() {
            let mut put = |clock: Clock, diff: Diff| {
                changes.push([row, &key(clock)], diff);
                out.rows().extend(row);
                append(out.rows().open(), &Datum::Timestamp(clock.0));
                out.end(diff);
            };
            let mut rest = made_up(row, diff, &there, |clock, diff| {
                // It may come again.
                if !known.is_empty() {
                    found.push([row, &key(clock)], -diff);
                }
                put(clock, diff);
            });
            if rest > 0 {
                rest = -made_up(row, -rest, &known, |clock, diff| {
                    found.push([row, &key(clock)], diff);
                    put(clock, -diff);
                });
            }
            if rest != 0 {
                put(now, rest);
            }
        }
        kept.insert(Arc::new(changes.finish()));
        before.insert(Arc::new(found.finish()));
    })
}

/// What is there of a row makes up for what comes, the latest first; gives what is left of it.
fn made_up(row: &[u8], mut diff: Diff, there: &[Arc<Batch>], mut put: impl FnMut(Clock, Diff)) -> Diff {
    let mut cursors: Vec<Cursor> = there.iter().map(|batch| batch.seek(row)).collect();
    let mut stamped = Vec::new();
    while diff != 0 {
        let next = cursors.iter().filter_map(|cursor| cursor.row().map(|(found, _)| found)).min();
        let Some(next) = next.filter(|next| next.starts_with(row)) else { break };
        stamped.clear();
        stamped.extend_from_slice(next);
        let there: Diff = cursors.iter_mut().map(|cursor| pass(cursor, &stamped)).sum();
        if there.signum() == -diff.signum() {
            let taken = diff.signum() * there.abs().min(diff.abs());
            put(clock_of(&stamped), taken);
            diff -= taken;
        }
    }
    diff
}

/// Bytes that sort, later clocks first.
fn key(clock: Clock) -> [u8; INSTANT_BYTES] {
    (!(clock.0 as u64 ^ 1 << 63)).to_be_bytes()
}

fn clock_of(stamped: &[u8]) -> Clock {
    let key = stamped.last_chunk::<INSTANT_BYTES>().expect("a stamp is behind each row");
    Clock((!u64::from_be_bytes(*key) ^ 1 << 63) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Rows;
    use crate::state::Bodies;

    /// What makes up for `row`, where these have been before, and what is left.
    fn becomes(before: &[(i64, Diff)], diff: Diff) -> (Vec<(i64, Diff)>, Diff) {
        let mut rows = Rows::default();
        before.iter().for_each(|(clock, diff)| rows.push(&[&b"row"[..], &key(Clock(*clock))].concat(), *diff));
        rows.push(&[&b"other"[..], &key(Clock(3))].concat(), 1);
        rows.push(&[&b"rox"[..], &key(Clock(3))].concat(), 1);
        let there = [Arc::new(Batch::of(&rows, &Bodies::resident_only()))];
        let mut found = Vec::new();
        let rest = made_up(b"row", diff, &there, |clock, diff| found.push((clock.0, diff)));
        (found, rest)
    }

    #[test]
    fn what_came_last_goes_first() {
        assert_eq!(becomes(&[], 2), (vec![], 2));
        assert_eq!(becomes(&[(-5, 1)], 1), (vec![], 1));
        assert_eq!(becomes(&[(-5, 2), (0, 1), (7, 1)], -1), (vec![(7, -1)], 0));
        assert_eq!(becomes(&[(-5, 2), (0, 1), (7, 1)], -3), (vec![(7, -1), (0, -1), (-5, -1)], 0));
    }

    #[test]
    fn what_goes_before_it_comes_is_made_up_for() {
        assert_eq!(becomes(&[(-5, 1)], -2), (vec![(-5, -1)], -1));
        assert_eq!(becomes(&[(-5, -1)], 2), (vec![(-5, 1)], 1));
        assert_eq!(becomes(&[(-5, -1), (7, 1)], 1), (vec![(-5, 1)], 0));
    }
}
