//! The patterns of `to_char`, `to_date` and `to_timestamp`.

use super::calendar::{DAY, Parts, date, days, iso_week, weekday};
use super::intervals::{self, Interval};
use super::own::bad;
use super::parse;
use datafusion::common::Result as DfResult;

/// The longer before what they begin with.
const KEYS: [&str; 48] = [
    "YYYY", "Y,YYY", "YYY", "YY", "IYYY", "IY", "IW", "IDDD", "ID", "MONTH", "Month", "month", "MON", "Mon", "mon",
    "MM", "MI", "MS", "DAY", "Day", "day", "DDD", "DD", "DY", "Dy", "dy", "D", "HH24", "HH12", "HH", "SSSS", "SS",
    "US", "AM", "PM", "am", "pm", "A.M.", "P.M.", "a.m.", "p.m.", "WW", "W", "Q", "J", "CC", "TZ", "Y",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

enum Piece<'a> {
    Key { key: &'static str, unpadded: bool, ordinal: bool },
    Text(&'a str),
}

fn pieces(form: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest) = (Vec::new(), form);
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            pieces.push(Piece::Text(text));
            rest = after;
            continue;
        }
        let unpadded = rest.starts_with("FM") || rest.starts_with("fm");
        let keyed = if unpadded { &rest[2..] } else { rest };
        let begins = |key: &&&str| keyed.get(..key.len()).is_some_and(|begin| begin == **key);
        let lower = |key: &&&str| keyed.get(..key.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(key));
        match KEYS.iter().find(begins).or_else(|| KEYS.iter().find(lower)) {
            Some(key) => {
                rest = &keyed[key.len()..];
                let ordinal = rest.starts_with("th") || rest.starts_with("TH");
                rest = if ordinal { &rest[2..] } else { rest };
                pieces.push(Piece::Key { key, unpadded, ordinal });
            }
            None => {
                let (text, after) = keyed.split_at(keyed.chars().next().map_or(0, char::len_utf8));
                pieces.push(Piece::Text(text));
                rest = after;
            }
        }
    }
    pieces
}

/// A timestamp, in UTC if it has a zone.
pub(super) fn written(instant: i64, zoned: bool, form: &str) -> String {
    let parts = Parts::of(instant);
    let day = instant.div_euclid(DAY);
    write(form, &parts, day, if zoned { "UTC" } else { "" })
}

pub(super) fn written_interval(interval: Interval, form: &str) -> String {
    let (months, time) = (i64::from(interval.months), intervals::micros(interval));
    let hour = time / 3_600_000_000;
    let of_day = Parts::of(time.rem_euclid(DAY));
    let parts = Parts { year: months / 12, month: months % 12, day: interval.days.into(), hour, ..of_day };
    write(form, &parts, 0, "")
}

fn write(form: &str, parts: &Parts, day: i64, zone: &str) -> String {
    let mut text = String::new();
    for piece in pieces(form) {
        match piece {
            Piece::Text(words) => text.push_str(words),
            Piece::Key { key, unpadded, ordinal } => {
                let value = value(key, parts, day, zone);
                let value = match (unpadded, value.trim_start_matches('0')) {
                    (true, "") if !value.is_empty() => "0",
                    (true, cut) => cut.trim_end(),
                    (false, _) => &value,
                };
                text.push_str(value);
                if ordinal {
                    text.push_str(suffix(value));
                }
            }
        }
    }
    text
}

fn suffix(number: &str) -> &'static str {
    let teen = number.len() > 1 && number.as_bytes()[number.len() - 2] == b'1';
    match number.as_bytes().last() {
        Some(b'1') if !teen => "st",
        Some(b'2') if !teen => "nd",
        Some(b'3') if !teen => "rd",
        _ => "th",
    }
}

