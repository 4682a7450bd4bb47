//! What DataFusion computes otherwise than SQL means it, and without a word: refused, since a recompute would
//! be as wrong as what is maintained.

use super::functions::unknown_pattern;
use super::lateral::is_lateral;
use super::refusal::Refusal;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinConstraint, JoinType};
use datafusion::logical_expr::utils::{find_aggregate_exprs, merge_schema, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator};

/// `plan` as it was bound, before the optimiser.
pub(super) fn refuse_unsound(plan: &LogicalPlan, sql: &str) -> Result<(), Refusal> {
    let mut found = None;
    let visit = |node: &LogicalPlan| {
        let rules = [unknown_in, lateral, using, intervals, approximate, patterns];
        let refusal = rules.iter().find_map(|rule| rule(node, sql));
        found = found.take().or(refusal);
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    plan.apply_with_subqueries(visit).map_err(|e| Refusal::from_datafusion(&e, sql))?;
    found.map_or(Ok(()), Err)
}

/// `in (select …)` is neither true nor false where a NULL could be the match. It takes that for false, which
/// makes no difference to a filter as long as nothing is made of it but `and` and `or`.
fn unknown_in(node: &LogicalPlan, sql: &str) -> Option<Refusal> {
    let LogicalPlan::Filter(filter) = node else { return None };
    let plain = |e: &&Expr| match e {
        Expr::Not(negated) => matches!(negated.as_ref(), Expr::InSubquery(_)),
        e => matches!(e, Expr::InSubquery(_)),
    };
    let found = split_conjunction(&filter.predicate).into_iter().filter(|e| !plain(e)).any(unknown);
    let reason = "`in (select …)` within an expression is maintained only under `and` and `or`";
    let hint = "write it as `exists (select … where …)`, and `not in` as `not exists`";
    found.then(|| Refusal::new(reason, hint).at_words(sql, &["not", "in"]).at_words(sql, &["in", "(", "select"]))
}

/// What `lateral` has left as it was. Of what DataFusion makes of it, a count of nothing would be NULL.
fn lateral(node: &LogicalPlan, sql: &str) -> Option<Refusal> {
    let LogicalPlan::Join(join) = node else { return None };
    let hint = "join with it by what it compares: `join (select …) as x on …`";
    let refusal = || Refusal::new("this `lateral` subquery is not maintained yet", hint).at_words(sql, &["lateral"]);
    is_lateral(&join.right).then(refusal)
}

/// A column named by `using` is that of the left side, also where only the right side has a row.
fn using(node: &LogicalPlan, sql: &str) -> Option<Refusal> {
    let LogicalPlan::Join(join) = node else { return None };
    let lost = matches!(join.join_type, JoinType::Right | JoinType::Full);
    let hint = "write `on x.a = y.a`, and `coalesce(x.a, y.a) as a` where the column is selected";
    let refusal = Refusal::new("`using` and `natural` are maintained only for inner and left joins", hint);
    (lost && join.join_constraint == JoinConstraint::Using)
        .then(|| refusal.at_words(sql, &["using"]).at_words(sql, &["natural"]))
}

/// Intervals are grouped by their months, days and the rest: `1 month` would not be with `30 days`, to which it is equal.
fn intervals(node: &LogicalPlan, sql: &str) -> Option<Refusal> {
    let schema = merge_schema(&node.inputs());
    let is_interval = |e: &Expr| e.get_type(&schema).is_ok_and(|of| matches!(of, DataType::Interval(_)));
    let partitions = |e: &Expr| match e {
        Expr::WindowFunction(function) => function.params.partition_by.iter().any(is_interval),
        Expr::AggregateFunction(call) => call.params.distinct && call.params.args.iter().any(is_interval),
        _ => false,
    };
    let found = match node {
        LogicalPlan::Aggregate(group) => {
            let calls = || group.aggr_expr.iter().any(|e| e.exists(|e| Ok(partitions(e))).unwrap_or(false));
            group.group_expr.iter().any(is_interval) || calls()
        }
        LogicalPlan::Distinct(Distinct::All(_)) | LogicalPlan::RecursiveQuery(_) => {
            node.schema().fields().iter().any(|field| matches!(field.data_type(), DataType::Interval(_)))
        }
        LogicalPlan::Window(window) => {
            window.window_expr.iter().any(|e| e.exists(|e| Ok(partitions(e))).unwrap_or(false))
        }
        _ => false,
    };
    let hint = "group by their seconds, `extract(epoch from …)`";
    found.then(|| Refusal::new("rows are not grouped by intervals", hint).at_words(sql, &["interval"]))
}

/// A regular expression that would be a fault of every row.
fn patterns(node: &LogicalPlan, sql: &str) -> Option<Refusal> {
    let mut found = None;
    let mut visit = |e: &Expr| {
        found = found.take().or(unknown_pattern(e));
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    node.expressions().iter().try_for_each(|e| e.apply(&mut visit).map(|_| ())).ok()?;
    let pattern = found?;
    let reason = format!("`{pattern}` is no regular expression that is known here");
    let hint = "write it without back references, `\\1`, and without looking ahead or behind, `(?=…)`";
    Some(Refusal::new(reason, hint).at_words(sql, &[&format!("'{pattern}'")]))
}

/// Whether it has an `in (select …)` in a place where a NULL is not as good as false.
pub(super) fn unknown(e: &Expr) -> bool {
    match e {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            unknown(left) || unknown(right)
        }
        Expr::InSubquery(query) => query.negated,
        e => e.exists(|e| Ok(matches!(e, Expr::InSubquery(_)))).unwrap_or(false),
    }
}

/// What is near enough depends on the order of rows, which none has.
fn approximate(node: &LogicalPlan, sql: &str) -> Option<Refusal> {
    let LogicalPlan::Aggregate(group) = node else { return None };
    let near = |e: &Expr| match e {
        Expr::AggregateFunction(call) if call.func.name().starts_with("approx_") => Some(call.func.name().to_string()),
        _ => None,
    };
    let name = find_aggregate_exprs(&group.aggr_expr).iter().find_map(near)?;
    let hint = "use `median` or `percentile_cont`, which are exact";
    let refusal = Refusal::new(format!("`{name}` depends on the order in which rows come"), hint);
    Some(refusal.at_words(sql, &[&name, "("]))
}

#[cfg(test)]
mod tests {
    use crate::plan::{Planner, Relation};
    use crate::row::{Table, TableName};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn reason(sql: &str) -> String {
        let relation = |name: &str| Relation { database: "db".into(), schema: "public".into(), name: name.into() };
        let mut planner = Planner::new("db", "public");
        for name in ["t", "u"] {
            let fields = ["id", "a"].map(|name| Field::new(name, DataType::Int64, true)).to_vec();
            let schema = Arc::new(Schema::new(fields));
            planner.add_table(relation(name), Table { name: TableName::new("public", name), schema, key: vec![0] });
        }
        planner.compile(relation("m"), sql).map_or_else(|refusal| refusal.reason, |_| "maintained".into())
    }

    #[test]
    fn what_datafusion_computes_otherwise_is_refused() {
        const INTERVALS: &str = "rows are not grouped by intervals";
        for (sql, expected) in [
            ("select id from t except all select id from u", "maintained"),
            ("select id from t intersect all select id from u", "maintained"),
            ("select id from t except select id from u", "maintained"),
            ("select id from t intersect select id from t", "maintained"),
            ("select id, (select a from u) as x from t", "maintained"),
            ("select id from t where a > (select a from u where id = 1)", "maintained"),
            ("select id, (select sum(a) from u) as x from t", "maintained"),
            ("select id, (select sum(a) from u where u.id = t.a) as x from t", "maintained"),
            ("select id, (select sum(a) from u where u.id = t.a group by u.id) as x from t", "maintained"),
            ("select id from t where id > 1 or a not in (select a from u)", "maintained"),
            ("select id from t where not (id > 1 and a in (select a from u))", "maintained"),
            ("select id from t where (a in (select a from u)) is null", "maintained"),
            ("select id from t where case when id > 1 then a in (select a from u) else false end", "maintained"),
            ("select id from t where id > 1 or (a in (select a from u) and id > 0)", "maintained"),
            ("select id from t where id > 1 and not (a in (select a from u))", "maintained"),
            ("select id from t where id > 1 or not exists (select 1 from u where u.a = t.a)", "maintained"),
            ("select id from t where a not in (select a from u where u.id = t.id)", "maintained"),
            (
                "select t.id, v.n from t cross join lateral (select count(*) as n from u where u.a = t.a) as v",
                "maintained",
            ),
            (
                "select t.id, v.id from t, lateral (select id from u where a = t.a and exists (select 1 from u as w where w.a = t.id)) as v",
                "this `lateral` subquery is not maintained yet",
            ),
            ("select a from t full join u using (a)", "maintained"),
            ("select a from t right join u using (a)", "maintained"),
            (
                "select * from t full join u using (a)",
                "`using` and `natural` are maintained only for inner and left joins",
            ),
            ("select a from t natural right join u", "maintained"),
            (
                "select * from t natural right join u",
                "`using` and `natural` are maintained only for inner and left joins",
            ),
            ("select a from t left join u using (a)", "maintained"),
            (
                "select id from t where timestamp '2024-01-01' - timestamp '2023-12-01' > interval '3 days'",
                "maintained",
            ),
            ("select count(*) as n from t group by a * interval '1 day'", INTERVALS),
            ("select count(*) as n from (select distinct a * interval '1 day' as x from t) as x", INTERVALS),
            ("select count(distinct a * interval '1 day') as n from t", INTERVALS),
            ("select rank() over (partition by a * interval '1 day' order by id) as n from t", INTERVALS),
            ("select id from t where (id, a) in (select id, a from u)", "maintained"),
            (
                "select id from t where (id, a) not in (select id, a from u)",
                "`(a, b) in (select …)` is maintained only under `and` and `or` of `where`, and not with `not`",
            ),
            ("select id, a in (select a from u) as x from t", "maintained"),
        ] {
            assert_eq!(reason(sql), expected, "{sql}");
        }
    }
}
