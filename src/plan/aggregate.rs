//! GROUP BY → nodes: each aggregate goes to the cheapest node that can maintain it.
//!
//! ```text
//!             ┌─ sums, counts ─────────► Reduce ─────────────┐
//!   input ────┼─ count(distinct x) ────► Reduce over Reduce ─┼─► Beside, then the columns in order
//!             ├─ min, max, first, last ► Top ────────────────┤
//!             └─ all others ───────────► Regroup ────────────┘
//! ```
//!
//! With one kind only there is nothing beside it. A FILTER makes NULLs of what it drops: so every part has every
//! group. With no key a part has its one row even where there are no rows.

use super::definite::total;
use super::functions::shown;
use super::lower::{Lowered, Lowering, nullable};
use super::refusal::Refusal;
use super::regroup::{Regroup, Work};
use super::top::{by_of, least_order};
use super::{Aggregate, Node, Op, Program, exact, sums};
use crate::row::{Datum, Direction, RowWriter};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{NullTreatment, Sort as SortExpr};
use datafusion::logical_expr::{self as df, Expr, ExprSchemable, LogicalPlan, lit};
use datafusion::physical_expr::create_physical_sort_exprs;
use datafusion::physical_planner::create_aggregate_expr_and_maybe_filter;
use std::collections::HashMap;
use std::sync::Arc;

/// One aggregate of a GROUP BY.
struct Call {
    name: String,
    args: Vec<Expr>,
    distinct: bool,
    filter: Option<Expr>,
    order: Vec<SortExpr>,
    ignore_nulls: bool,
    result: DataType,
}

/// Aggregates, by number, that one node can maintain.
enum Part {
    Sums(Vec<usize>),
    /// Of each value once.
    Distinct {
        value: Expr,
        calls: Vec<usize>,
    },
    /// Of the first row in an order; `flag` orders before all else.
    Front {
        flag: Option<Expr>,
        order: Vec<SortExpr>,
        calls: Vec<(usize, Expr)>,
    },
    /// Of whole groups, in an order.
    Whole {
        order: Vec<SortExpr>,
        calls: Vec<usize>,
    },
}

