//! What types become where values of several meet: in a comparison, in branches, in one column of a union, in a default.
//!
//! As Postgres has it, numerics beside doubles become doubles, and dates beside timestamps timestamps, by the microsecond;
//! a text that is written out is read as what stands beside it; lengths of time are compared by how long they are; and a
//! text meets no number. DataFusion would have numerics with 15 digits on either side of the point, and nanoseconds, which
//! end in 2262; it would take whatever meets a text for one, and `1 month` for more than `40 days`.

use super::expressions::each;
use super::operators::{self, again};
use super::own::{INTERVAL, TIMESTAMP, zoned};
use crate::plan::clock;
use crate::plan::refusal::NEVER_MEET;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue, plan_err};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator as Op, cast, lit};
use datafusion::logical_expr::{Projection, Union, WindowFunctionDefinition};
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

/// Before the types of operands are made one.
#[derive(Debug)]
pub struct Types;

impl AnalyzerRule for Types {
    fn name(&self) -> &str {
        "types"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let plan = match plan {
                LogicalPlan::Union(union) => return united(union),
                LogicalPlan::Sort(mut sort) => {
                    by_length(&mut sort.expr, sort.input.schema())?;
                    LogicalPlan::Sort(sort)
                }
                LogicalPlan::Distinct(Distinct::On(mut on)) => {
                    by_length(on.sort_expr.as_deref_mut().unwrap_or_default(), on.input.schema())?;
                    LogicalPlan::Distinct(Distinct::On(on))
                }
                LogicalPlan::Join(join) => {
                    for (left, right) in &join.on {
                        let of = |e: &Expr, schema| Operand::of(e, schema);
                        of(left, join.left.schema())
                            .zip(of(right, join.right.schema()))
                            .map_or(Ok(None), |(l, r)| met(&[l, r]))?;
                    }
                    LogicalPlan::Join(join)
                }
                plan => plan,
            };
            let plan = each(plan, |e, schema| e.transform_up(|e| one(e, schema)))?;
            // What stands beneath may have other types now.
            plan.map_data(LogicalPlan::recompute_schema)
        })
        .data()
    }
}

const COMPARISONS: [Op; 8] =
    [Op::Eq, Op::NotEq, Op::Lt, Op::LtEq, Op::Gt, Op::GtEq, Op::IsDistinctFrom, Op::IsNotDistinctFrom];
const CHOICES: [&str; 4] = ["coalesce", "nullif", "greatest", "least"];

fn one(mut e: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let changed = match &mut e {
        Expr::BinaryExpr(binary) if COMPARISONS.contains(&binary.op) => {
            beyond_the_clock(binary, schema) | compared(vec![&mut binary.left, &mut binary.right], schema)?
        }
        Expr::BinaryExpr(binary) => match again(binary, schema)? {
            Some(planned) => return Ok(Transformed::yes(planned)),
            None => false,
        },
        Expr::Between(between) if !between.negated && since_clock(&between.expr, schema) => {
            let side = |op, bound: &Expr| {
                let binary = BinaryExpr::new(between.expr.clone(), op, Box::new(bound.clone()));
                one(Expr::BinaryExpr(binary), schema).data()
            };
            return Ok(Transformed::yes(side(Op::GtEq, &between.low)?.and(side(Op::LtEq, &between.high)?)));
        }
        Expr::Between(between) => compared(vec![&mut between.expr, &mut between.low, &mut between.high], schema)?,
        Expr::InList(list) => compared(std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect(), schema)?,
        Expr::ScalarFunction(call) if CHOICES.contains(&call.func.name()) => {
            let lengths = ["greatest", "least"].contains(&call.func.name());
            if let (true, Some(longest)) = (lengths, by_lengths(call.func.name(), &call.args, schema)?) {
                return Ok(Transformed::yes(longest));
            }
            chosen(call.args.iter_mut().collect(), schema)?
        }
        Expr::Case(case) => {
            let (whens, thens): (Vec<&mut Expr>, Vec<&mut Expr>) =
                case.when_then_expr.iter_mut().map(|(when, then)| (when.as_mut(), then.as_mut())).unzip();
            let of_base = match case.expr.as_deref_mut() {
                Some(base) => compared(std::iter::once(base).chain(whens).collect(), schema)?,
                None => false,
            };
            chosen(thens.into_iter().chain(case.else_expr.as_deref_mut()).collect(), schema)? | of_base
        }
        Expr::InSubquery(query) => {
            let field = query.subquery.subquery.schema().field(0);
            let given = Operand { of: field.data_type().clone(), written: None };
            Operand::of(&query.expr, schema).map_or(Ok(None), |asked| met(&[asked, given]))?;
            false
        }
        Expr::WindowFunction(function) => {
            by_length(&mut function.params.order_by, schema)? | with_default(function, schema)?
        }
        Expr::AggregateFunction(call) => by_length(&mut call.params.order_by, schema)? | longest(call, schema)?,
        _ => false,
    };
    Ok(if changed { Transformed::yes(e) } else { Transformed::no(e) })
}

