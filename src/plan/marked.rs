//! A rule for DataFusion's optimiser. Where it makes a join of an `exists` or `in` within an `or`, the filter that
//! asked gives one column more, the mark of the join; a window above would go on as if it were not there, and later
//! rules would fail on it.

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{LogicalPlan, Window};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(super) struct MarkedWindows;

impl OptimizerRule for MarkedWindows {
    fn name(&self) -> &str {
        "marked_windows"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Window(window) if is_stale(&window) => {
                let window = Window::try_new(window.window_expr, window.input)?;
                Ok(Transformed::yes(LogicalPlan::Window(window)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn is_stale(window: &Window) -> bool {
    window.schema.fields().len() != window.input.schema().fields().len() + window.window_expr.len()
}
