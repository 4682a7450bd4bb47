//! A model that cannot be kept up to date by what changes: computed as a whole, again and again, by the oracle itself.

use super::Relation;
use super::recompute::Recompute;
use crate::row::{Clock, Codec, Row, Rows};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use std::fmt;
use std::sync::Arc;

/// How to compute a model from all the rows that it reads.
#[derive(Clone)]
pub struct Rerun {
    /// Its name; names without a database or schema are looked for in those of `home`.
    pub(super) relation: Relation,
    pub(super) home: Relation,
    pub(super) sql: Arc<str>,
    pub(super) reads: Vec<Read>,
    /// Why it is not maintained.
    pub(super) why: String,
}

/// A relation that is read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub relation: Relation,
    /// All its columns.
    pub described: SchemaRef,
    /// Those that are read.
    pub columns: SchemaRef,
}

impl fmt::Debug for Rerun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.identity())
    }
}

impl Rerun {
    pub fn why(&self) -> &str {
        &self.why
    }

    /// How many relations it reads.
    pub fn inputs(&self) -> usize {
        self.reads.len()
    }

    /// Everything that decides what it does, as text.
    pub(super) fn identity(&self) -> String {
        format!("{} in {}: {} over {:?}", self.relation, self.home, self.sql, self.reads)
    }

    /// The model's rows over these of the relations that it reads, or why there are none.
    pub fn run(&self, inputs: &[Rows]) -> Result<Vec<Row>, String> {
        let result = self.batch(inputs)?;
        Ok(Codec::new(result.schema()).encode(&result))
    }

    pub(super) fn batch(&self, inputs: &[Rows]) -> Result<RecordBatch, String> {
        // It does not read the clock: such a model is refused.
        let mut recompute = Recompute::new(&self.home.database, &self.home.schema, Clock::default());
        for (read, rows) in self.reads.iter().zip(inputs) {
            let columns: Vec<usize> = (0..read.columns.fields().len()).collect();
            let columns = Codec::new(read.columns.clone()).columns(rows.len(), |at| rows.row(at), &columns);
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            let batch = RecordBatch::try_new_with_options(read.columns.clone(), columns, &options);
            let batch = batch.map_err(|e| e.to_string())?;
            recompute.table(&read.relation, &read.described, &batch).map_err(|e| e.what().to_string())?;
        }
        recompute.model(&self.relation, &self.sql).map_err(|e| e.what().to_string())
    }
}
