//! SQL leaves some results open: which of equal rows a `limit` keeps, in what order `string_agg` joins, how
//! doubles are rounded on the way to their sum. Here each gets one answer, written into the plan.
//!
//! What is maintained and what `recompute` gives are made from the same definite plan, and so agree:
//!
//! - Beneath all whose result depends on the order of its input stands a Sort by whole rows: first what the
//!   SQL asks for, then every column. `lower` reads the order from there, the executor performs it (the session
//!   has no rule that takes sorts out again). Ranks see only what the SQL asks for: their ties stay ties.
//! - Doubles are summed exactly (`exact`), and their min and max know where NaN stands: last.
//! - Of several predicates those that cannot fail come first.
//! - Doubles have one zero and one NaN, whatever computes them (`zeros`).
//! - Grouping sets are a union of plain groups, with a row for `()` even where there are no rows.

use super::exact::{self, exact};
use super::functions::is_total;
use super::nullable::nullable;
use super::ordered::over_columns;
use super::percentiles::{CONT, DISC, MODE};
use super::single::SINGLE;
use super::zeros::{canonical, canonical_outputs};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result as DfResult, ScalarValue};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, GroupingSet, Sort as SortExpr};
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, split_conjunction_owned};
use datafusion::logical_expr::{
    self as df, Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, Window, cast, lit,
};
use std::sync::Arc;

/// The optimised plan with nothing left open.
pub fn definite(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let definite = |node| {
        Ok(Transformed::yes(match node {
            LogicalPlan::TableScan(scan) => LogicalPlan::TableScan(df::TableScan { fetch: None, ..scan }),
            LogicalPlan::Filter(filter) => LogicalPlan::Filter(safe_first(filter)),
            LogicalPlan::Sort(sort) => {
                let asked = sort.expr.into_iter().map(|by| apart_from_nulls(by, sort.input.schema()));
                let asked = asked.collect::<DfResult<Vec<_>>>()?.concat();
                let expr = total(asked, sort.input.schema());
                LogicalPlan::Sort(df::Sort { expr, ..sort })
            }
            LogicalPlan::Limit(limit) => limited(limit)?,
            LogicalPlan::Window(window) => {
                let order = window.window_expr.first().map(window_order).unwrap_or_default();
                LogicalPlan::Window(Window { input: sorted(window.input, order), ..window })
            }
            LogicalPlan::Aggregate(group) => match group.group_expr.as_slice() {
                [Expr::GroupingSet(sets)] => grouping_sets(&group, sets)?,
                _ => LogicalPlan::Aggregate(aggregate(group)?),
            },
            other => other,
        }))
    };
    canonical(plan)?.transform_up(definite).data()
}

/// What guards a predicate goes before it, also where the planner has turned them round: a row that a comparison drops
/// is never divided by its zero.
fn safe_first(mut filter: df::Filter) -> df::Filter {
    let schema = filter.input.schema();
    let may_fail = |e: &Expr| match e {
        Expr::BinaryExpr(binary) => binary.op.is_numerical_operators(),
        Expr::Cast(cast) => !cast.expr.get_type(schema).is_ok_and(|of| is_wider(&of, &cast.data_type)),
        Expr::ScalarFunction(call) => !is_total(call.name()),
        Expr::Negative(_) => true,
        _ => false,
    };
    let predicates = split_conjunction_owned(filter.predicate).into_iter();
    let safe = |e: &Expr| !e.exists(|e| Ok(may_fail(e))).unwrap_or(true);
    let (safe, others): (Vec<Expr>, Vec<Expr>) = predicates.partition(safe);
    filter.predicate = safe.into_iter().chain(others).reduce(Expr::and).expect("a predicate has parts");
    filter
}

/// Whether a cast of an integer, as the planner makes them to compare two types, holds every value.
pub(super) fn is_wider(from: &DataType, to: &DataType) -> bool {
    from.is_integer() && matches!(to, DataType::Int64 | DataType::Float64 | DataType::Decimal128(20.., 0))
}

/// Within lists and structs NULL is more than all else. The executor takes it there for what it is of the whole, which is
/// asked for apart if it shall stand at the other end.
fn apart_from_nulls(by: SortExpr, schema: &DFSchema) -> DfResult<Vec<SortExpr>> {
    match by.expr.get_type(schema)?.is_nested() && by.asc == by.nulls_first {
        true => Ok(vec![
            SortExpr::new(by.expr.clone().is_null(), !by.nulls_first, false),
            SortExpr::new(by.expr, by.asc, !by.asc),
        ]),
        false => Ok(vec![by]),
    }
}

