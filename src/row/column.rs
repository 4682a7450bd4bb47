//! Arrow columns as rows hold them, and back.

use super::RowWriter;
use super::cell::*;
use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
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
        self.between(at, at + 1)
    }

    /// The bytes of these cells, one after another.
    #[inline]
    fn between(&self, from: usize, to: usize) -> &[u8] {
        let start = |at: usize| if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes.0[start(from)..start(to)]
    }

    fn end(&mut self) {
        self.ends.push(u32::try_from(self.bytes.0.len()).expect("a batch is far below 4 GiB"));
    }
}

pub(super) fn encode_column(array: &ArrayRef, kind: &Kind) -> Cells {
    let mut cells = Cells::default();
    cells.ends.reserve(array.len());
    macro_rules! column {
        ($typed:expr, $write:ident) => {{
            let typed = $typed;
            for at in 0..typed.len() {
                match typed.is_null(at) {
                    true => cells.bytes.null(),
                    false => cells.bytes.$write(typed.value(at)),
                }
                cells.end();
            }
        }};
    }
    match (kind, array.data_type()) {
        (Kind::Bool, _) => column!(array.as_boolean(), bool),
        (Kind::Int, DataType::Date32) => column!(array.as_primitive::<Date32Type>(), int32),
        (Kind::Int, DataType::Int32) => column!(array.as_primitive::<Int32Type>(), int32),
        (Kind::Int, DataType::Time64(_)) => column!(array.as_primitive::<Time64MicrosecondType>(), int64),
        (Kind::Int, DataType::Timestamp(_, _)) => column!(array.as_primitive::<TimestampMicrosecondType>(), int64),
        (Kind::Int, _) => column!(array.as_primitive::<Int64Type>(), int64),
        (Kind::Float32, _) => column!(array.as_primitive::<Float32Type>(), float32),
        (Kind::Float64, _) => column!(array.as_primitive::<Float64Type>(), float64),
        (Kind::Decimal, _) => column!(array.as_primitive::<Decimal128Type>(), int128),
        (Kind::Decimal256, _) => column!(array.as_primitive::<Decimal256Type>(), int256),
        (Kind::Text, DataType::LargeUtf8) => column!(array.as_string::<i64>(), escaped),
        (Kind::Text, _) => column!(array.as_string::<i32>(), escaped),
        (Kind::Bytes, _) => column!(array.as_binary::<i32>(), escaped),
        (Kind::Uuid, _) => column!(array.as_fixed_size_binary(), plain),
        (Kind::List(item), DataType::Map(_, _)) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            encode_lists(map.offsets(), map.nulls(), &entries, item, &mut cells);
        }
        (Kind::List(item), _) => {
            let list = array.as_list::<i32>();
            encode_lists(list.offsets(), list.nulls(), list.values(), item, &mut cells);
        }
        (Kind::Struct(kinds), _) => {
            let array = array.as_struct();
            let fields = array.columns().iter().zip(kinds.iter()).map(|(field, kind)| encode_column(field, kind));
            let fields: Vec<Cells> = fields.collect();
            for at in 0..array.len() {
                if array.is_null(at) {
                    cells.bytes.null();
                } else {
                    cells.bytes.begin();
                    fields.iter().for_each(|field| cells.bytes.push_encoded(field.cell(at)));
                }
                cells.end();
            }
        }
    }
    cells
}

/// All items become cells at once; a list is the bytes of its own.
fn encode_lists(offsets: &[i32], nulls: Option<&NullBuffer>, items: &ArrayRef, item: &Kind, cells: &mut Cells) {
    // Of a slice only the items in sight: the arrays behind it may hold others.
    let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
    let items = encode_column(&items.slice(first, last - first), item);
    for (at, ends) in offsets.windows(2).enumerate() {
        if nulls.is_some_and(|nulls| nulls.is_null(at)) {
            cells.bytes.null();
        } else {
            cells.bytes.begin();
            cells.bytes.push_encoded(items.between(ends[0] as usize - first, ends[1] as usize - first));
            cells.bytes.0.push(END);
        }
        cells.end();
    }
}

