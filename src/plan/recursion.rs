//! `with recursive` in parts, each a plan without recursion: what it begins with, and what makes rows of rows.
//!
//! DataFusion neither optimises nor executes a recursion as a whole. Within the step, and in the plan around, a scan
//! of a [`Stand`] is in the place of its rows; so no rule carries a filter, a limit or the choice of columns over
//! its border. (Of columns its optimiser does so: `union` then tells rows apart by fewer of them.) `recompute` runs the
//! parts one after another; the dataflow carries the number of the iteration through the step, as a column behind the
//! others, and so knows which rows belong together:
//!
//! ```text
//!   base ──► iteration 0 ──┬──► rows ──► of equal rows the first (`union`) ──┬──► result
//!                          │                                                 │
//!   step ◄──── iteration n + 1 ◄──── as they were, one iteration later ◄─────┘
//! ```

use super::lower::nullable;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{self as df, LogicalPlan, LogicalPlanBuilder, TableScan, TableSource};
use std::any::Any;
use std::sync::Arc;

/// A recursion that goes on after so many iterations is a fault. Real hierarchies have tens, series of days some
/// thousands; a cycle under `union all` has come to its end here after a second or so.
pub const ITERATIONS_MAX: i64 = 10_000;

pub fn endless() -> String {
    format!("the recursion goes on after {ITERATIONS_MAX} iterations")
}

/// The columns of `schema` may all be NULL: what a step gives is not known before it does.
pub struct Recursion {
    pub name: String,
    pub base: LogicalPlan,
    pub step: LogicalPlan,
    /// `union`, not `union all`.
    pub distinct: bool,
    pub schema: SchemaRef,
}

/// Is scanned in the place of rows that the plan itself does not compute.
#[derive(Debug)]
pub struct Stand {
    pub of: Of,
    pub schema: SchemaRef,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// All rows of the recursion of this number.
    Recursion(usize),
    /// Within a step: the rows of the iteration before.
    Before,
}

impl TableSource for Stand {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Stand {
    pub fn scanned(scan: &TableScan) -> Option<Of> {
        scan.source.as_any().downcast_ref::<Stand>().map(|stand| stand.of)
    }

    pub fn scan(self, name: &str) -> DfResult<LogicalPlan> {
        LogicalPlanBuilder::scan(name, Arc::new(self), None)?.build()
    }
}

/// Takes the recursions out of a plan as it was bound; those that others read come first.
pub fn cut(plan: LogicalPlan) -> DfResult<(LogicalPlan, Vec<Recursion>)> {
    let mut recursions = Vec::new();
    if !any(&plan, |node| matches!(node, LogicalPlan::RecursiveQuery(_))) {
        return Ok((plan, recursions));
    }
    let cut = |node| match node {
        LogicalPlan::RecursiveQuery(query) => {
            let schema = nullable(query.static_term.schema().as_arrow());
            let step = with_stands(query.recursive_term.as_ref().clone(), &query.name, &schema)?;
            let of = Of::Recursion(recursions.len());
            let all = Stand { of, schema: schema.clone() }.scan(&query.name)?;
            recursions.push(Recursion {
                name: query.name,
                base: query.static_term.as_ref().clone(),
                step,
                distinct: query.is_distinct,
                schema,
            });
            Ok(Transformed::yes(all))
        }
        other => over_nullable(other).map(Transformed::yes),
    };
    let plan = plan.transform_up_with_subqueries(cut).data()?;
    Ok((plan, recursions))
}

/// A step that reads a stand where it reads the recursion of this name.
fn with_stands(step: LogicalPlan, name: &str, schema: &SchemaRef) -> DfResult<LogicalPlan> {
    let stand = |node| match node {
        LogicalPlan::TableScan(scan) if work_table(&scan).as_deref() == Some(name) => {
            Stand { of: Of::Before, schema: schema.clone() }.scan(name).map(Transformed::yes)
        }
        other => over_nullable(other).map(Transformed::yes),
    };
    step.transform_up_with_subqueries(stand).data()
}

/// A node whose inputs may be NULL where they could not be before.
fn over_nullable(node: LogicalPlan) -> DfResult<LogicalPlan> {
    match node {
        LogicalPlan::Union(union) => df::Union::try_new_with_loose_types(union.inputs).map(LogicalPlan::Union),
        other => other.recompute_schema(),
    }
}

/// The name of the recursion that DataFusion means by a scan.
pub(super) fn work_table(scan: &TableScan) -> Option<String> {
    let table = source_as_provider(&scan.source).ok()?;
    table.as_any().downcast_ref::<CteWorkTable>().map(|table| table.name().to_string())
}

pub(super) fn any(plan: &LogicalPlan, mut is: impl FnMut(&LogicalPlan) -> bool) -> bool {
    let mut found = false;
    let visit = |node: &LogicalPlan| {
        found |= is(node);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    plan.apply_with_subqueries(visit).is_ok() && found
}
