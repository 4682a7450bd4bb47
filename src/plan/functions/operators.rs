//! Operators that DataFusion's binder has not, or takes for something else; and `extract`, `substring`, `position`.

use super::own::{Function, INTERVAL, Own};
use super::{casts, json, json_changed, list, number, parts, regexp, text, time, types};
use crate::plan::clock;
use crate::row::JSON;
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, ScalarUDF, binary_expr, cast, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator as Op;
use std::sync::Arc;

pub(super) const TABLE: &[(&str, &str)] = &[
    ("jsonb ? key, jsonb ?| keys, jsonb ?& keys", "whether it has them"),
    ("jsonb @> jsonb, jsonb <@ jsonb", "whether one holds the other"),
    ("jsonb || jsonb, jsonb - key, jsonb - place, jsonb - keys, jsonb #- path", "with more, with less"),
    ("text ~ pattern, text ~* pattern, text !~ pattern, text !~* pattern", "`regexp_like`"),
    ("x ^ y", "`power(x, y)`"),
    ("list @> list, list <@ list, list && list", "whether all items are there, or some; NULLs never are"),
    ("list = '{a,b}'", "a text beside a list is read as one"),
    ("integer + integer, integer - integer, integer * integer", "an error beyond the type"),
    ("double / double", "an error where the divisor is 0"),
    ("numeric * numeric", "all digits; at least 16 behind the point, rounded, where there are more than 38"),
    ("numeric / numeric", "16 digits behind the point, rounded"),
    ("date + 1, date - 1", "days later or earlier"),
    ("date - date", "days between"),
    ("date + interval", "a timestamp; a date where it is compared with the clock"),
    ("timestamp - timestamp", "days and a time; `extract(epoch from ..)` or a cast to text makes a column of it"),
    ("interval * 2.5, interval / 2", "parts of months become days, parts of days a time"),
];

#[derive(Debug)]
pub struct Operators;

fn call(functions: &'static [Function], name: &str, args: Vec<Expr>) -> Expr {
    let function = functions.iter().find(|function| function.name == name).expect("the table has it");
    let function = Arc::new(ScalarUDF::new_from_impl(Own::new(function)));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, args))
}

pub(super) fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
}

fn reads_clock(e: &Expr) -> bool {
    let reads = |e: &Expr| matches!(e, Expr::ScalarFunction(call) if clock::WRITTEN.contains(&call.func.name()));
    e.exists(|e| Ok(reads(e))).unwrap_or(true)
}

fn days(by: &Expr, sign: i32) -> Option<Expr> {
    let Expr::Literal(ScalarValue::Int64(Some(days)), _) = (if let Expr::Cast(cast) = by { &cast.expr } else { by })
    else {
        return None;
    };
    let days = i32::try_from(*days).ok()?.checked_mul(sign)?;
    Some(lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, 0)))))
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, mut raw: RawBinaryExpr, schema: &DFSchema) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let types = (raw.left.get_type(schema), raw.right.get_type(schema));
        let (Ok(mut of_left), Ok(mut of_right)) = types else { return Ok(PlannerResult::Original(raw)) };
        as_list(&mut raw.left, &mut of_left, &of_right);
        as_list(&mut raw.right, &mut of_right, &of_left);
        Ok(match planned(&raw, &of_left, &of_right) {
            Some(e) => PlannerResult::Planned(e),
            None => PlannerResult::Original(raw),
        })
    }

    fn plan_extract(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        let field = match &args[0] {
            Expr::Literal(field, _) => field.try_as_str().flatten().unwrap_or_default().to_lowercase(),
            _ => String::new(),
        };
        let scale = parts::scale(&field);
        let exact = call(time::FUNCTIONS, "extract", args);
        Ok(PlannerResult::Planned(if scale == 6 { exact } else { cast(exact, DataType::Decimal128(20, scale)) }))
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(text::FUNCTIONS, "overlay", args)))
    }

    fn plan_substring(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(text::FUNCTIONS, "substr", args)))
    }
}

/// What binding would have made of numbers, had it known the types that are known now.
pub(super) fn again(binary: &BinaryExpr, schema: &DFSchema) -> DfResult<Option<Expr>> {
    let op = match binary.op {
        Operator::Plus => Op::Plus,
        Operator::Minus => Op::Minus,
        Operator::Multiply => Op::Multiply,
        Operator::Divide => Op::Divide,
        _ => return Ok(None),
    };
    let (of_left, of_right) = (binary.left.get_type(schema)?, binary.right.get_type(schema)?);
    if !of_left.is_numeric() || !of_right.is_numeric() {
        return Ok(None);
    }
    let (left, right) = (binary.left.as_ref().clone(), binary.right.as_ref().clone());
    Ok(planned(&RawBinaryExpr { op, left, right }, &of_left, &of_right))
}

/// A function of times.
pub(super) fn of_time(name: &str, args: Vec<Expr>) -> Expr {
    call(time::FUNCTIONS, name, args)
}