/// By these, then by every column: only equal rows are left without an order.
pub(super) fn total(mut order: Vec<SortExpr>, schema: &DFSchema) -> Vec<SortExpr> {
    let columns = schema.columns().into_iter().map(|column| SortExpr::new(Expr::Column(column), true, false));
    order.extend(columns);
    each_once(order)
}

/// An order without what it names again: there all rows are equal already. DataFusion's executor would stumble over it.
fn each_once(order: Vec<SortExpr>) -> Vec<SortExpr> {
    let mut all: Vec<SortExpr> = Vec::new();
    for mut by in order {
        // The optimiser leaves the name of what it has simplified.
        by.expr = by.expr.unalias_nested().data;
        if !all.iter().any(|earlier| earlier.expr == by.expr) {
            all.push(by);
        }
    }
    all
}

/// A limit goes right over the Sort that its rows come from, whose columns may be gone above; or over one by whole rows.
fn limited(limit: df::Limit) -> DfResult<LogicalPlan> {
    let keeps_order = |plan: &LogicalPlan| matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_));
    let mut source = limit.input.as_ref();
    while keeps_order(source) {
        source = source.inputs()[0];
    }
    let is_sorted = matches!(source, LogicalPlan::Sort(_));
    if is_sorted && keeps_order(&limit.input) {
        let df::Limit { skip, fetch, input } = limit;
        let beneath = |input| {
            let (skip, fetch) = (skip.clone(), fetch.clone());
            limited(df::Limit { skip, fetch, input: Arc::new(input) }).map(Transformed::yes)
        };
        return Arc::unwrap_or_clone(input).map_children(beneath).data();
    }
    let input = if is_sorted { limit.input } else { sorted(limit.input, Vec::new()) };
    Ok(LogicalPlan::Limit(df::Limit { input, ..limit }))
}

fn sorted(input: Arc<LogicalPlan>, order: Vec<SortExpr>) -> Arc<LogicalPlan> {
    let expr = total(order, input.schema());
    if expr.is_empty() { input } else { Arc::new(LogicalPlan::Sort(df::Sort { expr, input, fetch: None })) }
}

/// By partition, then as the window asks. All functions of one Window node have the same.
fn window_order(function: &Expr) -> Vec<SortExpr> {
    let Expr::WindowFunction(function) = function.clone().unalias_nested().data else { return Vec::new() };
    let partition = function.params.partition_by.into_iter().map(|by| SortExpr::new(by, true, false));
    partition.chain(function.params.order_by).collect()
}

fn aggregate(group: Aggregate) -> DfResult<Aggregate> {
    let Aggregate { input, group_expr, aggr_expr, .. } = group;
    let definite = |call| in_place(call, |call| definite_call(call, input.schema()));
    let calls = aggr_expr.into_iter().map(definite).collect::<DfResult<Vec<_>>>()?;
    let input = match calls.iter().any(|call| depends_on_order(call).is_some()) {
        true => sorted(input, orders(&calls).swap_remove(0)),
        false => input,
    };
    Aggregate::try_new(input, group_expr, calls)
}

/// The orders in which calls ask for their rows, each once, one at least; what asks for none takes the first.
fn orders(calls: &[Expr]) -> Vec<Vec<SortExpr>> {
    let mut orders = Vec::new();
    // A first value finds its row in any order; that of the input only settles its ties.
    for call in calls.iter().filter_map(depends_on_order).filter(|call| call.func.name() != "first_value") {
        if !call.params.order_by.is_empty() && !orders.contains(&call.params.order_by) {
            orders.push(call.params.order_by);
        }
    }
    if orders.is_empty() { vec![Vec::new()] } else { orders }
}

