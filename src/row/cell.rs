//! One value as bytes: its kind, how it is written, how long it is, how it is read.

use super::{Datum, Row};
use arrow::datatypes::*;
use std::borrow::Cow;
use std::sync::Arc;

pub(super) const NULL: u8 = 0xFF;
pub(super) const VALUE: u8 = 0x01;
/// Closes a list: below every value's first byte, so that of two lists the one that ends first is less.
pub(super) const END: u8 = 0x00;

/// How a type lies in a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Bool,
    /// An integer, date, time or timestamp of so many bytes.
    Int(usize),
    Float32,
    Float64,
    Decimal,
    Decimal256,
    Text,
    Bytes,
    Uuid,
    /// A map is the list of its entries, in the order in which they stand.
    List(Arc<Kind>),
    Struct(Arc<[Kind]>),
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
            DataType::Decimal256(_, _) => Kind::Decimal256,
            DataType::Utf8 => Kind::Text,
            DataType::Binary => Kind::Bytes,
            DataType::FixedSizeBinary(16) => Kind::Uuid,
            DataType::List(item) | DataType::Map(item, false) => Kind::List(Kind::of(item.data_type())?.into()),
            DataType::Struct(fields) if !fields.is_empty() => {
                Kind::Struct(fields.iter().map(|f| Kind::of(f.data_type())).collect::<Option<_>>()?)
            }
            _ => return None,
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
            Datum::Bool(v) => self.bool(*v),
            Datum::Int32(v) | Datum::Date(v) => self.int32(*v),
            Datum::Int64(v) | Datum::Time(v) | Datum::Timestamp(v) => self.int64(*v),
            Datum::Float32(v) => self.float32(*v),
            Datum::Float64(v) => self.float64(*v),
            Datum::Decimal(v) => self.int128(*v),
            Datum::Decimal256(v) => self.int256(*v),
            Datum::Text(v) => self.escaped(v),
            Datum::Bytes(v) => self.escaped(v),
            Datum::Uuid(v) => self.0.extend_from_slice(v),
            Datum::List(items) => {
                items.iter().for_each(|item| self.push(item));
                self.0.push(END);
            }
            Datum::Struct(fields) => fields.iter().for_each(|field| self.push(field)),
        }
    }

    /// A column's bytes as another row holds them.
    pub fn push_encoded(&mut self, column: &[u8]) {
        self.0.extend_from_slice(column);
    }

    pub fn finish(self) -> Row {
        Row::from(self.0.as_slice())
    }

    pub(super) fn bool(&mut self, v: bool) {
        self.0.push(v.into());
    }

    pub(super) fn int32(&mut self, v: i32) {
        self.0.extend_from_slice(&((v as u32) ^ (1 << 31)).to_be_bytes());
    }

    pub(super) fn int64(&mut self, v: i64) {
        self.0.extend_from_slice(&((v as u64) ^ (1 << 63)).to_be_bytes());
    }

    pub(super) fn int128(&mut self, v: i128) {
        self.0.extend_from_slice(&((v as u128) ^ (1 << 127)).to_be_bytes());
    }

    pub(super) fn int256(&mut self, v: i256) {
        self.0.extend_from_slice(&(v ^ i256::MIN).to_be_bytes());
    }

    pub(super) fn float32(&mut self, v: f32) {
        let bits = if v.is_nan() { f32::NAN.to_bits() & 0x7FFF_FFFF } else { (v + 0.0).to_bits() };
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        self.0.extend_from_slice(&ordered.to_be_bytes());
    }

    pub(super) fn float64(&mut self, v: f64) {
        let bits = if v.is_nan() { f64::NAN.to_bits() & (u64::MAX >> 1) } else { (v + 0.0).to_bits() };
        let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        self.0.extend_from_slice(&ordered.to_be_bytes());
    }

    pub(super) fn escaped(&mut self, bytes: impl AsRef<[u8]>) {
        for part in bytes.as_ref().split_inclusive(|b| *b == 0) {
            self.0.extend_from_slice(part);
            if part.last() == Some(&0) {
                self.0.push(0xFF);
            }
        }
        self.0.extend_from_slice(&[0, 0]);
    }
}

/// How long the value is that these bytes begin with.
#[inline]
pub(super) fn length(bytes: &[u8], kind: &Kind) -> usize {
    if bytes[0] == NULL {
        return 1;
    }
    fixed(kind).unwrap_or_else(|| ended(bytes, kind))
}

