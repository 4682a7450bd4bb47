//! One value as bytes: its kind, how it is written, how long it is, how it is read.

use super::{Datum, Row};
use arrow::datatypes::*;
use std::borrow::Cow;
use std::sync::Arc;

pub(super) const NULL: u8 = 0xFF;
const VALUE: u8 = 0x01;
/// The first byte of a number of no bytes, which is zero; minus one is its complement.
const ZERO: u8 = 0x80;
/// Closes a list: below every value's first byte, so that of two lists the one that ends first is less.
pub(super) const END: u8 = 0x00;

/// How a type lies in a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Bool,
    /// An integer, date, time or timestamp.
    Int,
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
            DataType::Int32 | DataType::Date32 | DataType::Int64 => Kind::Int,
            DataType::Time64(TimeUnit::Microsecond) | DataType::Timestamp(TimeUnit::Microsecond, _) => Kind::Int,
            DataType::Float32 => Kind::Float32,
            DataType::Float64 => Kind::Float64,
            DataType::Decimal128(_, _) => Kind::Decimal,
            DataType::Decimal256(_, _) => Kind::Decimal256,
            DataType::Utf8 | DataType::LargeUtf8 => Kind::Text,
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
            Datum::Null => self.null(),
            Datum::Bool(v) => self.bool(*v),
            Datum::Int32(v) | Datum::Date(v) => self.int32(*v),
            Datum::Int64(v) | Datum::Time(v) | Datum::Timestamp(v) => self.int64(*v),
            Datum::Float32(v) => self.float32(*v),
            Datum::Float64(v) => self.float64(*v),
            Datum::Decimal(v) => self.int128(*v),
            Datum::Decimal256(v) => self.int256(*v),
            Datum::Text(v) => self.escaped(v),
            Datum::Bytes(v) => self.escaped(v),
            Datum::Uuid(v) => self.plain(v),
            Datum::List(items) => {
                self.begin();
                items.iter().for_each(|item| self.push(item));
                self.0.push(END);
            }
            Datum::Struct(fields) => {
                self.begin();
                fields.iter().for_each(|field| self.push(field));
            }
        }
    }

    /// A column's bytes as another row holds them.
    pub fn push_encoded(&mut self, column: &[u8]) {
        self.0.extend_from_slice(column);
    }

    pub fn finish(self) -> Row {
        Row::from(self.0.as_slice())
    }

    pub(super) fn null(&mut self) {
        self.0.push(NULL);
    }

    /// A value that is no number begins.
    pub(super) fn begin(&mut self) {
        self.0.push(VALUE);
    }

    pub(super) fn plain(&mut self, value: &[u8]) {
        self.begin();
        self.0.extend_from_slice(value);
    }

    pub(super) fn bool(&mut self, v: bool) {
        self.0.extend_from_slice(&[VALUE, v.into()]);
    }

    pub(super) fn int32(&mut self, v: i32) {
        self.int64(v.into());
    }

    #[inline]
    pub(super) fn int64(&mut self, v: i64) {
        let sign = v >> 63;
        let length = 8 - (v ^ sign).leading_zeros() / 8;
        let mut cell = [(ZERO + length as u8) ^ sign as u8; 9];
        cell[1..].copy_from_slice(&v.checked_shl(64 - 8 * length).unwrap_or(0).to_be_bytes());
        self.begun(&cell, length);
    }

    #[inline]
    pub(super) fn int128(&mut self, v: i128) {
        let sign = v >> 127;
        let length = 16 - (v ^ sign).leading_zeros() / 8;
        let mut cell = [(ZERO + length as u8) ^ sign as u8; 17];
        cell[1..].copy_from_slice(&v.checked_shl(128 - 8 * length).unwrap_or(0).to_be_bytes());
        self.begun(&cell, length);
    }

    /// A first byte and so many behind it: writing them all and taking some back is faster than counting.
    #[inline]
    fn begun(&mut self, cell: &[u8], length: u32) {
        let end = self.0.len() + 1 + length as usize;
        self.0.extend_from_slice(cell);
        self.0.truncate(end);
    }

    pub(super) fn int256(&mut self, v: i256) {
        self.plain(&(v ^ i256::MIN).to_be_bytes());
    }

    pub(super) fn float32(&mut self, v: f32) {
        let bits = if v.is_nan() { f32::NAN.to_bits() & 0x7FFF_FFFF } else { (v + 0.0).to_bits() };
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        self.plain(&ordered.to_be_bytes());
    }

    pub(super) fn float64(&mut self, v: f64) {
        let bits = if v.is_nan() { f64::NAN.to_bits() & (u64::MAX >> 1) } else { (v + 0.0).to_bits() };
        let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        self.plain(&ordered.to_be_bytes());
    }

    pub(super) fn escaped(&mut self, bytes: impl AsRef<[u8]>) {
        self.begin();
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
    let first = bytes[0];
    match kind {
        _ if first == NULL => 1,
        Kind::Int | Kind::Decimal => 1 + usize::from(if first < ZERO { !first } else { first } - ZERO),
        Kind::Bool => 2,
        Kind::Float32 => 5,
        Kind::Float64 => 9,
        Kind::Uuid => 17,
        Kind::Decimal256 => 33,
        Kind::Text | Kind::Bytes | Kind::List(_) | Kind::Struct(_) => ended(bytes, kind),
    }
}

