//! A rule for DataFusion's optimiser: its own `push_down_filter`, but where a filter asks nothing of the rows that it
//! gets, `where today > date '2024-01-01'`. Beneath a total, which is there even where there are no rows, it would only
//! make another total of what the filter should drop.

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

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
