//! One cell: from the binlog's bytes, or from a result set, to the same [`Datum`].
//!
//! Both ways must agree to the bit, since a row that was copied is later retracted by a key that was
//! streamed. What no Arrow type can hold (a zero date, a day that no calendar has) is refused, never
//! turned into NULL.

use super::catalog::changed;
use super::types::{Charset, Kind};
use super::wire::{Reader, Wire};
use crate::error::{Error, Result};
use crate::row::{Datum, TableName};
use mysql_async::Value;

/// Why a value cannot be held.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// The column is no longer what the catalog said.
    Changed,
    /// `0000-00-00`, `2024-02-31` and their like.
    NoSuchDay,
    /// Bytes that do not mean anything in their type.
    Garbled,
}

pub(super) fn refused(table: &TableName, column: &str, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Changed => changed(table, column),
        Refusal::NoSuchDay => {
            Error::operator(format!("column `{column}` of table `{table}` holds a date that no calendar has"))
                .hint(format!("set it to NULL where it is zero, or leave `{column}` out of the models"))
        }
        Refusal::Garbled => {
            Error::corrupt(format!("a value of column `{column}` of table `{table}` cannot be read as its type"))
                .hint(format!("CHECK TABLE {table}"))
        }
    }
}

/// A cell of a row event, and the reader behind it.
pub(super) fn streamed(
    wire: &Wire,
    unsigned: bool,
    kind: &Kind,
    reader: &mut Reader,
) -> Result<Result<Datum, Refusal>> {
    let bytes = wire.take(reader)?;
    Ok(match (wire, kind) {
        (Wire::Int(_), Kind::Int { .. }) => integer(little(bytes, !unsigned), kind),
        (Wire::Year, Kind::Year) => Ok(Datum::Int32(if bytes[0] == 0 { 0 } else { 1900 + bytes[0] as i32 })),
        (Wire::Bit { .. }, Kind::Bit { .. }) => integer(big(bytes), kind),
        (Wire::Float, Kind::Float) => Ok(Datum::Float32(f32::from_bits(little(bytes, false) as u32))),
        (Wire::Double, Kind::Double) => Ok(Datum::Float64(f64::from_bits(little(bytes, false) as u64))),
        (Wire::Decimal { precision, scale }, Kind::Decimal { scale: held, .. }) if scale == held => {
            decimal(&decimal_digits(bytes, *precision, *scale), kind)
        }
        (Wire::Date, Kind::Date) => {
            let packed = little(bytes, false) as u32;
            day(packed >> 9, packed >> 5 & 15, packed & 31).map(Datum::Date)
        }
        (Wire::DateTime { .. }, Kind::DateTime) => {
            let packed = big(&bytes[..5]) - (1 << 39);
            let (date, time) = ((packed >> 17) as u32, packed as u32 & 0x1FFFF);
            let months = date >> 5;
            day(months / 13, months % 13, date & 31)
                .map(|day| Datum::Timestamp(instant(day, time >> 12, time >> 6 & 63, time & 63, fraction(&bytes[5..]))))
        }
        (Wire::Timestamp { .. }, Kind::Timestamp) => match (big(&bytes[..4]) as i64, fraction(&bytes[4..])) {
            // The server keeps the zero date as the epoch's first second, which it refuses as a value.
            (0, 0) => Err(Refusal::NoSuchDay),
            (seconds, fraction) => Ok(Datum::Timestamp(seconds * 1_000_000 + fraction)),
        },
        (Wire::Time { .. }, Kind::Time) => Ok(Datum::Int64(time(bytes))),
        (Wire::Var { pad, .. }, Kind::Binary) => {
            let mut bytes = bytes.to_vec();
            // The server strips the zeros at the end of binary(n), and gives them back to readers.
            bytes.resize(bytes.len().max(*pad), 0);
            Ok(Datum::Bytes(bytes))
        }
        (Wire::Var { .. }, Kind::Text(charset)) => charset.decode(bytes).map(Datum::Text).ok_or(Refusal::Garbled),
        (Wire::Enum(_), Kind::Enum(labels)) => match little(bytes, false) as usize {
            // What a lenient server stores for a value that is none of the labels.
            0 => Ok(Datum::Text(String::new())),
            i => labels.get(i - 1).map(|label| Datum::Text(label.clone())).ok_or(Refusal::Changed),
        },
        (Wire::Set(_), Kind::Set(labels)) => {
            let bits = little(bytes, false) as u64;
            let chosen = (0..64).filter(|i| bits >> i & 1 == 1).map(|i| labels.get(i as usize).map(String::as_str));
            let chosen: Option<Vec<&str>> = chosen.collect();
            chosen.map(|c| Datum::Text(c.join(","))).ok_or(Refusal::Changed)
        }
        _ => Err(Refusal::Changed),
    })
}

