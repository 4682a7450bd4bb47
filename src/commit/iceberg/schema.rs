//! A model's columns as Iceberg's, Parquet's and ours.
//!
//! Lists, structs and maps lie in Parquet as Iceberg's specification says, with a field id on every level.
//!
//! Every column is optional: a model promises values, not constraints. A column keeps its field id as long
//! as its name and type stay; any other change gives it a new one, and the table's content is replaced, so
//! that no live file ever has another layout than the current schema.

use crate::commit::Target;
use crate::error::{Error, Result};
use crate::row::{Codec, check_types};
use ::arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef, TimeUnit};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, TableMetadata, Type,
};
use parquet::arrow::{ArrowSchemaConverter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{LogicalType, Type as Physical};
use parquet::schema::types::{SchemaDescriptor, Type as ParquetType, TypePtr};
use std::collections::HashMap;
use std::sync::Arc;

/// How a model's rows lie in data files.
pub struct Shape {
    pub codec: Codec,
    /// The table's fields, in the order of the model's columns.
    pub columns: Vec<NestedFieldRef>,
}

impl Shape {
    /// How to read rows of `rows` out of a table of `schema`; columns are matched by name.
    pub fn of(schema: &Schema, rows: &ArrowSchemaRef) -> Result<Shape> {
        check_types(rows)?;
        let mut columns = Vec::new();
        for field in rows.fields() {
            let wanted = kind(field, &mut || 0)?;
            match schema.field_by_name(field.name()) {
                Some(found) if agree(&found.field_type, &wanted) => columns.push(found.clone()),
                Some(found) => {
                    return Err(Error::operator(format!(
                        "column `{}` is {} in the table and {wanted} in the model",
                        field.name(),
                        found.field_type
                    ))
                    .hint("run driftless once so that it replaces the table's content"));
                }
                None => {
                    return Err(Error::operator(format!("column `{}` is not in the table", field.name()))
                        .hint("run driftless once so that it replaces the table's content"));
                }
            }
        }
        Ok(Shape { codec: Codec::new(rows.clone()), columns })
    }

    /// The Arrow schema of a data file, with field ids.
    pub fn arrow(&self) -> ArrowSchemaRef {
        let fields = self.codec.schema().fields().iter().zip(&self.columns);
        let field = |(field, column): (&Arc<Field>, &NestedFieldRef)| in_file(field, column);
        Arc::new(ArrowSchema::new(fields.map(field).collect::<Vec<_>>()))
    }

    /// The Parquet schema of a data file: Arrow's, but a UUID says that it is one.
    pub fn parquet(&self) -> Result<SchemaDescriptor> {
        let damage = |e| Error::bug("a row schema has no Parquet form").because(e);
        let plain = ArrowSchemaConverter::new().convert(&self.arrow()).map_err(damage)?;
        let fields = plain.root_schema().get_fields().iter().map(say_uuids).collect::<std::result::Result<_, _>>();
        let root = ParquetType::group_type_builder("table").with_fields(fields.map_err(damage)?).build();
        Ok(SchemaDescriptor::new(Arc::new(root.map_err(damage)?)))
    }
}

/// A field as data files have it: the names that Iceberg gives, and its field ids on every level.
fn in_file(field: &Field, column: &NestedField) -> Field {
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_string(), column.id.to_string())]);
    let data_type = match (field.data_type(), column.field_type.as_ref()) {
        (DataType::List(item), Type::List(list)) => DataType::List(in_file(item, &list.element_field).into()),
        (DataType::Struct(fields), Type::Struct(columns)) => {
            DataType::Struct(fields.iter().zip(columns.fields()).map(|(f, column)| in_file(f, column)).collect())
        }
        (DataType::Map(entries, sorted), Type::Map(map)) => {
            let entry = entry(entries);
            let entry = Fields::from(vec![in_file(&entry[0], &map.key_field), in_file(&entry[1], &map.value_field)]);
            DataType::Map(Field::new("key_value", DataType::Struct(entry), false).into(), *sorted)
        }
        (plain, _) => plain.clone(),
    };
    Field::new(&column.name, data_type, !column.required).with_metadata(id)
}

/// Key and value of a map.
fn entry(entries: &Field) -> &Fields {
    match entries.data_type() {
        DataType::Struct(entry) => entry,
        other => unreachable!("a map's entries are structs, not {other}"),
    }
}

/// The same field, where each UUID in it says that it is one.
fn say_uuids(field: &TypePtr) -> std::result::Result<TypePtr, parquet::errors::ParquetError> {
    let info = field.get_basic_info();
    let id = info.has_id().then(|| info.id());
    let said = match field.as_ref() {
        ParquetType::PrimitiveType { physical_type: Physical::FIXED_LEN_BYTE_ARRAY, type_length: 16, .. }
            if info.logical_type_ref().is_none() =>
        {
            ParquetType::primitive_type_builder(field.name(), Physical::FIXED_LEN_BYTE_ARRAY)
                .with_repetition(info.repetition())
                .with_logical_type(Some(LogicalType::Uuid))
                .with_length(16)
                .with_id(id)
                .build()?
        }
        ParquetType::PrimitiveType { .. } => return Ok(field.clone()),
        ParquetType::GroupType { fields, .. } => ParquetType::group_type_builder(field.name())
            .with_repetition(info.repetition())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(fields.iter().map(say_uuids).collect::<std::result::Result<_, _>>()?)
            .with_id(id)
            .build()?,
    };
    Ok(Arc::new(said))
}

