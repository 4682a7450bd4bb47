//! Rows to data files and dead positions to delete files, and back.
//!
//! A file is made whole in memory and written at once, so it stays within [`ROWS_MAX`] and [`BYTES_MAX`].
//! Bounds and counts come from the rows' own bytes, not from Parquet's statistics: those truncate long
//! text, and iceberg 0.10.1 then takes the bound of another row group for that of the file.

use super::schema::Shape;
use super::store::{Store, unreadable};
use crate::error::{Error, Result};
use crate::row::{Codec, Datum, Row, RowWriter};
use ::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray, make_array,
};
use ::arrow::datatypes::{Field, Int64Type, Schema as ArrowSchema};
use bytes::Bytes;
use iceberg::metadata_columns::{delete_file_path_field, delete_file_pos_field};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, NestedFieldRef, PrimitiveType};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter, PARQUET_FIELD_ID_META_KEY, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::SchemaDescriptor;
use roaring::RoaringBitmap;
use std::collections::HashMap;
use std::sync::Arc;

/// The most rows in one data file, and the most bytes of rows.
pub const ROWS_MAX: usize = 1_000_000;
const BYTES_MAX: usize = 256 << 20;

/// Rows turned into columns at once.
const BATCH_ROWS: usize = 16_384;
/// Longer bounds of text and bytes are cut: a bound must bound, not quote.
const BOUND_CHARS: usize = 16;

/// How many of `rows` go into the next file.
pub fn file_rows(rows: &[Row]) -> usize {
    let mut bytes = 0;
    let fits = |row: &&Row| {
        bytes += row.bytes().len();
        bytes <= BYTES_MAX
    };
    rows.iter().take(ROWS_MAX).take_while(fits).count().max(rows.len().min(1))
}

/// Writes rows, in this order, as one data file.
pub fn write_rows(store: &Store, location: &str, shape: &Shape, rows: &[Row]) -> Result<DataFile> {
    let arrow = shape.arrow();
    // Field ids are part of a nested type: the columns are made with them.
    let codec = Codec::new(arrow.clone());
    let batches = rows.chunks(BATCH_ROWS).map(|chunk| codec.decode(chunk));
    let (content, parquet) = encode(arrow.clone(), shape.parquet()?, batches)?;
    let mut file = describe(DataContentType::Data, location, &content, &parquet);
    let mut sizes: HashMap<i32, u64> = HashMap::new();
    for chunk in parquet.row_groups().iter().flat_map(|group| group.columns()) {
        *sizes.entry(chunk.column_descr().self_type().get_basic_info().id()).or_default() +=
            chunk.compressed_size() as u64;
    }
    // What lies within lists, structs and maps is neither counted nor bounded: readers ask that of plain columns.
    let plain = shape.columns.iter().enumerate();
    let plain: Vec<(usize, i32, &PrimitiveType)> =
        plain.filter_map(|(i, column)| Some((i, column.id, column.field_type.as_primitive_type()?))).collect();
    let mut tallies = vec![Tally::default(); plain.len()];
    let nan32 = one(Datum::Float32(f32::NAN));
    let nan64 = one(Datum::Float64(f64::NAN));
    for row in rows {
        let spans = shape.codec.spans(row.bytes());
        for (tally, (i, _, kind)) in tallies.iter_mut().zip(&plain) {
            let nan = match kind {
                PrimitiveType::Float => Some(&nan32),
                PrimitiveType::Double => Some(&nan64),
                _ => None,
            };
            tally.see(&row.bytes()[spans[*i].clone()], nan.map(Row::bytes));
        }
    }
    let columns = || plain.iter().zip(&tallies);
    let count = |n: fn(&Tally, usize) -> u64| columns().map(|((_, id, _), t)| (*id, n(t, rows.len()))).collect();
    let floats = columns().filter(|((_, _, kind), _)| matches!(kind, PrimitiveType::Float | PrimitiveType::Double));
    let bound = |upper: bool| {
        let each = columns().filter_map(|((i, id, kind), tally)| {
            let bytes = if upper { tally.greatest } else { tally.least }?;
            let codec = Codec::new(Arc::new(shape.codec.schema().project(&[*i]).expect("a column of this schema")));
            let datum = codec.datums(&Row::from(bytes)).pop()?;
            let value = bound_bytes(datum, upper)?;
            Some((*id, iceberg::spec::Datum::try_from_bytes(&value, (*kind).clone()).ok()?))
        });
        each.collect::<HashMap<_, _>>()
    };
    file.column_sizes(sizes)
        .value_counts(count(|_, rows| rows as u64))
        .null_value_counts(count(|tally, _| tally.nulls))
        .nan_value_counts(floats.map(|((_, id, _), tally)| (*id, tally.nans)).collect())
        .lower_bounds(bound(false))
        .upper_bounds(bound(true));
    store.write(location, content)?;
    Ok(file.build().expect("all that a data file needs is set"))
}