pub(super) fn decode_column<'a>(
    count: usize,
    cell: impl Fn(usize) -> &'a [u8],
    kind: &Kind,
    data_type: &DataType,
) -> ArrayRef {
    macro_rules! numbers {
        ($type:ty, $read:expr) => {{
            let value = |at| Some(cell(at)).filter(|cell| cell[0] != NULL).map($read);
            Arc::new(PrimitiveArray::<$type>::from_iter((0..count).map(value)).with_data_type(data_type.clone()))
        }};
    }
    match (kind, data_type) {
        (Kind::Bool, _) => {
            let value = |at| Some(cell(at)).filter(|cell| cell[0] != NULL).map(|cell| cell[1] == 1);
            Arc::new(BooleanArray::from_iter((0..count).map(value)))
        }
        (Kind::Int, DataType::Date32) => numbers!(Date32Type, i32_of),
        (Kind::Int, DataType::Int32) => numbers!(Int32Type, i32_of),
        (Kind::Int, DataType::Time64(_)) => numbers!(Time64MicrosecondType, i64_of),
        (Kind::Int, DataType::Timestamp(_, _)) => numbers!(TimestampMicrosecondType, i64_of),
        (Kind::Int, _) => numbers!(Int64Type, i64_of),
        (Kind::Float32, _) => numbers!(Float32Type, f32_of),
        (Kind::Float64, _) => numbers!(Float64Type, f64_of),
        (Kind::Decimal, _) => numbers!(Decimal128Type, i128_of),
        (Kind::Decimal256, _) => numbers!(Decimal256Type, i256_of),
        (Kind::Text, DataType::LargeUtf8) => texts::<i64>(count, cell),
        (Kind::Text, _) => texts::<i32>(count, cell),
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
        (Kind::List(item), _) => decode_lists(&(0..count).map(cell).collect::<Vec<_>>(), item, data_type),
        (Kind::Struct(kinds), _) => decode_structs(&(0..count).map(cell).collect::<Vec<_>>(), kinds, data_type),
    }
}

fn texts<'a, O: OffsetSizeTrait>(count: usize, cell: impl Fn(usize) -> &'a [u8]) -> ArrayRef {
    let mut builder = GenericStringBuilder::<O>::new();
    for at in 0..count {
        builder.append_option(text_of(cell(at)).map(|value| match value {
            Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).expect(TEXT)),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).expect(TEXT)),
        }));
    }
    Arc::new(builder.finish())
}

fn decode_lists(cells: &[&[u8]], item: &Kind, data_type: &DataType) -> ArrayRef {
    let mut all: Vec<&[u8]> = Vec::new();
    let mut lengths = Vec::with_capacity(cells.len());
    for cell in cells {
        let before = all.len();
        if cell[0] != NULL {
            all.extend(items(cell, item));
        }
        lengths.push(all.len() - before);
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    let values = |field: &FieldRef| decode_column(all.len(), |at| all[at], item, field.data_type());
    match data_type {
        DataType::Map(field, sorted) => {
            let entries = values(field).as_struct().clone();
            Arc::new(MapArray::new(field.clone(), offsets, entries, valid(cells), *sorted))
        }
        DataType::List(field) => Arc::new(ListArray::new(field.clone(), offsets, values(field), valid(cells))),
        other => unreachable!("{other} is no list"),
    }
}

fn decode_structs(cells: &[&[u8]], kinds: &[Kind], data_type: &DataType) -> ArrayRef {
    let DataType::Struct(fields) = data_type else { unreachable!("{data_type} is no struct") };
    let mut rests: Vec<&[u8]> = cells.iter().map(|cell| &cell[1..]).collect();
    let column = |(kind, field): (&Kind, &FieldRef)| {
        let values = rests.iter_mut().map(|rest| {
            // Nothing is left of a NULL: its fields are NULL too.
            let length = if rest.is_empty() { return &[NULL][..] } else { length(rest, kind) };
            let (value, after) = rest.split_at(length);
            *rest = after;
            value
        });
        let values: Vec<&[u8]> = values.collect();
        decode_column(values.len(), |at| values[at], kind, field.data_type())
    };
    let columns = kinds.iter().zip(fields).map(column).collect();
    Arc::new(StructArray::new(fields.clone(), columns, valid(cells)))
}

fn valid(cells: &[&[u8]]) -> Option<NullBuffer> {
    Some(NullBuffer::from_iter(cells.iter().map(|cell| cell[0] != NULL))).filter(|nulls| nulls.null_count() > 0)
}