/// What lies between two timestamps, as an interval.
pub(super) fn interval(e: Expr) -> Expr {
    of_time("interval_times", vec![e, lit(1.0)])
}

/// But for division, which has a function of its own.
fn numeric(op: &Op) -> Option<Operator> {
    Some(match op {
        Op::Plus => Operator::Plus,
        Op::Minus => Operator::Minus,
        Op::Multiply => Operator::Multiply,
        _ => return None,
    })
}

fn compared(op: &Op) -> Option<Operator> {
    Some(match op {
        Op::Eq => Operator::Eq,
        Op::NotEq => Operator::NotEq,
        Op::Lt => Operator::Lt,
        Op::LtEq => Operator::LtEq,
        Op::Gt => Operator::Gt,
        Op::GtEq => Operator::GtEq,
        _ => return None,
    })
}

/// As what a text is read that is written out beside a value.
fn read_as(e: &Expr, beside: &DataType, op: &Op) -> Option<DataType> {
    use DataType::{Date32, Decimal128, Duration, Interval, Timestamp};
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = e else { return None };
    Some(match (op, beside) {
        (Op::Plus | Op::Minus | Op::Multiply | Op::Divide, Decimal128(..)) => types::written_numeric(text),
        (Op::Plus | Op::Minus | Op::Multiply | Op::Divide, number) if number.is_numeric() => number.clone(),
        (Op::Plus, Timestamp(..) | Date32 | Interval(_)) => INTERVAL,
        (Op::Minus, Timestamp(..) | Date32 | Interval(_)) => beside.clone(),
        (op, Interval(_) | Duration(_)) if compared(op).is_some() => INTERVAL,
        _ => return None,
    })
}

/// A literal beside a list is one: `l = '{1,2}'`.
fn as_list(e: &mut Expr, of: &mut DataType, beside: &DataType) {
    let is_text =
        matches!(e, Expr::Literal(text, _) if text.try_as_str().flatten().is_some_and(|text| text.starts_with('{')));
    if is_text && matches!(beside, DataType::List(_)) {
        (*e, *of) = (cast(e.clone(), beside.clone()), beside.clone());
    }
}

