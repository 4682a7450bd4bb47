//! Rows as bytes, and back.
//!
//! A row is its columns one after another, each self-delimiting and memcomparable: comparing two rows of
//! one schema as bytes compares their values column by column, NULL last. So a key is a slice of a row, a
//! join's row is two rows glued together, and only expressions need Arrow.
//!
//! ```text
//! NULL          FF
//! a value       01 then
//!   bool          00 | 01
//!   ints, dates,
//!   times         big-endian, sign bit flipped; as wide as the type
//!   decimal       16 bytes big-endian, sign bit flipped, at the column's scale
//!   float         big-endian bits, all flipped if negative, else the sign bit; one NaN, no -0.0
//!   text, bytes   each 00 as 00 FF, closed by 00 00
//!   uuid          16 bytes
//! ```
//!
//! The format is ours and is written to disk: changing it needs a new `state::FORMAT`.

use super::Datum;
use crate::error::{Error, Result};
use arrow::array::*;
use arrow::datatypes::*;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

const NULL: u8 = 0xFF;
const VALUE: u8 = 0x01;

/// One row of some schema.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(Arc<[u8]>);

impl Row {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The row with no columns: the key of everything.
    pub fn empty() -> Row {
        Row(Arc::from([].as_slice()))
    }

    /// The columns of `self`, then those of `other`.
    pub fn glue(&self, other: &Row) -> Row {
        Row([self.bytes(), other.bytes()].concat().into())
    }
}