/// A value that meets others; what is written out as a text has no type yet.
#[derive(Debug)]
struct Operand {
    of: DataType,
    written: Option<String>,
}

impl Operand {
    fn of(e: &Expr, schema: &DFSchema) -> Option<Operand> {
        let written = match e {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text.clone()),
            _ => None,
        };
        Some(Operand { of: e.get_type(schema).ok()?, written })
    }
}

/// What only meets its like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    Text,
    Number,
    Moment,
    Length,
    Boolean,
}

impl Family {
    fn of(data_type: &DataType) -> Option<Family> {
        use DataType as D;
        Some(match data_type {
            D::Utf8 | D::LargeUtf8 | D::Utf8View => Family::Text,
            of if of.is_numeric() => Family::Number,
            D::Date32 | D::Timestamp(..) => Family::Moment,
            D::Interval(_) | D::Duration(_) => Family::Length,
            D::Boolean => Family::Boolean,
            _ => return None,
        })
    }
}

/// The type that all of them get; `None` where nothing is known of one.
fn met(operands: &[Operand]) -> DfResult<Option<DataType>> {
    use DataType as D;
    let typed = || operands.iter().filter(|operand| operand.written.is_none() && operand.of != D::Null).map(|o| &o.of);
    let Some(first) = typed().next() else { return Ok(None) };
    let families: Option<Vec<Family>> = typed().map(Family::of).collect();
    let Some(families) = families else { return Ok(None) };
    if let Some(other) = families.iter().position(|family| *family != families[0]) {
        let other = typed().nth(other).expect("each has a family");
        return plan_err!("{} and {} {NEVER_MEET}", named(first), named(other));
    }
    Ok(match families[0] {
        Family::Number if typed().any(|of| of.is_floating()) => match typed().any(|of| of.is_decimal()) {
            true => Some(D::Float64),
            false => typed().try_fold(first.clone(), |one, other| comparison_coercion(&one, other)),
        },
        Family::Number => {
            let written = operands.iter().filter_map(|operand| operand.written.as_deref());
            let fractions = typed().any(|of| of.is_decimal()).then(|| written.map(written_numeric));
            let types = typed().cloned().chain(fractions.into_iter().flatten());
            types.reduce(|one, other| comparison_coercion(&one, &other).unwrap_or(other))
        }
        Family::Moment if typed().all(|of| *of == D::Date32) => Some(D::Date32),
        Family::Moment if typed().any(|of| matches!(of, D::Timestamp(_, Some(_)))) => Some(zoned()),
        Family::Moment => Some(TIMESTAMP),
        Family::Length if typed().all(|of| matches!(of, D::Duration(_))) && !operands.iter().any(is_written) => {
            Some(D::Duration(TimeUnit::Microsecond))
        }
        Family::Length => Some(INTERVAL),
        Family::Boolean => Some(D::Boolean),
        Family::Text => None,
    })
}

fn is_written(operand: &Operand) -> bool {
    operand.written.is_some()
}

/// With as many digits as stand there; what is no number is said when it is read.
pub(super) fn written_numeric(text: &str) -> DataType {
    let text = text.trim();
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count().min(37) as u8;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    DataType::Decimal128((digits(whole) + digits(part)).clamp(1, 38), digits(part) as i8)
}

