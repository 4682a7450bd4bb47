//! Rows as bytes against a plain model of SQL's values: random types, as deep as they come, random values.
//!
//! `SEED=7 CASES=1 cargo test --release --test rows` repeats a failure, `CASES=100000` looks longer.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use driftless::row::{
    Codec, Datum, Delta, Diff, Fingerprint, JSON, Row, RowWriter, Rows, check_types, compare, consolidate, lead,
    list_of, map_of, struct_of, type_name, type_named,
};

#[test]
fn bytes_compare_as_values_do() {
    each_case(|dice| {
        let table = Sample::new(dice);
        for (a, values_a) in table.rows.iter().zip(&table.values) {
            for (b, values_b) in table.rows.iter().zip(&table.values) {
                let expected = compare_all(values_a, values_b);
                let shown = || format!("{}\n{a:?} {values_a:?}\n{b:?} {values_b:?}", table.codec.schema());
                assert_eq!(a.cmp(b), expected, "{}", shown());
                assert_eq!(compare(a.bytes(), b.bytes()), expected, "{}", shown());
                let leads = lead(a.bytes()).cmp(&lead(b.bytes()));
                assert!(leads == Ordering::Equal || leads == expected, "{}", shown());
            }
        }
    });
}

#[test]
fn columns_become_rows_and_rows_columns() {
    each_case(|dice| {
        let Sample { codec, values, rows } = Sample::new(dice);
        let schema = codec.schema();
        let column = |at: usize| values.iter().map(|row| row[at].clone()).collect::<Vec<_>>();
        let arrays = (0..schema.fields().len()).map(|c| array(dice, schema.field(c).data_type(), &column(c)));
        let batch = RecordBatch::try_new(schema.clone(), arrays.collect()).expect("of this schema");
        assert_eq!(codec.encode(&batch), rows);
        let from = dice.below(rows.len() as u64 + 1) as usize;
        let count = dice.below((rows.len() - from) as u64 + 1) as usize;
        assert_eq!(codec.encode(&batch.slice(from, count)), rows[from..from + count], "a slice of {batch:?}");

        let plain: Vec<Vec<Datum>> = values.iter().map(|row| row.iter().map(plain).collect()).collect();
        let decoded = codec.decode(&rows);
        for (c, field) in schema.fields().iter().enumerate() {
            let column: Vec<Datum> = plain.iter().map(|row| row[c].clone()).collect();
            assert_eq!(decoded.column(c), &array(dice, field.data_type(), &column), "{field:?}");
        }
        let picked: Vec<usize> =
            (0..dice.below(4)).map(|_| dice.below(schema.fields().len() as u64) as usize).collect();
        let columns = codec.columns(rows.len(), |at| rows[at].bytes(), &picked);
        assert_eq!(columns, picked.iter().map(|c| decoded.column(*c).clone()).collect::<Vec<_>>());
        for (row, plain) in rows.iter().zip(&plain) {
            // As text, since NaN is not NaN to Rust.
            assert_eq!(format!("{:?}", codec.datums(row)), format!("{plain:?}"));
        }
    });
}