impl AsRef<[u8]> for Row {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Row {
    fn from(bytes: &[u8]) -> Row {
        Row(bytes.into())
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl serde::Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Row {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Row, D::Error> {
        Ok(Row(<Vec<u8>>::deserialize(from)?.into()))
    }
}

/// Refuses a schema with a column whose type has no row form, by name.
pub fn check_types(schema: &Schema) -> Result<()> {
    for field in schema.fields() {
        if Kind::of(field.data_type()).is_none() {
            return Err(Error::operator(format!(
                "column `{}` has type {}, which no row can hold yet",
                field.name(),
                field.data_type()
            ))
            .hint(format!("cast `{}` to text or to a plain scalar type in the model", field.name())));
        }
    }
    Ok(())
}

/// How a type lies in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
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
    fn of(data_type: &DataType) -> Option<Kind> {
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

/// Turns columns into rows and rows into columns, for one schema.
#[derive(Clone, Debug)]
pub struct Codec {
    schema: SchemaRef,
    kinds: Vec<Kind>,
}

impl Codec {
    /// Panics on a type that [`check_types`] refuses: call that first, where the schema is the user's.
    pub fn new(schema: SchemaRef) -> Codec {
        let kind = |f: &FieldRef| Kind::of(f.data_type()).expect("check_types has passed this schema");
        Codec { kinds: schema.fields().iter().map(kind).collect(), schema }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn encode(&self, batch: &RecordBatch) -> Vec<Row> {
        assert_eq!(batch.num_columns(), self.kinds.len(), "a batch of another schema");
        let columns: Vec<Cells> = (0..self.kinds.len()).map(|c| self.cells(batch.column(c), c)).collect();
        let row = |at: usize| columns.iter().map(|cells| cells.cell(at)).collect::<Vec<_>>().concat();
        (0..batch.num_rows()).map(|at| Row(row(at).into())).collect()
    }

    /// A column of this schema as rows hold it.
    pub fn cells(&self, array: &ArrayRef, column: usize) -> Cells {
        encode_column(array, self.kinds[column])
    }

    pub fn decode<R: AsRef<[u8]>>(&self, rows: impl IntoIterator<Item = R>) -> RecordBatch {
        let rows: Vec<R> = rows.into_iter().collect();
        let all: Vec<usize> = (0..self.kinds.len()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = self.columns(rows.len(), |at| rows[at].as_ref(), &all);
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).expect("built from this schema")
    }

    /// These columns of `count` rows, as Arrow has them.
    pub fn columns<'a>(&self, count: usize, row: impl Fn(usize) -> &'a [u8], columns: &[usize]) -> Vec<ArrayRef> {
        let width = columns.iter().max().map_or(0, |last| last + 1);
        let mut starts = Vec::with_capacity(count * (width + 1));
        for at in 0..count {
            let row = row(at);
            let mut from = 0;
            for kind in &self.kinds[..width] {
                starts.push(from as u32);
                from += length(&row[from..], *kind);
            }
            starts.push(from as u32);
        }
        let array = |column: &usize| {
            let cell = |at: usize| {
                let ends = &starts[at * (width + 1) + column..];
                &row(at)[ends[0] as usize..ends[1] as usize]
            };
            decode_column(count, cell, self.kinds[*column], self.schema.field(*column).data_type())
        };
        columns.iter().map(array).collect()
    }

    /// The values of one row.
    pub fn datums(&self, row: &Row) -> Vec<Datum> {
        let mut rest = row.bytes();
        let mut datums = Vec::with_capacity(self.kinds.len());
        for (kind, field) in self.kinds.iter().zip(self.schema.fields()) {
            let (datum, after) = read(rest, *kind, field.data_type());
            datums.push(datum);
            rest = after;
        }
        datums
    }

    /// The bytes of each column within a row.
    pub fn spans(&self, row: &[u8]) -> Vec<Range<usize>> {
        let mut at = 0;
        let span = |kind: &Kind| {
            let from = at;
            at += length(&row[at..], *kind);
            from..at
        };
        self.kinds.iter().map(span).collect()
    }

    /// How many bytes the first `columns` columns of a row take.
    #[inline]
    pub fn prefix(&self, row: &[u8], columns: usize) -> usize {
        self.kinds[..columns].iter().fold(0, |at, kind| at + length(&row[at..], *kind))
    }

    /// Where each column of a row ends; `ends` is the caller's, to be used again.
    #[inline]
    pub fn ends(&self, row: &[u8], ends: &mut Vec<u32>) {
        ends.clear();
        let mut at = 0;
        ends.extend(self.kinds.iter().map(|kind| {
            at += length(&row[at..], *kind);
            at as u32
        }));
    }

    /// The row of only these columns, in this order.
    pub fn project(&self, row: &Row, columns: &[usize]) -> Row {
        let spans = self.spans(row.bytes());
        let mut bytes = Vec::with_capacity(columns.iter().map(|c| spans[*c].len()).sum());
        for column in columns {
            bytes.extend_from_slice(&row.bytes()[spans[*column].clone()]);
        }
        Row(bytes.into())
    }

    #[inline]
    pub fn is_null(cell: &[u8]) -> bool {
        cell[0] == NULL
    }

    /// A column's cell as an integer, or as a decimal at the column's scale; `None` for NULL.
    #[inline]
    pub fn integer(&self, cell: &[u8], column: usize) -> Option<i128> {
        if cell[0] == NULL {
            return None;
        }
        Some(match self.kinds[column] {
            Kind::Int(4) => i32_of(&cell[1..]).into(),
            Kind::Int(_) => i64_of(&cell[1..]).into(),
            Kind::Decimal => i128_of(&cell[1..]),
            other => unreachable!("{other:?} is no integer: planning checks the type of what is summed"),
        })
    }

    /// A cell of doubles; `None` for NULL.
    #[inline]
    pub fn float(cell: &[u8]) -> Option<f64> {
        (cell[0] != NULL).then(|| f64_of(&cell[1..]))
    }

    /// A cell of booleans; `None` for NULL.
    #[inline]
    pub fn truth(cell: &[u8]) -> Option<bool> {
        (cell[0] != NULL).then(|| cell[1] == 1)
    }

    /// `name=value` pairs, for people.
    pub fn show(&self, row: impl AsRef<[u8]>) -> String {
        self.show_prefix(row.as_ref(), self.kinds.len())
    }

    /// The first `columns` columns, for people.
    pub fn show_prefix(&self, row: &[u8], columns: usize) -> String {
        let mut rest = row;
        let show = |(kind, field): (&Kind, &FieldRef)| {
            let (datum, after) = read(rest, *kind, field.data_type());
            rest = after;
            format!("{}={datum}", field.name())
        };
        self.kinds[..columns].iter().zip(self.schema.fields()).map(show).collect::<Vec<_>>().join(" ")
    }
}

/// One column of many rows, as rows hold it.
#[derive(Default)]
pub struct Cells {
    bytes: RowWriter,
    ends: Vec<u32>,
}

impl Cells {
    #[inline]
    pub fn cell(&self, at: usize) -> &[u8] {
        let from = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes.0[from..self.ends[at] as usize]
    }

    fn end(&mut self) {
        self.ends.push(u32::try_from(self.bytes.0.len()).expect("a batch is far below 4 GiB"));
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
pub struct RowWriter(Vec<u8>);

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
        Row(self.0.into())
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
fn length(bytes: &[u8], kind: Kind) -> usize {
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

fn read<'a>(bytes: &'a [u8], kind: Kind, data_type: &DataType) -> (Datum, &'a [u8]) {
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

fn sized<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the kind fixes the width")
}

fn unescaped(value: &[u8]) -> Vec<u8> {
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

fn encode_column(array: &ArrayRef, kind: Kind) -> Cells {
    let mut cells = Cells::default();
    macro_rules! column {
        ($typed:expr, $value:ident => $datum:expr) => {{
            let typed = $typed;
            for i in 0..typed.len() {
                if typed.is_null(i) {
                    cells.bytes.push(&Datum::Null);
                } else {
                    let $value = typed.value(i);
                    cells.bytes.push(&$datum);
                }
                cells.end();
            }
        }};
    }
    macro_rules! texts {
        ($typed:expr) => {{
            let typed = $typed;
            for i in 0..typed.len() {
                cells.bytes.push_text(typed.is_valid(i).then(|| typed.value(i).as_ref()));
                cells.end();
            }
        }};
    }
    match (kind, array.data_type()) {
        (Kind::Bool, _) => column!(array.as_boolean(), v => Datum::Bool(v)),
        (Kind::Int(4), DataType::Date32) => column!(array.as_primitive::<Date32Type>(), v => Datum::Date(v)),
        (Kind::Int(4), _) => column!(array.as_primitive::<Int32Type>(), v => Datum::Int32(v)),
        (Kind::Int(_), DataType::Time64(_)) => {
            column!(array.as_primitive::<Time64MicrosecondType>(), v => Datum::Time(v))
        }
        (Kind::Int(_), DataType::Timestamp(_, _)) => {
            column!(array.as_primitive::<TimestampMicrosecondType>(), v => Datum::Timestamp(v))
        }
        (Kind::Int(_), _) => column!(array.as_primitive::<Int64Type>(), v => Datum::Int64(v)),
        (Kind::Float32, _) => column!(array.as_primitive::<Float32Type>(), v => Datum::Float32(v)),
        (Kind::Float64, _) => column!(array.as_primitive::<Float64Type>(), v => Datum::Float64(v)),
        (Kind::Decimal, _) => column!(array.as_primitive::<Decimal128Type>(), v => Datum::Decimal(v)),
        (Kind::Uuid, _) => column!(array.as_fixed_size_binary(), v => Datum::Uuid(sized(v))),
        (Kind::Text, _) => texts!(array.as_string::<i32>()),
        (Kind::Bytes, _) => texts!(array.as_binary::<i32>()),
    }
    cells
}

fn decode_column<'a>(count: usize, cell: impl Fn(usize) -> &'a [u8], kind: Kind, data_type: &DataType) -> ArrayRef {
    macro_rules! numbers {
        ($type:ty, $read:expr) => {{
            let value = |at| Some(cell(at)).filter(|cell| cell[0] != NULL).map(|cell| $read(&cell[1..]));
            Arc::new(PrimitiveArray::<$type>::from_iter((0..count).map(value)).with_data_type(data_type.clone()))
        }};
    }
    match (kind, data_type) {
        (Kind::Bool, _) => {
            let value = |at| Some(cell(at)).filter(|cell| cell[0] != NULL).map(|cell| cell[1] == 1);
            Arc::new(BooleanArray::from_iter((0..count).map(value)))
        }
        (Kind::Int(4), DataType::Date32) => numbers!(Date32Type, i32_of),
        (Kind::Int(4), _) => numbers!(Int32Type, i32_of),
        (Kind::Int(_), DataType::Time64(_)) => numbers!(Time64MicrosecondType, i64_of),
        (Kind::Int(_), DataType::Timestamp(_, _)) => numbers!(TimestampMicrosecondType, i64_of),
        (Kind::Int(_), _) => numbers!(Int64Type, i64_of),
        (Kind::Float32, _) => numbers!(Float32Type, f32_of),
        (Kind::Float64, _) => numbers!(Float64Type, f64_of),
        (Kind::Decimal, _) => numbers!(Decimal128Type, i128_of),
        (Kind::Text, _) => {
            let mut builder = StringBuilder::new();
            for at in 0..count {
                builder.append_option(text_of(cell(at)).map(|value| match value {
                    Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).expect(TEXT)),
                    Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).expect(TEXT)),
                }));
            }
            Arc::new(builder.finish())
        }
        (Kind::Bytes, _) => {
            let mut builder = BinaryBuilder::new();
            (0..count).for_each(|at| builder.append_option(text_of(cell(at))));
            Arc::new(builder.finish())
        }
        (Kind::Uuid, _) => {
            let mut builder = FixedSizeBinaryBuilder::with_capacity(count, 16);
            for at in 0..count {
                match cell(at) {
                    [NULL] => builder.append_null(),
                    cell => builder.append_value(&cell[1..]).expect("16 bytes"),
                }
            }
            Arc::new(builder.finish())
        }
    }
}

const TEXT: &str = "text was a String when written";

fn text_of(cell: &[u8]) -> Option<Cow<'_, [u8]>> {
    (cell[0] != NULL).then(|| match &cell[1..cell.len() - 2] {
        plain if !plain.contains(&0) => Cow::Borrowed(plain),
        _ => Cow::Owned(unescaped(&cell[1..])),
    })
}

#[inline]
fn i32_of(value: &[u8]) -> i32 {
    (u32::from_be_bytes(sized(value)) ^ (1 << 31)) as i32
}

#[inline]
fn i64_of(value: &[u8]) -> i64 {
    (u64::from_be_bytes(sized(value)) ^ (1 << 63)) as i64
}

#[inline]
fn i128_of(value: &[u8]) -> i128 {
    (u128::from_be_bytes(sized(value)) ^ (1 << 127)) as i128
}

fn f32_of(value: &[u8]) -> f32 {
    let bits = u32::from_be_bytes(sized(value));
    f32::from_bits(if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits })
}