impl Lowering<'_> {
    pub fn aggregate(&self, aggregate: &df::Aggregate) -> Lowered<Node> {
        let key = aggregate.group_expr.len();
        let schema = self.row_schema(&aggregate.schema)?;
        let calls = aggregate.aggr_expr.iter().zip(aggregate.schema.fields().iter().skip(key));
        let calls = calls.map(|(e, field)| self.call(e, field.data_type())).collect::<Lowered<Vec<_>>>()?;
        let mut parts: Vec<Part> = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            self.sort_in(number, call, &calls, aggregate, &mut parts)?;
        }
        if parts.is_empty() {
            parts.push(Part::Sums(Vec::new()));
        }

        let input = self.lower(&aggregate.input)?;
        if let [part] = parts.as_slice() {
            let node = self.part(part, input, aggregate, &calls, &schema)?;
            return Ok(in_order(node, key, &part.calls(), schema));
        }
        let given = Node { op: Op::Given, schema: input.schema.clone() };
        let order: Vec<usize> = parts.iter().flat_map(|part| part.calls()).collect();
        let part = |part: &Part| self.part(part, given.clone(), aggregate, &calls, &schema);
        let parts = parts.iter().map(part).collect::<Lowered<Vec<_>>>()?;
        let beside = columns_of(&schema, key, &order);
        let op = Op::Beside { input: Box::new(input), parts, key };
        Ok(in_order(Node { op, schema: beside }, key, &order, schema))
    }

    fn call(&self, e: &Expr, result: &DataType) -> Lowered<Call> {
        let Expr::AggregateFunction(function) = e.clone().unalias_nested().data else {
            return Err(Refusal::new(format!("`{e}` is not an aggregate"), "report this model"));
        };
        let params = function.params;
        Ok(Call {
            name: function.func.name().to_string(),
            args: params.args,
            distinct: params.distinct,
            filter: params.filter.map(|filter| *filter),
            order: params.order_by,
            ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
            result: result.clone(),
        })
    }

    /// Puts a call into a part that can maintain it.
    fn sort_in(
        &self,
        number: usize,
        call: &Call,
        calls: &[Call],
        group: &df::Aggregate,
        parts: &mut Vec<Part>,
    ) -> Lowered<()> {
        let front = |flag: Option<Expr>, order: Vec<SortExpr>, value: Expr, parts: &mut Vec<Part>| {
            let same =
                |part: &&mut Part| matches!(part, Part::Front { flag: f, order: o, .. } if *f == flag && *o == order);
            match parts.iter_mut().find(same) {
                Some(Part::Front { calls, .. }) => calls.push((number, value)),
                _ => parts.push(Part::Front { flag, order, calls: vec![(number, value)] }),
            }
        };
        match (call.name.as_str(), call.args.as_slice()) {
            ("min" | "max", [_]) => {
                let value = self.kept(call)?;
                let order = vec![SortExpr::new(value.clone(), call.name == "min", false)];
                front(None, order, value, parts);
            }
            ("first_value", [value]) if !call.distinct => {
                let passes = match (call.ignore_nulls, &call.filter) {
                    (false, filter) => filter.clone(),
                    (true, None) => Some(value.clone().is_not_null()),
                    (true, Some(filter)) => Some(value.clone().is_not_null().and(filter.clone())),
                };
                // First what counts, then what does not; with no key, a row of NULLs behind all (see `front`).
                let case = |passes: Expr| df::when(passes, lit(0i32)).otherwise(lit(1i32));
                let flag = match (&passes, group.group_expr.is_empty()) {
                    (None, false) => None,
                    (None, true) => Some(lit(0i32)),
                    (Some(passes), _) => Some(case(passes.clone()).map_err(|e| self.of_datafusion(&e))?),
                };
                let value = match passes {
                    None => value.clone(),
                    Some(passes) => self.only(passes, value.clone())?,
                };
                // Calls of one order take their values from one row: what settles the ties of one is for all.
                let mut order = call.order.clone();
                let has_ties = |call: &Call| !call.order.iter().any(|by| by.expr == call.args[0]);
                let alike = |other: &&Call| other.name == call.name && other.order == call.order;
                if calls.iter().filter(alike).any(has_ties) {
                    order.extend(order_beneath(&group.input));
                }
                front(flag, order, value, parts);
            }
            (_, [_]) if call.distinct && adds_up(call) && !matches!(call.name.as_str(), "bool_and" | "bool_or") => {
                let value = self.kept(call)?;
                let same = |part: &&mut Part| matches!(part, Part::Distinct { value: v, .. } if *v == value);
                match parts.iter_mut().find(same) {
                    Some(Part::Distinct { calls, .. }) => calls.push(number),
                    _ => parts.push(Part::Distinct { value, calls: vec![number] }),
                }
            }
            (_, [_]) if adds_up(call) => match parts.iter_mut().find(|part| matches!(part, Part::Sums(_))) {
                Some(Part::Sums(calls)) => calls.push(number),
                _ => parts.push(Part::Sums(vec![number])),
            },
            _ => {
                let order = match call.order.is_empty() {
                    true => order_beneath(&group.input),
                    false => total(call.order.clone(), group.input.schema()),
                };
                let same = |part: &&mut Part| matches!(part, Part::Whole { order: o, .. } if *o == order);
                match parts.iter_mut().find(same) {
                    Some(Part::Whole { calls, .. }) => calls.push(number),
                    _ => parts.push(Part::Whole { order, calls: vec![number] }),
                }
            }
        }
        Ok(())
    }

    /// The argument of a call, NULL where its filter drops the row.
    fn kept(&self, call: &Call) -> Lowered<Expr> {
        match &call.filter {
            None => Ok(call.args[0].clone()),
            Some(filter) => self.only(filter.clone(), call.args[0].clone()),
        }
    }

    fn only(&self, passes: Expr, value: Expr) -> Lowered<Expr> {
        df::when(passes, value).end().map_err(|e| self.of_datafusion(&e))
    }

    /// A node with the key and a column for each of the part's calls.
    fn part(
        &self,
        part: &Part,
        input: Node,
        group: &df::Aggregate,
        calls: &[Call],
        schema: &SchemaRef,
    ) -> Lowered<Node> {
        let bound = group.input.schema();
        let key = group.group_expr.len();
        let schema = columns_of(schema, key, &part.calls());
        match part {
            Part::Sums(numbers) => {
                let mut outputs = group.group_expr.clone();
                let mut aggregates = Vec::new();
                for number in numbers {
                    let call = &calls[*number];
                    let constant = matches!(&call.args[0], Expr::Literal(value, _) if !value.is_null());
                    if call.name == "count" && call.filter.is_none() && constant {
                        aggregates.push(Aggregate::CountRows);
                        continue;
                    }
                    aggregates.push(self.accumulator(call, outputs.len(), bound)?);
                    outputs.push(self.kept(call)?);
                }
                let input = Box::new(self.computed(input, bound, &outputs)?);
                Ok(Node { op: Op::Reduce { input, key, aggregates }, schema })
            }
            Part::Distinct { value, calls: numbers } => {
                let mut outputs = group.group_expr.clone();
                outputs.push(value.clone());
                let input = self.computed(input, bound, &outputs)?;
                let once = input.schema.clone();
                let op = Op::Reduce { input: Box::new(input), key: key + 1, aggregates: Vec::new() };
                let input = Box::new(Node { op, schema: once });
                let aggregates = numbers.iter().map(|number| self.accumulator(&calls[*number], key, bound));
                let aggregates = aggregates.collect::<Lowered<Vec<_>>>()?;
                Ok(Node { op: Op::Reduce { input, key, aggregates }, schema })
            }
            Part::Front { flag, order, calls } => self.front(input, group, flag.as_ref(), order, calls, schema),
            Part::Whole { order, calls } => {
                let own: Vec<&Expr> = calls.iter().map(|number| &group.aggr_expr[*number]).collect();
                self.whole(input, group, order, &own, schema)
            }
        }
    }

    /// What stands in the first row of each group.
    fn front(
        &self,
        input: Node,
        group: &df::Aggregate,
        flag: Option<&Expr>,
        order: &[SortExpr],
        calls: &[(usize, Expr)],
        schema: SchemaRef,
    ) -> Lowered<Node> {
        let key = group.group_expr.len();
        let mut outputs = group.group_expr.clone();
        let mut column = |e: &Expr| place(&mut outputs, e);
        // Under a name, since no value may share its column: in the row of NULLs it is none of theirs.
        let flag = flag.map(|flag| (column(&flag.clone().alias("flag")), Direction::PLAIN));
        let by: Vec<usize> = order.iter().map(|by| column(&by.expr)).collect();
        let order = by_of(&by, order);
        let values: Vec<usize> = calls.iter().map(|(_, value)| column(value)).collect();
        let mut input = self.computed(input, group.input.schema(), &outputs)?;
        let all = input.schema.clone();
        if key == 0 {
            // Behind all others.
            input = with_nothing(input, flag.map_or(Datum::Null, |_| Datum::Int32(2)));
        }
        let key_columns: Vec<usize> = (0..key).collect();
        let order = least_order(outputs.len(), &key_columns, flag.into_iter().chain(order).collect());
        let op = Op::Top { input: Box::new(input), key: key_columns, order, places: 0..1, numbered: false };
        let top = Node { op, schema: all.clone() };
        let program = Program::pick(all, (0..key).chain(values).collect());
        Ok(Node { op: Op::Map { input: Box::new(top), program }, schema })
    }

    /// Aggregates of whole groups, whose arguments become columns.
    fn whole(
        &self,
        input: Node,
        group: &df::Aggregate,
        order: &[SortExpr],
        calls: &[&Expr],
        schema: SchemaRef,
    ) -> Lowered<Node> {
        let failed = |e| self.of_datafusion(&e);
        let text = calls.iter().map(|e| shown(e).human_display().to_string()).collect::<Vec<_>>().join(", ");
        let bound = group.input.schema();
        let key = group.group_expr.len();
        let mut outputs = group.group_expr.clone();
        let mut column = |e: &Expr| {
            let place = place(&mut outputs, e);
            (place, df::ident(column_name(place)))
        };
        // True of all rows, but of the one that is there without rows; no call sees that one.
        let seen = (key == 0).then(|| column(&lit(true)).1);
        let mut named = |call: &Expr| {
            let Expr::AggregateFunction(mut call) = call.clone().unalias_nested().data else {
                return Err(Refusal::new(format!("`{call}` is not an aggregate"), "report this model"));
            };
            let order_by = call.params.order_by.iter_mut().map(|by| &mut by.expr);
            let expressions = call.params.args.iter_mut().chain(order_by);
            let is_column = |e: &&mut Expr| !matches!(e, Expr::Literal(_, _));
            expressions.filter(is_column).for_each(|e| *e = column(e).1);
            let filter = call.params.filter.take().map(|filter| column(&filter).1);
            call.params.filter = [filter, seen.clone()].into_iter().flatten().reduce(Expr::and).map(Box::new);
            Ok(Expr::AggregateFunction(call))
        };
        let calls = calls.iter().map(|call| named(call)).collect::<Lowered<Vec<_>>>()?;
        let by: Vec<usize> = order.iter().map(|by| column(&by.expr).0).collect();

        let columns = self.numbered(bound, &outputs)?;
        let mut input = self.map_node(input, bound, &[], &outputs, &columns)?;
        if key == 0 {
            input = with_nothing(input, Datum::Bool(false));
        }
        let physical = nullable(columns.as_arrow());
        let columns = DFSchema::try_from(physical.as_ref().clone()).map_err(failed)?;
        let props = ExecutionProps::new();
        let created =
            calls.iter().map(|call| create_aggregate_expr_and_maybe_filter(call, &columns, &physical, &props));
        let created = created.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let (calls, filters) = created.into_iter().map(|(call, filter, _)| (call, filter)).unzip();
        let in_order = (0..key).map(|c| SortExpr::new(df::ident(column_name(c)), true, false));
        let in_order = in_order.chain(by.iter().zip(order).map(|(c, by)| by.with_expr(df::ident(column_name(*c)))));
        let sorted = create_physical_sort_exprs(&in_order.collect::<Vec<_>>(), &columns, &props).map_err(failed)?;
        let work = Work::Aggregates { key, calls, filters };
        let work = Regroup::new(physical, sorted, work, schema.clone(), text).map_err(failed)?;
        let key: Vec<usize> = (0..key).collect();
        let order = least_order(outputs.len(), &key, by_of(&by, order));
        Ok(Node { op: Op::Regroup { input: Box::new(input), key, order, work }, schema })
    }

    /// How a call accumulates what stands in `column`.
    fn accumulator(&self, call: &Call, column: usize, bound: &DFSchema) -> Lowered<Aggregate> {
        Ok(match (call.name.as_str(), &call.result) {
            ("count", _) => Aggregate::Count(column),
            (exact::SUM, _) => Aggregate::FloatSum(column),
            (exact::AVG, _) => Aggregate::FloatAverage(column),
            ("bool_and", _) => Aggregate::All(column),
            ("bool_or", _) => Aggregate::Any(column),
            ("avg", DataType::Decimal128(precision, scale)) => {
                let of = call.args[0].get_type(bound).map_err(|e| self.of_datafusion(&e))?;
                let factor = sums::factor(&of, *scale).ok_or_else(|| self.unknown_aggregate("avg"))?;
                Aggregate::Average { column, factor, precision: *precision }
            }
            ("sum", result) => {
                let result = super::session::row_form(result).ok_or_else(|| self.unknown_aggregate("sum"))?;
                Aggregate::Sum { column, result }
            }
            (name, _) => return Err(self.unknown_aggregate(name)),
        })
    }

    /// These expressions over a node, as columns with numbers for names.
    pub fn computed(&self, input: Node, bound: &DFSchema, outputs: &[Expr]) -> Lowered<Node> {
        let schema = self.numbered(bound, outputs)?;
        self.map_node(input, bound, &[], outputs, &schema)
    }

    fn numbered(&self, bound: &DFSchema, outputs: &[Expr]) -> Lowered<DFSchema> {
        let named = |(i, e): (usize, &Expr)| {
            let (_, field) = e.to_field(bound).map_err(|e| self.of_datafusion(&e))?;
            Ok((None, Arc::new(field.as_ref().clone().with_name(column_name(i)))))
        };
        let fields = outputs.iter().enumerate().map(named).collect::<Lowered<Vec<_>>>()?;
        DFSchema::new_with_metadata(fields, HashMap::new()).map_err(|e| self.of_datafusion(&e))
    }

    pub fn of_datafusion(&self, error: &datafusion::error::DataFusionError) -> Refusal {
        Refusal::from_datafusion(error, self.sql)
    }
}