fn planned(raw: &RawBinaryExpr, of_left: &DataType, of_right: &DataType) -> Option<Expr> {
    use DataType::{Date32 as Date, Decimal128, Duration, Float32, Float64, Interval, List, Timestamp};
    let (left, right) = (&raw.left, &raw.right);
    let both = || vec![left.clone(), right.clone()];
    let swapped = || vec![right.clone(), left.clone()];
    let day_number = |e: &Expr| cast(e.clone(), DataType::Int32);
    let clocked = || reads_clock(left) || reads_clock(right);
    let read = match (read_as(left, of_right, &raw.op), read_as(right, of_left, &raw.op)) {
        (Some(to), _) => Some((cast(left.clone(), to.clone()), right.clone(), to, of_right.clone())),
        (_, Some(to)) => Some((left.clone(), cast(right.clone(), to.clone()), of_left.clone(), to)),
        _ => None,
    };
    if let Some((left, right, of_left, of_right)) = read {
        let raw = RawBinaryExpr { op: raw.op.clone(), left, right };
        return planned(&raw, &of_left, &of_right).or_else(|| {
            let op = numeric(&raw.op).or_else(|| compared(&raw.op)).unwrap_or(Operator::Divide);
            Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(raw.left), op, Box::new(raw.right))))
        });
    }
    Some(match (&raw.op, of_left, of_right) {
        (Op::Question, &JSON, _) => call(json::FUNCTIONS, "json_has", both()),
        (Op::QuestionPipe, &JSON, _) => call(json::FUNCTIONS, "json_has_any", both()),
        (Op::QuestionAnd, &JSON, _) => call(json::FUNCTIONS, "json_has_all", both()),
        (Op::AtArrow, one, other) if *one == JSON || *other == JSON => {
            call(json_changed::FUNCTIONS, "jsonb_contains", both())
        }
        (Op::ArrowAt, one, other) if *one == JSON || *other == JSON => {
            call(json_changed::FUNCTIONS, "jsonb_contained", both())
        }
        (Op::Minus, &JSON, _) => call(json_changed::FUNCTIONS, "jsonb_delete", both()),
        (Op::HashMinus, &JSON, _) => call(json_changed::FUNCTIONS, "jsonb_delete_path", both()),
        // Beside text that is no literal it is text.
        (Op::StringConcat, one, other) if *one == JSON || *other == JSON => {
            let is_json = |e: &Expr, of: &DataType| *of == JSON || matches!(e, Expr::Literal(..));
            match is_json(left, of_left) && is_json(right, of_right) {
                true => call(json_changed::FUNCTIONS, "jsonb_concat", both()),
                false => {
                    let text = |e: &Expr| cast(e.clone(), DataType::Utf8);
                    binary_expr(text(left), Operator::StringConcat, text(right))
                }
            }
        }
        (Op::PGRegexMatch | Op::PGRegexNotMatch | Op::PGRegexIMatch | Op::PGRegexNotIMatch, one, other)
            if is_text(one) && is_text(other) =>
        {
            let mut args = both();
            args.extend(matches!(raw.op, Op::PGRegexIMatch | Op::PGRegexNotIMatch).then(|| lit("i")));
            let found = call(regexp::FUNCTIONS, "regexp_like", args);
            if matches!(raw.op, Op::PGRegexNotMatch | Op::PGRegexNotIMatch) { !found } else { found }
        }
        (Op::StringConcat, List(_), DataType::Null) => left.clone(),
        (Op::StringConcat, DataType::Null, List(_)) => right.clone(),
        (Op::AtArrow, List(_), List(_)) => list::holds(left.clone(), right.clone()),
        (Op::ArrowAt, List(_), List(_)) => list::holds(right.clone(), left.clone()),
        (Op::PGOverlap, List(_), List(_)) => list::meets(left.clone(), right.clone()),
        (Op::PGExp, _, _) => call(number::FUNCTIONS, "power", both()),

        (Op::Plus, Date, number) if number.is_integer() => match days(right, 1) {
            Some(days) => left.clone() + days,
            None => cast(day_number(left) + right.clone(), Date),
        },
        (Op::Plus, number, Date) if number.is_integer() => match days(left, 1) {
            Some(days) => right.clone() + days,
            None => cast(left.clone() + day_number(right), Date),
        },
        (Op::Minus, Date, number) if number.is_integer() => match days(right, 1) {
            Some(days) => left.clone() - days,
            None => cast(day_number(left) - right.clone(), Date),
        },
        (Op::Minus, Date, Date) if !clocked() => day_number(left) - day_number(right),
        (Op::Plus, Date, Interval(_)) if !clocked() => casts::as_timestamp(left.clone()) + right.clone(),
        (Op::Minus, Date, Interval(_)) if !clocked() => casts::as_timestamp(left.clone()) - right.clone(),
        (Op::Plus, Interval(_), Date) if !clocked() => casts::as_timestamp(right.clone()) + left.clone(),
        (Op::Minus, Timestamp(_, one), Timestamp(_, other)) if !clocked() && one.is_some() != other.is_some() => {
            casts::as_timestamp(left.clone()) - casts::as_timestamp(right.clone())
        }
        (Op::Minus, Timestamp(..), Date) | (Op::Minus, Date, Timestamp(..)) if !clocked() => {
            casts::as_timestamp(left.clone()) - casts::as_timestamp(right.clone())
        }

        (Op::Plus | Op::Minus, Interval(_) | Duration(_), Interval(_) | Duration(_))
            if !clocked() && of_left != of_right =>
        {
            let (left, right) = (interval(left.clone()), interval(right.clone()));
            if raw.op == Op::Plus { left + right } else { left - right }
        }
        (Op::Multiply, Interval(_) | Duration(_), number) if number.is_numeric() => {
            call(time::FUNCTIONS, "interval_times", both())
        }
        (Op::Multiply, number, Interval(_) | Duration(_)) if number.is_numeric() => {
            call(time::FUNCTIONS, "interval_times", swapped())
        }
        (Op::Divide, Interval(_) | Duration(_), number) if number.is_numeric() => {
            let by = call(number::FUNCTIONS, "double_divide", vec![lit(1.0), right.clone()]);
            call(time::FUNCTIONS, "interval_times", vec![left.clone(), by])
        }

        // Only reals among themselves are computed as reals.
        (op, Float32, other) if other.is_numeric() && *other != Float32 && numeric(op).is_some() => Expr::BinaryExpr(
            BinaryExpr::new(Box::new(cast(left.clone(), Float64)), numeric(op)?, Box::new(right.clone())),
        ),
        (op, one, Float32) if one.is_numeric() && *one != Float32 && numeric(op).is_some() => Expr::BinaryExpr(
            BinaryExpr::new(Box::new(left.clone()), numeric(op)?, Box::new(cast(right.clone(), Float64))),
        ),
        (Op::Multiply, one, other) if number::is_wide(one, other) => call(number::FUNCTIONS, "numeric_times", both()),
        (Op::Divide, one, other)
            if (one.is_floating() && other.is_numeric()) || (one.is_numeric() && other.is_floating()) =>
        {
            call(number::FUNCTIONS, "double_divide", both())
        }
        (Op::Divide, Decimal128(..), other) if matches!(other, Decimal128(..)) || other.is_integer() => {
            call(number::FUNCTIONS, "numeric_divide", both())
        }
        (Op::Divide, one, Decimal128(..)) if one.is_integer() => call(number::FUNCTIONS, "numeric_divide", both()),
        _ => return None,
    })
}
