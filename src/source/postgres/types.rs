//! Postgres types: what each becomes in a row, and how its text is read.
//!
//! The first copy and the stream hand out the same text (the same output functions under the same
//! settings, see `connect`), so one reader serves both. What no Arrow scalar can hold travels as text, just
//! as Postgres prints it. A value that its type admits but a row cannot hold (`infinity` as a date, `NaN` in
//! a numeric of fixed scale) is [`Unreadable`], never a silent NULL.

use crate::row::{Datum, JSON};
use arrow::datatypes::{DataType, TimeUnit};

/// How the text of a column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    /// int2 and int4.
    Int32,
    Int64,
    Float32,
    Float64,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Text,
    /// json and jsonb, as they are printed.
    Json,
    /// char(n): its padding has no meaning in comparisons, casts or concatenations, so it is not kept.
    Padded,
    Bytes,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Uuid,
}

/// Why a value has no row form.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The type admits it, a row cannot hold it.
    NoForm,
    /// It is not what Postgres prints for this type.
    Garbled,
}

/// The deepest decimal a row can hold.
const DIGITS_MAX: u32 = 38;
const DAY_US: i64 = 86_400_000_000;

impl Kind {
    /// By the type's object id and modifier in the catalog; a domain is resolved before.
    pub fn of(oid: u32, modifier: i32) -> Kind {
        match oid {
            16 => Kind::Bool,
            21 | 23 => Kind::Int32,
            20 => Kind::Int64,
            700 => Kind::Float32,
            701 => Kind::Float64,
            1700 => Kind::numeric(modifier),
            1042 => Kind::Padded,
            17 => Kind::Bytes,
            114 | 3802 => Kind::Json,
            1082 => Kind::Date,
            1083 => Kind::Time,
            1114 => Kind::Timestamp,
            1184 => Kind::TimestampTz,
            2950 => Kind::Uuid,
            _ => Kind::Text,
        }
    }

    /// By the type's name in SQL, as a recorded log declares it.
    pub fn named(name: &str) -> Kind {
        let name = name.trim().to_ascii_lowercase();
        if name.ends_with("[]") {
            return Kind::Text;
        }
        let (base, rest) = name.split_once('(').unwrap_or((&name, ""));
        let (arguments, suffix) = rest.split_once(')').unwrap_or(("", ""));
        let numbers: Vec<i32> = arguments.split(',').filter_map(|n| n.trim().parse().ok()).collect();
        let zoned = suffix.trim() == "with time zone";
        match base.trim() {
            "bool" | "boolean" => Kind::Bool,
            "int2" | "smallint" | "int4" | "int" | "integer" | "smallserial" | "serial" => Kind::Int32,
            "int8" | "bigint" | "bigserial" => Kind::Int64,
            "float4" | "real" => Kind::Float32,
            "float8" | "double precision" => Kind::Float64,
            "numeric" | "decimal" => match numbers[..] {
                [precision] => Kind::numeric((precision << 16) + 4),
                [precision, scale] => Kind::numeric((precision << 16) + (scale & 0x7FF) + 4),
                _ => Kind::Text,
            },
            "char" | "character" | "bpchar" => Kind::Padded,
            "bytea" => Kind::Bytes,
            "json" | "jsonb" => Kind::Json,
            "date" => Kind::Date,
            "time" if zoned => Kind::Text,
            "time" | "time without time zone" => Kind::Time,
            "timestamp" if zoned => Kind::TimestampTz,
            "timestamp" | "timestamp without time zone" => Kind::Timestamp,
            "timestamptz" | "timestamp with time zone" => Kind::TimestampTz,
            "uuid" => Kind::Uuid,
            _ => Kind::Text,
        }
    }

