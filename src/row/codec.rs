//! Rows as bytes, and back.
//!
//! A row is its columns one after another, each self-delimiting and memcomparable: comparing two rows of
//! one schema as bytes compares their values column by column, NULL last. So a key is a slice of a row, a
//! join's row is two rows glued together, and only expressions need Arrow.
//!
//! ```text
//! NULL          FF
//! ints, dates,
//! times,        80 + n, if negative 7F - n; then n bytes big-endian, two's complement, without those in front
//! decimals      that only repeat the sign; a decimal at the column's scale
//! other values  01 then
//!   bool          00 | 01
//!   decimal of more than 38 digits
//!                 32 bytes big-endian, sign bit flipped, at the column's scale
//!   float         big-endian bits, all flipped if negative, else the sign bit; one NaN, no -0.0
//!   text, bytes   each 00 as 00 FF, closed by 00 00
//!   uuid          16 bytes
//!   list, map     each item (of a map: a struct of key and value), closed by 00: of two lists of which one
//!                 begins the other, the shorter comes first
//!   struct        each field
//! ```
//!
//! Within a list or struct NULL equals NULL, as Postgres compares arrays and composite values; only a NULL that
//! is the whole column never joins.
//!
//! Intervals have no row form, on purpose. To Postgres `1 month` equals `30 days`, so both would need the same
//! bytes; yet added to a date they differ, so neither may stand for the other.
//!
//! The format is ours and is written to disk: changing it needs a new `state::FORMAT`.

use super::Datum;
use super::cell::{Kind, NULL, about, f64_of, i64_of, i128_of, items, length, read};
use super::column::{Cells, decode_column, encode_column};
use arrow::array::*;
use arrow::datatypes::*;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

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

/// Turns columns into rows and rows into columns, for one schema.
#[derive(Clone, Debug)]
pub struct Codec {
    schema: SchemaRef,
    kinds: Vec<Kind>,
}