#[test]
fn every_way_to_find_a_column_finds_the_same_bytes() {
    each_case(|dice| {
        let Sample { codec, values, rows } = Sample::new(dice);
        let width = codec.schema().fields().len();
        let batch = codec.decode(&rows);
        let cells: Vec<_> = (0..width).map(|c| codec.cells(batch.column(c), c)).collect();
        let mut ends = Vec::new();
        for (at, (row, values)) in rows.iter().zip(&values).enumerate() {
            let spans = codec.spans(row.bytes());
            codec.ends(row.bytes(), &mut ends);
            assert_eq!(ends, spans.iter().map(|span| span.end as u32).collect::<Vec<_>>());
            assert_eq!(codec.prefix(row.bytes(), 0), 0);
            assert_eq!(spans.last().map_or(0, |span| span.end), row.bytes().len());
            let show: Vec<String> = values.iter().map(|value| plain(value).to_string()).collect();
            for (c, span) in spans.iter().enumerate() {
                let cell = &row.bytes()[span.clone()];
                assert_eq!(codec.prefix(row.bytes(), c + 1), span.end);
                assert_eq!(cells[c].cell(at), cell);
                assert_eq!(Codec::is_null(cell), values[c] == Datum::Null);
                assert_eq!(codec.project(row, &[c]).bytes(), cell);
                let field = codec.schema().field(c);
                let shown = format!("{}={}", field.name(), show[c]);
                assert!(codec.show_prefix(row.bytes(), c + 1).ends_with(&shown), "{} {shown}", codec.show(row));
                let integer = match values[c] {
                    Datum::Int32(v) => Some(v.into()),
                    Datum::Int64(v) => Some(v.into()),
                    Datum::Decimal(v) => Some(v),
                    Datum::Null if *field.data_type() == DataType::Int64 => None,
                    _ => continue,
                };
                assert_eq!(codec.integer(cell, c), integer);
            }
        }
    });
}

#[test]
fn consolidated_rows_are_those_of_a_plain_sum() {
    each_case(|dice| {
        let Sample { rows, .. } = Sample::new(dice);
        let deltas: Vec<Delta> = (0..dice.below(40))
            .map(|_| (rows[dice.below(rows.len() as u64) as usize].clone(), dice.below(5) as Diff - 2))
            .collect();
        let mut expected: BTreeMap<Row, Diff> = BTreeMap::new();
        deltas.iter().for_each(|(row, diff)| *expected.entry(row.clone()).or_default() += diff);
        expected.retain(|_, diff| *diff != 0);
        let expected: Vec<Delta> = expected.into_iter().collect();

        let flat: Rows = deltas.iter().cloned().collect();
        assert_eq!(Vec::<Delta>::from(&flat), deltas);
        assert_eq!(Vec::<Delta>::from(&flat.consolidate()), expected);
        let mut both = flat.clone();
        both.negate();
        both.append(&flat);
        assert!(both.consolidate().is_empty());
        let mut deltas = deltas;
        consolidate(&mut deltas);
        assert_eq!(deltas, expected);
    });
}

#[test]
fn a_fingerprint_knows_rows_and_not_their_order() {
    each_case(|dice| {
        let Sample { mut rows, .. } = Sample::new(dice);
        let sum = |rows: &[Row], diff| {
            let mut sum = Fingerprint::default();
            rows.iter().for_each(|row| sum.add(row, diff));
            sum
        };
        let whole = sum(&rows, 1);
        let mut other = sum(&rows, -1);
        for at in (1..rows.len()).rev() {
            rows.swap(at, dice.below(at as u64 + 1) as usize);
        }
        assert_eq!(sum(&rows, 1), whole);
        rows.iter().for_each(|row| other.add(row, 2));
        assert_eq!(other, whole);
        other.add(&rows[0], 1);
        assert_ne!(other, whole, "one more row leaves a trace");
    });
}

#[test]
fn every_type_comes_back_from_its_name() {
    each_case(|dice| {
        let data_type = a_type(dice, 4);
        check_types(&Schema::new(vec![Field::new("c", data_type.clone(), true)])).expect("rows hold it");
        assert_eq!(type_named(&type_name(&data_type)), Some(data_type));
    });
}

/// Some rows of some schema, as values and as bytes.
struct Sample {
    codec: Codec,
    values: Vec<Vec<Datum>>,
    rows: Vec<Row>,
}

