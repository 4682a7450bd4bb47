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

use super::lower::{Lowered, Lowering};
use super::refusal::Refusal;
use super::{Aggregate, Node, Op, Program, exact};
use crate::row::{Datum, Direction, RowWriter};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{NullTreatment, Sort as SortExpr};
use datafusion::logical_expr::{self as df, Expr, ExprSchemable, LogicalPlan, lit};
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
}

impl Lowering<'_> {
    pub fn aggregate(&self, aggregate: &df::Aggregate) -> Lowered<Node> {
        let key = aggregate.group_expr.len();
        let schema = self.row_schema(&aggregate.schema)?;
        let calls = aggregate.aggr_expr.iter().zip(aggregate.schema.fields().iter().skip(key));
        let calls = calls.map(|(e, field)| self.call(e, field.data_type())).collect::<Lowered<Vec<_>>>()?;
        let mut parts: Vec<Part> = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            self.sort_in(number, call, aggregate, &mut parts)?;
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
    fn sort_in(&self, number: usize, call: &Call, group: &df::Aggregate, parts: &mut Vec<Part>) -> Lowered<()> {
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
                let mut order = call.order.clone();
                if !order.iter().any(|by| by.expr == call.args[0]) {
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
            _ => return Err(self.unknown_aggregate(&call.name)),
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
            Part::Front { flag, order, calls } => {
                self.front(input, bound, &group.group_expr, flag.as_ref(), order, calls, schema)
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn front(
        &self,
        input: Node,
        bound: &DFSchema,
        group: &[Expr],
        flag: Option<&Expr>,
        order: &[SortExpr],
        calls: &[(usize, Expr)],
        schema: SchemaRef,
    ) -> Lowered<Node> {
        let key = group.len();
        let mut outputs = group.to_vec();
        let mut column = |e: &Expr| {
            let place = outputs[key..].iter().position(|output| output == e).map(|place| key + place);
            place.unwrap_or_else(|| {
                outputs.push(e.clone());
                outputs.len() - 1
            })
        };
        let flag = flag.map(|flag| (column(flag), Direction::PLAIN));
        let order: Vec<(usize, Direction)> = order.iter().map(|by| (column(&by.expr), direction(by))).collect();
        let values: Vec<usize> = calls.iter().map(|(_, value)| column(value)).collect();
        let mut input = self.computed(input, bound, &outputs)?;
        let all = input.schema.clone();
        if key == 0 {
            // The group of everything is there even without rows: a row of NULLs, behind all others.
            let mut nothing = RowWriter::default();
            nothing.push(&flag.map_or(Datum::Null, |_| Datum::Int32(2)));
            (1..outputs.len()).for_each(|_| nothing.push(&Datum::Null));
            let nothing = Node { op: Op::Constant { rows: vec![nothing.finish()] }, schema: all.clone() };
            input = Node { op: Op::Union { inputs: vec![input, nothing] }, schema: all.clone() };
        }
        let order = flag.into_iter().chain(order).collect();
        let top = Node { op: top_of(input, (0..key).collect(), order, 0..1, false), schema: all.clone() };
        let program = Program::pick(all, (0..key).chain(values).collect());
        Ok(Node { op: Op::Map { input: Box::new(top), program }, schema })
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
                let DataType::Decimal128(_, own) = of else { return Err(self.unknown_aggregate("avg")) };
                let factor = u32::try_from(scale - own).ok().and_then(|places| 10i128.checked_pow(places));
                let factor = factor.ok_or_else(|| self.unknown_aggregate("avg"))?;
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
        let named = |(i, e): (usize, &Expr)| {
            let (_, field) = e.to_field(bound).map_err(|e| self.of_datafusion(&e))?;
            Ok((None, Arc::new(field.as_ref().clone().with_name(format!("column {}", i + 1)))))
        };
        let fields = outputs.iter().enumerate().map(named).collect::<Lowered<Vec<_>>>()?;
        let schema = DFSchema::new_with_metadata(fields, HashMap::new()).map_err(|e| self.of_datafusion(&e))?;
        self.map_node(input, bound, &[], outputs, &schema)
    }

    pub fn of_datafusion(&self, error: &datafusion::error::DataFusionError) -> Refusal {
        Refusal::from_datafusion(error, self.sql)
    }
}

impl Part {
    fn calls(&self) -> Vec<usize> {
        match self {
            Part::Sums(calls) | Part::Distinct { calls, .. } => calls.clone(),
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

pub(super) fn direction(by: &SortExpr) -> Direction {
    Direction { descending: !by.asc, nulls_first: by.nulls_first }
}

/// A Top whose order names no more than it must: what follows by itself is left out.
pub(super) fn top_of(
    input: Node,
    key: Vec<usize>,
    mut order: Vec<(usize, Direction)>,
    places: std::ops::Range<u64>,
    numbered: bool,
) -> Op {
    let width = input.schema.fields().len();
    let follows = |kept: usize| {
        let named = |column: &usize| key.contains(column) || order[..kept].iter().any(|(c, _)| c == column);
        let rest = (0..width).filter(|column| !named(column)).map(|column| (column, Direction::PLAIN));
        order[kept..].iter().filter(|(c, _)| !named(c)).copied().eq(rest.take(order.len() - kept))
    };
    let kept = (1..=order.len()).find(|kept| follows(*kept)).unwrap_or(order.len());
    order.truncate(kept);
    Op::Top { input: Box::new(input), key, order, places, numbered }
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
