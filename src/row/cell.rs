//! One value as bytes: its kind, how it is written, how long it is, how it is read.

use super::{Datum, Row};
use arrow::datatypes::*;
use std::borrow::Cow;

pub(super) const NULL: u8 = 0xFF;
pub(super) const VALUE: u8 = 0x01;

/// How a type lies in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Bool,
    /// An integer, date, time or timestamp of so many bytes.
    Int(usize),
    Float32,
    Float64,
    Decimal,
    Text,
    Bytes,
    Uuid,
}

impl Kind {
    pub fn of(data_type: &DataType) -> Option<Kind> {
        Some(match data_type {
            DataType::Boolean => Kind::Bool,
            DataType::Int32 | DataType::Date32 => Kind::Int(4),
            DataType::Int64 | DataType::Time64(TimeUnit::Microsecond) => Kind::Int(8),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Kind::Int(8),
            DataType::Float32 => Kind::Float32,
            DataType::Float64 => Kind::Float64,
            DataType::Decimal128(_, _) => Kind::Decimal,
            DataType::Utf8 => Kind::Text,
            DataType::Binary => Kind::Bytes,
            DataType::FixedSizeBinary(16) => Kind::Uuid,
            _ => return None,
        })
    }

    /// The width after the tag, where it is fixed.
    fn width(self) -> Option<usize> {
        Some(match self {
            Kind::Bool => 1,
            Kind::Int(width) => width,
            Kind::Float32 => 4,
            Kind::Float64 => 8,
            Kind::Decimal | Kind::Uuid => 16,
            Kind::Text | Kind::Bytes => return None,
        })
    }
}

/// Adds a value to the bytes of a row.
pub fn append(row: &mut Vec<u8>, datum: &Datum) {
    let mut writer = RowWriter(std::mem::take(row));
    writer.push(datum);
    *row = writer.0;
}

/// Writes one row, value after value.
#[derive(Default)]
pub struct RowWriter(pub(super) Vec<u8>);

impl RowWriter {
    pub fn push(&mut self, datum: &Datum) {
        match datum {
            Datum::Null => return self.0.push(NULL),
            _ => self.0.push(VALUE),
        }
        match datum {
            Datum::Null => unreachable!("returned above"),
            Datum::Bool(v) => self.0.push(*v as u8),
            Datum::Int32(v) | Datum::Date(v) => self.int32(*v),
            Datum::Int64(v) | Datum::Time(v) | Datum::Timestamp(v) => self.int64(*v),
            Datum::Float32(v) => self.float32(*v),
            Datum::Float64(v) => self.float64(*v),
            Datum::Decimal(v) => self.0.extend_from_slice(&((*v as u128) ^ (1 << 127)).to_be_bytes()),
            Datum::Text(v) => self.escaped(v.as_bytes()),
            Datum::Bytes(v) => self.escaped(v),
            Datum::Uuid(v) => self.0.extend_from_slice(v),
        }
    }

    /// A column's bytes as another row holds them.
    pub fn push_encoded(&mut self, column: &[u8]) {
        self.0.extend_from_slice(column);
    }

    pub fn finish(self) -> Row {
        Row::from(self.0.as_slice())
    }

    fn int32(&mut self, v: i32) {
        self.0.extend_from_slice(&((v as u32) ^ (1 << 31)).to_be_bytes());
    }

    fn int64(&mut self, v: i64) {
        self.0.extend_from_slice(&((v as u64) ^ (1 << 63)).to_be_bytes());
    }

    fn float32(&mut self, v: f32) {
        let bits = if v.is_nan() { f32::NAN.to_bits() & 0x7FFF_FFFF } else { (v + 0.0).to_bits() };
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        self.0.extend_from_slice(&ordered.to_be_bytes());
    }

    fn float64(&mut self, v: f64) {
        let bits = if v.is_nan() { f64::NAN.to_bits() & (u64::MAX >> 1) } else { (v + 0.0).to_bits() };
        let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        self.0.extend_from_slice(&ordered.to_be_bytes());
    }

