//! The oracle: a model's rows as a full refresh would give them, by DataFusion's own executor.
//!
//! It shares the parser, the binder and `definite` with `lower`, and nothing of `flow`. A fault in the binder would be
//! seen by neither: tests therefore ask Postgres and DuckDB too. A recursion is evaluated here, an iteration at a time:
//! DataFusion's own may go on for ever.

use super::caught::caught;
use super::deep::with_room;
use super::definite::{definite, executable};
use super::recursion::{ITERATIONS_MAX, Of, Recursion, Stand, cut, endless};
use super::session::{register, row_schema, session};
use super::with::bind;
use super::{Relation, clock};
use crate::error::{Error, Result};
use crate::row::{Clock, Codec, Row};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result as DfResult, exec_datafusion_err};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use std::collections::HashSet;
use std::sync::Arc;

/// Of one iteration: where each has more than the one before, memory would not hold the next.
const ROWS_MAX: usize = 16 << 20;

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
    /// no model uses are NULL, so that SQL binds here as it bound when it was planned. Or a model, in the place of what was
    /// computed: models that follow read the stamps that its rows have.
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
            let (plan, recursions) = cut(bind(&self.state, sql).await?)?;
            let mut results = Vec::new();
            for recursion in recursions {
                let rows = self.recursion(recursion, &results).await?;
                results.push(rows);
            }
            self.run(self.prepared(&plan)?, &results, None).await
        };
        // It waits for an executor of its own, which must not be within another's thread.
        let result = caught(|| with_room(|| blocking()?.block_on(run).map_err(failed)));
        let result = result.map_err(|e| Error::operator(e).doing(format!("recompute `{}`", relation.name)));
        let (schema, batches) = result??;
        let batch = concat_batches(&schema, &batches).map_err(|e| failed(e.into()))?;

        let rows = batch.num_rows();
        let schema = row_schema(&schema).map_err(|f| Error::bug(format!("column `{}` was planned", f.name())))?;
        let columns = converted(&batch, &schema);
        let columns = columns.map_err(|e| Error::operator(e).doing(format!("recompute `{}`", relation.name)))?;
        let batch = whole(schema, columns, rows)?;
        self.add(relation, batch.clone())?;
        Ok(batch)
    }

    fn prepared(&self, plan: &LogicalPlan) -> DfResult<LogicalPlan> {
        executable(definite(clock::optimised_at(&self.state, plan.clone(), self.clock)?)?)
    }

    /// The rows of a plan whose stands are of these recursions, and of these rows of the iteration before.
    async fn run(
        &self,
        plan: LogicalPlan,
        results: &[RecordBatch],
        before: Option<&RecordBatch>,
    ) -> DfResult<(SchemaRef, Vec<RecordBatch>)> {
        let fill = |node| match node {
            LogicalPlan::TableScan(scan) if let Some(of) = Stand::scanned(&scan) => {
                let batch = match of {
                    Of::Recursion(number) => &results[number],
                    Of::Before => before.expect("only a step reads what was before"),
                };
                let batch = RecordBatch::try_new(scan.source.schema(), batch.columns().to_vec())?;
                let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
                let source = provider_as_source(Arc::new(table));
                Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
            }
            other => Ok(Transformed::no(other)),
        };
        let plan = plan.transform_up(fill).data()?;
        let plan = self.state.query_planner().create_physical_plan(&plan, &self.state).await?;
        let batches = datafusion::physical_plan::collect(plan.clone(), self.state.task_ctx()).await?;
        Ok((plan.schema(), batches))
    }

    /// One iteration after another, as SQL defines it, until one gives no new rows.
    async fn recursion(&self, recursion: Recursion, results: &[RecordBatch]) -> DfResult<RecordBatch> {
        let schema = &recursion.schema;
        let in_rows = row_schema(schema).map_err(|f| exec_datafusion_err!("column `{}` was planned", f.name()))?;
        let codec = Codec::new(in_rows.clone());
        let step = self.prepared(&recursion.step)?;
        let mut seen: HashSet<Row> = HashSet::new();
        let mut all = Vec::new();
        let (_, mut found) = self.run(self.prepared(&recursion.base)?, results, None).await?;
        loop {
            let mut news = Vec::new();
            for batch in &found {
                let batch = RecordBatch::try_new(schema.clone(), converted(batch, schema).map_err(failed)?)?;
                let rows = RecordBatch::try_new(in_rows.clone(), converted(&batch, &in_rows).map_err(failed)?)?;
                let is_new = |row| !recursion.distinct || seen.insert(row);
                let is_new: BooleanArray = codec.encode(&rows).into_iter().map(is_new).map(Some).collect();
                news.push(filter_record_batch(&batch, &is_new)?);
            }
            let news = concat_batches(schema, &news)?;
            if news.num_rows() == 0 {
                return Ok(concat_batches(schema, &all)?);
            }
            if news.num_rows() > ROWS_MAX {
                return Err(exec_datafusion_err!("an iteration of `{}` is too large to recompute", recursion.name));
            }
            if all.len() as i64 == ITERATIONS_MAX {
                return Err(exec_datafusion_err!("{}", endless()));
            }
            (_, found) = self.run(step.clone(), results, Some(&news)).await?;
            all.push(news);
        }
    }

    fn add(&mut self, relation: &Relation, batch: RecordBatch) -> Result<()> {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]);
        let table = table.map_err(|e| Error::bug("a batch of another schema").because(e))?;
        register(&self.state, relation, Arc::new(table));
        Ok(())
    }
}

fn blocking() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Error::bug("no runtime for recompute").because(e))
}

/// The columns of a batch as `schema` has them.
fn converted(batch: &RecordBatch, schema: &SchemaRef) -> Result<Vec<ArrayRef>, String> {
    let columns = batch.columns().iter().zip(schema.fields());
    columns.map(|(array, field)| super::program::convert(array, field)).collect()
}

fn failed(message: String) -> DataFusionError {
    DataFusionError::Execution(message)
}

fn whole(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|e| Error::bug("columns of another schema").because(e))
}
