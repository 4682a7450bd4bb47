//! Lengths of time: months, days and a time of day, none of which is made of another.

use super::calendar::{DAY, SECOND, time_text};
pub use super::own::INTERVAL;
use arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::{DurationMicrosecondType, IntervalMonthDayNano};
use datafusion::common::Result as DfResult;
use std::sync::Arc;

pub type Interval = IntervalMonthDayNano;

/// What lies between two timestamps as intervals, and these as they are.
pub fn whole(values: &ArrayRef) -> DfResult<ArrayRef> {
    Ok(match values.as_primitive_opt::<DurationMicrosecondType>() {
        Some(durations) => {
            Arc::new(durations.iter().map(|value| value.map(of_duration)).collect::<IntervalMonthDayNanoArray>())
        }
        None => cast(values, &INTERVAL)?,
    })
}

pub fn of(months: i64, days: i64, micros: i64) -> Option<Interval> {
    Some(Interval::new(months.try_into().ok()?, days.try_into().ok()?, micros.checked_mul(1_000)?))
}

/// Of microseconds: so many days, and the rest.
pub(super) fn of_duration(micros: i64) -> Interval {
    let days = i32::try_from(micros / DAY).expect("an i64 of microseconds has fewer days");
    Interval::new(0, days, micros % DAY * 1_000)
}

pub fn micros(interval: Interval) -> i64 {
    interval.nanoseconds / 1_000
}

/// How long it is in microseconds, where a month has 30 days and a day 24 hours.
pub(super) fn length(interval: Interval) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * i128::from(DAY) + i128::from(micros(interval))
}

/// Days of its hours, months of its days, and in the end one sign for all that was touched.
pub(super) fn justified(interval: Interval, hours: bool, days_too: bool) -> Option<Interval> {
    let (mut months, mut days, mut time) = (i64::from(interval.months), i64::from(interval.days), micros(interval));
    if hours {
        (days, time) = (days + time / DAY, time % DAY);
    }
    if days_too {
        (months, days) = (months + days / 30, days % 30);
        let rest = if hours && days == 0 { time } else { days };
        if months.signum() * rest.signum() < 0 {
            (months, days) = (months + rest.signum(), days - 30 * rest.signum());
        }
    }
    if hours && days.signum() * time.signum() < 0 {
        (days, time) = (days + time.signum(), time - DAY * time.signum());
    }
    of(months, days, time)
}

pub(super) fn times(interval: Interval, by: f64) -> Option<Interval> {
    scaled(interval, |part| part * by)
}

pub fn over(interval: Interval, by: f64) -> Option<Interval> {
    scaled(interval, |part| part / by)
}

/// Parts of months become days, parts of days a time.
fn scaled(interval: Interval, scaled: impl Fn(f64) -> f64) -> Option<Interval> {
    let months = scaled(interval.months.into());
    let days = scaled(interval.days.into());
    let month_days = round_to_micros((months - months.trunc()) * 30.0);
    let rest = round_to_micros(days - days.trunc() + month_days - month_days.trunc());
    let time = scaled(micros(interval) as f64) + rest * DAY as f64;
    let fits = [months, days, time].iter().all(|part| part.abs() < 9e18);
    if !fits {
        return None;
    }
    of(months.trunc() as i64, (days.trunc() + month_days.trunc()) as i64, time.round_ties_even() as i64)
}

fn round_to_micros(days: f64) -> f64 {
    (days * DAY as f64).round() / DAY as f64
}

pub(super) fn text(interval: Interval) -> String {
    let mut parts = Vec::new();
    let mut negative_before = false;
    let mut part = |count: i32, one: &str, many: &str| {
        if count != 0 {
            let sign = if negative_before && count > 0 { "+" } else { "" };
            parts.push(format!("{sign}{count} {}", if count == 1 { one } else { many }));
            negative_before = count < 0;
        }
    };
    part(interval.months / 12, "year", "years");
    part(interval.months % 12, "mon", "mons");
    part(interval.days, "day", "days");
    let time = micros(interval);
    if time != 0 || parts.is_empty() {
        let sign = match () {
            () if time < 0 => "-",
            () if negative_before => "+",
            () => "",
        };
        parts.push(format!("{sign}{}", time_text(time.abs())));
    }
    parts.join(" ")
}

/// `1 year 2 mons -3 days 04:05:06.5`, `90 minutes`, `1.5 hours ago`, `1 month - 1 day`.
pub(super) fn parsed(text: &str) -> Option<Interval> {
    let lower = text.trim().to_lowercase();
    let (lower, ago) = match lower.strip_suffix("ago") {
        Some(rest) => (rest.to_string(), true),
        None => (lower, false),
    };
    let (mut months, mut days, mut time) = (0.0, 0.0, 0.0);
    let spaced = spaced(lower.trim_start_matches('@'));
    let mut words = spaced.split_whitespace().peekable();
    words.peek()?;
    while let Some(word) = words.next() {
        if word.contains(':') {
            time += clock(word)?;
            continue;
        }
        // A sign may stand alone.
        let signed = ["-", "+"].contains(&word).then(|| words.next().map(|number| format!("{word}{number}")));
        let count: f64 = signed.unwrap_or(Some(word.into()))?.parse().ok()?;
        let unit = words.next().unwrap_or("s");
        match unit.trim_end_matches('s') {
            "millennium" | "millennia" => months += count * 12_000.0,
            "century" | "centurie" => months += count * 1_200.0,
            "decade" => months += count * 120.0,
            "year" | "yr" | "y" => months += count * 12.0,
            "month" | "mon" => months += count,
            "week" | "w" => days += count * 7.0,
            "day" | "d" => days += count,
            "hour" | "hr" | "h" => time += count * 3.6e9,
            "minute" | "min" | "m" => time += count * 6e7,
            "second" | "sec" | "" => time += count * 1e6,
            "millisecond" | "msec" | "m_" => time += count * 1e3,
            "microsecond" | "usec" | "u" => time += count,
            _ => return None,
        }
    }
    let month_days = (months - f64::trunc(months)) * 30.0;
    let sign = if ago { -1 } else { 1 };
    let day_time = (days - f64::trunc(days) + month_days - month_days.trunc()) * DAY as f64;
    let whole_days = days.trunc() as i64 + month_days.trunc() as i64;
    of(sign * months.trunc() as i64, sign * whole_days, sign * (time + day_time).round() as i64)
}

/// A space between a number and its unit, `1day` and `1 day` being the same.
fn spaced(text: &str) -> String {
    let mut spaced = String::new();
    let mut before = ' ';
    for character in text.chars() {
        if character.is_alphabetic() && before.is_ascii_digit() && !text.contains(':') {
            spaced.push(' ');
        }
        spaced.push(character);
        before = character;
    }
    spaced
}

fn clock(word: &str) -> Option<f64> {
    let (sign, word) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word.trim_start_matches('+')),
    };
    let mut parts = word.split(':');
    let mut next = || parts.next().map_or(Some(0.0), |part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    Some(sign * (hours * 3_600.0 + minutes * 60.0 + seconds) * SECOND as f64)
}