/// Hands out each row of a data file with its position.
pub fn read_rows(store: &Store, location: &str, shape: &Shape, mut each: impl FnMut(u32, Row)) -> Result<u64> {
    let damage = |e: Box<dyn std::error::Error + Send + Sync>| unreadable(location, e);
    let ids: Vec<i32> = shape.columns.iter().map(|column| column.id).collect();
    let (reader, places) = decode(store, location, &ids)?;
    let mut position = 0u32;
    for batch in reader {
        let batch = batch.map_err(|e| damage(e.into()))?;
        let column = |(place, field): (&usize, &Arc<Field>)| relabel(batch.column(*place), field);
        let columns = places.iter().zip(shape.codec.schema().fields()).map(column);
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|e| damage(e.into()))?;
        let nullable = shape.codec.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
        let nullable = Arc::new(ArrowSchema::new(nullable.collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(nullable, columns).map_err(|e| damage(e.into()))?;
        for row in shape.codec.encode(&batch) {
            each(position, row);
            position += 1;
        }
    }
    Ok(u64::from(position))
}

/// Writes the dead positions of data files, which come in the order of their locations.
pub fn write_deletes(store: &Store, location: &str, dead: &[(&str, &RoaringBitmap)]) -> Result<DataFile> {
    assert!(dead.is_sorted_by_key(|(location, _)| *location), "the format wants deletes sorted by file");
    let field = |f: &NestedFieldRef, t| {
        let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_string(), f.id.to_string())]);
        Field::new(&f.name, t, false).with_metadata(id)
    };
    let arrow = Arc::new(ArrowSchema::new(vec![
        field(delete_file_path_field(), ::arrow::datatypes::DataType::Utf8),
        field(delete_file_pos_field(), ::arrow::datatypes::DataType::Int64),
    ]));
    let descriptor = ArrowSchemaConverter::new().convert(&arrow).expect("text and a number have a Parquet form");
    let mut each =
        dead.iter().flat_map(|(location, dead)| dead.iter().map(|position| (*location, i64::from(position))));
    let batches = std::iter::from_fn(|| {
        let chunk: Vec<(&str, i64)> = each.by_ref().take(BATCH_ROWS).collect();
        let locations = StringArray::from_iter_values(chunk.iter().map(|(location, _)| location));
        let positions = Int64Array::from_iter_values(chunk.iter().map(|(_, position)| *position));
        let columns: Vec<ArrayRef> = vec![Arc::new(locations), Arc::new(positions)];
        let batch = RecordBatch::try_new(arrow.clone(), columns).expect("two columns of one length");
        (!chunk.is_empty()).then_some(batch)
    });
    let (content, parquet) = encode(arrow.clone(), descriptor, batches)?;
    let mut file = describe(DataContentType::PositionDeletes, location, &content, &parquet);
    // Readers match a delete file to data files by these bounds, so they must never be cut.
    let bound = |location: Option<&(&str, &RoaringBitmap)>| {
        let location = location.map(|(location, _)| iceberg::spec::Datum::string(location));
        location.map(|l| (delete_file_path_field().id, l)).into_iter().collect::<HashMap<_, _>>()
    };
    file.lower_bounds(bound(dead.first())).upper_bounds(bound(dead.last()));
    store.write(location, content)?;
    Ok(file.build().expect("all that a delete file needs is set"))
}