impl Sample {
    fn new(dice: &mut Dice) -> Sample {
        let fields: Vec<Field> =
            (0..1 + dice.below(4)).map(|i| Field::new(format!("c{i}"), a_type(dice, 3), true)).collect();
        let mut values: Vec<Vec<Datum>> = Vec::new();
        for _ in 0..1 + dice.below(10) {
            // Often a value that was there before, so that equal values and equal beginnings are common.
            let value = |(c, field): (usize, &Field)| match dice.below(values.len() as u64 + 2) {
                old if (old as usize) < values.len() => values[old as usize][c].clone(),
                _ => a_value(dice, field.data_type()),
            };
            let row = fields.iter().enumerate().map(value).collect();
            values.push(row);
        }
        let row = |values: &Vec<Datum>| {
            let mut writer = RowWriter::default();
            values.iter().for_each(|value| writer.push(value));
            writer.finish()
        };
        Sample { rows: values.iter().map(row).collect(), values, codec: Codec::new(Arc::new(Schema::new(fields))) }
    }
}

/// The order of SQL values, written down as plainly as can be: NULL last and equal to NULL, NaN before it,
/// no sign on zero, text and bytes by bytes, lists item by item and then the shorter one first.
fn compare_values(a: &Datum, b: &Datum) -> Ordering {
    match (a, b) {
        (Datum::Null, Datum::Null) => Ordering::Equal,
        (Datum::Null, _) => Ordering::Greater,
        (_, Datum::Null) => Ordering::Less,
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Int32(a), Datum::Int32(b)) | (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
        (Datum::Int64(a), Datum::Int64(b))
        | (Datum::Time(a), Datum::Time(b))
        | (Datum::Timestamp(a), Datum::Timestamp(b)) => a.cmp(b),
        (Datum::Float32(a), Datum::Float32(b)) => compare_floats((*a).into(), (*b).into()),
        (Datum::Float64(a), Datum::Float64(b)) => compare_floats(*a, *b),
        (Datum::Decimal(a), Datum::Decimal(b)) => a.cmp(b),
        (Datum::Decimal256(a), Datum::Decimal256(b)) => a.cmp(b),
        (Datum::Text(a), Datum::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Bytes(a), Datum::Bytes(b)) => a.cmp(b),
        (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
        (Datum::List(a), Datum::List(b)) => compare_all(a, b),
        (Datum::Struct(a), Datum::Struct(b)) => compare_all(a, b),
        _ => panic!("{a:?} and {b:?} are of two types"),
    }
}

fn compare_all(a: &[Datum], b: &[Datum]) -> Ordering {
    let first = a.iter().zip(b).map(|(a, b)| compare_values(a, b)).find(|order| order.is_ne());
    first.unwrap_or(a.len().cmp(&b.len()))
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.partial_cmp(&b).expect("neither is NaN"),
    }
}

/// The value that stands for all that are equal to it.
fn plain(datum: &Datum) -> Datum {
    match datum {
        Datum::Float32(v) if v.is_nan() => Datum::Float32(f32::from_bits(0x7FC0_0000)),
        Datum::Float64(v) if v.is_nan() => Datum::Float64(f64::from_bits(0x7FF8_0000_0000_0000)),
        Datum::Float32(v) if *v == 0.0 => Datum::Float32(0.0),
        Datum::Float64(v) if *v == 0.0 => Datum::Float64(0.0),
        Datum::List(items) => Datum::List(items.iter().map(plain).collect()),
        Datum::Struct(fields) => Datum::Struct(fields.iter().map(plain).collect()),
        other => other.clone(),
    }
}

fn a_type(dice: &mut Dice, depth: u64) -> DataType {
    match dice.below(if depth > 0 { 21 } else { 15 }) {
        0 => DataType::Boolean,
        1 => DataType::Int32,
        2 => DataType::Int64,
        3 => DataType::Float32,
        4 => DataType::Float64,
        5 => DataType::Decimal128(38, dice.below(39) as i8),
        6 => DataType::Decimal256(76, dice.below(77) as i8),
        7 => DataType::Utf8,
        8 => DataType::Binary,
        9 => DataType::Date32,
        10 => DataType::Time64(TimeUnit::Microsecond),
        11 => DataType::Timestamp(TimeUnit::Microsecond, None),
        12 => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        13 => DataType::FixedSizeBinary(16),
        14 => JSON,
        15..18 => list_of(a_type(dice, depth - 1)),
        18 => map_of(a_type(dice, depth - 1), a_type(dice, depth - 1)),
        _ => {
            let names = ["a", "b c", "\"", "ü),:"];
            let fields: Vec<_> = names.iter().take(1 + dice.below(4) as usize).collect();
            struct_of(fields.into_iter().map(|name| (*name, a_type(dice, depth - 1))).collect::<Vec<_>>())
        }
    }
}