/// The same plan for the executor. Its Aggregate has rows in one order only: where calls ask for several, it becomes
/// a join of one Aggregate for each. And it does not see that a filter is NULL: so here none is. Of several predicates
/// it may look at one for rows that another drops, and fail: here each is a filter of its own.
pub fn executable(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let executable = |node| match node {
        LogicalPlan::Filter(filter) => {
            let one_by_one = |input: LogicalPlan, predicate| {
                df::Filter::try_new(predicate, Arc::new(input)).map(LogicalPlan::Filter)
            };
            let input = Arc::unwrap_or_clone(filter.input);
            let filters = split_conjunction_owned(filter.predicate).into_iter().try_fold(input, one_by_one)?;
            Ok(Transformed::yes(filters))
        }
        LogicalPlan::Aggregate(group) => {
            let ties = if let LogicalPlan::Sort(sort) = group.input.as_ref() { sort.expr.clone() } else { Vec::new() };
            let calls = group.aggr_expr.into_iter().map(|call| in_place(call, |call| executable_call(call, &ties)));
            let calls = calls.collect::<DfResult<Vec<_>>>()?;
            let group = Aggregate::try_new(group.input, group.group_expr, calls)?;
            match orders(&group.aggr_expr).len() {
                1 => Ok(Transformed::yes(LogicalPlan::Aggregate(group))),
                _ => one_by_order(group),
            }
        }
        LogicalPlan::Union(union) => nullable(union).map(Transformed::yes),
        LogicalPlan::Window(window) => Ok(match over_columns(&window)? {
            Some(plan) => Transformed::yes(plan),
            None => Transformed::no(LogicalPlan::Window(window)),
        }),
        other => Ok(Transformed::no(other)),
    };
    let canonical = |node| {
        let computes = matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Unnest(_));
        let node = executable(node)?;
        if computes { node.transform_data(canonical_outputs) } else { Ok(node) }
    };
    plan.transform_up(canonical).data()
}

/// The first of equal rows would be the last, where the executor reads them in the reversed order.
fn executable_call(mut call: AggregateFunction, ties: &[SortExpr]) -> DfResult<Transformed<Expr>> {
    if call.func.name() == "first_value" {
        call.params.order_by.extend_from_slice(ties);
        call.params.order_by = each_once(call.params.order_by);
    }
    call.params.filter = call.params.filter.map(|filter| Box::new(filter.is_true()));
    Ok(Transformed::yes(Expr::AggregateFunction(call)))
}

/// Another call in the place of one, under its name.
fn in_place(call: Expr, other: impl Fn(AggregateFunction) -> DfResult<Transformed<Expr>>) -> DfResult<Expr> {
    let name = call.schema_name().to_string();
    let changed = call.transform_up(|e| match e {
        Expr::AggregateFunction(call) => other(call),
        other => Ok(Transformed::no(other)),
    })?;
    let named = changed.transformed && !matches!(changed.data, Expr::Alias(_));
    Ok(if named { changed.data.alias(name) } else { changed.data })
}

fn one_by_order(group: Aggregate) -> DfResult<Transformed<LogicalPlan>> {
    let orders = orders(&group.aggr_expr);
    let input = if let LogicalPlan::Sort(sort) = group.input.as_ref() { &sort.input } else { &group.input };
    let key = group.group_expr.len();
    let name = |part: usize, column: usize| Column::new_unqualified(format!("part {part} column {column}"));
    let keys = |part: usize| (0..key).map(|column| name(part, column)).collect::<Vec<_>>();
    let of = |call: &Expr| {
        let order = depends_on_order(call).map(|call| call.params.order_by);
        order.and_then(|order| orders.iter().position(|other| *other == order)).unwrap_or(0)
    };
    let mut joined: Option<LogicalPlanBuilder> = None;
    let mut outputs: Vec<Column> = keys(0);
    outputs.extend(group.aggr_expr.iter().enumerate().map(|(number, call)| name(of(call), key + number)));
    for (part, order) in orders.iter().enumerate() {
        let own = group.aggr_expr.iter().enumerate().filter(|(_, call)| of(call) == part);
        let (numbers, calls): (Vec<usize>, Vec<Expr>) = own.map(|(number, call)| (key + number, call.clone())).unzip();
        let input = sorted(input.clone(), order.clone());
        let plan = Aggregate::try_new(input, group.group_expr.clone(), calls)?;
        let columns = plan.schema.columns().into_iter().zip((0..key).chain(numbers));
        let columns = columns.map(|(column, number)| Expr::Column(column).alias(name(part, number).name));
        let plan = LogicalPlanBuilder::from(LogicalPlan::Aggregate(plan)).project(columns.collect::<Vec<_>>())?;
        joined = Some(match joined {
            None => plan,
            Some(joined) if key == 0 => joined.cross_join(plan.build()?)?,
            Some(joined) => {
                let on = (keys(0), keys(part));
                joined.join_detailed(plan.build()?, JoinType::Inner, on, None, NullEquality::NullEqualsNull)?
            }
        });
    }
    let named = outputs.into_iter().zip(group.schema.iter());
    let named = named.map(|(column, (q, f))| Expr::Column(column).alias_qualified(q.cloned(), f.name()));
    let named = named.collect::<Vec<_>>();
    let joined = joined.expect("there is one order at least").project(named)?.build()?;
    Ok(Transformed::yes(joined))
}