/// The length of every value that is not NULL, where they have one.
#[inline]
pub(super) fn fixed(kind: &Kind) -> Option<usize> {
    Some(match kind {
        Kind::Bool => 2,
        Kind::Int(width) => 1 + width,
        Kind::Float32 => 5,
        Kind::Float64 => 9,
        Kind::Decimal | Kind::Uuid => 17,
        Kind::Decimal256 => 33,
        Kind::Text | Kind::Bytes | Kind::List(_) | Kind::Struct(_) => return None,
    })
}

/// Guesses, where nothing but the type is known.
const TEXT_BYTES: usize = 16;
const LIST_ITEMS: usize = 4;

/// About how long a value is: a text is taken to have 16 bytes, a list 4 items.
pub(super) fn about(kind: &Kind) -> usize {
    match kind {
        Kind::Text | Kind::Bytes => TEXT_BYTES + 3,
        Kind::List(item) => LIST_ITEMS * about(item) + 2,
        Kind::Struct(fields) => 1 + fields.iter().map(about).sum::<usize>(),
        kind => fixed(kind).expect("all others have one length"),
    }
}

/// The length of a value that says itself where it ends.
fn ended(bytes: &[u8], kind: &Kind) -> usize {
    match kind {
        Kind::Text | Kind::Bytes => {
            let mut at = 1;
            loop {
                at += bytes[at..].iter().position(|b| *b == 0).expect("text is closed by 00 00");
                if bytes[at + 1] == 0 {
                    return at + 2;
                }
                at += 2;
            }
        }
        Kind::List(item) => {
            let mut at = 1;
            while bytes[at] != END {
                at += length(&bytes[at..], item);
            }
            at + 1
        }
        Kind::Struct(fields) => fields.iter().fold(1, |at, field| at + length(&bytes[at..], field)),
        fixed => unreachable!("every {fixed:?} is of one length"),
    }
}

/// The items of a list that is not NULL.
pub(super) fn items<'a>(cell: &'a [u8], item: &Kind) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = &cell[1..];
    std::iter::from_fn(move || {
        let (first, after) = (rest[0] != END).then(|| rest.split_at(length(rest, item)))?;
        rest = after;
        Some(first)
    })
}

/// The value that these bytes begin with, and the bytes behind it.
pub(super) fn read<'a>(bytes: &'a [u8], kind: &Kind, data_type: &DataType) -> (Datum, &'a [u8]) {
    let (column, rest) = bytes.split_at(length(bytes, kind));
    if column[0] == NULL {
        return (Datum::Null, rest);
    }
    let value = &column[1..];
    let datum = match (kind, data_type) {
        (Kind::Bool, _) => Datum::Bool(value[0] == 1),
        (Kind::Int(4), DataType::Date32) => Datum::Date(i32_of(value)),
        (Kind::Int(4), _) => Datum::Int32(i32_of(value)),
        (Kind::Int(_), DataType::Time64(_)) => Datum::Time(i64_of(value)),
        (Kind::Int(_), DataType::Timestamp(_, _)) => Datum::Timestamp(i64_of(value)),
        (Kind::Int(_), _) => Datum::Int64(i64_of(value)),
        (Kind::Float32, _) => Datum::Float32(f32_of(value)),
        (Kind::Float64, _) => Datum::Float64(f64_of(value)),
        (Kind::Decimal, _) => Datum::Decimal(i128_of(value)),
        (Kind::Decimal256, _) => Datum::Decimal256(i256_of(value)),
        (Kind::Text, _) => Datum::Text(String::from_utf8(unescaped(value)).expect(TEXT)),
        (Kind::Bytes, _) => Datum::Bytes(unescaped(value)),
        (Kind::Uuid, _) => Datum::Uuid(sized(value)),
        (Kind::List(item), DataType::List(field) | DataType::Map(field, _)) => {
            Datum::List(items(column, item).map(|bytes| read(bytes, item, field.data_type()).0).collect())
        }
        (Kind::Struct(kinds), DataType::Struct(fields)) => {
            let mut rest = value;
            let field = |(kind, field): (&Kind, &FieldRef)| {
                let (datum, after) = read(rest, kind, field.data_type());
                rest = after;
                datum
            };
            Datum::Struct(kinds.iter().zip(fields).map(field).collect())
        }
        (Kind::List(_) | Kind::Struct(_), other) => unreachable!("{other} is of another kind"),
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

pub(super) fn i256_of(value: &[u8]) -> i256 {
    i256::from_be_bytes(sized(value)) ^ i256::MIN
}

pub(super) fn f32_of(value: &[u8]) -> f32 {
    let bits = u32::from_be_bytes(sized(value));
    f32::from_bits(if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits })
}

pub(super) fn f64_of(value: &[u8]) -> f64 {
    let bits = u64::from_be_bytes(sized(value));
    f64::from_bits(if bits >> 63 == 1 { bits ^ (1 << 63) } else { !bits })
}
