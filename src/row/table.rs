//! The shape of a source table as the engine holds it.

use arrow::datatypes::SchemaRef;
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
