//! A model's columns as Iceberg's, Parquet's and ours.
//!
//! Every column is optional: a model promises values, not constraints. A column keeps its field id as long
//! as its name and type stay; any other change gives it a new one, and the table's content is replaced, so
//! that no live file ever has another layout than the current schema.

use crate::commit::Target;
use crate::error::{Error, Result};
use crate::row::{Codec, check_types};
use ::arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef, TimeUnit};
use iceberg::spec::{NestedField, PrimitiveType, Schema, TableMetadata, Type};
use parquet::arrow::{ArrowSchemaConverter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::schema::types::{SchemaDescriptor, Type as ParquetType};
use std::collections::HashMap;
use std::sync::Arc;

/// How a model's rows lie in data files.
pub struct Shape {
    pub codec: Codec,
    /// Ids and types of the columns, in order.
    pub columns: Vec<(i32, PrimitiveType)>,
}

impl Shape {
    /// How to read rows of `rows` out of a table of `schema`; columns are matched by name.
    pub fn of(schema: &Schema, rows: &ArrowSchemaRef) -> Result<Shape> {
        check_types(rows)?;
        let mut columns = Vec::new();
        for field in rows.fields() {
            let wanted = primitive(field)?;
            let found = schema.field_by_name(field.name());
            let found = found.and_then(|f| Some((f.id, f.field_type.as_primitive_type()?)));
            match found {
                Some((id, is)) if *is == wanted => columns.push((id, wanted)),
                Some((_, is)) => {
                    return Err(Error::operator(format!(
                        "column `{}` is {is} in the table and {wanted} in the model",
                        field.name()
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
        let field = |(field, (id, _)): (&Arc<Field>, &(i32, PrimitiveType))| {
            let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string())]);
            Field::new(field.name(), field.data_type().clone(), true).with_metadata(id)
        };
        Arc::new(ArrowSchema::new(fields.map(field).collect::<Vec<_>>()))
    }

    /// The Parquet schema of a data file: Arrow's, but a UUID says that it is one.
    pub fn parquet(&self) -> Result<SchemaDescriptor> {
        let damage = |e| Error::bug("a row schema has no Parquet form").because(e);
        let arrow = self.arrow();
        let plain = ArrowSchemaConverter::new().convert(&arrow).map_err(damage)?;
        let mut fields = plain.root_schema().get_fields().to_vec();
        for (field, (id, kind)) in fields.iter_mut().zip(&self.columns) {
            if *kind == PrimitiveType::Uuid {
                let uuid = ParquetType::primitive_type_builder(field.name(), Physical::FIXED_LEN_BYTE_ARRAY)
                    .with_repetition(Repetition::OPTIONAL)
                    .with_logical_type(Some(LogicalType::Uuid))
                    .with_length(16)
                    .with_id(Some(*id))
                    .build();
                *field = Arc::new(uuid.map_err(damage)?);
            }
        }
        let root = ParquetType::group_type_builder("table").with_fields(fields).build().map_err(damage)?;
        Ok(SchemaDescriptor::new(Arc::new(root)))
    }
}

/// The Iceberg schema that a target asks for, with the ids of `current` where names and types agree.
pub fn wanted(target: &Target, current: Option<&TableMetadata>) -> Result<Schema> {
    check_types(&target.schema)?;
    let mut next_id = current.map_or(0, |t| t.last_column_id()) + 1;
    let mut fields = Vec::new();
    for (i, field) in target.schema.fields().iter().enumerate() {
        let kind = Type::Primitive(primitive(field)?);
        let same = current.and_then(|t| t.current_schema().field_by_name(field.name()));
        let id = match same.filter(|f| *f.field_type == kind) {
            Some(same) => same.id,
            None => {
                next_id += 1;
                next_id - 1
            }
        };
        let nested = NestedField::optional(id, field.name(), kind);
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

fn primitive(field: &Field) -> Result<PrimitiveType> {
    Ok(match field.data_type() {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int32 => PrimitiveType::Int,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            PrimitiveType::Decimal { precision: u32::from(*precision), scale: *scale as u32 }
        }
        DataType::Utf8 => PrimitiveType::String,
        DataType::Binary => PrimitiveType::Binary,
        DataType::Date32 => PrimitiveType::Date,
        DataType::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Microsecond, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => PrimitiveType::Timestamptz,
        DataType::FixedSizeBinary(16) => PrimitiveType::Uuid,
        other => {
            return Err(Error::operator(format!(
                "column `{}` has type {other}, which no Iceberg table can hold",
                field.name()
            ))
            .hint(format!("cast `{}` to text or to a plain scalar type in the model", field.name())));
        }
    })
}
