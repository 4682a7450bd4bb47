//! `limit`, and `row_number() … <= k`, however it is written → [`Op::Top`]: the first rows of each group.

use super::functions::shown;
use super::lower::{Lowered, Lowering};
use super::refusal::Refusal;
use super::{Node, Op, Program};
use crate::row::Direction;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunctionParams};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{self as df, Expr, FetchType, LogicalPlan, Operator, SkipType};
use std::ops::Range;
use std::sync::Arc;

impl Lowering<'_> {
    /// The rows that a limit lets through; `definite` has put a Sort beneath it.
    pub fn limit(&self, limit: &df::Limit) -> Lowered<Node> {
        let (skip, fetch) = (limit.get_skip_type(), limit.get_fetch_type());
        let (Ok(SkipType::Literal(skip)), Ok(FetchType::Literal(fetch))) = (skip, fetch) else {
            let refusal = Refusal::new("a limit that is computed is not maintained", "write the limit as a number");
            return Err(refusal.at_words(self.sql, &["limit"]));
        };
        let end = fetch.map_or(u64::MAX, |fetch| skip as u64 + fetch as u64);
        match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => self.sorted(sort, skip as u64..end),
            // Rows without columns, which nothing can sort.
            input => self.top(input, &[], &[], skip as u64..end, None),
        }
    }

    /// The rows in these places of a Sort.
    pub fn sorted(&self, sort: &df::Sort, places: Range<u64>) -> Lowered<Node> {
        let end = sort.fetch.map_or(places.end, |fetch| places.end.min(fetch as u64));
        self.top(&sort.input, &[], &sort.expr, places.start..end, None)
    }

    /// What a filter reads: where it keeps the first rows of each partition by their `row_number()`, only these.
    pub fn filtered(&self, input: &LogicalPlan, predicate: &Expr) -> Lowered<Node> {
        match input {
            LogicalPlan::Window(window) => {
                let number = window.schema.columns().pop();
                if let Some(top) = number.and_then(|number| self.numbered_top(window, predicate, &number)) {
                    return top;
                }
            }
            // The optimiser drops columns that only the window needed.
            LogicalPlan::Projection(projection) if let LogicalPlan::Window(window) = projection.input.as_ref() => {
                let last = window.schema.columns().pop().map(Expr::Column);
                let kept = projection.expr.iter().position(|e| Some(e.clone().unalias_nested().data) == last);
                let number = kept.map(|place| projection.schema.columns().swap_remove(place));
                if let Some(top) = number.and_then(|number| self.numbered_top(window, predicate, &number)) {
                    return self.map_node(top?, &window.schema, &[], &projection.expr, &projection.schema);
                }
            }
            _ => {}
        }
        self.lower(input)
    }

    /// The first rows of each partition with their numbers, if `predicate` says how many of them are enough.
    fn numbered_top(&self, window: &df::Window, predicate: &Expr, number: &Column) -> Option<Lowered<Node>> {
        let LogicalPlan::Sort(sort) = window.input.as_ref() else { return None };
        let params = row_number(&window.window_expr)?;
        let last = split_conjunction(predicate).into_iter().filter_map(|e| bound(e, number)).min()?;
        let schema = self.row_schema(&window.schema);
        Some(schema.and_then(|schema| self.top(&sort.input, &params.partition_by, &sort.expr, 0..last, Some(schema))))
    }

    /// `numbered` is the schema with the number of the row behind the input's columns.
    fn top(
        &self,
        input: &LogicalPlan,
        partition: &[Expr],
        order: &[SortExpr],
        places: Range<u64>,
        numbered: Option<SchemaRef>,
    ) -> Lowered<Node> {
        let schema = input.schema();
        let node = self.lower(input)?;
        let own = schema.fields().len();
        let expressions: Vec<Expr> = partition.iter().chain(order.iter().map(|by| &by.expr)).cloned().collect();
        let (node, columns) = self.widened(node, schema, &expressions)?;
        let (key, by) = columns.split_at(partition.len());
        let width = node.schema.fields().len();
        let order = least_order(width, key, by_of(by, order));
        let mut all = node.schema.fields().to_vec();
        all.extend(numbered.as_ref().map(|schema| schema.fields()[own].clone()));
        let all: SchemaRef = Arc::new(Schema::new(all));
        let input = Box::new(node);
        let op = Op::Top { input, key: key.to_vec(), order, places, numbered: numbered.is_some() };
        let top = Node { op, schema: all.clone() };
        if width == own {
            return Ok(top);
        }
        // What was computed only to order by it goes again.
        let program = Program::pick(all, (0..own).chain(numbered.map(|_| width)).collect());
        let schema = program.output().clone();
        Ok(Node { op: Op::Map { input: Box::new(top), program }, schema })
    }

    /// The node with a column for each of these expressions, behind its own where they are not there; and which.
    pub fn widened(&self, node: Node, schema: &DFSchema, expressions: &[Expr]) -> Lowered<(Node, Vec<usize>)> {
        let own: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let mut outputs = own.clone();
        let place = |e: &Expr| {
            let place = match e {
                Expr::Column(column) => schema.maybe_index_of_column(column),
                _ => outputs[own.len()..].iter().position(|output| output == e).map(|place| own.len() + place),
            };
            place.unwrap_or_else(|| {
                outputs.push(e.clone());
                outputs.len() - 1
            })
        };
        let places: Vec<usize> = expressions.iter().map(place).collect();
        if outputs.len() == own.len() {
            return Ok((node, places));
        }
        let named = node.schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let mut wider = self.computed(node, schema, &outputs)?;
        let fields = wider.schema.fields().iter().enumerate().map(|(i, field)| match named.get(i) {
            Some(name) => Field::new(name, field.data_type().clone(), true),
            None => Field::new(shown(&outputs[i]).human_display().to_string(), field.data_type().clone(), true),
        });
        wider.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok((wider, places))
    }
}