fn f64_of(value: &[u8]) -> f64 {
    let bits = u64::from_be_bytes(sized(value));
    f64::from_bits(if bits >> 63 == 1 { bits ^ (1 << 63) } else { !bits })
}

impl RowWriter {
    /// Text or bytes straight from a column, without a `Datum` between.
    fn push_text(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.0.push(NULL),
            Some(bytes) => {
                self.0.push(VALUE);
                self.escaped(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_type() -> Codec {
        let field = |name: &str, t| Field::new(name, t, true);
        Codec::new(Arc::new(Schema::new(vec![
            field("bool", DataType::Boolean),
            field("int", DataType::Int32),
            field("long", DataType::Int64),
            field("float", DataType::Float32),
            field("double", DataType::Float64),
            field("decimal", DataType::Decimal128(12, 2)),
            field("text", DataType::Utf8),
            field("bytes", DataType::Binary),
            field("date", DataType::Date32),
            field("time", DataType::Time64(TimeUnit::Microsecond)),
            field("timestamp", DataType::Timestamp(TimeUnit::Microsecond, None)),
            field("timestamptz", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            field("uuid", DataType::FixedSizeBinary(16)),
        ])))
    }

    fn row(datums: &[Datum]) -> Row {
        let mut writer = RowWriter::default();
        datums.iter().for_each(|d| writer.push(d));
        writer.finish()
    }

    #[test]
    fn every_type_comes_back_from_bytes_and_from_columns() {
        let codec = every_type();
        let full = vec![
            Datum::Bool(true),
            Datum::Int32(-5),
            Datum::Int64(i64::MIN),
            Datum::Float32(-1.5),
            Datum::Float64(2.25),
            Datum::Decimal(-12345),
            Datum::Text("a\0b".into()),
            Datum::Bytes(vec![0, 0, 255, 0]),
            Datum::Date(-1),
            Datum::Time(1),
            Datum::Timestamp(-1),
            Datum::Timestamp(1),
            Datum::Uuid([7; 16]),
        ];
        let nulls = vec![Datum::Null; full.len()];
        let rows = [row(&full), row(&nulls)];
        assert_eq!(codec.datums(&rows[0]), full);
        assert_eq!(codec.datums(&rows[1]), nulls);
        let batch = codec.decode(&rows);
        assert_eq!(batch.schema(), *codec.schema());
        assert_eq!(codec.encode(&batch), rows);
        assert_eq!(codec.project(&rows[0], &[6, 1]), row(&[full[6].clone(), full[1].clone()]));
        assert!(Codec::is_null(&rows[1].bytes()[..1]));
        assert_eq!(codec.prefix(rows[0].bytes(), 2), 2 + 5);
    }

    #[test]
    fn bytes_are_equal_where_sql_values_are() {
        let one = |d| row(&[d]);
        assert_eq!(one(Datum::Float64(0.0)), one(Datum::Float64(-0.0)));
        assert_eq!(one(Datum::Float64(f64::NAN)), one(Datum::Float64(-f64::NAN)));
        assert_eq!(one(Datum::Float32(0.0)), one(Datum::Float32(-0.0)));
        assert_ne!(one(Datum::Text("a".into())), one(Datum::Text("a\0".into())));
    }

    #[test]
    fn bytes_order_as_values_do() {
        let ascending = |datums: Vec<Datum>| {
            let rows: Vec<Row> = datums.into_iter().map(|d| row(&[d])).collect();
            assert!(rows.is_sorted_by(|a, b| a < b), "{rows:?}");
        };
        ascending(vec![Datum::Int64(i64::MIN), Datum::Int64(-1), Datum::Int64(0), Datum::Int64(9), Datum::Null]);
        ascending(vec![Datum::Int32(i32::MIN), Datum::Int32(-1), Datum::Int32(7)]);
        let floats = [f64::NEG_INFINITY, -2.0, -0.0, 1e-300, 3.0, f64::INFINITY, f64::NAN];
        ascending(floats.into_iter().map(Datum::Float64).collect());
        ascending(vec![Datum::Decimal(-10), Datum::Decimal(-9), Datum::Decimal(0), Datum::Decimal(11)]);
        let texts = ["", "\0", "\0a", "a", "a\0", "aa", "b"];
        ascending(texts.iter().map(|t| Datum::Text(t.to_string())).collect());
    }
}
