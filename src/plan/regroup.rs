//! Whole groups through DataFusion's own operators: window functions, and aggregates that cannot forget.
//!
//! Rows come sorted by group and then in the order that `definite` has fixed, each as often as it is there; what
//! comes out is the operator's. The operator is that of `recompute` and sees the rows of a group in the same
//! order, so both give the same, be it by rounding. Many groups go through it at once: partitions and group keys
//! keep them apart.

use super::caught::caught;
use super::program::{convert, plainly};
use crate::row::{Codec, Row, Rows};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::Result as DfResult;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::update_aggr_exprs::OptimizeAggregateOrder;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode, collect};
use std::fmt;
use std::sync::Arc;

/// How to compute whole groups.
#[derive(Clone)]
pub struct Regroup {
    /// The columns as the operator was bound to them; the first of the input.
    bound: SchemaRef,
    /// In which order the rows come.
    order: Vec<PhysicalSortExpr>,
    work: Work,
    output: Codec,
    text: String,
}

#[derive(Clone)]
pub(super) enum Work {
    Windows(Vec<Arc<dyn WindowExpr>>),
    /// By the first `key` columns.
    Aggregates {
        key: usize,
        calls: Vec<Arc<AggregateFunctionExpr>>,
        filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    },
}

impl fmt::Debug for Regroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)
    }
}

impl fmt::Display for Regroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)
    }
}

impl Regroup {
    /// `output` in row form. Fails where DataFusion does not plan it.
    pub(super) fn new(
        bound: SchemaRef,
        order: Vec<PhysicalSortExpr>,
        work: Work,
        output: SchemaRef,
        text: String,
    ) -> DfResult<Regroup> {
        let regroup = Regroup { bound, order, work, output: Codec::new(output), text };
        regroup.operator(RecordBatch::new_empty(regroup.bound.clone()))?;
        Ok(regroup)
    }

    /// Everything that decides what it does, as text.
    pub(super) fn identity(&self) -> String {
        let work = match &self.work {
            Work::Windows(functions) => format!("{functions:?}"),
            Work::Aggregates { key, calls, filters } => format!("{key} {calls:?} {filters:?}"),
        };
        format!("{} by {:?} of {:?}: {work}", self.text, self.order, self.bound)
    }

    /// What becomes of the rows of whole groups, or why not. The columns of a row stand in `codec`'s order; `places`
    /// says where each of the input's is.
    pub fn run(&self, rows: &Rows, codec: &Codec, places: &[usize]) -> Result<Vec<Row>, String> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let columns = codec.columns(rows.len(), |at| rows.row(at), &places[..self.bound.fields().len()]);
        let columns = columns.iter().zip(self.bound.fields()).map(|(array, field)| convert(array, field));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(self.bound.clone(), columns.collect::<Result<_, _>>()?, &options);
        let run = |batch| {
            let operator = self.operator(batch)?;
            let batches = futures::executor::block_on(collect(operator.clone(), Arc::new(TaskContext::default())))?;
            Ok(concat_batches(&operator.schema(), &batches)?)
        };
        let batch = batch.map_err(|e| e.to_string())?;
        let result = caught(|| run(batch))?.map_err(|e| plainly(&e))?;
        let columns = result.columns().iter().zip(self.output.schema().fields());
        let columns = columns.map(|(array, field)| convert(array, field)).collect::<Result<_, _>>()?;
        let result = RecordBatch::try_new(self.output.schema().clone(), columns).map_err(|e| e.to_string())?;
        Ok(self.output.encode(&result))
    }

    fn operator(&self, batch: RecordBatch) -> DfResult<Arc<dyn ExecutionPlan>> {
        let source = MemorySourceConfig::try_new(&[vec![batch]], self.bound.clone(), None)?;
        let source = source.try_with_sort_information(LexOrdering::new(self.order.clone()).into_iter().collect())?;
        let source = DataSourceExec::from_data_source(source);
        match &self.work {
            Work::Windows(functions) if functions.iter().all(|function| function.uses_bounded_memory()) => {
                let functions = functions.clone();
                Ok(Arc::new(BoundedWindowAggExec::try_new(functions, source, InputOrderMode::Sorted, false)?))
            }
            Work::Windows(functions) => Ok(Arc::new(WindowAggExec::try_new(functions.clone(), source, false)?)),
            Work::Aggregates { key, calls, filters } => {
                let column = |(at, field): (usize, &Arc<arrow::datatypes::Field>)| {
                    (Arc::new(Column::new(field.name(), at)) as Arc<dyn PhysicalExpr>, field.name().clone())
                };
                let key =
                    PhysicalGroupBy::new_single(self.bound.fields()[..*key].iter().enumerate().map(column).collect());
                let (calls, filters) = (calls.clone(), filters.clone());
                let operator =
                    AggregateExec::try_new(AggregateMode::Single, key, calls, filters, source, self.bound.clone())?;
                // Tells the calls that their rows come in order, as the session does.
                OptimizeAggregateOrder::new().optimize(Arc::new(operator), &ConfigOptions::default())
            }
        }
    }
}
