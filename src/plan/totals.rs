//! Rules of DataFusion's optimiser that would change a total.

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{find_aggregate_exprs, split_conjunction};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Its `push_down_filter`, but where a filter asks nothing of the rows that it gets, `where today > date '2024-01-01'`.
/// Beneath a total, which is there even where there are no rows, it would only make another total of what the filter
/// should drop.
#[derive(Debug)]
pub(super) struct AboveTotals(PushDownFilter);

impl AboveTotals {
    pub fn new() -> AboveTotals {
        AboveTotals(PushDownFilter::new())
    }
}

impl OptimizerRule for AboveTotals {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        if stays(&plan) { Ok(Transformed::no(plan)) } else { self.0.rewrite(plan, config) }
    }
}

/// Several filters are pushed down as one.
fn stays(plan: &LogicalPlan) -> bool {
    let (mut below, mut asks_nothing) = (plan, false);
    while let LogicalPlan::Filter(filter) = below {
        asks_nothing |= split_conjunction(&filter.predicate).into_iter().any(|e| e.column_refs().is_empty());
        below = &filter.input;
    }
    let LogicalPlan::Aggregate(group) = below else { return false };
    asks_nothing && (group.group_expr.is_empty() || matches!(group.group_expr.as_slice(), [Expr::GroupingSet(_)]))
}

/// Its `single_distinct_aggregation_to_group_by`, but not beside sums: summed once more they are of another type, and
/// what is above has been planned for the one that they had.
#[derive(Debug)]
pub(super) struct WithoutSums(SingleDistinctToGroupBy);

impl WithoutSums {
    pub fn new() -> WithoutSums {
        WithoutSums(SingleDistinctToGroupBy::new())
    }
}

impl OptimizerRule for WithoutSums {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let is_sum = |e: &Expr| matches!(e, Expr::AggregateFunction(call) if call.func.name() == "sum");
        match &plan {
            LogicalPlan::Aggregate(group) if find_aggregate_exprs(&group.aggr_expr).iter().any(is_sum) => {
                Ok(Transformed::no(plan))
            }
            _ => self.0.rewrite(plan, config),
        }
    }
}