/// A cell of a result set in the binary protocol, text in UTF-8.
pub(super) fn copied(value: Value, kind: &Kind) -> Result<Datum, Refusal> {
    match (value, kind) {
        (Value::NULL, _) => Ok(Datum::Null),
        (Value::Int(v), Kind::Int { .. } | Kind::Year) => integer(v.into(), kind),
        (Value::UInt(v), Kind::Int { .. } | Kind::Year) => integer(v.into(), kind),
        (Value::Bytes(bytes), Kind::Bit { .. }) => integer(big(&bytes), kind),
        (Value::Float(v), Kind::Float) => Ok(Datum::Float32(v)),
        (Value::Double(v), Kind::Double) => Ok(Datum::Float64(v)),
        (Value::Bytes(text), Kind::Decimal { .. }) => {
            decimal(&Charset::Ascii.decode(&text).ok_or(Refusal::Garbled)?, kind)
        }
        (Value::Date(year, month, date, ..), Kind::Date) => {
            day(year.into(), month.into(), date.into()).map(Datum::Date)
        }
        (Value::Date(year, month, date, h, m, s, us), Kind::DateTime | Kind::Timestamp) => {
            day(year.into(), month.into(), date.into())
                .map(|day| Datum::Timestamp(instant(day, h.into(), m.into(), s.into(), us.into())))
        }
        (Value::Time(negative, days, h, m, s, us), Kind::Time) => {
            let us = instant(days as i32, h.into(), m.into(), s.into(), us.into());
            Ok(Datum::Int64(if negative { -us } else { us }))
        }
        (Value::Bytes(bytes), Kind::Binary) => Ok(Datum::Bytes(bytes)),
        (Value::Bytes(bytes), Kind::Text(_) | Kind::Enum(_) | Kind::Set(_)) => {
            Charset::Utf8.decode(&bytes).map(Datum::Text).ok_or(Refusal::Garbled)
        }
        _ => Err(Refusal::Changed),
    }
}

fn integer(v: i128, kind: &Kind) -> Result<Datum, Refusal> {
    use arrow::datatypes::DataType;
    match kind.arrow() {
        DataType::Int32 => i32::try_from(v).map(Datum::Int32).map_err(|_| Refusal::Changed),
        DataType::Int64 => i64::try_from(v).map(Datum::Int64).map_err(|_| Refusal::Changed),
        _ => Ok(Datum::Decimal(v)),
    }
}

/// Text such as `-0012.50`, with as many digits after the point as the kind's scale.
fn decimal(text: &str, kind: &Kind) -> Result<Datum, Refusal> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let Kind::Decimal { scale, .. } = kind else { return Err(Refusal::Changed) };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.len() != *scale as usize {
        return Err(Refusal::Changed);
    }
    if kind.arrow() == arrow::datatypes::DataType::Utf8 {
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let point = if part.is_empty() { "" } else { "." };
        return Ok(Datum::Text(format!("{sign}{whole}{point}{part}")));
    }
    format!("{sign}{whole}{part}").parse().map(Datum::Decimal).map_err(|_| Refusal::Garbled)
}

/// The digits of MariaDB's packed decimal: groups of nine in four bytes, big-endian, the groups at both
/// ends shorter; the first bit is the sign, flipped, and a negative number has all bits flipped.
fn decimal_digits(bytes: &[u8], precision: u8, scale: u8) -> String {
    let negative = bytes.first().is_some_and(|b| b & 0x80 == 0);
    let flip = if negative { 0xFF } else { 0 };
    let mut bytes: Vec<u8> = bytes.iter().map(|b| b ^ flip).collect();
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x80;
    }
    let mut text = String::from(if negative { "-" } else { "" });
    let mut at = 0;
    let mut group = |text: &mut String, digits: usize| {
        let width = DECIMAL_BYTES[digits];
        if digits > 0 {
            text.push_str(&format!("{:0digits$}", big(&bytes[at..at + width])));
        }
        at += width;
    };
    let (whole, part) = ((precision - scale) as usize, scale as usize);
    group(&mut text, whole % 9);
    (0..whole / 9).for_each(|_| group(&mut text, 9));
    text.push('.');
    (0..part / 9).for_each(|_| group(&mut text, 9));
    group(&mut text, part % 9);
    text
}