/// Which of the columns an expression is; it becomes one where it is none.
pub(super) fn place(columns: &mut Vec<Expr>, e: &Expr) -> usize {
    columns.iter().position(|column| column == e).unwrap_or_else(|| {
        columns.push(e.clone());
        columns.len() - 1
    })
}

/// The rows of a node and one more, so that the group of everything is there even without rows: `first`, then NULLs.
fn with_nothing(node: Node, first: Datum) -> Node {
    let mut nothing = RowWriter::default();
    nothing.push(&first);
    (1..node.schema.fields().len()).for_each(|_| nothing.push(&Datum::Null));
    let schema = node.schema.clone();
    let nothing = Node { op: Op::Constant { rows: vec![nothing.finish()] }, schema: schema.clone() };
    Node { op: Op::Union { inputs: vec![node, nothing] }, schema }
}

fn column_name(place: usize) -> String {
    format!("column {}", place + 1)
}

impl Part {
    fn calls(&self) -> Vec<usize> {
        match self {
            Part::Sums(calls) | Part::Distinct { calls, .. } | Part::Whole { calls, .. } => calls.clone(),
            Part::Front { calls, .. } => calls.iter().map(|(number, _)| *number).collect(),
        }
    }
}

/// Whether a call is a sum or a count of something, and so forgets by subtracting.
fn adds_up(call: &Call) -> bool {
    let exact = match call.name.as_str() {
        "count" | "bool_and" | "bool_or" | exact::SUM | exact::AVG => true,
        "sum" => call.result.is_integer() || matches!(call.result, DataType::Decimal128(_, _)),
        "avg" => matches!(call.result, DataType::Decimal128(_, _)),
        _ => false,
    };
    exact && call.order.is_empty()
}

/// `first_value` and the like see rows in the order of the Sort that `definite` has put beneath.
fn order_beneath(input: &LogicalPlan) -> Vec<SortExpr> {
    if let LogicalPlan::Sort(sort) = input { sort.expr.clone() } else { Vec::new() }
}

/// The key, then the columns of these calls.
fn columns_of(schema: &SchemaRef, key: usize, calls: &[usize]) -> SchemaRef {
    let columns: Vec<usize> = (0..key).chain(calls.iter().map(|call| key + call)).collect();
    let fields = columns.into_iter().map(|c| schema.field(c).clone()).collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

/// The node with the columns of its calls as `schema` has them.
fn in_order(node: Node, key: usize, calls: &[usize], schema: SchemaRef) -> Node {
    if calls.iter().copied().eq(0..calls.len()) {
        return node;
    }
    let place = |call: usize| calls.iter().position(|number| *number == call).expect("each call is in a part");
    let columns = (0..key).chain((0..calls.len()).map(|call| key + place(call))).collect();
    let program = Program::pick(node.schema.clone(), columns);
    Node { op: Op::Map { input: Box::new(node), program }, schema }
}
