//! Windows over rows in the order of a Sort that `definite` has put there, as DataFusion must see it.
//!
//! It does not find the window's own order in it where that holds expressions, or columns that it knows to be equal or
//! of one value; and then the plan fails. So a window goes by columns ([`over_columns`]), and beneath it the executor
//! knows of rows only in which order they come ([`OrderedRows`]). So with groups: it holds a column for one value
//! that is NULL too, behind an outer join, and would take its groups for sorted.

use super::clock;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::{self as df, Expr, LogicalPlan, Projection};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::InputOrderMode;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The same window where all that it partitions and orders by is a column; `None` where it is.
pub(super) fn over_columns(window: &df::Window) -> DfResult<Option<LogicalPlan>> {
    let LogicalPlan::Sort(sort) = window.input.as_ref() else { return Ok(None) };
    let mut computed: Vec<Expr> = Vec::new();
    let mut column = |e: Expr| {
        let e = e.unalias_nested().data;
        if let Expr::Column(_) = e {
            return e;
        }
        let place = computed.iter().position(|other| *other == e).unwrap_or_else(|| {
            computed.push(e);
            computed.len() - 1
        });
        Expr::Column(Column::new_unqualified(name(place)))
    };
    let mut over = |by: &SortExpr| SortExpr { expr: column(by.expr.clone()), ..by.clone() };
    let order: Vec<SortExpr> = sort.expr.iter().map(&mut over).collect();
    let mut functions = Vec::new();
    for e in &window.window_expr {
        let named = e.schema_name().to_string();
        let Expr::WindowFunction(mut function) = e.clone().unalias_nested().data else { return Ok(None) };
        function.params.order_by.iter_mut().for_each(|by| *by = over(by));
        for by in &mut function.params.partition_by {
            *by = over(&SortExpr::new(by.clone(), true, false)).expr;
        }
        let clocked = function.params.args.iter_mut().chain(function.params.filter.as_deref_mut());
        clocked.filter(|e| clock::reads(e)).for_each(|e| *e = over(&SortExpr::new(e.clone(), true, false)).expr);
        functions.push(Expr::WindowFunction(function).alias(named));
    }
    if computed.is_empty() {
        return Ok(None);
    }
    let mut columns: Vec<Expr> = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
    columns.extend(computed.into_iter().enumerate().map(|(place, e)| e.alias(name(place))));
    let input = Arc::new(LogicalPlan::Projection(Projection::try_new(columns, sort.input.clone())?));
    let input = Arc::new(LogicalPlan::Sort(df::Sort { expr: order, input, fetch: sort.fetch }));
    let wider = Arc::new(LogicalPlan::Window(df::Window::try_new(functions, input)?));
    let own = window.schema.columns().into_iter().map(Expr::Column).collect();
    Ok(Some(LogicalPlan::Projection(Projection::try_new_with_schema(own, wider, window.schema.clone())?)))
}

fn name(place: usize) -> String {
    format!("window column {}", place + 1)
}

/// Puts [`Ordered`] beneath each window, and beneath groups that would end as soon as another begins.
#[derive(Debug)]
pub(super) struct OrderedRows;

impl PhysicalOptimizerRule for OrderedRows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        let ordered = |plan: Arc<dyn ExecutionPlan>| {
            let is_window = plan.as_any().is::<BoundedWindowAggExec>() || plan.as_any().is::<WindowAggExec>();
            let sort = plan.children().first().and_then(|input| input.as_any().downcast_ref::<SortExec>());
            let order = match (sort.filter(|_| is_window), plan.as_any().downcast_ref::<AggregateExec>()) {
                (Some(sort), _) => Some(sort.expr().clone()),
                (_, Some(groups)) if *groups.input_order_mode() != InputOrderMode::Linear => {
                    groups.input().output_ordering().cloned()
                }
                _ => return Ok(Transformed::no(plan)),
            };
            let input = Arc::new(Ordered::new(plan.children()[0].clone(), order));
            Ok(Transformed::yes(plan.with_new_children(vec![input])?))
        };
        plan.transform_up(ordered).data()
    }

    fn name(&self) -> &str {
        "OrderedRows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of its input, of which only the order is known.
#[derive(Debug)]
struct Ordered {
    input: Arc<dyn ExecutionPlan>,
    order: Option<LexOrdering>,
    properties: Arc<PlanProperties>,
}

impl Ordered {
    fn new(input: Arc<dyn ExecutionPlan>, order: Option<LexOrdering>) -> Ordered {
        let known = EquivalenceProperties::new_with_orderings(input.schema(), order.clone());
        let partitioning = input.output_partitioning().clone();
        let properties = PlanProperties::new(known, partitioning, input.pipeline_behavior(), input.boundedness());
        Ordered { input, order, properties: Arc::new(properties) }
    }
}

impl DisplayAs for Ordered {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.order {
            Some(order) => write!(f, "Ordered: {order}"),
            None => write!(f, "Ordered: not"),
        }
    }
}

impl ExecutionPlan for Ordered {
    fn name(&self) -> &str {
        "Ordered"
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }
    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Ordered::new(children.swap_remove(0), self.order.clone())))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