fn value(key: &str, parts: &Parts, day: i64, zone: &str) -> String {
    let Parts { year, month, day: of_month, hour, minute, second, micro } = *parts;
    let name_of_month = MONTHS[(month - 1).rem_euclid(12) as usize];
    let name_of_day = DAYS[(weekday(day) - 1) as usize];
    let of_year = day - days(year, 1, 1) + 1;
    let cased = |name: &str, width: usize| match key {
        _ if key == key.to_uppercase() => format!("{:width$}", name.to_uppercase()),
        _ if key == key.to_lowercase() => format!("{:width$}", name.to_lowercase()),
        _ => format!("{name:width$}"),
    };
    let noon = |am: &str, pm: &str| if hour % 24 >= 12 { pm.to_string() } else { am.to_string() };
    match key {
        "YYYY" => format!("{year:04}"),
        "Y,YYY" => format!("{},{:03}", year / 1_000, year % 1_000),
        "YYY" => format!("{:03}", year % 1_000),
        "YY" => format!("{:02}", year % 100),
        "Y" => format!("{}", year % 10),
        "IYYY" => format!("{:04}", iso_week(day).0),
        "IY" => format!("{:02}", iso_week(day).0 % 100),
        "IW" => format!("{:02}", iso_week(day).1),
        "ID" => weekday(day).to_string(),
        "IDDD" => format!("{:03}", (iso_week(day).1 - 1) * 7 + weekday(day)),
        "MM" => format!("{month:02}"),
        "DD" => format!("{of_month:02}"),
        "DDD" => format!("{of_year:03}"),
        "D" => (weekday(day) % 7 + 1).to_string(),
        "HH24" => format!("{hour:02}"),
        "HH12" | "HH" => format!("{:02}", (hour + 11) % 12 + 1),
        "MI" => format!("{minute:02}"),
        "SS" => format!("{second:02}"),
        "SSSS" => (hour * 3_600 + minute * 60 + second).to_string(),
        "MS" => format!("{:03}", micro / 1_000),
        "US" => format!("{micro:06}"),
        "AM" | "PM" => noon("AM", "PM"),
        "am" | "pm" => noon("am", "pm"),
        "A.M." | "P.M." => noon("A.M.", "P.M."),
        "a.m." | "p.m." => noon("a.m.", "p.m."),
        "WW" => format!("{:02}", (of_year - 1) / 7 + 1),
        "W" => ((of_month - 1) / 7 + 1).to_string(),
        "Q" => ((month + 2) / 3).to_string(),
        "J" => (day + 2_440_588).to_string(),
        "CC" => format!("{:02}", (year + 99) / 100),
        "TZ" => zone.to_string(),
        _ if key.eq_ignore_ascii_case("month") => cased(name_of_month, 9),
        _ if key.eq_ignore_ascii_case("mon") => cased(&name_of_month[..3], 0),
        _ if key.eq_ignore_ascii_case("day") => cased(name_of_day, 9),
        _ => cased(&name_of_day[..3], 0),
    }
}

/// Microseconds of what a text says in this form.
pub(super) fn read(text: &str, form: &str) -> DfResult<i64> {
    match found(text, form) {
        Some(instant) => Ok(instant),
        None => bad(format_args!("`{text}` is no date as `{form}` has it")),
    }
}

