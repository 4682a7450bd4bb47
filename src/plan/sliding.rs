//! `min` and `max` over a frame whose begin moves: NULL where it holds NULLs alone.
//!
//! There DataFusion 53.1 gives the last value that has left the frame. So the values of such a frame are counted beside
//! it, and where there are none the result is NULL.

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, Result as DfResult, ScalarValue};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, Projection, Window, WindowFunctionDefinition as Definition, lit, when,
};
use std::sync::Arc;

/// `plan` as it was bound, with such values counted.
pub fn counted(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let counted = |node| match node {
        LogicalPlan::Window(window) if window.window_expr.iter().any(|e| count(e).is_some()) => {
            beside(&window).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    };
    plan.transform_up_with_subqueries(counted).data()
}

fn beside(window: &Window) -> DfResult<LogicalPlan> {
    let name = |e: &Expr| format!("values of {}", e.schema_name());
    let counts = window.window_expr.iter().filter_map(|e| Some(count(e)?.alias(name(e))));
    let functions = window.window_expr.iter().cloned().chain(counts).collect();
    let counted = LogicalPlan::Window(Window::try_new(functions, window.input.clone())?);
    let own = window.input.schema().fields().len();
    let output = |(at, (qualifier, field)): (usize, (Option<_>, &Arc<arrow::datatypes::Field>))| {
        let column = Expr::Column(Column::new(qualifier, field.name()));
        match at.checked_sub(own).map(|number| &window.window_expr[number]).filter(|e| count(e).is_some()) {
            None => Ok(column),
            Some(e) => {
                let values = Expr::Column(Column::new_unqualified(name(e)));
                let nothing = lit(ScalarValue::try_from(field.data_type())?);
                Ok(when(values.eq(lit(0i64)), nothing).otherwise(column)?.alias(field.name()))
            }
        }
    };
    let columns = window.schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field));
    let outputs = columns.enumerate().map(output).collect::<DfResult<Vec<_>>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(outputs, Arc::new(counted))?))
}

/// What counts the values of such a function.
fn count(e: &Expr) -> Option<Expr> {
    let Expr::WindowFunction(function) = e else { return None };
    let Definition::AggregateUDF(of) = &function.fun else { return None };
    let moves = !function.params.window_frame.start_bound.is_unbounded();
    let fun = Definition::AggregateUDF(count_udaf());
    let count = WindowFunction { fun, params: function.params.clone() };
    (moves && ["min", "max"].contains(&of.name())).then(|| Expr::WindowFunction(Box::new(count)))
}