    pub fn arrow(self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int32 => DataType::Int32,
            Kind::Int64 => DataType::Int64,
            Kind::Float32 => DataType::Float32,
            Kind::Float64 => DataType::Float64,
            Kind::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            Kind::Text | Kind::Padded => DataType::Utf8,
            Kind::Json => JSON,
            Kind::Bytes => DataType::Binary,
            Kind::Date => DataType::Date32,
            Kind::Time => DataType::Time64(TimeUnit::Microsecond),
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Uuid => DataType::FixedSizeBinary(16),
        }
    }

    pub fn read(self, text: &[u8]) -> Result<Datum, Unreadable> {
        let text = std::str::from_utf8(text).map_err(|_| Unreadable::NoForm)?;
        let datum = match self {
            Kind::Bool => match text {
                "t" | "true" => Some(Datum::Bool(true)),
                "f" | "false" => Some(Datum::Bool(false)),
                _ => None,
            },
            Kind::Int32 => text.parse().ok().map(Datum::Int32),
            Kind::Int64 => text.parse().ok().map(Datum::Int64),
            Kind::Float32 => text.parse().ok().map(Datum::Float32),
            Kind::Float64 => text.parse().ok().map(Datum::Float64),
            Kind::Decimal { .. } if matches!(text, "NaN" | "Infinity" | "-Infinity") => return Err(Unreadable::NoForm),
            Kind::Decimal { precision, scale } => decimal(text, precision, scale).map(Datum::Decimal),
            Kind::Text | Kind::Json => Some(Datum::Text(text.to_string())),
            Kind::Padded => Some(Datum::Text(text.trim_end_matches(' ').to_string())),
            Kind::Bytes => text.strip_prefix("\\x").and_then(hex).map(Datum::Bytes),
            Kind::Uuid => uuid(text).map(Datum::Uuid),
            Kind::Date | Kind::Timestamp | Kind::TimestampTz if matches!(text, "infinity" | "-infinity") => {
                return Err(Unreadable::NoForm);
            }
            Kind::Date => {
                let days = date(text).ok_or(Unreadable::Garbled)?;
                Some(Datum::Date(i32::try_from(days).map_err(|_| Unreadable::NoForm)?))
            }
            Kind::Time => {
                let (time, rest) = time(text).ok_or(Unreadable::Garbled)?;
                // 24:00:00 is a time to Postgres; to Arrow and Iceberg the day has ended before it.
                match (time < DAY_US, rest) {
                    (true, "") => Some(Datum::Time(time)),
                    (false, "") => return Err(Unreadable::NoForm),
                    _ => None,
                }
            }
            Kind::Timestamp | Kind::TimestampTz => {
                let us = timestamp(text, self == Kind::TimestampTz).ok_or(Unreadable::Garbled)?;
                Some(Datum::Timestamp(i64::try_from(us).map_err(|_| Unreadable::NoForm)?))
            }
        };
        datum.ok_or(Unreadable::Garbled)
    }

    /// `modifier` packs precision and scale as the catalog does; -1 where the column fixes neither.
    fn numeric(modifier: i32) -> Kind {
        if modifier < 4 {
            return Kind::Text;
        }
        let precision = ((modifier - 4) >> 16) & 0xFFFF;
        // Eleven bits, signed: from Postgres 15 on a scale may be negative, or greater than the precision.
        let scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024;
        let (precision, scale) = if scale < 0 { (precision - scale, 0) } else { (precision.max(scale), scale) };
        if precision as u32 > DIGITS_MAX {
            return Kind::Text;
        }
        Kind::Decimal { precision: precision as u8, scale: scale as u8 }
    }
}

/// The unscaled value; `None` also where digits would be lost.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let spare = fraction.get(scale as usize..).unwrap_or("");
    if (whole.is_empty() && fraction.is_empty()) || spare.bytes().any(|b| b != b'0') {
        return None;
    }
    let kept = &fraction[..fraction.len().min(scale as usize)];
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(kept.bytes()) {
        let digit = byte.checked_sub(b'0').filter(|d| *d < 10)?;
        value = value.checked_mul(10)?.checked_add(digit as i128)?;
    }
    value = value.checked_mul(10i128.pow(scale as u32 - kept.len() as u32))?;
    (value < 10i128.pow(precision as u32)).then_some(if negative { -value } else { value })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    hex(&text.replace('-', ""))?.try_into().ok()
}

/// `YYYY-MM-DD`, with ` BC` after it for the years before 1: days since 1970.
fn date(text: &str) -> Option<i64> {
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let mut parts = text.split('-');
    let year: i64 = parts.next()?.parse().ok()?;
    let month: i64 = parts.next()?.parse().ok()?;
    let day: i64 = parts.next()?.parse().ok()?;
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days(if before_christ { 1 - year } else { year }, month, day))
}

/// Days since 1970 in the proleptic Gregorian calendar, counted in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `HH:MM:SS[.ffffff]`: microseconds since midnight, and what follows.
fn time(text: &str) -> Option<(i64, &str)> {
    let two = |at: usize| text.get(at..at + 2)?.parse::<i64>().ok();
    let colon = |at: usize| (text.as_bytes().get(at) == Some(&b':')).then_some(());
    colon(2)?;
    colon(5)?;
    let mut us = (two(0)? * 3600 + two(3)? * 60 + two(6)?) * 1_000_000;
    let mut rest = &text[8..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(fraction.len());
        if end == 0 || end > 6 {
            return None;
        }
        us += fraction[..end].parse::<i64>().ok()? * 10i64.pow(6 - end as u32);
        rest = &fraction[end..];
    }
    Some((us, rest))
}

