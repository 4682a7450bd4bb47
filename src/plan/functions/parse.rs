//! Values in text, as Postgres reads them.

use super::calendar::{DAY, Parts, SECOND, checked_days};

pub(super) fn boolean(text: &str) -> Option<bool> {
    let lower = text.trim().to_lowercase();
    let begins = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    match () {
        () if begins("true", 1) || begins("yes", 1) || lower == "on" || lower == "1" => Some(true),
        () if begins("false", 1) || begins("no", 1) || begins("off", 2) || lower == "0" => Some(false),
        () => None,
    }
}

pub(super) fn integer(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

pub(super) fn double(text: &str) -> Option<f64> {
    let text = text.trim();
    let value: f64 = text.parse().ok()?;
    // What is written as a number and is too large for one is no infinity.
    (value.is_finite() || !text.contains(|c: char| c.is_ascii_digit())).then_some(value)
}

/// The unscaled value at this scale, rounded half away from zero.
pub(super) fn decimal(text: &str, scale: i8) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], digits[at + 1..].parse::<i64>().ok()?),
        None => (digits, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all: String = [whole, part].concat();
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // How many of the digits stand before the last one that is kept.
    let kept = whole.len() as i64 + exponent + i64::from(scale);
    let digit = |at: i64| usize::try_from(at).ok().and_then(|at| all.as_bytes().get(at)).map_or(0, |d| d - b'0');
    let mut value = 0i128;
    for at in 0..kept.min(400) {
        value = value.checked_mul(10)?.checked_add(digit(at).into())?;
    }
    if kept >= 0 && digit(kept) >= 5 {
        value = value.checked_add(1)?;
    }
    Some(if negative { -value } else { value })
}

pub(super) fn date(text: &str) -> Option<i32> {
    let moment = moment(text)?;
    i32::try_from(moment.instant.div_euclid(DAY)).ok()
}

/// The time as it is written; a zone counts for nothing.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    Some(moment(text)?.instant)
}

/// The instant; in UTC if no zone is written.
pub(super) fn zoned(text: &str) -> Option<i64> {
    let moment = moment(text)?;
    Some(moment.instant - moment.offset_s * SECOND)
}

/// A time of day.
pub(super) fn time(text: &str) -> Option<i64> {
    let text = text.trim();
    Some(moment(&format!("2000-01-01 {}", text.rsplit([' ', 'T']).next()?))?.instant.rem_euclid(DAY))
}

struct Moment {
    instant: i64,
    offset_s: i64,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// From a name or its beginning, of three letters at least.
pub(super) fn month(name: &str) -> Option<i64> {
    let begin = name.get(..3)?.to_lowercase();
    Some(MONTHS.iter().position(|month| *month == begin)? as i64 + 1)
}

fn moment(text: &str) -> Option<Moment> {
    let text = text.trim();
    // A time has a colon, and what stands before its hours is the date.
    let (day, time) = match text.find(':') {
        Some(colon) => {
            let at = text[..colon].rfind([' ', 'T', 't'])?;
            (text[..at].trim(), text[at + 1..].trim())
        }
        None => (text, ""),
    };
    let (year, month, day) = day_of(day)?;
    let (time, offset_s) = zone_of(time)?;
    let mut parts = Parts { year, month, day, hour: 0, minute: 0, second: 0, micro: 0 };
    if !time.is_empty() {
        let (time, noon) = match time.to_lowercase() {
            lower if lower.ends_with("pm") => (time[..time.len() - 2].trim().to_string(), Some(12)),
            lower if lower.ends_with("am") => (time[..time.len() - 2].trim().to_string(), Some(0)),
            _ => (time.to_string(), None),
        };
        let mut fields = time.split(':');
        parts.hour = number(fields.next()?)?;
        parts.minute = number(fields.next()?)?;
        if let Some(seconds) = fields.next() {
            let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
            parts.second = number(whole)?;
            parts.micro = decimal(&format!("0.{part}"), 6)? as i64;
        }
        if let Some(noon) = noon {
            parts.hour = parts.hour % 12 + noon;
        }
    }
    Some(Moment { instant: parts.instant()?, offset_s })
}

fn number(digits: &str) -> Option<i64> {
    let fits = !digits.is_empty() && digits.len() < 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { digits.parse().ok() } else { None }
}

fn day_of(text: &str) -> Option<(i64, i64, i64)> {
    let words: Vec<&str> = text.split(['-', '/', ' ', ',', '.']).filter(|word| !word.is_empty()).collect();
    let found = match words.as_slice() {
        [one] if one.len() == 8 && one.is_ascii() => (number(&one[..4])?, number(&one[4..6])?, number(&one[6..])?),
        [first, second, third] => match (number(first), month(first), month(second)) {
            (None, Some(month), _) => (number(third)?, month, number(second)?),
            (Some(year), _, Some(month)) if first.len() > 2 => (year, month, number(third)?),
            (Some(day), _, Some(month)) => (number(third)?, month, day),
            (Some(year), _, None) if first.len() > 2 => (year, number(second)?, number(third)?),
            (Some(month), _, None) if third.len() > 2 => (number(third)?, month, number(second)?),
            _ => return None,
        },
        _ => return None,
    };
    checked_days(found.0, found.1, found.2).map(|_| found)
}

/// A time without its zone, and the zone's seconds east of UTC.
fn zone_of(time: &str) -> Option<(&str, i64)> {
    let lower = time.to_lowercase();
    for utc in ["utc", "gmt", "z"] {
        if lower.ends_with(utc) {
            return Some((time[..time.len() - utc.len()].trim(), 0));
        }
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let digits = time[at + 1..].replace(':', "");
    let seconds = match digits.len() {
        1 | 2 => number(&digits)? * 3_600,
        4 => number(&digits[..2])? * 3_600 + number(&digits[2..])? * 60,
        _ => return None,
    };
    Some((time[..at].trim(), if time[at..].starts_with('-') { -seconds } else { seconds }))
}