/// Bytes for so many decimal digits.
pub(super) const DECIMAL_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// Days since 1970-01-01.
fn day(year: u32, month: u32, date: u32) -> Result<i32, Refusal> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(Refusal::NoSuchDay),
    };
    if date == 0 || date > last {
        return Err(Refusal::NoSuchDay);
    }
    // Years begin in March, so that the leap day is a year's last; 146,097 days make 400 years.
    let (year, month) = if month > 2 { (year + 400, month - 3) } else { (year + 399, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + date - 1;
    Ok(days as i32 - 719_468 - 146_097)
}

/// Microseconds from days and a clock.
fn instant(day: i32, hours: u32, minutes: u32, seconds: u32, fraction: i64) -> i64 {
    let clock = (hours as i64 * 60 + minutes as i64) * 60 + seconds as i64;
    (day as i64 * 86_400 + clock) * 1_000_000 + fraction
}

/// Microseconds, from as many bytes as the column's precision takes.
fn fraction(bytes: &[u8]) -> i64 {
    big(bytes) as i64 * FRACTION_US[bytes.len()]
}

/// What one unit of a fraction of so many bytes is worth, in microseconds.
const FRACTION_US: [i64; 4] = [1_000_000, 10_000, 100, 1];

/// Hours, minutes, seconds and fraction as one number with an offset, so that negative ones compare.
fn time(bytes: &[u8]) -> i64 {
    let bits = (bytes.len() - 3) * 8;
    let packed = big(bytes) as i64 - (0x80_0000 << bits);
    let (whole, part) = (packed.unsigned_abs() >> bits, packed.unsigned_abs() & ((1 << bits) - 1));
    let (whole, part) = (whole as u32, part as i64 * FRACTION_US[bytes.len() - 3]);
    let us = instant(0, whole >> 12 & 0x3FF, whole >> 6 & 63, whole & 63, if bits == 0 { 0 } else { part });
    if packed < 0 { -us } else { us }
}

/// Little-endian; `signed` numbers keep their sign whatever their width, mediumint's three bytes included.
pub(super) fn little(bytes: &[u8], signed: bool) -> i128 {
    let value = bytes.iter().rev().fold(0i128, |value, b| value << 8 | *b as i128);
    let negative = signed && bytes.last().is_some_and(|b| b & 0x80 != 0);
    if negative { value - (1 << (8 * bytes.len())) } else { value }
}

fn big(bytes: &[u8]) -> i128 {
    bytes.iter().fold(0i128, |value, b| value << 8 | *b as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mediumint_keeps_its_sign() {
        assert_eq!(little(&[0x90, 0xEE, 0xFE], true), -70_000);
        assert_eq!(little(&[0x90, 0xEE, 0xFE], false), 16_707_216);
    }

    #[test]
    fn days_are_counted_as_calendars_count_them() {
        assert_eq!(day(1970, 1, 1), Ok(0));
        assert_eq!(day(2000, 3, 1), Ok(11_017));
        assert_eq!(day(1969, 12, 31), Ok(-1));
        assert_eq!(day(1, 1, 1), Ok(-719_162));
        assert_eq!(day(9999, 12, 31), Ok(2_932_896));
        assert_eq!(day(2023, 2, 29), Err(Refusal::NoSuchDay));
        assert_eq!(day(0, 0, 0), Err(Refusal::NoSuchDay));
    }

    #[test]
    fn packed_decimals_come_back_digit_by_digit() {
        // 1234567890.1234 and its negative, as the server's manual packs decimal(14,4).
        let positive = [0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2];
        let negative = positive.map(|b| !b);
        assert_eq!(decimal_digits(&positive, 14, 4), "1234567890.1234");
        assert_eq!(decimal_digits(&negative, 14, 4), "-1234567890.1234");
        let kind = Kind::Decimal { precision: 14, scale: 4 };
        assert_eq!(decimal("-1234567890.1234", &kind), Ok(Datum::Decimal(-12_345_678_901_234)));
        let wide = Kind::Decimal { precision: 40, scale: 0 };
        assert_eq!(decimal("-0012.", &wide), Ok(Datum::Text("-12".into())));
    }

    #[test]
    fn negative_times_carry_their_fraction() {
        // -00:00:00.1 at one digit: the whole is borrowed from.
        assert_eq!(time(&[0x7F, 0xFF, 0xFF, 0xF6]), -100_000);
        assert_eq!(time(&[0x7F, 0xFF, 0xFF]), -1_000_000);
        assert_eq!(time(&[0x80, 0x10, 0x00, 0, 0, 1]), 3_600_000_001);
    }
}
