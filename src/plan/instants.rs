//! When a comparison with the clock comes true and when it ceases to be, to the microsecond.
//!
//! `x > f(clock)`, where f never goes back, is true until the clock reads the least instant that f takes to x. Such an f is
//! a chain of steps, truncations and shifts, and each finds the least value that it takes to a given one or beyond: so
//! the chain is walked backwards, from x to the clock.
//!
//! Values are nanoseconds since 1970 here, a date its midnight, in numbers so wide that nothing overflows. What no clock
//! will ever read becomes *never*, what all have read *always*: the greatest and the least of `i64`.

use crate::row::Clock;
use datafusion::logical_expr::Operator;
use std::ops::Range;

pub(super) const DAY_NS: i128 = 86_400_000_000_000;
const MICROSECOND_NS: i128 = 1_000;

/// The instants from which, or until which, rows pass a comparison, by the value of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// An integer, date or timestamp of microseconds; a NULL never passes.
    column: usize,
    /// A column that is 1 where the row passes whatever the clock says.
    or_else: Option<usize>,
    /// What one of it is.
    unit_ns: i128,
    edge: Edge,
    /// Whether f must go beyond the value, or only reach it.
    beyond: bool,
    /// From the clock to the comparison.
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    From,
    Until,
}

/// What is done to the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Plus so many nanoseconds.
    Shift(i128),
    /// Plus so many months, over whole days: the day of the month is kept, or becomes the month's last. Over days that is
    /// never a step back; with a time of day it may be one.
    Months(i128),
    /// Down to a multiple of so many nanoseconds, counted from an instant.
    Truncate { to_ns: i128, from_ns: i128 },
    /// Down to the first day of so many months.
    TruncateMonths(i128),
}

impl Bound {
    /// Of `x op f(clock)`, where x is the first column; `None` where a row may pass more than once.
    pub(super) fn of(unit_ns: i128, op: Operator, steps: &[Step]) -> Option<Vec<Bound>> {
        let bound = |edge, beyond| Bound { column: 0, or_else: None, unit_ns, edge, beyond, steps: steps.to_vec() };
        Some(match op {
            Operator::Gt => vec![bound(Edge::Until, false)],
            Operator::GtEq => vec![bound(Edge::Until, true)],
            Operator::Lt => vec![bound(Edge::From, true)],
            Operator::LtEq => vec![bound(Edge::From, false)],
            Operator::Eq => vec![bound(Edge::From, false), bound(Edge::Until, true)],
            _ => return None,
        })
    }

    /// The same of another column.
    pub(super) fn over(self, column: usize, or_else: Option<usize>) -> Bound {
        Bound { column, or_else, ..self }
    }

    fn instant(&self, value: i128) -> i64 {
        let value = value * self.unit_ns + i128::from(self.beyond);
        let least = self.steps.iter().rev().fold(value, |value, step| step.least(value));
        let least = div_ceil(least, MICROSECOND_NS);
        i64::try_from(least).unwrap_or(if least < 0 { i64::MIN } else { i64::MAX })
    }
}

/// The clock readings at which a row passes all of these; `None` where it never does. `value` gives its columns.
pub fn span(bounds: &[Bound], value: impl Fn(usize) -> Option<i128>) -> Option<Range<Clock>> {
    let (mut from, mut until) = (i64::MIN, i64::MAX);
    for bound in bounds.iter().filter(|bound| bound.or_else.and_then(&value) != Some(1)) {
        let instant = bound.instant(value(bound.column)?);
        match bound.edge {
            Edge::From => from = from.max(instant),
            Edge::Until => until = until.min(instant),
        }
    }
    (from < until).then_some(Clock(from)..Clock(until))
}

impl Step {
    /// The least value that the step takes to this one or beyond it.
    fn least(self, value: i128) -> i128 {
        match self {
            Step::Shift(by) => value - by,
            Step::Truncate { to_ns, from_ns } => from_ns + div_ceil(value - from_ns, to_ns) * to_ns,
            Step::TruncateMonths(many) => {
                let day = div_ceil(value, DAY_NS);
                let month = month_of(day - 1) + 1;
                first_day(div_ceil(month, many) * many) * DAY_NS
            }
            Step::Months(by) => {
                let day = div_ceil(value, DAY_NS);
                let month = month_of(day);
                let first = first_day(month - by);
                // Where the month has no such day, its last is taken to an earlier one: the next month begins.
                (first + (day - first_day(month)).min(first_day(month - by + 1) - first)) * DAY_NS
            }
        }
    }
}

