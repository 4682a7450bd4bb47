//! Subqueries that depend on the row outside, each in a projection of its own.
//!
//! DataFusion makes a join of each, with columns that have the same names for all: of two in one place it cannot tell
//! whose is whose. Of one that unnests a list of the row, compares with it otherwise than by `=`, takes the first of its
//! rows or may give many, it makes none: that is `lateral`. An `exists` in what is selected, or over such a list, is a
//! count that is not zero.

use super::single::single;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, JoinType, Result as DfResult, Spans};
use datafusion::functions_aggregate::count::count_all;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery, lit};
use std::sync::Arc;

/// `plan` as it was bound, with such subqueries apart.
pub fn apart(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let apart = |node| match node {
        LogicalPlan::Projection(projection) => {
            let exprs = projection.expr.iter().cloned().map(counted).collect::<DfResult<Vec<_>>>()?;
            let mut input = Arc::unwrap_or_clone(projection.input);
            let changed = exprs.into_iter().zip(projection.schema.iter()).map(|(e, (qualifier, field))| {
                let changed = projected(e, &mut input)?;
                let named = |e: Expr| e.alias_qualified(qualifier.cloned(), field.name());
                Ok(if changed.transformed { named(changed.data.unalias()) } else { changed.data })
            });
            let exprs = changed.collect::<DfResult<Vec<_>>>()?;
            let projection = Projection::try_new_with_schema(exprs, Arc::new(input), projection.schema)?;
            Ok(Transformed::yes(LogicalPlan::Projection(projection)))
        }
        LogicalPlan::Filter(filter) if depends(&filter.predicate) || over_lists(&filter.predicate) => {
            let own = filter.input.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
            let mut input = Arc::unwrap_or_clone(filter.input);
            let predicate = if over_lists(&filter.predicate) { counted(filter.predicate)? } else { filter.predicate };
            let predicate = projected(predicate, &mut input)?.data;
            let filter = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
            LogicalPlanBuilder::from(filter).project(own)?.build().map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    };
    plan.transform_up_with_subqueries(apart).data()
}

fn depends(e: &Expr) -> bool {
    let of_row = |e: &Expr| matches!(e, Expr::ScalarSubquery(query) if !query.outer_ref_columns.is_empty());
    e.exists(|e| Ok(of_row(e))).unwrap_or(false)
}

/// Whether there is an `exists` over a list of the row.
fn over_lists(e: &Expr) -> bool {
    let over_list = |e: &Expr| match e {
        Expr::Exists(exists) => exists.subquery.subquery.exists(|node| Ok(unnests(node))),
        _ => Ok(false),
    };
    e.exists(over_list).unwrap_or(false)
}

fn unnests(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Unnest(_)) && !node.all_out_ref_exprs().is_empty()
}

/// Whether DataFusion makes no join of it: it unnests a list of the row, takes the first of its rows, or asks of the row
/// something else than to be equal.
fn is_lateral(query: &Subquery) -> bool {
    let equal = |e: &&Expr| matches!(e, Expr::BinaryExpr(binary) if binary.op == Operator::Eq);
    let is_lateral = |node: &LogicalPlan| match node {
        LogicalPlan::Limit(_) => true,
        LogicalPlan::Filter(filter) => {
            split_conjunction(&filter.predicate).into_iter().filter(|e| !equal(e)).any(Expr::contains_outer)
        }
        other => unnests(other),
    };
    query.subquery.exists(|node| Ok(is_lateral(node))).unwrap_or(false)
}

/// The expression with a column of `input` for each such subquery, which `input` gets.
fn projected(e: Expr, input: &mut LogicalPlan) -> DfResult<Transformed<Expr>> {
    e.transform_up(|e| {
        let Expr::ScalarSubquery(query) = &e else { return Ok(Transformed::no(e)) };
        if query.outer_ref_columns.is_empty() {
            return Ok(Transformed::no(e));
        }
        let own = input.schema().columns();
        // No SQL names columns so.
        let name = format!("(subquery {})", own.len());
        let may_be_many = query.subquery.max_rows().is_none_or(|rows| rows > 1);
        if may_be_many || is_lateral(query) {
            let rows = if may_be_many { single(query.subquery.clone())? } else { query.subquery.as_ref().clone() };
            let value = rows.schema().columns().swap_remove(0);
            let rows = LogicalPlan::Subquery(query.with_plan(Arc::new(rows)));
            let rows =
                LogicalPlanBuilder::from(rows).project([Expr::Column(value).alias(&name)])?.alias(&name)?.build()?;
            let left = LogicalPlanBuilder::from(input.clone());
            *input = left.join_on(rows, JoinType::Left, [lit(true)])?.build()?;
            return Ok(Transformed::yes(Expr::Column(Column::new(Some(name.clone()), name))));
        }
        let columns = own.into_iter().map(Expr::Column).chain([e.alias(&name)]).collect::<Vec<_>>();
        *input = LogicalPlanBuilder::from(input.clone()).project(columns)?.build()?;
        Ok(Transformed::yes(Expr::Column(Column::from_name(name))))
    })
}

/// `exists (…)` → `(select count(*) from …) > 0`.
fn counted(e: Expr) -> DfResult<Expr> {
    let counted = |e: Expr| {
        let Expr::Exists(exists) = e else { return Ok(Transformed::no(e)) };
        let rows = LogicalPlanBuilder::new_from_arc(exists.subquery.subquery);
        let count = rows.aggregate(Vec::<Expr>::new(), [count_all().alias("(rows)")])?.build()?;
        let outer_ref_columns = exists.subquery.outer_ref_columns;
        let count = Subquery { subquery: Arc::new(count), outer_ref_columns, spans: Spans::new() };
        let count = Expr::ScalarSubquery(count);
        Ok(Transformed::yes(if exists.negated { count.eq(lit(0i64)) } else { count.gt(lit(0i64)) }))
    };
    e.transform_up(counted).data()
}