/// A date and a time between which stands a blank (or `T`), and with a zone its offset.
fn timestamp(text: &str, zoned: bool) -> Option<i128> {
    let (text, era) = match text.strip_suffix(" BC") {
        Some(rest) => (rest, " BC"),
        None => (text, ""),
    };
    let at = text.find([' ', 'T'])?;
    let day = if era.is_empty() { date(&text[..at])? } else { date(&format!("{}{era}", &text[..at]))? };
    let (time, rest) = time(&text[at + 1..])?;
    let offset_us = match (zoned, rest) {
        (_, "" | "Z") => 0,
        (true, zone) => offset(zone)?,
        (false, _) => return None,
    };
    Some(day as i128 * DAY_US as i128 + time as i128 - offset_us as i128)
}

/// `+HH`, `-HH:MM` or `+HH:MM:SS`, in microseconds.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let mut seconds = 0;
    for (part, unit) in zone[1..].split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok()? * unit;
    }
    Some(sign * seconds * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modifier(precision: i32, scale: i32) -> i32 {
        (precision << 16) + (scale & 0x7FF) + 4
    }

    #[test]
    fn a_numeric_keeps_its_scale_where_a_row_can_hold_it() {
        assert_eq!(Kind::of(1700, modifier(12, 2)), Kind::Decimal { precision: 12, scale: 2 });
        assert_eq!(Kind::of(1700, modifier(2, 5)), Kind::Decimal { precision: 5, scale: 5 });
        assert_eq!(Kind::of(1700, modifier(3, -2)), Kind::Decimal { precision: 5, scale: 0 });
        assert_eq!(Kind::of(1700, modifier(39, 0)), Kind::Text);
        assert_eq!(Kind::of(1700, -1), Kind::Text);
        assert_eq!(Kind::named("numeric(12, 2)"), Kind::Decimal { precision: 12, scale: 2 });
        assert_eq!(Kind::named("timestamp(3) with time zone"), Kind::TimestampTz);
        assert_eq!(Kind::named("int4[]"), Kind::Text);
    }

    #[test]
    fn dates_are_counted_from_1970_on_both_sides_of_the_year_1() {
        let day = |text: &str| Kind::Date.read(text.as_bytes());
        assert_eq!(day("1970-01-01"), Ok(Datum::Date(0)));
        assert_eq!(day("2000-02-29"), Ok(Datum::Date(11_016)));
        assert_eq!(day("0001-01-01"), Ok(Datum::Date(-719_162)));
        assert_eq!(day("0001-12-31 BC"), Ok(Datum::Date(-719_163)));
        assert_eq!(day("infinity"), Err(Unreadable::NoForm));
        assert_eq!(day("2000-13-01"), Err(Unreadable::Garbled));
    }

    #[test]
    fn a_zone_is_taken_off_and_a_plain_timestamp_has_none() {
        let at = |kind: Kind, text: &str| kind.read(text.as_bytes());
        assert_eq!(at(Kind::TimestampTz, "1970-01-01 02:00:00.5+02"), Ok(Datum::Timestamp(500_000)));
        assert_eq!(at(Kind::TimestampTz, "1969-12-31T18:30:00-05:30"), Ok(Datum::Timestamp(0)));
        assert_eq!(at(Kind::Timestamp, "1969-12-31 23:59:59.999999"), Ok(Datum::Timestamp(-1)));
        assert_eq!(at(Kind::Timestamp, "1970-01-01 00:00:00+00"), Err(Unreadable::Garbled));
        assert_eq!(at(Kind::Timestamp, "294276-12-31 23:59:59"), Err(Unreadable::NoForm));
        assert_eq!(at(Kind::Time, "24:00:00"), Err(Unreadable::NoForm));
    }

    #[test]
    fn a_decimal_never_loses_a_digit() {
        let kind = Kind::Decimal { precision: 5, scale: 2 };
        assert_eq!(kind.read(b"-1.5"), Ok(Datum::Decimal(-150)));
        assert_eq!(kind.read(b"1.230"), Ok(Datum::Decimal(123)));
        assert_eq!(kind.read(b"1.234"), Err(Unreadable::Garbled));
        assert_eq!(kind.read(b"1000.00"), Err(Unreadable::Garbled));
        assert_eq!(kind.read(b"NaN"), Err(Unreadable::NoForm));
        let widest = Kind::Decimal { precision: 38, scale: 0 };
        assert_eq!(widest.read("9".repeat(38).as_bytes()), Ok(Datum::Decimal(10i128.pow(38) - 1)));
    }
}