fn a_value(dice: &mut Dice, data_type: &DataType) -> Datum {
    if dice.below(6) == 0 { Datum::Null } else { a_whole_value(dice, data_type) }
}

/// Not NULL; from few values, among them those at the edges.
fn a_whole_value(dice: &mut Dice, data_type: &DataType) -> Datum {
    let long = |dice: &mut Dice| dice.pick(&[i64::MIN, -86_400_000_001, -1, 0, 1, 255, 1 << 40, i64::MAX]);
    match data_type {
        DataType::Boolean => Datum::Bool(dice.below(2) == 1),
        DataType::Int32 => Datum::Int32(dice.pick(&[i32::MIN, -256, -1, 0, 1, 7, i32::MAX])),
        DataType::Int64 => Datum::Int64(long(dice)),
        DataType::Float32 => Datum::Float32(dice.pick(&[
            f32::NEG_INFINITY,
            -1.5,
            -0.0,
            0.0,
            f32::MIN_POSITIVE / 4.0,
            f32::MAX,
            f32::INFINITY,
            f32::from_bits(0x7FC0_0001),
            f32::from_bits(0xFF80_0001),
        ])),
        DataType::Float64 => Datum::Float64(dice.pick(&[
            f64::NEG_INFINITY,
            f64::MIN,
            -0.0,
            0.0,
            5e-324,
            1.5,
            f64::INFINITY,
            f64::from_bits(0x7FF8_0000_0000_0001),
            f64::from_bits(0xFFF0_0000_0000_0001),
        ])),
        DataType::Decimal128(..) => Datum::Decimal(dice.pick(&[-(10i128.pow(38) - 1), -256, -1, 0, 1, 10i128.pow(37)])),
        DataType::Decimal256(..) => {
            let wide = i256::from_i128(10i128.pow(37)).wrapping_mul(i256::from_i128(10i128.pow(38)));
            let one = i256::from_i128(1);
            Datum::Decimal256(dice.pick(&[wide.wrapping_neg(), one.wrapping_neg(), i256::ZERO, one, wide]))
        }
        DataType::Utf8 | DataType::LargeUtf8 => {
            Datum::Text(dice.pick(&["", "\0", "\0\0", "a", "a\0", "a\0b", "aa", "Z", "é", "🦀"]).into())
        }
        DataType::Binary => Datum::Bytes((0..dice.below(4)).map(|_| dice.pick(&[0, 1, 0xFE, 0xFF])).collect()),
        DataType::Date32 => Datum::Date(dice.pick(&[i32::MIN, -719_163, -1, 0, 1, 20_000])),
        DataType::Time64(_) => Datum::Time(dice.pick(&[0, 1, 86_399_999_999])),
        DataType::Timestamp(..) => Datum::Timestamp(long(dice)),
        DataType::FixedSizeBinary(_) => Datum::Uuid([dice.pick(&[0, 1, 0xFF]); 16]),
        DataType::List(item) => Datum::List((0..dice.below(4)).map(|_| a_value(dice, item.data_type())).collect()),
        DataType::Map(entries, _) => {
            Datum::List((0..dice.below(3)).map(|_| a_whole_value(dice, entries.data_type())).collect())
        }
        DataType::Struct(fields) => {
            let field = |field: &FieldRef| match field.is_nullable() {
                true => a_value(dice, field.data_type()),
                false => a_whole_value(dice, field.data_type()),
            };
            Datum::Struct(fields.iter().map(field).collect())
        }
        other => panic!("{other} is not among the types"),
    }
}