/// The month of a day; days count from 1970-01-01, months from that of year 0.
fn month_of(day: i128) -> i128 {
    // 400 years have 146,097 days.
    let mut month = 1970 * 12 + (day * 4_800).div_euclid(146_097);
    while first_day(month) > day {
        month -= 1;
    }
    while first_day(month + 1) <= day {
        month += 1;
    }
    month
}

fn first_day(month: i128) -> i128 {
    // Counted from March, so that a leap day is the last of its year.
    let (year, month) = ((month - 2).div_euclid(12), (month - 2).rem_euclid(12));
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 - 719_468
}

fn div_ceil(value: i128, by: i128) -> i128 {
    -(-value).div_euclid(by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_where_the_calendar_says() {
        for (year, month, day) in [
            (1970, 1, 0),
            (2000, 2, 10_988),
            (2000, 3, 11_017),
            (2026, 11, 20_758),
            (1900, 3, -25_508),
            (1, 1, -719_162),
        ] {
            let number = year * 12 + month - 1;
            assert_eq!(first_day(number), day, "{year}-{month}");
            assert_eq!((month_of(day), month_of(day - 1)), (number, number - 1), "{year}-{month}");
        }
        for day in -800_000..800_000 {
            let month = month_of(day);
            assert!(first_day(month) <= day && day < first_day(month + 1), "{day}");
        }
    }

    /// What a step makes of a value, as it is defined.
    fn taken(step: Step, value: i128) -> i128 {
        match step {
            Step::Shift(by) => value + by,
            Step::Truncate { to_ns, from_ns } => value - (value - from_ns).rem_euclid(to_ns),
            Step::TruncateMonths(many) => {
                let month = month_of(value.div_euclid(DAY_NS));
                first_day(month - month.rem_euclid(many)) * DAY_NS
            }
            Step::Months(by) => {
                let day = value.div_euclid(DAY_NS);
                let (of_month, month) = (day - first_day(month_of(day)), month_of(day) + by);
                (first_day(month) + of_month.min(first_day(month + 1) - first_day(month) - 1)) * DAY_NS
            }
        }
    }

    #[test]
    fn a_step_back_is_the_least_that_the_step_takes_there() {
        let days = |step| matches!(step, Step::Months(_));
        for step in [
            Step::Shift(5 * DAY_NS + 7),
            Step::Shift(-DAY_NS / 3),
            Step::Truncate { to_ns: 3_600_000_000_000, from_ns: 0 },
            Step::Truncate { to_ns: 7 * DAY_NS, from_ns: 4 * DAY_NS },
            Step::TruncateMonths(1),
            Step::TruncateMonths(3),
            Step::TruncateMonths(12),
            Step::Months(-1),
            Step::Months(1),
            Step::Months(-11),
            Step::Months(25),
        ] {
            for day in (-1_000..1_000).chain(19_700..20_600) {
                for value in [day * DAY_NS - 1, day * DAY_NS, day * DAY_NS + 1, day * DAY_NS + DAY_NS / 7] {
                    let least = step.least(value);
                    let before = least - if days(step) { DAY_NS } else { 1 };
                    assert!(taken(step, least) >= value, "{step:?} of {value}: {least} is too early");
                    assert!(taken(step, before) < value, "{step:?} of {value}: {least} is too late");
                }
            }
        }
    }

    #[test]
    fn what_no_clock_reads_is_never_or_always() {
        let months = [Step::TruncateMonths(12), Step::Months(-1_200)];
        let until = |value: i64, unit_ns: i128| {
            let bounds = Bound::of(unit_ns, Operator::Gt, &months).expect("it has bounds");
            span(&bounds, |_| Some(value.into()))
        };
        assert_eq!(until(i64::MAX, DAY_NS), Some(Clock(i64::MIN)..Clock(i64::MAX)));
        assert_eq!(until(i64::MIN, DAY_NS), None);
        let from = Bound::of(DAY_NS, Operator::LtEq, &[]).expect("it has bounds");
        assert_eq!(span(&from, |_| Some(i64::MAX.into())), None, "it never enters");
        assert_eq!(span(&from, |_| Some(i64::MIN.into())), Some(Clock(i64::MIN)..Clock(i64::MAX)));
        assert_eq!(span(&from, |_| None), None, "a NULL never enters");
    }
}