/// Hands out each dead position with the location of its data file.
pub fn read_deletes(store: &Store, location: &str, mut each: impl FnMut(&str, u32)) -> Result<()> {
    let ids = [delete_file_path_field().id, delete_file_pos_field().id];
    let (reader, places) = decode(store, location, &ids)?;
    for batch in reader {
        let batch = batch.map_err(|e| unreadable(location, e))?;
        let columns = (batch.column(places[0]), batch.column(places[1]));
        let columns = (columns.0.as_string_opt::<i32>(), columns.1.as_primitive_opt::<Int64Type>());
        let (Some(locations), Some(positions)) = columns else {
            return Err(unreadable(location, "its columns are not those of a position delete file"));
        };
        for (data, position) in locations.iter().zip(positions.values()) {
            let position = u32::try_from(*position).map_err(|e| unreadable(location, e))?;
            each(data.unwrap_or_default(), position);
        }
    }
    Ok(())
}

fn encode(
    arrow: Arc<ArrowSchema>,
    descriptor: SchemaDescriptor,
    batches: impl Iterator<Item = RecordBatch>,
) -> Result<(Bytes, ParquetMetaData)> {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a level of zstd"));
    let properties = WriterProperties::builder().set_compression(zstd).build();
    let options = ArrowWriterOptions::new().with_properties(properties);
    let options = options.with_skip_arrow_metadata(true).with_parquet_schema(descriptor);
    let write = || {
        let mut content = Vec::new();
        let mut writer = ArrowWriter::try_new_with_options(&mut content, arrow, options)?;
        for batch in batches {
            writer.write(&batch)?;
        }
        let parquet = writer.close()?;
        Ok((content.into(), parquet))
    };
    write().map_err(|e: parquet::errors::ParquetError| Error::bug("rows do not become Parquet").because(e))
}

/// A reader of the columns with these field ids, and the place of each in its batches.
fn decode(store: &Store, location: &str, ids: &[i32]) -> Result<(ParquetRecordBatchReader, Vec<usize>)> {
    let content = store.read(location)?;
    // Types come from Parquet alone: what an Arrow writer hints at may be a larger or dictionary type.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(content, options);
    let builder = builder.map_err(|e| unreadable(location, e))?;
    let fields = builder.parquet_schema().root_schema().get_fields();
    let column = |id: &i32| fields.iter().position(|f| f.get_basic_info().has_id() && f.get_basic_info().id() == *id);
    let Some(roots) = ids.iter().map(column).collect::<Option<Vec<usize>>>() else {
        return Err(unreadable(location, "a column of the table is not in the file"));
    };
    let mut read = roots.clone();
    read.sort_unstable();
    let places = roots.iter().map(|root| read.iter().position(|r| r == root).expect("same columns")).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), read);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
    Ok((reader.map_err(|e| unreadable(location, e))?, places))
}

fn describe(kind: DataContentType, location: &str, content: &Bytes, parquet: &ParquetMetaData) -> DataFileBuilder {
    let mut file = DataFileBuilder::default();
    file.content(kind)
        .file_path(location.to_string())
        .file_format(DataFileFormat::Parquet)
        .record_count(parquet.file_metadata().num_rows() as u64)
        .file_size_in_bytes(content.len() as u64)
        .split_offsets(Some(parquet.row_groups().iter().filter_map(|g| g.file_offset()).collect()));
    file
}

