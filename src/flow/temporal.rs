//! Rows for as long as the clock is within their bounds: scheduled to enter, then to leave.
//!
//! The schedule is an arrangement of rows by the instant at which something is to happen to them: that of their entry
//! while it is ahead, then that of their leaving. A Moment first does what has come due since the one before it, then takes
//! in its own rows, each according to the clock as it is now. Whatever is done is done to a row's copies, many or
//! fewer than none, so that a retraction finds its way by itself.
//!
//! What lies behind the clock is never read again, so a Moment at which nothing is due costs a seek, however many rows
//! wait.

use super::arrange::{Gathering, Outlet, turns};
use super::build::Share;
use super::shape::Side;
use super::stream::RowStream;
use super::top::pass;
use crate::plan::{Bound, span};
use crate::row::{Clock, Codec, Diff, Rows};
use crate::state::{Batch, Cursor, Spine};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// Rows that will not happen, since they were taken back, are passed over to find the next that will; but no more.
const LOOKED_AHEAD: usize = 64;
/// An instant before its row, as bytes that sort.
pub(super) const INSTANT_BYTES: usize = 8;

/// What the clock said when the Moment before closed, and what it says now. All operators of a worker share one.
pub(super) struct Readings {
    last: Cell<Clock>,
    now: Cell<Clock>,
}

impl Readings {
    pub fn new(clock: Clock) -> Rc<Readings> {
        Rc::new(Readings { last: Cell::new(clock), now: Cell::new(clock) })
    }

    pub fn now(&self) -> Clock {
        self.now.get()
    }

    /// Before anything of a Moment closes.
    pub fn read(&self, clock: Clock) {
        assert!(clock >= self.now.get(), "the clock never goes back");
        self.last.set(self.now.replace(clock));
    }
}

/// By what a scheduled row goes to its worker, and is found there again: as rows by all their columns do.
pub(super) fn row_of(scheduled: &[u8]) -> &[u8] {
    &scheduled[INSTANT_BYTES..]
}

pub(super) fn temporal<'scope>(
    rows: RowStream<'scope>,
    codec: Codec,
    bounds: &[Bound],
    schedule: Rc<RefCell<Spine>>,
    readings: Rc<Readings>,
    share: Share,
) -> RowStream<'scope> {
    let (bounds, bodies) = (bounds.to_vec(), schedule.borrow().bodies().clone());
    turns(rows, codec.clone(), "Temporal", bodies.clone(), move |news, out| {
        let mut schedule = schedule.borrow_mut();
        let (now, later) = (readings.now(), Gathering::new(&bodies));
        let mut turn = Turn { codec: &codec, bounds: &bounds, ends: Vec::new(), now, out, later };
        turn.come_due(&schedule.batches(), readings.last.get());
        for batch in news {
            let mut rows = batch.cursor();
            while let Some((row, diff)) = rows.row() {
                turn.take(row, diff);
                rows.step();
            }
        }
        let later = turn.later.finish();
        schedule.insert(Arc::new(later));
        if let Some(next) = next(&schedule.batches(), now) {
            share.borrow_mut().note_due(next);
        }
    })
}

/// One Moment's work.
struct Turn<'a, F: FnMut(&mut Rows)> {
    codec: &'a Codec,
    bounds: &'a [Bound],
    /// Where the columns of the row at hand end.
    ends: Vec<u32>,
    now: Clock,
    out: &'a mut Outlet<F>,
    /// What is scheduled, and struck out.
    later: Gathering<'a>,
}