/// Types as Postgres calls them.
fn named(of: &DataType) -> String {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Int64 => "bigint".into(),
        of if of.is_integer() => "integer".into(),
        of if of.is_floating() => "double precision".into(),
        of if of.is_decimal() => "numeric".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(..) => "timestamptz".into(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".into(),
        other => other.to_string().to_lowercase(),
    }
}

fn operands(all: &[&mut Expr], schema: &DFSchema) -> Option<Vec<Operand>> {
    all.iter().map(|e| Operand::of(e, schema)).collect()
}

fn put(e: &mut Expr, to: impl FnOnce(Expr) -> Expr) {
    *e = to(std::mem::take(e));
}

/// Numbers and moments that are compared are made alike later, as they are compared.
fn compared(all: Vec<&mut Expr>, schema: &DFSchema) -> DfResult<bool> {
    let Some(operands) = operands(&all, schema) else { return Ok(false) };
    let Some(to) = met(&operands)? else { return Ok(false) };
    let lengths = Family::of(&to) == Some(Family::Length);
    let mut changed = false;
    for (e, operand) in all.into_iter().zip(operands) {
        let from_numeric = to == DataType::Float64 && operand.of.is_decimal();
        if operand.written.is_some() || from_numeric {
            put(e, |e| cast(e, to.clone()));
            changed = true;
        }
        if lengths {
            put(e, length);
            changed = true;
        }
    }
    Ok(changed)
}

fn chosen(all: Vec<&mut Expr>, schema: &DFSchema) -> DfResult<bool> {
    let Some(operands) = operands(&all, schema) else { return Ok(false) };
    let Some(to) = met(&operands)? else { return Ok(false) };
    let others = all.into_iter().zip(operands).filter(|(_, operand)| operand.of != to && operand.of != DataType::Null);
    Ok(others.map(|(e, operand)| put(e, |e| converted(e, &operand.of, &to))).count() > 0)
}

fn converted(e: Expr, from: &DataType, to: &DataType) -> Expr {
    match (from, to) {
        (DataType::Duration(_), DataType::Interval(_)) => operators::interval(e),
        _ => cast(e, to.clone()),
    }
}

/// How long an interval is, in microseconds.
fn length(e: Expr) -> Expr {
    operators::of_time("interval_length", vec![e])
}

fn is_length(e: &Expr, schema: &DFSchema) -> bool {
    e.get_type(schema).is_ok_and(|of| Family::of(&of) == Some(Family::Length))
}

fn by_length(order: &mut [SortExpr], schema: &DFSchema) -> DfResult<bool> {
    let lengths = order.iter_mut().filter(|by| is_length(&by.expr, schema));
    Ok(lengths.map(|by| put(&mut by.expr, length)).count() > 0)
}

/// The longest or shortest of several intervals.
fn by_lengths(name: &str, args: &[Expr], schema: &DFSchema) -> DfResult<Option<Expr>> {
    if !args.iter().all(|e| is_length(e, schema)) {
        return Ok(None);
    }
    let op = if name == "greatest" { Op::GtEq } else { Op::LtEq };
    let better = |one: Expr, other: Expr| {
        let longer =
            Expr::BinaryExpr(BinaryExpr::new(Box::new(length(one.clone())), op, Box::new(length(other.clone()))));
        let wins = other.clone().is_null().or(longer);
        datafusion::logical_expr::when(wins.and(one.clone().is_not_null()), one).otherwise(other)
    };
    let args = args.iter().map(|e| Ok(converted(e.clone(), &e.get_type(schema)?, &INTERVAL)));
    let mut args = args.collect::<DfResult<Vec<_>>>()?.into_iter();
    let first = args.next().expect("a choice has something to choose from");
    args.try_fold(first, better).map(Some)
}

/// `min` and `max` of intervals are the first in an order.
fn longest(call: &mut AggregateFunction, schema: &DFSchema) -> DfResult<bool> {
    let [arg] = call.params.args.as_slice() else { return Ok(false) };
    let descends = call.func.name() == "max";
    let is_interval = arg.get_type(schema).is_ok_and(|of| matches!(of, DataType::Interval(_)));
    if !is_interval || !["min", "max"].contains(&call.func.name()) {
        return Ok(false);
    }
    call.params.order_by = vec![SortExpr::new(length(arg.clone()), !descends, false)];
    call.params.distinct = false;
    call.func = first_value_udaf();
    Ok(true)
}