impl Codec {
    /// Panics on a type that [`check_types`](super::check_types) refuses: call that first, where the schema is the user's.
    pub fn new(schema: SchemaRef) -> Codec {
        let kind = |f: &FieldRef| Kind::of(f.data_type()).expect("check_types has passed this schema");
        Codec { kinds: schema.fields().iter().map(kind).collect(), schema }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// About how many bytes a row has, and whether some of them are guessed.
    pub fn row_bytes(&self) -> (usize, bool) {
        self.kinds.iter().map(about).fold((0, false), |a, b| (a.0 + b.0, a.1 || b.1))
    }

    pub fn encode(&self, batch: &RecordBatch) -> Vec<Row> {
        assert_eq!(batch.num_columns(), self.kinds.len(), "a batch of another schema");
        let columns: Vec<Cells> = (0..self.kinds.len()).map(|c| self.cells(batch.column(c), c)).collect();
        let row = |at: usize| columns.iter().map(|cells| cells.cell(at)).collect::<Vec<_>>().concat();
        (0..batch.num_rows()).map(|at| Row(row(at).into())).collect()
    }

    /// A column of this schema as rows hold it.
    pub fn cells(&self, array: &ArrayRef, column: usize) -> Cells {
        encode_column(array, &self.kinds[column])
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
                from += length(&row[from..], kind);
            }
            starts.push(from as u32);
        }
        let array = |column: &usize| {
            let cell = |at: usize| {
                let ends = &starts[at * (width + 1) + column..];
                &row(at)[ends[0] as usize..ends[1] as usize]
            };
            decode_column(count, cell, &self.kinds[*column], self.schema.field(*column).data_type())
        };
        columns.iter().map(array).collect()
    }

    /// The values of one row.
    pub fn datums(&self, row: &Row) -> Vec<Datum> {
        let mut rest = row.bytes();
        let mut datums = Vec::with_capacity(self.kinds.len());
        for (kind, field) in self.kinds.iter().zip(self.schema.fields()) {
            let (datum, after) = read(rest, kind, field.data_type());
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
            at += length(&row[at..], kind);
            from..at
        };
        self.kinds.iter().map(span).collect()
    }

    /// How many bytes the first `columns` columns of a row take, which may go on with anything.
    #[inline]
    pub fn prefix(&self, row: &[u8], columns: usize) -> usize {
        self.kinds[..columns].iter().fold(0, |at, kind| at + length(&row[at..], kind))
    }

    /// Where each column of a row ends; `ends` is the caller's, to be used again.
    #[inline]
    pub fn ends(&self, row: &[u8], ends: &mut Vec<u32>) {
        ends.clear();
        let mut at = 0;
        ends.extend(self.kinds.iter().map(|kind| {
            at += length(&row[at..], kind);
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

    /// The items of a cell of lists, of which NULL has none.
    pub fn items<'a>(&self, cell: &'a [u8], column: usize) -> impl Iterator<Item = &'a [u8]> {
        let Kind::List(item) = &self.kinds[column] else { unreachable!("planning checks the type") };
        (cell[0] != NULL).then(|| items(cell, item)).into_iter().flatten()
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
        Some(match &self.kinds[column] {
            Kind::Int => i64_of(cell).into(),
            Kind::Decimal => i128_of(cell),
            other => unreachable!("{other:?} is no integer: planning checks the type"),
        })
    }

    /// A cell of doubles; `None` for NULL.
    #[inline]
    pub fn float(cell: &[u8]) -> Option<f64> {
        (cell[0] != NULL).then(|| f64_of(cell))
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
            let (datum, after) = read(rest, kind, field.data_type());
            rest = after;
            format!("{}={datum}", field.name())
        };
        self.kinds[..columns].iter().zip(self.schema.fields()).map(show).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{RowWriter, list_of, struct_of};

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
            field("decimal256", DataType::Decimal256(60, 30)),
            field("nested", list_of(struct_of([("x", DataType::Int32), ("ys", list_of(DataType::Utf8))]))),
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
            Datum::Decimal256(i256::from_i128(-7)),
            list([Datum::Null, Datum::Struct(vec![Datum::Int32(1), list([Datum::Null, Datum::Text("y".into())])])]),
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
        assert_eq!(codec.prefix(rows[0].bytes(), 2), 2 + 2);
    }

    /// The one row of one value.
    fn one(datum: Datum) -> Row {
        row(&[datum])
    }

    /// The rows of a column with nothing beside it.
    fn rows_of(array: impl Array + 'static) -> Vec<Row> {
        let schema = Arc::new(Schema::new(vec![Field::new("c", array.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(array)]).expect("of this schema");
        Codec::new(schema).encode(&batch)
    }

    fn ascending(datums: impl IntoIterator<Item = Datum>) {
        let rows: Vec<Row> = datums.into_iter().map(one).collect();
        assert!(rows.is_sorted_by(|a, b| a < b), "{rows:?}");
    }

    fn list<const N: usize>(items: [Datum; N]) -> Datum {
        Datum::List(items.into())
    }

    #[test]
    fn rows_are_shown_with_their_names() {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("pairs", list_of(struct_of([("x", DataType::Int32), ("y", DataType::Utf8)])), true),
        ]);
        let pair = |x, y: &str| Datum::Struct(vec![x, Datum::Text(y.into())]);
        let row = row(&[Datum::Int32(7), list([pair(Datum::Int32(1), "a"), Datum::Null, pair(Datum::Null, "")])]);
        let codec = Codec::new(Arc::new(schema));
        assert_eq!(codec.show(&row), r#"id=7 pairs=[(1, "a"), NULL, (NULL, "")]"#);
        assert_eq!(codec.show_prefix(row.bytes(), 1), "id=7");
    }

    #[test]
    fn null_equals_null_in_grouping_and_is_known_to_joins() {
        assert_eq!(one(Datum::Null), rows_of(Int32Array::from(vec![None]))[0]);
        for value in [Datum::Text("".into()), Datum::Bytes(vec![]), Datum::Int32(0), list([]), list([Datum::Null])] {
            let value = one(value);
            assert!(!Codec::is_null(value.bytes()), "{value:?}");
            assert!(value < one(Datum::Null), "{value:?}");
        }
        assert!(Codec::is_null(one(Datum::Null).bytes()));
    }

    #[test]
    fn every_nan_is_one_value_and_the_last() {
        let nans = [f64::NAN, -f64::NAN, f64::from_bits(0x7FF0_0000_0000_0001), f64::from_bits(u64::MAX)];
        assert!(nans.iter().all(|nan| nan.is_nan() && one(Datum::Float64(*nan)) == one(Datum::Float64(nans[0]))));
        let nans = [f32::NAN, -f32::NAN, f32::from_bits(0x7F80_0001), f32::from_bits(u32::MAX)];
        assert!(nans.iter().all(|nan| nan.is_nan() && one(Datum::Float32(*nan)) == one(Datum::Float32(nans[0]))));
        ascending([Datum::Float64(f64::INFINITY), Datum::Float64(-f64::NAN), Datum::Null]);
        ascending([Datum::Float32(f32::INFINITY), Datum::Float32(-f32::NAN), Datum::Null]);
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!(one(Datum::Float64(-0.0)), one(Datum::Float64(0.0)));
        assert_eq!(one(Datum::Float32(-0.0)), one(Datum::Float32(0.0)));
        ascending([-f64::MIN_POSITIVE, -0.0, 5e-324].map(Datum::Float64));
    }

    #[test]
    fn floats_are_in_the_order_of_numbers() {
        ascending([f64::NEG_INFINITY, -2.0, -0.0, 1e-300, 3.0, f64::INFINITY, f64::NAN].map(Datum::Float64));
        ascending([f32::NEG_INFINITY, -2.0, -0.0, 1e-30, 3.0, f32::INFINITY, f32::NAN].map(Datum::Float32));
    }

    /// What needs one byte more than its neighbour does, and what does not.
    fn around_every_byte() -> impl Iterator<Item = i128> + Clone {
        let above = (0..16).flat_map(|bytes| [(1i128 << (8 * bytes)) - 1, 1 << (8 * bytes)]).chain([i128::MAX]);
        let above: Vec<i128> = above.collect();
        above.clone().into_iter().rev().map(|v| !v).chain(above)
    }

    #[test]
    fn integers_are_in_the_order_of_numbers_and_as_short_as_they_can_be() {
        let longs = around_every_byte().filter_map(|v| i64::try_from(v).ok());
        ascending(longs.clone().chain([i64::MAX]).map(Datum::Int64).chain([Datum::Null]));
        ascending([i32::MIN, -256, -1, 7, i32::MAX].map(Datum::Int32));
        for long in longs {
            let row = one(Datum::Int64(long));
            let bytes = 9 - (long ^ long >> 63).leading_zeros() as usize / 8;
            assert_eq!(row.bytes().len(), bytes, "{long}");
            assert_eq!(row, one(Datum::Decimal(long.into())), "{long}");
        }
        let arrays = rows_of(Int64Array::from(vec![0, -1, 300, i64::MIN]));
        assert_eq!(arrays, [0, -1, 300, i64::MIN].map(|v| one(Datum::Int64(v))));
    }

    #[test]
    fn decimals_are_equal_by_value_whatever_their_precision() {
        let decimals = |precision| Decimal128Array::from(vec![150, -1]).with_precision_and_scale(precision, 2);
        assert_eq!(rows_of(decimals(4).expect("fits")), rows_of(decimals(38).expect("fits")));
        ascending(around_every_byte().map(Datum::Decimal));
        for decimal in around_every_byte() {
            let field = Field::new("c", DataType::Decimal128(38, 0), true);
            let codec = Codec::new(Arc::new(Schema::new(vec![field])));
            assert_eq!(codec.datums(&one(Datum::Decimal(decimal))), [Datum::Decimal(decimal)]);
        }
    }

    #[test]
    fn decimals_go_on_beyond_38_digits() {
        let wide =
            |sign: i128| Datum::Decimal256(i256::from_i128(i128::MAX).wrapping_mul(i256::from_i128(sign * 1000)));
        let narrow = |v| Datum::Decimal256(i256::from_i128(v));
        ascending([wide(-2), wide(-1), narrow(i128::MIN), narrow(-1), narrow(0), narrow(1), wide(1), Datum::Null]);
        let decimals = |precision| {
            let values = [i256::from_i128(150), i256::from_i128(-1)];
            Decimal256Array::from_iter_values(values).with_precision_and_scale(precision, 2)
        };
        assert_eq!(rows_of(decimals(40).expect("fits")), rows_of(decimals(76).expect("fits")));
    }

    #[test]
    fn a_timestamp_with_zone_is_its_instant() {
        let at = |zone: &str| TimestampMicrosecondArray::from(vec![0, -1]).with_timezone(zone);
        assert_eq!(rows_of(at("UTC")), rows_of(at("+02:00")));
        assert_eq!(rows_of(at("UTC"))[1], one(Datum::Timestamp(-1)));
    }

    #[test]
    fn columns_end_where_they_do_with_nulls_and_without() {
        let field = |t| Field::new("c", t, true);
        let fixed = Codec::new(Arc::new(Schema::new(vec![field(DataType::Int32), field(DataType::Boolean)])));
        let varying = Codec::new(Arc::new(Schema::new(vec![field(DataType::Int32), field(DataType::Utf8)])));
        let (int, truth, null, text) = (Datum::Int32(7), Datum::Bool(true), Datum::Null, Datum::Text("a".into()));
        for (codec, row, expected) in [
            (&fixed, [&int, &truth], [2, 4]),
            (&fixed, [&null, &truth], [1, 3]),
            (&fixed, [&int, &null], [2, 3]),
            (&varying, [&int, &text], [2, 6]),
            (&varying, [&null, &text], [1, 5]),
        ] {
            let mut bytes = Vec::new();
            row.iter().for_each(|datum| super::super::append(&mut bytes, datum));
            let mut ends = vec![9];
            codec.ends(&bytes, &mut ends);
            assert_eq!(ends, expected);
            assert_eq!([0, 1, 2].map(|columns| codec.prefix(&bytes, columns)), [0, ends[0] as usize, ends[1] as usize]);
        }
    }

    #[test]
    fn a_key_ends_where_it_ends_whatever_follows() {
        let field = |t| Field::new("c", t, true);
        let codec = Codec::new(Arc::new(Schema::new(vec![field(DataType::Boolean), field(DataType::Boolean)])));
        // As long as a row without NULLs.
        assert_eq!(codec.prefix(&[NULL, 2, 0, 0], 1), 1);
        assert_eq!(codec.prefix(&[NULL, NULL, 2, 0], 2), 2);
    }

    #[test]
    fn times_before_the_epoch_come_first() {
        ascending([i32::MIN, -719_163, -1, 0, 20_000].map(Datum::Date));
        ascending([i64::MIN, -86_400_000_001, -1, 0, 1, i64::MAX].map(Datum::Timestamp));
        ascending([0, 1, 86_399_999_999].map(Datum::Time));
    }

    #[test]
    fn false_comes_before_true() {
        ascending([Datum::Bool(false), Datum::Bool(true), Datum::Null]);
    }

    #[test]
    fn text_is_equal_and_ordered_by_its_bytes() {
        let text = |text: &str| Datum::Text(text.into());
        ascending(["", "\0", "\0a", "Z", "a", "a\0", "a\0\0", "a ", "aa", "b", "e\u{301}", "é", "🦀"].map(text));
    }

    #[test]
    fn bytes_are_equal_and_ordered_as_they_are() {
        let bytes: [&[u8]; 9] = [&[], &[0], &[0, 0], &[0, 0xFF], &[1], &[1, 0], &[0xFE], &[0xFF], &[0xFF, 0xFF]];
        ascending(bytes.map(|bytes| Datum::Bytes(bytes.into())));
    }

    #[test]
    fn uuids_are_in_the_order_of_their_digits() {
        ascending([[0; 16], [0x7F; 16], [0x80; 16], [0xFF; 16]].map(Datum::Uuid));
    }

    #[test]
    fn lists_compare_item_by_item_and_the_shorter_comes_first() {
        let [a, b] = [1, 2].map(Datum::Int32);
        let null = Datum::Null;
        ascending([
            list([]),
            list([a.clone()]),
            list([a.clone(), a.clone()]),
            list([a.clone(), b.clone()]),
            list([a.clone(), null.clone()]),
            list([b.clone()]),
            list([null.clone()]),
            list([null.clone(), null.clone()]),
            null,
        ]);
        ascending([
            list([list([])]),
            list([list([]), list([])]),
            list([list([a.clone()])]),
            list([list([a]), list([])]),
            list([list([b])]),
        ]);
        let texts = |texts: &[&str]| Datum::List(texts.iter().map(|t| Datum::Text((*t).into())).collect());
        ascending([texts(&["", "b"]), texts(&["\0"]), texts(&["a"]), texts(&["a", ""]), texts(&["a\0"])]);
    }

    #[test]
    fn lists_nest_as_deep_as_types_do() {
        let (mut data_type, mut datum) = (DataType::Int32, Datum::Int32(7));
        for _ in 0..100 {
            (data_type, datum) = (list_of(data_type), list([datum, Datum::Null]));
        }
        let codec = Codec::new(Arc::new(Schema::new(vec![Field::new("deep", data_type, true)])));
        let rows = [row(&[datum.clone()]), one(Datum::Null)];
        assert_eq!(codec.encode(&codec.decode(&rows)), rows);
        assert_eq!(codec.datums(&rows[0]), [datum]);
        assert_eq!(codec.prefix(rows[0].bytes(), 1), rows[0].bytes().len());
    }

    #[test]
    fn structs_compare_field_by_field() {
        let pair = |a: Datum, b: Datum| Datum::Struct(vec![a, b]);
        let (one, two, null) = (Datum::Int32(1), Datum::Int32(2), Datum::Null);
        ascending([
            pair(one.clone(), one.clone()),
            pair(one.clone(), two.clone()),
            pair(one.clone(), null.clone()),
            pair(two.clone(), one.clone()),
            pair(null.clone(), one),
            pair(null.clone(), null.clone()),
            null,
        ]);
        assert_eq!(row(&[pair(two.clone(), Datum::Null)]), row(&[pair(two, Datum::Null)]));
    }

    #[test]
    fn the_rules_hold_within_nested_values() {
        let nested = |v: f64| one(Datum::Struct(vec![list([Datum::Float64(v), Datum::Null])]));
        assert_eq!(nested(-0.0), nested(0.0));
        assert_eq!(nested(-f64::NAN), nested(f64::NAN));
        assert_ne!(nested(1.0), nested(2.0));
    }
}
