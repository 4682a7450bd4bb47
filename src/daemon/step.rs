//! What is due: the daemon's decisions, as a pure machine.
//!
//! It is told what happened ([`Heard`]) and answers what to do next ([`Due`]), one thing at a time, until nothing
//! is due. It holds no rows, asks no clock and touches nothing: every rule is a line in [`Step::due`].
//!
//! ```text
//!              told, position known for all             every `commit_every`, one at a time
//!   open Moment ───────────Close──────────► closed ───────────Publish───────────► on disk ──► Acknowledge
//!                when the queue is empty                                              └─► Exit, if stopping
//!                or the Moment is large,
//!                or the clock alone changes models
//! ```

use std::time::Duration;

/// How many rows a Moment takes while more wait: what one close takes well below the freshness promised.
pub const MOMENT_ROWS_MAX: usize = 20_000;

/// Moments that only the clock asks for are so far apart at least: rows that leave one after another, each at an instant
/// of its own, leave some at a time, and readers see them no later than `commit_every` makes them.
const TICK_EVERY: Duration = Duration::from_millis(100);
/// Nobody waits longer for the clock without looking at it: it may have been set, or the machine have slept.
const CLOCK_UNSEEN_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A source told of a transaction with so many rows, or (0) that it has come further.
    Told { rows: usize },
    /// Every source has a position now: Moments can close.
    Ready,
    /// The open Moment was closed, with all its effect; `rest` if huge transactions are to be fed still.
    Closed { rest: bool },
    /// A job was handed to the publisher.
    PublishBegun,
    /// It is on disk and published.
    Published,
    /// No more is wanted: finish what is in hand.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Close,
    Publish,
    Exit,
    /// Nothing before something is heard, or this much time has passed.
    Wait(Option<Duration>),
}

#[derive(Clone, Debug)]
pub struct Step {
    commit_every: Duration,
    ready: bool,
    /// Something was told since the last close.
    open: bool,
    open_rows: usize,
    /// Pieces of huge transactions are left to be fed.
    rest: bool,
    /// Something closed since the last publication began.
    unpublished: bool,
    publishing: bool,
    stopping: bool,
    /// When the last publication began.
    began: Option<Duration>,
    /// When the last Moment closed.
    closed: Duration,
}

impl Step {
    pub fn new(commit_every: Duration) -> Step {
        Step {
            commit_every,
            ready: false,
            // The first Moment is everything that is there, even if that is nothing.
            open: true,
            open_rows: 0,
            rest: false,
            unpublished: false,
            publishing: false,
            stopping: false,
            began: None,
            closed: Duration::ZERO,
        }
    }

    pub fn stopping(&self) -> bool {
        self.stopping
    }

    pub fn heard(&mut self, heard: Heard, now: Duration) {
        match heard {
            Heard::Told { rows } => {
                self.open = true;
                self.open_rows += rows;
            }
            Heard::Ready => self.ready = true,
            Heard::Closed { rest } => {
                (self.open, self.open_rows) = (false, 0);
                self.rest = rest;
                self.unpublished = true;
                self.closed = now;
            }
            Heard::PublishBegun => {
                (self.unpublished, self.publishing) = (false, true);
                self.began = Some(now);
            }
            Heard::Published => self.publishing = false,
            Heard::Stop => self.stopping = true,
        }
    }