/// The default of `lead` and `lag` may have more digits than the column.
fn with_default(function: &mut WindowFunction, schema: &DFSchema) -> DfResult<bool> {
    let WindowFunctionDefinition::WindowUDF(of) = &function.fun else { return Ok(false) };
    let [value, _, default] = function.params.args.as_mut_slice() else { return Ok(false) };
    if !["lead", "lag"].contains(&of.name()) {
        return Ok(false);
    }
    let Some(operands) = operands(&[value, default], schema) else { return Ok(false) };
    let Some(to) = met(&operands)? else { return Ok(false) };
    if operands[0].of != to {
        put(value, |e| cast(e, to.clone()));
    }
    if let Expr::Literal(literal, metadata) = default {
        *default = Expr::Literal(literal.cast_to(&to)?, metadata.take());
    }
    Ok(true)
}

/// Whether it is what lies between the clock and a timestamp.
fn since_clock(e: &Expr, schema: &DFSchema) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Op::Minus, right }) = e else { return false };
    let is_moment = |e: &Expr| e.get_type(schema).is_ok_and(|of| matches!(of, DataType::Timestamp(..)));
    is_moment(left) && is_moment(right) && (clock::reads(left) || clock::reads(right))
}

/// `now() - x < interval '3 days'` is `now() < x + interval '3 days'`, which the clock is followed through.
fn beyond_the_clock(binary: &mut BinaryExpr, schema: &DFSchema) -> bool {
    let fixed = |e: &Expr| match e {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(by)), _) => {
            let days = i64::from(by.months) * 30 + i64::from(by.days);
            let nanos = days.checked_mul(86_400_000_000_000)?.checked_add(by.nanoseconds)?;
            Some(lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, nanos)))))
        }
        _ => None,
    };
    let swapped = match (fixed(&binary.left), binary.op.swap()) {
        (Some(by), Some(op)) => Some((binary.right.as_ref(), op, by)),
        _ => fixed(&binary.right).map(|by| (binary.left.as_ref(), binary.op, by)),
    };
    let Some((e, op, by)) = swapped.filter(|(e, ..)| since_clock(e, schema)) else { return false };
    let Expr::BinaryExpr(BinaryExpr { left, right, .. }) = e else { return false };
    let later = Expr::BinaryExpr(BinaryExpr::new(right.clone(), Op::Plus, Box::new(by)));
    *binary = BinaryExpr::new(left.clone(), op, Box::new(later));
    true
}

fn united(union: Union) -> DfResult<Transformed<LogicalPlan>> {
    let operand = |input: &LogicalPlan, column: usize| {
        let written = match input {
            LogicalPlan::Projection(projection) => match projection.expr[column].clone().unalias_nested().data {
                Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
                _ => None,
            },
            _ => None,
        };
        Operand { of: input.schema().field(column).data_type().clone(), written }
    };
    let target = |column: usize| {
        let operands: Vec<Operand> = union.inputs.iter().map(|input| operand(input, column)).collect();
        met(&operands)
    };
    let types = (0..union.schema.fields().len()).map(target).collect::<DfResult<Vec<_>>>()?;
    let differs = |field: &Field, to: &Option<DataType>| {
        to.as_ref().is_some_and(|to| field.data_type() != to && *field.data_type() != DataType::Null)
    };
    let alike = |input: Arc<LogicalPlan>| {
        if !input.schema().fields().iter().zip(&types).any(|(field, to)| differs(field, to)) {
            return Ok(input);
        }
        let output = |((qualifier, field), to): ((Option<&_>, &Arc<Field>), &Option<DataType>)| {
            let e = Expr::from((qualifier, field));
            match to {
                Some(to) if differs(field, &Some(to.clone())) => {
                    converted(e, field.data_type(), to).alias_qualified(qualifier.cloned(), field.name())
                }
                _ => e,
            }
        };
        let outputs = input.schema().iter().zip(&types).map(output).collect();
        Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(outputs, input)?)))
    };
    let inputs = union.inputs.into_iter().map(alike).collect::<DfResult<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}
