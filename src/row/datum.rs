//! One value, where values are made (a source's decoder) or shown (a difference printed row by row).
//!
//! Inside the engine rows stay bytes or Arrow columns; a `Datum` never travels there.

use arrow::datatypes::i256;
use std::fmt;

#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Null,
    Bool(bool),
    Int32(i32),
    Int64(i64),
    Float32(f32),
    Float64(f64),
    /// The unscaled value; the scale is the column's.
    Decimal(i128),
    /// As `Decimal`, of more than 38 digits.
    Decimal256(i256),
    Text(String),
    Bytes(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970, with or without zone as the column says.
    Timestamp(i64),
    Uuid([u8; 16]),
    /// A map is a list of `Struct`s of key and value.
    List(Vec<Datum>),
    /// The fields in the order of the type.
    Struct(Vec<Datum>),
}

/// For differences and messages; not a format to parse.
impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Null => write!(f, "NULL"),
            Datum::Bool(v) => write!(f, "{v}"),
            Datum::Int32(v) => write!(f, "{v}"),
            Datum::Int64(v) | Datum::Time(v) | Datum::Timestamp(v) => write!(f, "{v}"),
            Datum::Float32(v) => write!(f, "{v}"),
            Datum::Float64(v) => write!(f, "{v}"),
            Datum::Decimal(v) => write!(f, "{v}"),
            Datum::Decimal256(v) => write!(f, "{v}"),
            Datum::Text(v) => write!(f, "{v:?}"),
            Datum::Date(v) => write!(f, "{v}"),
            Datum::Bytes(v) => v.iter().try_for_each(|b| write!(f, "{b:02x}")),
            Datum::Uuid(v) => v.iter().try_for_each(|b| write!(f, "{b:02x}")),
            Datum::List(items) => write!(f, "[{}]", listed(items)),
            Datum::Struct(fields) => write!(f, "({})", listed(fields)),
        }
    }
}

fn listed(datums: &[Datum]) -> String {
    datums.iter().map(Datum::to_string).collect::<Vec<_>>().join(", ")
}
