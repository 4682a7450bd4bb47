//! `exists (…)`, `x in (select …)` and `x > any (select …)` as values: true, false or, as SQL has it, neither.
//!
//! DataFusion makes joins of them where a filter asks, and takes NULL for false. Elsewhere they become subqueries that stand
//! for one value, which `several` puts apart: whether there are such rows, and for `in` whether there are any rows and
//! NULLs among them.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, Result as DfResult, ScalarValue, Spans};
use datafusion::functions_aggregate::count::count_all;
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::logical_expr::expr::{InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, Operator, Subquery, binary_expr, lit, when};
use std::sync::Arc;

/// No SQL names a column so.
const ITEM: &str = "(item)";
const ANSWER: &str = "(answer)";

/// The expression over `schema` with values in the place of all of them.
pub fn valued(e: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let valued = |e| match e {
        Expr::Exists(exists) => {
            let some = some(LogicalPlanBuilder::new_from_arc(exists.subquery.subquery))?;
            Ok(Transformed::yes(if exists.negated { !some } else { some }))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if !expr.contains_outer() => {
            let of_row = of_row(expr.as_ref().clone(), schema)?;
            let found = some(items(&subquery)?.filter(Expr::Column(Column::from_name(ITEM)).eq(of_row))?)?;
            let any = any(*expr, found, &subquery)?;
            Ok(Transformed::yes(if negated { !any } else { any }))
        }
        other => Ok(Transformed::no(other)),
    };
    e.transform_up(valued).data()
}

/// `= any` is `in`, `<> all` is `not in`; the others compare with the least or the greatest.
pub fn compared(e: Expr) -> DfResult<Expr> {
    let compared = |e| {
        let Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) = e else {
            return Ok(Transformed::no(e));
        };
        // All of them are so, if none is otherwise.
        let of_all = quantifier == SetQuantifier::All;
        let asked = if of_all { op.negate() } else { Some(op) };
        let limit = |of_items: fn(Expr) -> Expr| -> DfResult<Expr> {
            let limit = of_items(Expr::Column(Column::from_name(ITEM))).alias(ANSWER);
            one(items(&subquery)?.aggregate(Vec::<Expr>::new(), [limit])?)
        };
        let than = |op, limit| binary_expr(expr.as_ref().clone(), op, limit);
        let found = match asked {
            Some(Operator::Eq) => {
                return Ok(Transformed::yes(Expr::InSubquery(InSubquery::new(expr, subquery, of_all))));
            }
            Some(op @ (Operator::Lt | Operator::LtEq)) => than(op, limit(max)?),
            Some(op @ (Operator::Gt | Operator::GtEq)) => than(op, limit(min)?),
            Some(op @ Operator::NotEq) => than(op, limit(min)?).or(than(op, limit(max)?)),
            _ => return Ok(Transformed::no(Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }))),
        };
        let any = any(*expr, found, &subquery)?;
        Ok(Transformed::yes(if of_all { !any } else { any }))
    };
    e.transform_up(compared).data()
}

/// A filter's predicate with values where DataFusion's joins would be wrong, or where it makes none.
pub fn valued_where(predicate: Expr, schema: &DFSchema, joins: impl Fn(&Expr) -> bool) -> DfResult<Expr> {
    let conjuncts = split_conjunction_owned(predicate).into_iter();
    let valued = conjuncts.map(|e| if joins(&e) { Ok(e) } else { valued(e, schema) });
    Ok(conjunction(valued.collect::<DfResult<Vec<_>>>()?).expect("a predicate has parts"))
}

/// True where one is `found`, NULL where a NULL could be one.
fn any(value: Expr, found: Expr, query: &Subquery) -> DfResult<Expr> {
    let item = Expr::Column(Column::from_name(ITEM));
    let counts = [count_all().alias("(rows)"), count(item).alias("(items)")];
    let counts = items(query)?.aggregate(Vec::<Expr>::new(), counts)?;
    let column = |name: &str| Expr::Column(Column::from_name(name));
    let rows = when(column("(rows)").eq(lit(0i64)), lit(NONE))
        .when(column("(rows)").eq(column("(items)")), lit(ITEMS))
        .otherwise(lit(NULLS))?;
    let rows = one(counts.project([rows.alias(ANSWER)])?)?;
    let unknown = rows.clone().eq(lit(NULLS)).or(rows.eq(lit(ITEMS)).and(value.is_null()));
    when(found, lit(true)).when(unknown, lit(ScalarValue::Boolean(None))).otherwise(lit(false))
}

/// What rows there are.
const NONE: i64 = 0;
const ITEMS: i64 = 1;
const NULLS: i64 = 2;

/// Whether there are rows.
fn some(rows: LogicalPlanBuilder) -> DfResult<Expr> {
    let rows = rows.aggregate(Vec::<Expr>::new(), [count_all().alias("(rows)")])?;
    one(rows.project([Expr::Column(Column::from_name("(rows)")).gt(lit(0i64)).alias(ANSWER)])?)
}

fn one(rows: LogicalPlanBuilder) -> DfResult<Expr> {
    let plan = rows.build()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() }))
}

/// Its rows, of one column with a name that nothing else has.
fn items(query: &Subquery) -> DfResult<LogicalPlanBuilder> {
    let column = query.subquery.schema().columns().swap_remove(0);
    LogicalPlanBuilder::new_from_arc(query.subquery.clone()).project([Expr::Column(column).alias(ITEM)])
}

/// As a subquery asks for it.
fn of_row(value: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let of_row = |e| match e {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    };
    value.transform_up(of_row).data()
}
