//! The shape of a source table as the engine holds it.

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use std::fmt;

/// A table's name at its source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl TableName {
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        TableName { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// The columns of a table that are kept, in order, and which of them are its primary key.
///
/// Invariant: `key` is not empty and its indices are within `schema`: a table without a key is refused by
/// its source before this value exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub name: TableName,
    pub schema: SchemaRef,
    /// Indices into `schema`, in the order of the key.
    pub key: Vec<usize>,
}

impl Table {
    /// The same table with only the columns that `keep` names, and always its key.
    pub fn pruned(&self, keep: impl Fn(&str) -> bool) -> Table {
        let kept: Vec<usize> = (0..self.schema.fields().len())
            .filter(|i| self.key.contains(i) || keep(self.schema.field(*i).name()))
            .collect();
        let place = |i: &usize| kept.iter().position(|k| k == i).expect("key columns are always kept");
        Table {
            name: self.name.clone(),
            schema: self.schema.project(&kept).expect("indices come from this schema").into(),
            key: self.key.iter().map(place).collect(),
        }
    }
}

/// A type's name as we write it to disk, and read it back.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "long".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Utf8 => "text".into(),
        DataType::Binary => "bytes".into(),
        DataType::Date32 => "date".into(),
        DataType::Time64(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".into(),
        DataType::FixedSizeBinary(_) => "uuid".into(),
        other => unreachable!("{other} has no row form"),
    }
}

/// `None` for a name that [`type_name`] never gave.
pub fn type_named(name: &str) -> Option<DataType> {
    Some(match name {
        "boolean" => DataType::Boolean,
        "int" => DataType::Int32,
        "long" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "text" => DataType::Utf8,
        "bytes" => DataType::Binary,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "uuid" => DataType::FixedSizeBinary(16),
        decimal => {
            let (precision, scale) = decimal.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            DataType::Decimal128(precision.parse().ok()?, scale.parse().ok()?)
        }
    })
}
