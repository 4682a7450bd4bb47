//! Units of time, and the parts of timestamps and intervals.

use super::calendar::{DAY, Parts, SECOND, date, days, iso_week, weekday};
use super::intervals::{self, Interval};

/// A unit or a part by one of its names.
pub(super) fn unit(name: &str) -> String {
    let name = name.trim().to_lowercase();
    match name.as_str() {
        "century" | "centuries" => "century".into(),
        "millennium" | "millennia" => "millennium".into(),
        "msec" | "msecs" | "ms" => "millisecond".into(),
        "usec" | "usecs" | "us" => "microsecond".into(),
        "hr" | "h" => "hour".into(),
        "min" | "mins" => "minute".into(),
        "sec" | "secs" => "second".into(),
        "mon" | "mons" => "month".into(),
        "weekday" | "dayofweek" => "dow".into(),
        "dayofyear" => "doy".into(),
        other => other.strip_suffix('s').unwrap_or(other).to_string(),
    }
}

/// How many digits `extract` gives behind the point.
pub(super) fn scale(part: &str) -> i8 {
    match unit(part).as_str() {
        "second" | "epoch" | "julian" => 6,
        "millisecond" => 3,
        _ => 0,
    }
}

/// In millionths.
pub(super) fn part_of_instant(unit: &str, instant: i64) -> Option<i128> {
    let Parts { year, month, day: _, hour, minute, second, micro } = Parts::of(instant);
    let day = instant.div_euclid(DAY);
    // There is no year 0: the first before 1 is -1.
    let shown = |year: i64| if year > 0 { year } else { year - 1 };
    let group = |size: i64| if year > 0 { (year + size - 1) / size } else { -((size - year) / size) };
    let whole = match unit {
        "epoch" => return Some(instant.into()),
        "second" => return Some((second * SECOND + micro).into()),
        "millisecond" => return Some(i128::from(second * SECOND + micro) * 1_000),
        "microsecond" => second * SECOND + micro,
        "minute" => minute,
        "hour" => hour,
        "day" => Parts::of(instant).day,
        "dow" => weekday(day) % 7,
        "isodow" => weekday(day),
        "doy" => day - days(year, 1, 1) + 1,
        "week" => iso_week(day).1,
        "month" => month,
        "quarter" => (month + 2) / 3,
        "year" => shown(year),
        "isoyear" => shown(iso_week(day).0),
        "decade" => year.div_euclid(10),
        "century" => group(100),
        "millennium" => group(1_000),
        _ => return None,
    };
    Some(i128::from(whole) * 1_000_000)
}

/// In millionths.
pub(super) fn part_of_interval(unit: &str, interval: Interval) -> Option<i128> {
    let (months, time) = (i64::from(interval.months), intervals::micros(interval));
    let seconds = time % (60 * SECOND);
    let whole = match unit {
        "epoch" => {
            // A year has 365.25 days here, and a month 30.
            let days = i128::from(months / 12) * 36_525 + i128::from(months % 12 * 30 + i64::from(interval.days)) * 100;
            return Some(days * i128::from(DAY) / 100 + i128::from(time));
        }
        "second" => return Some(seconds.into()),
        "millisecond" => return Some(i128::from(seconds) * 1_000),
        "microsecond" => seconds,
        "minute" => time / (60 * SECOND) % 60,
        "hour" => time / (3_600 * SECOND),
        "day" => interval.days.into(),
        "month" => months % 12,
        "quarter" => months % 12 / 3 + 1,
        "year" => months / 12,
        "decade" => months / 120,
        "century" => months / 1_200,
        "millennium" => months / 12_000,
        _ => return None,
    };
    Some(i128::from(whole) * 1_000_000)
}

/// The begin of the unit around an instant.
pub(super) fn begin(unit: &str, instant: i64) -> Option<i64> {
    let (year, month, _) = date(instant.div_euclid(DAY));
    let down = |to: i64| instant - instant.rem_euclid(to);
    let year_of = |size: i64| {
        let first = if year > 0 { (year - 1) / size * size + 1 } else { -((size - year) / size) * size + 1 };
        days(first, 1, 1) * DAY
    };
    Some(match unit {
        "microsecond" => instant,
        "millisecond" => down(1_000),
        "second" => down(SECOND),
        "minute" => down(60 * SECOND),
        "hour" => down(3_600 * SECOND),
        "day" => down(DAY),
        "week" => (instant.div_euclid(DAY) - weekday(instant.div_euclid(DAY)) + 1) * DAY,
        "month" => days(year, month, 1) * DAY,
        "quarter" => days(year, (month - 1) / 3 * 3 + 1, 1) * DAY,
        "year" => days(year, 1, 1) * DAY,
        "decade" => days(year.div_euclid(10) * 10, 1, 1) * DAY,
        "century" => year_of(100),
        "millennium" => year_of(1_000),
        _ => return None,
    })
}
