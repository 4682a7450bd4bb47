//! Operators that DataFusion's binder has not, or takes for something else; and `extract`, `substring`, `position`.

use super::own::{Function, Own};
use super::{casts, json, json_changed, number, parts, regexp, text, time};
use crate::plan::clock;
use crate::row::JSON;
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{self as df, Expr, ExprSchemable, ScalarUDF, binary_expr, cast, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator as Op;
use std::sync::Arc;

pub(super) const TABLE: &[(&str, &str)] = &[
    ("jsonb ? key, jsonb ?| keys, jsonb ?& keys", "whether it has them"),
    ("jsonb @> jsonb, jsonb <@ jsonb", "whether one holds the other"),
    ("jsonb || jsonb, jsonb - key, jsonb - place, jsonb - keys, jsonb #- path", "with more, with less"),
    ("text ~ pattern, text ~* pattern, text !~ pattern, text !~* pattern", "`regexp_like`"),
    ("x ^ y", "`power(x, y)`"),
    (
        "integer + integer, integer - integer, integer * integer",
        "an error beyond the type; a number written in SQL is a bigint",
    ),
    ("double / double", "an error where the divisor is 0"),
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
    let Expr::Literal(ScalarValue::Int64(Some(days)), _) = by else { return None };
    let days = i32::try_from(*days).ok()?.checked_mul(sign)?;
    Some(lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, 0)))))
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let types = (raw.left.get_type(schema), raw.right.get_type(schema));
        let (Ok(of_left), Ok(of_right)) = types else { return Ok(PlannerResult::Original(raw)) };
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

    fn plan_substring(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(text::FUNCTIONS, "substr", args)))
    }
}

fn planned(raw: &RawBinaryExpr, of_left: &DataType, of_right: &DataType) -> Option<Expr> {
    use DataType::{Date32 as Date, Decimal128, Duration, Interval, Timestamp};
    let (left, right) = (&raw.left, &raw.right);
    let both = || vec![left.clone(), right.clone()];
    let swapped = || vec![right.clone(), left.clone()];
    let day_number = |e: &Expr| cast(e.clone(), DataType::Int32);
    let clocked = || reads_clock(left) || reads_clock(right);
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
                    binary_expr(text(left), df::Operator::StringConcat, text(right))
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
            let whole = |e: &Expr| call(time::FUNCTIONS, "interval_times", vec![e.clone(), lit(1.0)]);
            if raw.op == Op::Plus { whole(left) + whole(right) } else { whole(left) - whole(right) }
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