    /// `waiting`: events of sources are there to be heard at once. `until_tick`: so long it is, by the clock, until models
    /// change by themselves. `now` since the start.
    pub fn due(&self, waiting: bool, until_tick: Option<Duration>, now: Duration) -> Due {
        let next = self.began.map_or(now, |began| began + self.commit_every);
        let publish = self.unpublished && !self.publishing;
        let hour = self.stopping || now >= next;
        // What is published is what has closed: nothing may be open beside it.
        let enough = !waiting || self.open_rows >= MOMENT_ROWS_MAX || self.stopping || (publish && hour);
        if self.ready && self.open && enough {
            return Due::Close;
        }
        let until_tick = until_tick.filter(|_| self.ready && !self.stopping);
        let until_tick = until_tick.map(|until| until.max((self.closed + TICK_EVERY).saturating_sub(now)));
        if until_tick.is_some_and(|until| until.is_zero()) {
            return Due::Close;
        }
        if publish && hour {
            return Due::Publish;
        }
        // Others are published on the way; only then the next piece. A checkpoint keeps what is left.
        if self.ready && self.rest && !self.stopping {
            return Due::Close;
        }
        let until_tick = until_tick.map(|until| until.min(CLOCK_UNSEEN_MAX));
        if publish {
            return Due::Wait(until_tick.into_iter().chain([next - now]).min());
        }
        // Before every source is ready nothing has closed and nothing can be lost.
        if self.stopping && !self.publishing && (!self.ready || !self.unpublished) {
            return Due::Exit;
        }
        Due::Wait(until_tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ready() -> Step {
        let mut step = Step::new(SECOND);
        step.heard(Heard::Ready, Duration::ZERO);
        step.heard(Heard::Closed { rest: false }, Duration::ZERO);
        step.heard(Heard::PublishBegun, Duration::ZERO);
        step.heard(Heard::Published, Duration::ZERO);
        step
    }

    #[test]
    fn a_huge_transaction_is_fed_in_steps_and_others_are_published_on_the_way() {
        let mut step = ready();
        step.heard(Heard::Told { rows: 3_000_000 }, SECOND);
        assert_eq!(step.due(false, None, SECOND), Due::Close);
        step.heard(Heard::Closed { rest: true }, SECOND);
        assert_eq!(step.due(false, None, SECOND), Due::Publish);
        step.heard(Heard::PublishBegun, SECOND);
        assert_eq!(step.due(false, None, SECOND), Due::Close, "the next piece, while it is published");
        step.heard(Heard::Closed { rest: true }, SECOND);
        step.heard(Heard::Published, SECOND);
        assert_eq!(step.due(false, None, SECOND), Due::Close, "the next piece, since it is not time to publish");
        step.heard(Heard::Closed { rest: true }, SECOND);
        assert_eq!(step.due(true, None, SECOND * 2), Due::Publish);
        step.heard(Heard::PublishBegun, SECOND * 2);
        step.heard(Heard::Closed { rest: false }, SECOND * 2);
        step.heard(Heard::Published, SECOND * 2);
        assert_eq!(step.due(false, None, SECOND * 2), Due::Wait(Some(SECOND)));
        step.heard(Heard::Stop, SECOND * 2);
        assert_eq!(step.due(false, None, SECOND * 2), Due::Publish);
    }

    #[test]
    fn no_moment_closes_before_every_source_has_a_position() {
        let mut step = Step::new(SECOND);
        step.heard(Heard::Told { rows: 5 }, Duration::ZERO);
        assert_eq!(step.due(false, None, Duration::ZERO), Due::Wait(None));
        step.heard(Heard::Ready, Duration::ZERO);
        assert_eq!(step.due(false, None, Duration::ZERO), Due::Close);
    }

    #[test]
    fn the_first_moment_is_published_at_once() {
        let mut step = Step::new(SECOND);
        step.heard(Heard::Ready, Duration::ZERO);
        assert_eq!(step.due(false, None, Duration::ZERO), Due::Close);
        step.heard(Heard::Closed { rest: false }, Duration::ZERO);
        assert_eq!(step.due(false, None, Duration::ZERO), Due::Publish);
    }

    #[test]
    fn a_moment_grows_while_more_waits_up_to_its_bound() {
        let mut step = ready();
        step.heard(Heard::Told { rows: 1 }, Duration::ZERO);
        assert_eq!(step.due(true, None, Duration::ZERO), Due::Wait(None));
        assert_eq!(step.due(false, None, Duration::ZERO), Due::Close);
        step.heard(Heard::Told { rows: MOMENT_ROWS_MAX }, Duration::ZERO);
        assert_eq!(step.due(true, None, Duration::ZERO), Due::Close);
    }

    #[test]
    fn one_publication_at_a_time_and_not_before_its_hour() {
        let mut step = ready();
        step.heard(Heard::Told { rows: 1 }, Duration::ZERO);
        step.heard(Heard::Closed { rest: false }, Duration::ZERO);
        assert_eq!(step.due(false, None, SECOND / 4), Due::Wait(Some(SECOND * 3 / 4)));
        assert_eq!(step.due(false, None, SECOND), Due::Publish);
        step.heard(Heard::PublishBegun, SECOND);
        step.heard(Heard::Told { rows: 1 }, SECOND);
        step.heard(Heard::Closed { rest: false }, SECOND);
        assert_eq!(step.due(false, None, SECOND * 9), Due::Wait(None));
        step.heard(Heard::Published, SECOND * 9);
        assert_eq!(step.due(false, None, SECOND * 9), Due::Publish);
    }

    #[test]
    fn what_is_open_closes_before_it_is_published() {
        let mut step = ready();
        step.heard(Heard::Told { rows: 1 }, Duration::ZERO);
        step.heard(Heard::Closed { rest: false }, Duration::ZERO);
        step.heard(Heard::Told { rows: 1 }, SECOND);
        assert_eq!(step.due(true, None, SECOND), Due::Close);
        step.heard(Heard::Closed { rest: false }, SECOND);
        assert_eq!(step.due(true, None, SECOND), Due::Publish);
    }

    #[test]
    fn the_clock_closes_a_moment_when_nobody_tells_anything() {
        let mut step = ready();
        let due = |step: &Step, until: Duration, now: Duration| step.due(false, Some(until), now);
        assert_eq!(due(&step, SECOND * 5, SECOND), Due::Wait(Some(SECOND * 5)));
        assert_eq!(due(&step, SECOND * 86_400, SECOND), Due::Wait(Some(CLOCK_UNSEEN_MAX)), "the clock may be set");
        assert_eq!(due(&step, Duration::ZERO, SECOND), Due::Close);
        step.heard(Heard::Closed { rest: false }, SECOND);
        assert_eq!(due(&step, Duration::ZERO, SECOND), Due::Publish, "not at once again");
        step.heard(Heard::PublishBegun, SECOND);
        assert_eq!(due(&step, Duration::ZERO, SECOND), Due::Wait(Some(TICK_EVERY)));
        assert_eq!(due(&step, Duration::ZERO, SECOND + TICK_EVERY), Due::Close);
        step.heard(Heard::Closed { rest: false }, SECOND + TICK_EVERY);
        step.heard(Heard::Published, SECOND * 3 / 2);
        assert_eq!(due(&step, SECOND / 4, SECOND * 3 / 2), Due::Wait(Some(SECOND / 4)), "before its hour to publish");
        assert_eq!(due(&step, SECOND, SECOND * 3 / 2), Due::Wait(Some(SECOND / 2)));
        step.heard(Heard::Stop, SECOND * 3 / 2);
        assert_eq!(due(&step, Duration::ZERO, SECOND * 3 / 2), Due::Publish);
        step.heard(Heard::PublishBegun, SECOND * 2);
        step.heard(Heard::Published, SECOND * 2);
        assert_eq!(due(&step, Duration::ZERO, SECOND * 2), Due::Exit, "what has no end must not keep it from stopping");
    }

    #[test]
    fn stopping_closes_publishes_and_only_then_exits() {
        let mut step = ready();
        step.heard(Heard::Told { rows: 1 }, Duration::ZERO);
        step.heard(Heard::Stop, Duration::ZERO);
        assert_eq!(step.due(true, None, Duration::ZERO), Due::Close);
        step.heard(Heard::Closed { rest: false }, Duration::ZERO);
        assert_eq!(step.due(true, None, Duration::ZERO), Due::Publish);
        step.heard(Heard::PublishBegun, Duration::ZERO);
        assert_eq!(step.due(true, None, Duration::ZERO), Due::Wait(None));
        step.heard(Heard::Published, Duration::ZERO);
        assert_eq!(step.due(true, None, Duration::ZERO), Due::Exit);
    }

    #[test]
    fn a_stop_during_the_first_copy_exits_at_once() {
        let mut step = Step::new(SECOND);
        step.heard(Heard::Stop, Duration::ZERO);
        assert_eq!(step.due(true, None, Duration::ZERO), Due::Exit);
    }
}