/// The same values under the labels of `field`: a zone of another spelling, other names within a nested type, JSON.
fn relabel(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ::arrow::error::ArrowError> {
    use ::arrow::datatypes::DataType::{LargeUtf8, List, Map, Struct, Timestamp, Utf8};
    Ok(match (array.data_type(), field.data_type()) {
        (Timestamp(a, Some(_)), Timestamp(b, Some(_))) if a == b => {
            make_array(array.to_data().into_builder().data_type(field.data_type().clone()).build()?)
        }
        (Utf8, LargeUtf8) => ::arrow::compute::cast(array, &LargeUtf8)?,
        (List(_), List(item)) => {
            let list = array.as_list::<i32>();
            let items = relabel(list.values(), item)?;
            Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), items, list.nulls().cloned())?)
        }
        (Struct(_), Struct(fields)) => {
            let array = array.as_struct();
            let columns = array.columns().iter().zip(fields).map(|(column, field)| relabel(column, field));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, array.nulls().cloned())?)
        }
        (Map(_, _), Map(entries, sorted)) => {
            let map = array.as_map();
            let pairs: ArrayRef = Arc::new(map.entries().clone());
            let pairs = relabel(&pairs, entries)?.as_struct().clone();
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, nulls, *sorted)?)
        }
        _ => array.clone(),
    })
}

/// What is known of one column of a file.
#[derive(Clone, Default)]
struct Tally<'a> {
    least: Option<&'a [u8]>,
    greatest: Option<&'a [u8]>,
    nulls: u64,
    nans: u64,
}

impl<'a> Tally<'a> {
    fn see(&mut self, column: &'a [u8], nan: Option<&[u8]>) {
        if is_null(column) {
            self.nulls += 1;
        } else if nan == Some(column) {
            self.nans += 1;
        } else {
            self.least = Some(self.least.map_or(column, |least| least.min(column)));
            self.greatest = self.greatest.max(Some(column));
        }
    }
}

fn is_null(column: &[u8]) -> bool {
    column.len() == 1
}

fn one(datum: Datum) -> Row {
    let mut writer = RowWriter::default();
    writer.push(&datum);
    writer.finish()
}

/// Iceberg's form of a single value, cut where it is long; `None` where nothing short bounds it.
fn bound_bytes(datum: Datum, upper: bool) -> Option<Vec<u8>> {
    Some(match datum {
        Datum::Null | Datum::Decimal256(_) | Datum::List(_) | Datum::Struct(_) => return None,
        Datum::Bool(v) => vec![u8::from(v)],
        Datum::Int32(v) | Datum::Date(v) => v.to_le_bytes().to_vec(),
        Datum::Int64(v) | Datum::Time(v) | Datum::Timestamp(v) => v.to_le_bytes().to_vec(),
        Datum::Float32(v) => v.to_le_bytes().to_vec(),
        Datum::Float64(v) => v.to_le_bytes().to_vec(),
        Datum::Decimal(v) => v.to_be_bytes().to_vec(),
        Datum::Uuid(v) => v.to_vec(),
        Datum::Text(v) => match v.char_indices().nth(BOUND_CHARS) {
            None => v.into_bytes(),
            Some((end, _)) if !upper => v.as_bytes()[..end].to_vec(),
            Some((end, _)) => above_text(&v[..end])?.into_bytes(),
        },
        Datum::Bytes(v) if v.len() <= BOUND_CHARS => v,
        Datum::Bytes(v) if !upper => v[..BOUND_CHARS].to_vec(),
        Datum::Bytes(v) => {
            let last = v[..BOUND_CHARS].iter().rposition(|b| *b < u8::MAX)?;
            let mut above = v[..=last].to_vec();
            above[last] += 1;
            above
        }
    })
}

/// The least text of at most as many characters that is above every text that begins so.
fn above_text(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_bound_still_bounds() {
        let long = "é".repeat(40);
        let least = bound_bytes(Datum::Text(long.clone()), false).expect("text has a lower bound");
        let greatest = bound_bytes(Datum::Text(long.clone()), true).expect("text has an upper bound");
        assert!(least.as_slice() <= long.as_bytes() && long.as_bytes() <= greatest.as_slice());
        assert_eq!(bound_bytes(Datum::Text(char::MAX.to_string().repeat(40)), true), None);
        assert_eq!(bound_bytes(Datum::Bytes(vec![255; 40]), true), None);
        let mut bytes = vec![255; 40];
        bytes[3] = 7;
        assert_eq!(bound_bytes(Datum::Bytes(bytes), true), Some(vec![255, 255, 255, 8]));
    }
}
