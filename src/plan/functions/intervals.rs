//! Lengths of time: months, days and a time of day, none of which is made of another.

use super::calendar::{DAY, SECOND, time_text};
use arrow::datatypes::IntervalMonthDayNano;

pub(super) type Interval = IntervalMonthDayNano;

pub(super) fn of(months: i64, days: i64, micros: i64) -> Option<Interval> {
    Some(Interval::new(months.try_into().ok()?, days.try_into().ok()?, micros.checked_mul(1_000)?))
}

/// Of microseconds: so many days, and the rest.
pub(super) fn of_duration(micros: i64) -> Interval {
    let days = i32::try_from(micros / DAY).expect("an i64 of microseconds has fewer days");
    Interval::new(0, days, micros % DAY * 1_000)
}

pub(super) fn micros(interval: Interval) -> i64 {
    interval.nanoseconds / 1_000
}

/// Parts of months become days, parts of days a time.
pub(super) fn times(interval: Interval, by: f64) -> Option<Interval> {
    let months = f64::from(interval.months) * by;
    let days = f64::from(interval.days) * by;
    let month_days = round_to_micros((months - months.trunc()) * 30.0);
    let rest = round_to_micros(days - days.trunc() + month_days - month_days.trunc());
    let time = micros(interval) as f64 * by + rest * DAY as f64;
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

/// `1 year 2 mons -3 days 04:05:06.5`, `90 minutes`, `1.5 hours ago`.
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
        let count: f64 = word.parse().ok()?;
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