    fn escaped(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|b| *b == 0) {
            self.0.extend_from_slice(part);
            if part.last() == Some(&0) {
                self.0.push(0xFF);
            }
        }
        self.0.extend_from_slice(&[0, 0]);
    }
}

/// How long the column is that these bytes begin with.
pub(super) fn length(bytes: &[u8], kind: Kind) -> usize {
    if bytes[0] == NULL {
        return 1;
    }
    if let Some(width) = kind.width() {
        return 1 + width;
    }
    let mut at = 1;
    loop {
        at += bytes[at..].iter().position(|b| *b == 0).expect("text is closed by 00 00");
        if bytes[at + 1] == 0 {
            return at + 2;
        }
        at += 2;
    }
}

pub(super) fn read<'a>(bytes: &'a [u8], kind: Kind, data_type: &DataType) -> (Datum, &'a [u8]) {
    let (column, rest) = bytes.split_at(length(bytes, kind));
    if column[0] == NULL {
        return (Datum::Null, rest);
    }
    let value = &column[1..];
    let datum = match kind {
        Kind::Bool => Datum::Bool(value[0] == 1),
        Kind::Int(4) => match data_type {
            DataType::Date32 => Datum::Date(i32_of(value)),
            _ => Datum::Int32(i32_of(value)),
        },
        Kind::Int(_) => match data_type {
            DataType::Time64(_) => Datum::Time(i64_of(value)),
            DataType::Timestamp(_, _) => Datum::Timestamp(i64_of(value)),
            _ => Datum::Int64(i64_of(value)),
        },
        Kind::Float32 => Datum::Float32(f32_of(value)),
        Kind::Float64 => Datum::Float64(f64_of(value)),
        Kind::Decimal => Datum::Decimal(i128_of(value)),
        Kind::Text => Datum::Text(String::from_utf8(unescaped(value)).expect(TEXT)),
        Kind::Bytes => Datum::Bytes(unescaped(value)),
        Kind::Uuid => Datum::Uuid(sized(value)),
    };
    (datum, rest)
}

pub(super) fn sized<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the kind fixes the width")
}

pub(super) fn unescaped(value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len() - 2];
    let mut bytes = Vec::with_capacity(value.len());
    let mut escape = false;
    for byte in value {
        if !escape {
            bytes.push(*byte);
        }
        escape = !escape && *byte == 0;
    }
    bytes
}

pub(super) const TEXT: &str = "text was a String when written";

pub(super) fn text_of(cell: &[u8]) -> Option<Cow<'_, [u8]>> {
    (cell[0] != NULL).then(|| match &cell[1..cell.len() - 2] {
        plain if !plain.contains(&0) => Cow::Borrowed(plain),
        _ => Cow::Owned(unescaped(&cell[1..])),
    })
}

#[inline]
pub(super) fn i32_of(value: &[u8]) -> i32 {
    (u32::from_be_bytes(sized(value)) ^ (1 << 31)) as i32
}

#[inline]
pub(super) fn i64_of(value: &[u8]) -> i64 {
    (u64::from_be_bytes(sized(value)) ^ (1 << 63)) as i64
}

#[inline]
pub(super) fn i128_of(value: &[u8]) -> i128 {
    (u128::from_be_bytes(sized(value)) ^ (1 << 127)) as i128
}

pub(super) fn f32_of(value: &[u8]) -> f32 {
    let bits = u32::from_be_bytes(sized(value));
    f32::from_bits(if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits })
}

pub(super) fn f64_of(value: &[u8]) -> f64 {
    let bits = u64::from_be_bytes(sized(value));
    f64::from_bits(if bits >> 63 == 1 { bits ^ (1 << 63) } else { !bits })
}

impl RowWriter {
    /// Text or bytes straight from a column, without a `Datum` between.
    pub(super) fn push_text(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.0.push(NULL),
            Some(bytes) => {
                self.0.push(VALUE);
                self.escaped(bytes);
            }
        }
    }
}
