//! `except all` and `intersect all`: rows as often as the left has them more than the right, or as both have them.
//!
//! DataFusion makes of them the join that it makes of those without `all`, which does not count copies. Here both sides
//! become one, each row of it is counted by side, and comes out as often as the two numbers say.

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, JoinType, NullEquality, Result as DfResult, UnnestOptions};
use datafusion::functions::core::expr_fn::least;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, LogicalPlanBuilder, lit};

/// No SQL names columns so.
const LEFT: &str = "(copies on the left)";
const RIGHT: &str = "(copies on the right)";
const COPY: &str = "(copy)";

/// `plan` as it was bound, with such joins made right.
pub fn copies(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let counted = |node| match node {
        LogicalPlan::Join(join) if counts(&join) => counted(&join).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    };
    plan.transform_up_with_subqueries(counted).data()
}

/// Without `all` the left side is distinct.
fn counts(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)))
}

fn counted(join: &Join) -> DfResult<LogicalPlan> {
    let schema = join.left.schema();
    let name = |place: usize| format!("({place})");
    let side = |side: &LogicalPlan, left: i64, right: i64| {
        let columns = side.schema().columns().into_iter().enumerate();
        let columns = columns.map(|(place, column)| Expr::Column(column).alias(name(place)));
        let counts = [lit(left).alias(LEFT), lit(right).alias(RIGHT)];
        LogicalPlanBuilder::from(side.clone()).project(columns.chain(counts).collect::<Vec<_>>())
    };
    let both = side(&join.left, 1, 0)?.union(side(&join.right, 0, 1)?.build()?)?;
    let column = |name: &str| Expr::Column(Column::from_name(name));
    let all = || (0..schema.fields().len()).map(|place| column(&name(place)));
    let counts = [LEFT, RIGHT].map(|name| sum(column(name)).alias(name));
    let both = both.aggregate(all().collect::<Vec<_>>(), counts)?;
    let times = match join.join_type {
        JoinType::LeftAnti => column(LEFT) - column(RIGHT),
        _ => least(vec![column(LEFT), column(RIGHT)]),
    };
    let list = super::series::series().call(vec![lit(1i64), times]).alias(COPY);
    let both = both.project(all().chain([list]).collect::<Vec<_>>())?;
    let both = both
        .unnest_columns_with_options(vec![Column::from_name(COPY)], UnnestOptions::new().with_preserve_nulls(false))?;
    let named =
        all().zip(schema.iter()).map(|(e, (qualifier, field))| e.alias_qualified(qualifier.cloned(), field.name()));
    both.project(named.collect::<Vec<_>>())?.build()
}