fn definite_call(mut call: AggregateFunction, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let is_float = match call.params.args.first() {
        Some(argument) => argument.get_type(schema)?.is_floating(),
        None => false,
    };
    let asked = call.params.order_by.clone();
    call.params.order_by = each_once(call.params.order_by);
    match call.func.name() {
        // The last is the first of the reversed order: then the executor's choice among equals does not matter.
        "last_value" => {
            call.params.order_by = call.params.order_by.iter().map(SortExpr::reverse).collect();
            call.func = first_value_udaf();
        }
        name @ ("min" | "max") if is_float => {
            let descends = name == "max";
            call.params.order_by = vec![SortExpr::new(call.params.args[0].clone(), !descends, false)];
            call.params.distinct = false;
            call.func = first_value_udaf();
        }
        // Distinct values would come in the order of their hashes.
        "string_agg" | "array_agg" if call.params.distinct && call.params.order_by.is_empty() => {
            call.params.order_by = vec![SortExpr::new(call.params.args[0].clone(), true, false)];
        }
        name if is_float && let Some(function) = exact(name) => {
            call.params.args = vec![cast(call.params.args.swap_remove(0), DataType::Float64)];
            call.func = function;
        }
        _ if call.params.order_by != asked => {}
        _ => return Ok(Transformed::no(Expr::AggregateFunction(call))),
    }
    Ok(Transformed::yes(Expr::AggregateFunction(call)))
}

/// The call, if rows in another order may change its result, be it only by rounding.
fn depends_on_order(call: &Expr) -> Option<AggregateFunction> {
    let Expr::AggregateFunction(call) = call.clone().unalias_nested().data else { return None };
    let depends = match call.func.name() {
        "count" | "sum" | "avg" | "min" | "max" | "bool_and" | "bool_or" | "bit_and" | "bit_or" | "bit_xor" => false,
        exact::SUM | exact::AVG | SINGLE | "median" | CONT | DISC | MODE => false,
        // Rows that are equal in their order are equal in what is asked for.
        "first_value" => !call.params.args.iter().all(|a| call.params.order_by.iter().any(|by| by.expr == *a)),
        _ => true,
    };
    depends.then_some(call)
}

/// One plain Aggregate for each grouping, with NULLs for the columns that it leaves out.
fn grouping_sets(group: &Aggregate, sets: &GroupingSet) -> DfResult<LogicalPlan> {
    let all = grouping_set_to_exprlist(&group.group_expr)?;
    let columns: Vec<_> = group.schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
    let mut inputs = Vec::new();
    for set in each(sets) {
        let (of_set, _): (Vec<&Expr>, Vec<&Expr>) = all.iter().partition(|e| set.contains(e));
        let keys = of_set.iter().map(|e| (*e).clone()).collect::<Vec<_>>();
        // A grouping of nothing that asks for nothing is still a row.
        let one = datafusion::functions_aggregate::count::count_all();
        let calls = if keys.is_empty() && group.aggr_expr.is_empty() { vec![one] } else { group.aggr_expr.clone() };
        let plain = aggregate(Aggregate::try_new(group.input.clone(), keys, calls)?)?;
        let own = plain.schema.columns();
        let mut outputs: Vec<Expr> = Vec::new();
        let mut left_out = 0u64;
        for (e, (_, field)) in all.iter().zip(&columns) {
            let place = of_set.iter().position(|own| own == e);
            left_out = left_out << 1 | place.is_none() as u64;
            outputs.push(match place {
                Some(place) => Expr::Column(own[place].clone()),
                None => lit(ScalarValue::try_from(field.data_type())?),
            });
        }
        outputs.push(lit(ScalarValue::from(left_out).cast_to(columns[all.len()].1.data_type())?));
        outputs.extend(own[of_set.len()..].iter().take(group.aggr_expr.len()).cloned().map(Expr::Column));
        let named = outputs.into_iter().zip(&columns).map(|(e, (q, f))| e.alias_qualified(q.clone(), f.name()));
        let plain = Arc::new(LogicalPlan::Aggregate(plain));
        inputs.push(Arc::new(LogicalPlan::Projection(Projection::try_new(named.collect(), plain)?)));
    }
    Ok(LogicalPlan::Union(df::Union { inputs, schema: group.schema.clone() }))
}

fn each(sets: &GroupingSet) -> Vec<Vec<Expr>> {
    match sets {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(all) => (0..=all.len()).rev().map(|count| all[..count].to_vec()).collect(),
        GroupingSet::Cube(all) => {
            let taken = |set: usize| all.iter().enumerate().filter(move |(i, _)| set >> i & 1 == 1);
            (0..1 << all.len()).map(|set| taken(set).map(|(_, e)| e.clone()).collect()).collect()
        }
    }
}