/// The Iceberg schema that a target asks for, with the ids of `current` where names and types agree.
pub fn wanted(target: &Target, current: Option<&TableMetadata>) -> Result<Schema> {
    check_types(&target.schema)?;
    let mut last_id = current.map_or(0, |t| t.last_column_id());
    let mut fresh = || {
        last_id += 1;
        last_id
    };
    let mut fields = Vec::new();
    for (i, field) in target.schema.fields().iter().enumerate() {
        let plain = kind(field, &mut || 0)?;
        let same = current.and_then(|t| t.current_schema().field_by_name(field.name()));
        let nested = match same.filter(|f| agree(&f.field_type, &plain)) {
            Some(same) => NestedField::optional(same.id, field.name(), same.field_type.as_ref().clone()),
            None => NestedField::optional(fresh(), field.name(), kind(field, &mut fresh)?),
        };
        let doc = target.column_descriptions.get(i).filter(|d| !d.is_empty());
        fields.push(Arc::new(match doc {
            Some(doc) => nested.with_doc(doc),
            None => nested,
        }));
    }
    Schema::builder().with_fields(fields).build().map_err(|e| {
        Error::operator(format!("the columns of model `{}` make no table", target.model))
            .hint("give every column of the model a name of its own")
            .because(e)
    })
}

/// Whether files of one schema are files of the other: the same columns in the same order.
pub fn same_layout(a: &Schema, b: &Schema) -> bool {
    let column = |f: &Arc<NestedField>| (f.id, f.name.clone(), f.field_type.clone());
    a.as_struct().fields().iter().map(column).eq(b.as_struct().fields().iter().map(column))
}

/// Whether two types are one but for their ids.
fn agree(a: &Type, b: &Type) -> bool {
    let field = |a: &NestedField, b: &NestedField| {
        a.name == b.name && a.required == b.required && agree(&a.field_type, &b.field_type)
    };
    match (a, b) {
        (Type::Primitive(a), Type::Primitive(b)) => a == b,
        (Type::List(a), Type::List(b)) => field(&a.element_field, &b.element_field),
        (Type::Map(a), Type::Map(b)) => field(&a.key_field, &b.key_field) && field(&a.value_field, &b.value_field),
        (Type::Struct(a), Type::Struct(b)) => {
            a.fields().len() == b.fields().len() && a.fields().iter().zip(b.fields()).all(|(a, b)| field(a, b))
        }
        _ => false,
    }
}

/// The type of a column, with an `id` for every level below it.
fn kind(field: &Field, id: &mut dyn FnMut() -> i32) -> Result<Type> {
    typed(field.data_type(), id).ok_or_else(|| {
        let reason =
            format!("column `{}` has type {}, which no Iceberg table can hold", field.name(), field.data_type());
        Error::operator(reason).hint(format!("cast `{}` to text or to a plain scalar type in the model", field.name()))
    })
}

fn typed(data_type: &DataType, id: &mut dyn FnMut() -> i32) -> Option<Type> {
    Some(match data_type {
        DataType::List(item) => {
            let element = id();
            Type::List(ListType::new(NestedField::list_element(element, typed(item.data_type(), id)?, false).into()))
        }
        DataType::Map(entries, _) => {
            let (key, value) = (id(), id());
            let entry = entry(entries);
            let (key_type, value_type) = (typed(entry[0].data_type(), id)?, typed(entry[1].data_type(), id)?);
            Type::Map(MapType::optional(key, key_type, value, value_type))
        }
        DataType::Struct(fields) => {
            let ids: Vec<i32> = fields.iter().map(|_| id()).collect();
            let field = |(f, own): (&Arc<Field>, i32)| {
                Some(NestedField::optional(own, f.name(), typed(f.data_type(), id)?).into())
            };
            Type::Struct(StructType::new(fields.iter().zip(ids).map(field).collect::<Option<_>>()?))
        }
        plain => Type::Primitive(primitive(plain)?),
    })
}

fn primitive(data_type: &DataType) -> Option<PrimitiveType> {
    Some(match data_type {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int32 => PrimitiveType::Int,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            PrimitiveType::Decimal { precision: u32::from(*precision), scale: *scale as u32 }
        }
        DataType::Utf8 | DataType::LargeUtf8 => PrimitiveType::String,
        DataType::Binary => PrimitiveType::Binary,
        DataType::Date32 => PrimitiveType::Date,
        DataType::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Microsecond, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => PrimitiveType::Timestamptz,
        DataType::FixedSizeBinary(16) => PrimitiveType::Uuid,
        _ => return None,
    })
}
