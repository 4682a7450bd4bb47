//! Arrow columns as rows hold them, and back.

use super::Datum;
use super::cell::*;
use arrow::array::*;
use arrow::datatypes::*;
use std::borrow::Cow;
use std::sync::Arc;

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

pub(super) fn encode_column(array: &ArrayRef, kind: Kind) -> Cells {
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

pub(super) fn decode_column<'a>(
    count: usize,
    cell: impl Fn(usize) -> &'a [u8],
    kind: Kind,
    data_type: &DataType,
) -> ArrayRef {
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