/// Guesses, where nothing but the type is known.
const NUMBER_BYTES: usize = 4;
const TEXT_BYTES: usize = 16;
const LIST_ITEMS: usize = 4;

/// About how long a value is, and whether that is a guess: a number is taken to have 4 bytes, a text 16, a list
/// 4 items.
pub(super) fn about(kind: &Kind) -> (usize, bool) {
    match kind {
        Kind::Int | Kind::Decimal => (1 + NUMBER_BYTES, true),
        Kind::Text | Kind::Bytes => (TEXT_BYTES + 3, true),
        Kind::List(item) => (LIST_ITEMS * about(item).0 + 2, true),
        Kind::Struct(fields) => fields.iter().map(about).fold((1, false), |a, b| (a.0 + b.0, a.1 || b.1)),
        fixed => (length(&[VALUE], fixed), false),
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
        other => unreachable!("{other:?} says in its first byte how long it is"),
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
    let datum = match (kind, data_type) {
        (Kind::Bool, _) => Datum::Bool(column[1] == 1),
        (Kind::Int, DataType::Date32) => Datum::Date(i32_of(column)),
        (Kind::Int, DataType::Int32) => Datum::Int32(i32_of(column)),
        (Kind::Int, DataType::Time64(_)) => Datum::Time(i64_of(column)),
        (Kind::Int, DataType::Timestamp(_, _)) => Datum::Timestamp(i64_of(column)),
        (Kind::Int, _) => Datum::Int64(i64_of(column)),
        (Kind::Float32, _) => Datum::Float32(f32_of(column)),
        (Kind::Float64, _) => Datum::Float64(f64_of(column)),
        (Kind::Decimal, _) => Datum::Decimal(i128_of(column)),
        (Kind::Decimal256, _) => Datum::Decimal256(i256_of(column)),
        (Kind::Text, _) => Datum::Text(String::from_utf8(unescaped(column)).expect(TEXT)),
        (Kind::Bytes, _) => Datum::Bytes(unescaped(column)),
        (Kind::Uuid, _) => Datum::Uuid(plain(column)),
        (Kind::List(item), DataType::List(field) | DataType::Map(field, _)) => {
            Datum::List(items(column, item).map(|bytes| read(bytes, item, field.data_type()).0).collect())
        }
        (Kind::Struct(kinds), DataType::Struct(fields)) => {
            let mut rest = &column[1..];
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

fn plain<const N: usize>(cell: &[u8]) -> [u8; N] {
    cell[1..].try_into().expect("the kind fixes the width")
}

fn unescaped(cell: &[u8]) -> Vec<u8> {
    let value = &cell[1..cell.len() - 2];
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
        _ => Cow::Owned(unescaped(cell)),
    })
}

#[inline]
pub(super) fn i32_of(cell: &[u8]) -> i32 {
    i64_of(cell) as i32
}

#[inline]
pub(super) fn i64_of(cell: &[u8]) -> i64 {
    cell[1..].iter().fold(-i64::from(cell[0] < ZERO), |v, byte| v << 8 | i64::from(*byte))
}

#[inline]
pub(super) fn i128_of(cell: &[u8]) -> i128 {
    cell[1..].iter().fold(-i128::from(cell[0] < ZERO), |v, byte| v << 8 | i128::from(*byte))
}

pub(super) fn i256_of(cell: &[u8]) -> i256 {
    i256::from_be_bytes(plain(cell)) ^ i256::MIN
}

pub(super) fn f32_of(cell: &[u8]) -> f32 {
    let bits = u32::from_be_bytes(plain(cell));
    f32::from_bits(if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits })
}

pub(super) fn f64_of(cell: &[u8]) -> f64 {
    let bits = u64::from_be_bytes(plain(cell));
    f64::from_bits(if bits >> 63 == 1 { bits ^ (1 << 63) } else { !bits })
}