/// Which column orders in which direction.
pub(super) fn by_of(columns: &[usize], order: &[SortExpr]) -> Vec<(usize, Direction)> {
    let direction = |by: &SortExpr| Direction { descending: !by.asc, nulls_first: by.nulls_first };
    columns.iter().copied().zip(order.iter().map(direction)).collect()
}

/// The order without what a key settles, and without what follows by itself: the other columns as they stand.
pub(super) fn least_order(width: usize, key: &[usize], order: Vec<(usize, Direction)>) -> Vec<(usize, Direction)> {
    let mut named: Vec<(usize, Direction)> = Vec::new();
    for (column, direction) in order {
        if !key.contains(&column) && !named.iter().any(|(earlier, _)| *earlier == column) {
            named.push((column, direction));
        }
    }
    let follows = |kept: usize| {
        let settled = |column: &usize| key.contains(column) || named[..kept].iter().any(|(c, _)| c == column);
        let rest = (0..width).filter(|column| !settled(column)).map(|column| (column, Direction::PLAIN));
        named[kept..].iter().copied().eq(rest.take(named.len() - kept))
    };
    let kept = (1..named.len()).find(|kept| follows(*kept)).unwrap_or(named.len());
    named.truncate(kept);
    named
}

/// The one window function of a node, if it is `row_number()`.
fn row_number(expressions: &[Expr]) -> Option<WindowFunctionParams> {
    let [e] = expressions else { return None };
    let Expr::WindowFunction(function) = e.clone().unalias_nested().data else { return None };
    (function.fun.name() == "row_number").then_some(function.params)
}

/// The largest number that a predicate lets through.
fn bound(predicate: &Expr, number: &Column) -> Option<u64> {
    let is_number = |e: &Expr| matches!(e, Expr::Column(column) if column == number);
    match predicate {
        Expr::BinaryExpr(df::BinaryExpr { left, op, right }) if is_number(left) => upper(*op, right),
        Expr::BinaryExpr(df::BinaryExpr { left, op, right }) if is_number(right) => upper(op.swap()?, left),
        Expr::Between(between) if is_number(&between.expr) && !between.negated => upper(Operator::LtEq, &between.high),
        _ => None,
    }
}

fn upper(op: Operator, limit: &Expr) -> Option<u64> {
    let Expr::Literal(value, _) = limit else { return None };
    let ScalarValue::Int64(Some(value)) = value.cast_to(&arrow::datatypes::DataType::Int64).ok()? else { return None };
    let last = match op {
        Operator::Eq | Operator::LtEq => value,
        Operator::Lt => value.saturating_sub(1),
        _ => return None,
    };
    Some(u64::try_from(last).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use crate::plan::{Planner, Relation, explain};
    use crate::row::{Table, TableName};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn plan(sql: &str) -> String {
        let fields = ["id", "a", "b"].map(|name| Field::new(name, DataType::Int64, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let relation = |name: &str| Relation { database: "db".into(), schema: "public".into(), name: name.into() };
        let mut planner = Planner::new("db", "public");
        planner.add_table(relation("t"), Table { name: TableName::new("public", "t"), schema, key: vec![0] });
        let model = planner.compile(relation("m"), sql).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        explain(&planner.model(model).node, &|_| "t".into(), &|_| "m".into())
    }

    #[test]
    fn the_first_rows_of_a_partition_never_compute_the_whole_of_it() {
        let of = |predicate: &str| {
            plan(&format!(
                "select * from (select id, b, row_number() over (partition by a order by b desc) as rn from t) as x
                 where {predicate}"
            ))
        };
        for predicate in ["rn = 1", "rn <= 3", "3 > rn", "rn between 1 and 2", "rn < 4 and b > 0", "1 = rn"] {
            assert!(of(predicate).contains("top first"), "{predicate}:\n{}", of(predicate));
        }
        for predicate in ["rn > 1", "rn <> 2", "b > 0", "rn <= b"] {
            assert!(of(predicate).contains("recomputes"), "{predicate}:\n{}", of(predicate));
        }
        for sql in [
            "select id from t qualify row_number() over (partition by a order by b) = 1",
            "with r as (select *, row_number() over (partition by a % 2 order by -b) as rn from t), s as (select id as i, rn as n from r)
             select i from s where n = 1",
            "select distinct on (a) a, b from t order by a, b desc",
            "select * from t order by a limit 3",
            "select a, max(b) from t group by a",
        ] {
            assert!(plan(sql).contains("top first"), "{sql}:\n{}", plan(sql));
            assert!(!plan(sql).contains("recomputes"), "{sql}:\n{}", plan(sql));
        }
        let distinct_on = plan("select distinct on (a) a, b, id from t order by a, b desc");
        assert_eq!(distinct_on.matches("top first 1").count(), 1, "{distinct_on}");
    }
}
