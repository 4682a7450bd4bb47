//! Rows with what the clock said when they came, behind their columns, for as long as they stay; and with a seed of their
//! own, if something is drawn for each: then equal rows have one each, too.
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
use crate::world;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// The stamped rows of a model.
#[derive(Clone)]
pub(super) struct Stamps {
    pub kept: Rc<RefCell<Spine>>,
    /// Those of the dataflow before which have not come yet.
    pub before: Rc<RefCell<Spine>>,
    /// Whether each row has a seed besides.
    pub drawn: bool,
}

const SEED_BYTES: usize = 16;

/// How many bytes are behind each row that is kept: the clock, and a seed.
pub(super) fn mark_bytes(drawn: bool) -> usize {
    INSTANT_BYTES + if drawn { SEED_BYTES } else { 0 }
}

/// What is kept of a model under the same name by each dataflow.
pub(super) fn name(model: &str, drawn: bool) -> String {
    format!("{model}{}", SUFFIXES[usize::from(drawn)])
}

/// Whether an arrangement of this name serves a dataflow that begins anew.
pub fn outlives(arrangement: &str) -> bool {
    let model = SUFFIXES.iter().find_map(|suffix| arrangement.strip_suffix(suffix));
    model.is_some_and(|model| model.ends_with('"'))
}

/// Behind a model's name, which ends in a quote.
const SUFFIXES: [&str; 2] = [" stamped", " drawn"];

/// By what a stamped row goes to its worker, and is found there again: as rows by all their columns do.
pub(super) fn row_of(stamped: &[u8]) -> &[u8] {
    &stamped[..stamped.len() - mark_bytes(false)]
}

/// The same, where it has a seed.
pub(super) fn row_of_drawn(stamped: &[u8]) -> &[u8] {
    &stamped[..stamped.len() - mark_bytes(true)]
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
            let mut put = |mark: &[u8], diff: Diff| {
                changes.push([row, mark], diff);
                out.rows().extend(row);
                append(out.rows().open(), &Datum::Timestamp(clock_of(mark).0));
                if stamps.drawn {
                    append(out.rows().open(), &Datum::Bytes(mark[INSTANT_BYTES..].to_vec()));
                }
                out.end(diff);
            };
            let mut rest = made_up(row, diff, &there, |mark, diff| {
                // It may come again.
                if !known.is_empty() {
                    found.push([row, mark], -diff);
                }
                put(mark, diff);
            });
            if rest > 0 {
                rest = -made_up(row, -rest, &known, |mark, diff| {
                    found.push([row, mark], diff);
                    put(mark, -diff);
                });
            }
            match stamps.drawn {
                _ if rest == 0 => {}
                false => put(&key(now), rest),
                true => (0..rest.abs()).for_each(|_| put(&[&key(now)[..], &world::seed()].concat(), rest.signum())),
            }
        }
        kept.insert(Arc::new(changes.finish()));
        before.insert(Arc::new(found.finish()));
    })
}

/// What is there of a row makes up for what comes, the latest first, each with what is behind it; gives what is left of it.
fn made_up(row: &[u8], mut diff: Diff, there: &[Arc<Batch>], mut put: impl FnMut(&[u8], Diff)) -> Diff {
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
            put(&stamped[row.len()..], taken);
            diff -= taken;
        }
    }
    diff
}

/// Bytes that sort, later clocks first.
fn key(clock: Clock) -> [u8; INSTANT_BYTES] {
    (!(clock.0 as u64 ^ 1 << 63)).to_be_bytes()
}

fn clock_of(mark: &[u8]) -> Clock {
    let key = mark.first_chunk::<INSTANT_BYTES>().expect("a clock is behind each row");
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
        let rest = made_up(b"row", diff, &there, |mark, diff| found.push((clock_of(mark).0, diff)));
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