impl<F: FnMut(&mut Rows)> Turn<'_, F> {
    /// What was scheduled for after `last`, up to now.
    fn come_due(&mut self, schedule: &[Arc<Batch>], last: Clock) {
        let mut cursors = after(schedule, last);
        let mut scheduled = Vec::new();
        while let Some((at, diff)) = advance(&mut cursors, &mut scheduled)
            && at <= self.now
        {
            if diff == 0 {
                continue;
            }
            let row = row_of(&scheduled);
            self.later.push([&key(at), row], -diff);
            let span = self.span(row).expect("only what enters or leaves is scheduled");
            match at == span.start {
                true => self.take(row, diff),
                false => self.put(row, -diff),
            }
        }
    }

    /// Rows as they are now: still to enter, within their bounds, or gone.
    fn take(&mut self, row: &[u8], diff: Diff) {
        let Some(span) = self.span(row).filter(|span| span.end > self.now) else { return };
        if span.start > self.now {
            return self.later.push([&key(span.start), row], diff);
        }
        self.put(row, diff);
        if span.end < Clock(i64::MAX) {
            self.later.push([&key(span.end), row], diff);
        }
    }

    fn span(&mut self, row: &[u8]) -> Option<Range<Clock>> {
        self.codec.ends(row, &mut self.ends);
        let row = Side { row, ends: &self.ends };
        span(self.bounds, |column| self.codec.integer(row.columns(column, column + 1), column))
    }

    fn put(&mut self, row: &[u8], diff: Diff) {
        self.out.rows().extend(row);
        self.out.end(diff);
    }
}

/// The first instant after now at which something may happen.
fn next(schedule: &[Arc<Batch>], now: Clock) -> Option<Clock> {
    let mut cursors = after(schedule, now);
    let mut scheduled = Vec::new();
    let mut found = None;
    for _ in 0..LOOKED_AHEAD {
        let (at, diff) = advance(&mut cursors, &mut scheduled)?;
        found = Some(at);
        if diff != 0 {
            break;
        }
    }
    found
}

/// Where what is scheduled for after `clock` begins.
fn after(schedule: &[Arc<Batch>], clock: Clock) -> Vec<Cursor<'_>> {
    let from = key(Clock(clock.0.saturating_add(1)));
    schedule.iter().map(|batch| batch.seek(&from)).collect()
}

/// Reads the next row, its instant and how often it is scheduled.
fn advance(cursors: &mut [Cursor], scheduled: &mut Vec<u8>) -> Option<(Clock, Diff)> {
    let least = cursors.iter().filter_map(|cursor| cursor.row().map(|(row, _)| row)).min()?;
    scheduled.clear();
    scheduled.extend_from_slice(least);
    let diff = cursors.iter_mut().map(|cursor| pass(cursor, scheduled)).sum();
    let at = scheduled.first_chunk::<INSTANT_BYTES>().expect("an instant leads");
    Some((Clock((u64::from_be_bytes(*at) ^ 1 << 63) as i64), diff))
}

fn key(at: Clock) -> [u8; INSTANT_BYTES] {
    (at.0 as u64 ^ 1 << 63).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Bodies;

    fn scheduled(instants: Range<i64>, diff: Diff) -> Arc<Batch> {
        let mut rows = Rows::default();
        instants.for_each(|at| rows.push(&[&key(Clock(at))[..], b"row"].concat(), diff));
        Arc::new(Batch::of(&rows, &Bodies::resident_only()))
    }

    #[test]
    fn what_lies_behind_the_clock_is_not_read_again() {
        let schedule = [scheduled(-10_000..10_000, 1), scheduled(-10_000..5_000, -1)];
        let mut cursors = after(&schedule, Clock(4_999));
        assert_eq!(advance(&mut cursors, &mut Vec::new()), Some((Clock(5_000), 1)), "the first that is read");
        assert_eq!(next(&schedule, Clock(4_999)), Some(Clock(5_000)));
        assert_eq!(next(&schedule, Clock(9_998)), Some(Clock(9_999)));
        assert_eq!(next(&schedule, Clock(9_999)), None);
    }

    #[test]
    fn the_next_instant_is_found_behind_a_few_that_were_struck_out() {
        let schedule = [scheduled(0..1_000, 1), scheduled(0..10, -1), scheduled(500..1_000, -1)];
        assert_eq!(next(&schedule, Clock(-5)), Some(Clock(10)));
        let named = next(&schedule, Clock(499)).expect("it does not look through all");
        assert!((Clock(500)..Clock(600)).contains(&named), "{named}");
        assert_eq!(next(&schedule, Clock(990)), None);
    }
}