fn found(text: &str, form: &str) -> Option<i64> {
    let mut parts = Parts { year: 0, month: 1, day: 1, hour: 0, minute: 0, second: 0, micro: 0 };
    let (mut rest, mut afternoon, mut of_year) = (text.trim_start(), None, None);
    let pieces = pieces(form);
    for (at, piece) in pieces.iter().enumerate() {
        if rest.is_empty() {
            break;
        }
        let Piece::Key { key, .. } = piece else {
            // Any one sign stands for any other; spaces may be more.
            let Piece::Text(words) = piece else { continue };
            for sign in words.chars() {
                let begin = rest.chars().next();
                if begin == Some(sign)
                    || begin.is_some_and(|c| !c.is_alphanumeric() && c != '-' && c != '+')
                    || begin == Some('-')
                {
                    rest = &rest[begin.map_or(0, char::len_utf8)..];
                }
            }
            rest = rest.trim_start();
            continue;
        };
        // Digits of the next key end those of this one.
        let followed = matches!(pieces.get(at + 1), Some(Piece::Key { .. }));
        let mut number = |most: usize| {
            let most = if followed || most == 2 { most } else { most.max(4) };
            let size = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
            let value = rest[..size].parse::<i64>().ok()?;
            rest = &rest[size..];
            Some((value, size))
        };
        match *key {
            "YYYY" | "IYYY" => parts.year = number(4)?.0,
            "YY" => {
                let year = number(2)?.0;
                parts.year = if year < 70 { 2_000 + year } else { 1_900 + year };
            }
            "MM" => parts.month = number(2)?.0,
            "DD" => parts.day = number(2)?.0,
            "DDD" => of_year = Some(number(3)?.0),
            "HH24" | "HH12" | "HH" => parts.hour = number(2)?.0,
            "MI" => parts.minute = number(2)?.0,
            "SS" => parts.second = number(2)?.0,
            "MS" | "US" => {
                let most = if *key == "MS" { 3 } else { 6 };
                let (value, size) = number(most)?;
                parts.micro = value * 10i64.checked_pow(6u32.checked_sub(size as u32)?)?;
            }
            key if ["AM", "PM"].contains(&key.replace('.', "").to_uppercase().as_str()) => {
                let size = key.len();
                afternoon = Some(rest.get(..size)?.to_lowercase().starts_with('p'));
                rest = &rest[size..];
            }
            key => {
                let size = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
                if key.to_lowercase().starts_with("mon") {
                    parts.month = parse::month(&rest[..size])?;
                }
                rest = &rest[size..];
            }
        }
    }
    if let Some(afternoon) = afternoon {
        parts.hour = parts.hour % 12 + if afternoon { 12 } else { 0 };
    }
    let instant = parts.instant()?;
    match of_year {
        Some(day) => Some((days(date(instant.div_euclid(DAY)).0, 1, 1) + day - 1) * DAY + instant.rem_euclid(DAY)),
        None => Some(instant),
    }
}

/// A decimal: `9` a digit, `0` one that is always there, `.`, `,`, and `FM` for no spaces.
pub(super) fn number(value: i128, scale: i8, form: &str) -> String {
    let unpadded = form.to_uppercase().contains("FM");
    let form = form.to_uppercase().replace("FM", "").replace('D', ".").replace('G', ",");
    let (whole_form, part_form) = form.split_once('.').unwrap_or((&form, ""));
    let digits_behind = part_form.matches(['9', '0']).count();
    let rounded = parse::decimal(&format!("{value}e{}", -i32::from(scale)), digits_behind as i8).unwrap_or_default();
    let negative = rounded < 0;
    let all = format!("{:0width$}", rounded.unsigned_abs(), width = digits_behind + 1);
    let (whole, part) = all.split_at(all.len() - digits_behind);
    let whole = whole.trim_start_matches('0');
    let places = whole_form.matches(['9', '0']).count();
    let too_long = whole.len() > places;
    let always = whole_form.find('0').map_or(0, |at| whole_form[at..].matches(['9', '0']).count());
    let missing = places.saturating_sub(whole.len());
    let (mut text, mut seen, mut place) = (String::new(), false, 0usize);
    for sign in whole_form.chars() {
        match sign {
            '9' | '0' => {
                let digit =
                    if too_long { Some('#') } else { place.checked_sub(missing).and_then(|at| whole.chars().nth(at)) };
                let due = places - place <= always;
                seen |= digit.is_some() || due;
                match digit {
                    Some(digit) => text.push(digit),
                    None if due => text.push('0'),
                    None => text.push(' '),
                }
                place += 1;
            }
            ',' => text.push(if seen { ',' } else { ' ' }),
            'S' | 'M' | 'I' => {}
            other => text.push(other),
        }
    }
    let shown = text.trim_start().to_string();
    let spaces = text.len() - shown.len();
    let sign = match (negative, unpadded) {
        (true, _) => "-",
        (false, true) => "",
        (false, false) => " ",
    };
    let mut behind = String::new();
    if form.contains('.') {
        let kept = part_form.rfind('0').map_or(0, |at| part_form[..=at].matches(['9', '0']).count());
        let part = if too_long { "#".repeat(part.len()) } else { part.to_string() };
        let cut = part.trim_end_matches('0').len().max(kept);
        behind = format!(".{}", if unpadded { &part[..cut] } else { &part });
    }
    let text = format!("{sign}{shown}{behind}");
    if unpadded { text } else { " ".repeat(spaces) + &text }
}
