//! Window functions → [`Op::Regroup`], a node for each set of functions of one partition and order.

use super::functions::shown;
use super::lower::{Lowered, Lowering};
use super::ordered::over_columns;
use super::refusal::Refusal;
use super::regroup::{Regroup, Work};
use super::top::{by_of, least_order};
use super::{Node, Op};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{self as df, Expr, ExprSchemable, LogicalPlan, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::create_physical_sort_exprs;
use datafusion::physical_planner::create_window_expr;

impl Lowering<'_> {
    pub fn window(&self, window: &df::Window) -> Lowered<Node> {
        let failed = |e| self.of_datafusion(&e);
        if let Some(plan) = over_columns(window).map_err(failed)? {
            return self.lower(&plan);
        }
        // Where the input has no columns there is nothing to sort by.
        let (input, order) = match window.input.as_ref() {
            LogicalPlan::Sort(sort) => (sort.input.as_ref(), sort.expr.as_slice()),
            input => (input, [].as_slice()),
        };
        let partition = match window.window_expr.first().map(|e| e.clone().unalias_nested().data) {
            Some(Expr::WindowFunction(function)) => function.params.partition_by,
            _ => Vec::new(),
        };
        if let Some(by) = window.window_expr.iter().find_map(|e| range_over_decimals(e, input.schema())) {
            let reason = format!("a range frame over `{by}`, a decimal, cannot be computed");
            let hint = "order by a cast of it to bigint or double precision, or use a rows frame";
            return Err(Refusal::new(reason, hint).at_words(self.sql, &["range"]));
        }
        let schema = self.row_schema(&window.schema)?;
        let props = ExecutionProps::new();
        let functions = window.window_expr.iter().map(|e| create_window_expr(e, &window.schema, &props));
        let functions = functions.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let sorted = create_physical_sort_exprs(order, input.schema(), &props).map_err(failed)?;
        let text =
            window.window_expr.iter().map(|e| shown(e).human_display().to_string()).collect::<Vec<_>>().join(", ");
        let bound = super::lower::nullable(input.schema().as_arrow());
        let work = Regroup::new(bound, sorted, Work::Windows(functions), schema.clone(), text).map_err(failed)?;

        let expressions: Vec<Expr> = partition.iter().chain(order.iter().map(|by| &by.expr)).cloned().collect();
        let (node, columns) = self.widened(self.lower(input)?, input.schema(), &expressions)?;
        let (key, by) = columns.split_at(partition.len());
        let order = least_order(node.schema.fields().len(), key, by_of(by, order));
        Ok(Node { op: Op::Regroup { input: Box::new(node), key: key.to_vec(), order, work }, schema })
    }
}

/// By what a frame orders, if it reaches from a decimal by a distance: DataFusion compares decimals of two
/// precisions there, and every row fails.
fn range_over_decimals(e: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::WindowFunction(function) = e.clone().unalias_nested().data else { return None };
    let frame = &function.params.window_frame;
    let distance = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(by) | WindowFrameBound::Following(by) => !by.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    let reaches =
        frame.units == WindowFrameUnits::Range && (distance(&frame.start_bound) || distance(&frame.end_bound));
    let by = &function.params.order_by.first()?.expr;
    (reaches && by.get_type(schema).is_ok_and(|by| by.is_decimal())).then(|| by.clone())
}
