//! The oracle: a model's rows as a full refresh would give them, by DataFusion's own executor.
//!
//! It shares the parser, the binder and `definite` with `lower`, and nothing of `flow`. A fault in the binder would be
//! seen by neither: tests therefore ask Postgres and DuckDB too.

use super::definite::{definite, executable};
use super::session::{register, row_schema, session};
use super::{Relation, clock};
use crate::error::{Error, Result};
use crate::row::Clock;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::execution::session_state::SessionState;
use std::sync::Arc;

/// Relations with their rows, as far as computed.
pub struct Recompute {
    state: SessionState,
    clock: Clock,
}

impl Recompute {
    /// As of a Moment at which the clock said this.
    pub fn new(database: &str, schema: &str, clock: Clock) -> Recompute {
        let home = Relation { database: database.into(), schema: schema.into(), name: String::new() };
        Recompute { state: session(&home), clock }
    }

    /// A source table: `batch` holds the columns that are kept, `described` is the whole table. Columns that
    /// no model uses are NULL, so that SQL binds here as it bound when it was planned.
    pub fn table(&mut self, relation: &Relation, described: &SchemaRef, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
            let kept = batch.column_by_name(field.name()).cloned();
            kept.unwrap_or_else(|| new_null_array(field.data_type(), rows))
        };
        let columns = described.fields().iter().map(column).collect();
        let fields = described.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        self.add(relation, whole(schema, columns, rows)?)
    }

    /// Computes a model over what is known, makes it known to those that follow, and returns its rows.
    pub fn model(&mut self, relation: &Relation, sql: &str) -> Result<RecordBatch> {
        let failed = |e: datafusion::error::DataFusionError| {
            Error::operator(e.strip_backtrace()).doing(format!("recompute `{}`", relation.name))
        };
        let run = async {
            let plan = self.state.create_logical_plan(sql).await?;
            let plan = clock::optimised_at(&self.state, plan, self.clock)?;
            let plan = executable(definite(plan)?)?;
            let plan = self.state.query_planner().create_physical_plan(&plan, &self.state).await?;
            let batches = datafusion::physical_plan::collect(plan.clone(), self.state.task_ctx()).await?;
            Ok((plan.schema(), batches))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::bug("no runtime for recompute").because(e))?;
        let (schema, batches) = runtime.block_on(run).map_err(failed)?;
        let batch = concat_batches(&schema, &batches).map_err(|e| failed(e.into()))?;

        let rows = batch.num_rows();
        let schema = row_schema(&schema).map_err(|f| Error::bug(format!("column `{}` was planned", f.name())))?;
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(array, field)| super::program::convert(array, field)).collect::<Result<_, _>>();
        let columns = columns.map_err(|e| Error::operator(e).doing(format!("recompute `{}`", relation.name)))?;
        let batch = whole(schema, columns, rows)?;
        self.add(relation, batch.clone())?;
        Ok(batch)
    }

    fn add(&mut self, relation: &Relation, batch: RecordBatch) -> Result<()> {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]);
        let table = table.map_err(|e| Error::bug("a batch of another schema").because(e))?;
        register(&self.state, relation, Arc::new(table));
        Ok(())
    }
}

fn whole(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|e| Error::bug("columns of another schema").because(e))
}
