//! `limit`, and `row_number() … <= k`, however it is written → [`Op::Top`]: the first rows of each group.

use super::aggregate::{direction, top_of};
use super::lower::{Lowered, Lowering};
use super::refusal::Refusal;
use super::{Node, Op, Program};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
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
        let LogicalPlan::Sort(sort) = limit.input.as_ref() else { return self.lower(&limit.input) };
        let end = sort.fetch.map_or(end, |fetch| end.min(fetch as u64));
        self.sorted(sort, skip as u64..end)
    }

    /// The rows in these places of a Sort.
    pub fn sorted(&self, sort: &df::Sort, places: Range<u64>) -> Lowered<Node> {
        self.top(&sort.input, &[], &sort.expr, places, None)
    }

    /// What a filter reads: where it keeps the first rows of each partition by their `row_number()`, only these.
    pub fn filtered(&self, input: &LogicalPlan, predicate: &Expr) -> Lowered<Node> {
        if let LogicalPlan::Window(window) = input
            && let LogicalPlan::Sort(sort) = window.input.as_ref()
            && let Some(params) = row_number(&window.window_expr)
            && let Some(number) = window.schema.columns().last()
            && let Some(last) = split_conjunction(predicate).into_iter().filter_map(|e| bound(e, number)).min()
        {
            let schema = self.row_schema(&window.schema)?;
            return self.top(&sort.input, &params.partition_by, &sort.expr, 0..last, Some(schema));
        }
        self.lower(input)
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
        let by = by.iter().copied().zip(order.iter().map(direction)).filter(|(c, _)| !key.contains(c)).collect();
        let width = node.schema.fields().len();
        let mut all = node.schema.fields().to_vec();
        all.extend(numbered.as_ref().map(|schema| schema.fields()[own].clone()));
        let all: SchemaRef = Arc::new(Schema::new(all));
        let op = top_of(node, key.to_vec(), by, places, numbered.is_some());
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
            None => Field::new(outputs[i].human_display().to_string(), field.data_type().clone(), true),
        });
        wider.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok((wider, places))
    }
}

/// The one window function of a node, if it is `row_number()`.
fn row_number(expressions: &[Expr]) -> Option<WindowFunctionParams> {
    let [e] = expressions else { return None };
    let Expr::WindowFunction(function) = e.clone().unalias_nested().data else { return None };
    (function.fun.name() == "row_number").then_some(function.params)
}

/// The largest number that a predicate lets through.
fn bound(predicate: &Expr, number: &datafusion::common::Column) -> Option<u64> {
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