/// An Arrow column of these values. Under a NULL it hides what must not be seen.
fn array(dice: &mut Dice, data_type: &DataType, values: &[Datum]) -> ArrayRef {
    macro_rules! numbers {
        ($array:ty, $datum:pat => $value:expr) => {{
            let values = values.iter().map(|datum| match datum {
                Datum::Null => None,
                $datum => Some($value),
                other => panic!("{other:?} is no {data_type}"),
            });
            Arc::new(<$array>::from_iter(values)) as ArrayRef
        }};
        ($array:ty, $datum:pat => $value:expr, typed) => {{
            let array = numbers!($array, $datum => $value);
            let data = array.to_data().into_builder().data_type(data_type.clone());
            make_array(data.build().expect("another label for the same numbers"))
        }};
    }
    let nulls = Some(values.iter().map(|value| *value != Datum::Null).collect::<NullBuffer>());
    match data_type {
        DataType::Boolean => numbers!(BooleanArray, Datum::Bool(v) => *v),
        DataType::Int32 => numbers!(Int32Array, Datum::Int32(v) => *v),
        DataType::Int64 => numbers!(Int64Array, Datum::Int64(v) => *v),
        DataType::Float32 => numbers!(Float32Array, Datum::Float32(v) => *v),
        DataType::Float64 => numbers!(Float64Array, Datum::Float64(v) => *v),
        DataType::Decimal128(..) => numbers!(Decimal128Array, Datum::Decimal(v) => *v, typed),
        DataType::Decimal256(..) => numbers!(Decimal256Array, Datum::Decimal256(v) => *v, typed),
        DataType::Utf8 => numbers!(StringArray, Datum::Text(v) => v.clone()),
        DataType::LargeUtf8 => numbers!(LargeStringArray, Datum::Text(v) => v.clone()),
        DataType::Binary => numbers!(BinaryArray, Datum::Bytes(v) => v.clone()),
        DataType::Date32 => numbers!(Date32Array, Datum::Date(v) => *v),
        DataType::Time64(_) => numbers!(Time64MicrosecondArray, Datum::Time(v) => *v),
        DataType::Timestamp(..) => numbers!(TimestampMicrosecondArray, Datum::Timestamp(v) => *v, typed),
        DataType::FixedSizeBinary(_) => {
            let mut builder = FixedSizeBinaryBuilder::new(16);
            for value in values {
                match value {
                    Datum::Uuid(v) => builder.append_value(v).expect("16 bytes"),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        DataType::List(field) | DataType::Map(field, _) => {
            let lists = values.iter().map(|value| match value {
                Datum::List(items) => items.clone(),
                _ => (0..dice.below(3)).map(|_| a_whole_value(dice, field.data_type())).collect(),
            });
            let lists: Vec<Vec<Datum>> = lists.collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
            let items = array(dice, field.data_type(), &lists.concat());
            match data_type {
                DataType::List(_) => Arc::new(ListArray::new(field.clone(), offsets, items, nulls)),
                _ => Arc::new(MapArray::new(field.clone(), offsets, items.as_struct().clone(), nulls, false)),
            }
        }
        DataType::Struct(fields) => {
            let column = |(c, field): (usize, &FieldRef)| {
                let values = values.iter().map(|value| match value {
                    Datum::Struct(values) => values[c].clone(),
                    _ => a_whole_value(dice, field.data_type()),
                });
                let values: Vec<Datum> = values.collect();
                array(dice, field.data_type(), &values)
            };
            let columns = fields.iter().enumerate().map(column).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        other => panic!("{other} is not among the types"),
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

/// Runs `test` with dice of `CASES` seeds from `SEED` on; says which seed failed.
fn each_case(test: impl Fn(&mut Dice)) {
    struct Repeat(u64);
    impl Drop for Repeat {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("repeat this with SEED={} CASES=1", self.0);
            }
        }
    }
    let number = |name, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (seed, count) = (number("SEED", 1u64), number("CASES", 2_000));
    for seed in seed..seed + count {
        let _repeat = Repeat(seed);
        test(&mut Dice(seed));
    }
}
