//! Numbers that are written out, typed as Postgres types them: `1` is an int where something is made of it, so that a sum
//! of ones is a bigint; `1e5` is 100000, and what no numeric holds is a double. To DataFusion they are bigints, and numerics
//! with a negative scale.

use super::written::called;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator as Op, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Query, SelectItem, SetExpr, UnaryOperator, Value,
};

/// Whose arguments have the type of the result, or decide it.
const MADE_OF: [&str; 8] = ["coalesce", "nullif", "greatest", "least", "sum", "avg", "min", "max"];

/// The digits of what no numeric holds.
const DIGITS_MAX: usize = 38;

pub(super) fn typed(e: &mut Expr) {
    match e {
        Expr::BinaryOp { left, op: Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo, right } => {
            as_int(left);
            as_int(right);
        }
        Expr::Case { conditions, else_result, .. } => {
            conditions.iter_mut().for_each(|when| as_int(&mut when.result));
            else_result.iter_mut().for_each(|e| as_int(e));
        }
        Expr::Function(function) => of_function(function),
        Expr::Value(value) => {
            if let Value::Number(text, _) = &value.value
                && let Some(expanded) = expanded(text)
            {
                *e = expanded;
            }
        }
        _ => {}
    }
}

/// What a select gives under a name.
pub(super) fn typed_outputs(query: &mut Query) {
    fn outputs(body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => select.projection.iter_mut().for_each(|item| {
                if let SelectItem::ExprWithAlias { expr, .. } = item {
                    as_int(expr);
                }
            }),
            SetExpr::SetOperation { left, right, .. } => {
                outputs(left);
                outputs(right);
            }
            _ => {}
        }
    }
    outputs(&mut query.body);
}

fn of_function(function: &mut Function) {
    if !MADE_OF.contains(&called(function).as_str()) {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    for arg in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) = arg {
            as_int(e);
        }
    }
}

fn as_int(e: &mut Expr) {
    let number = |e: &Expr| match e {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse::<i32>().is_ok(),
            _ => false,
        },
        _ => false,
    };
    match e {
        Expr::Nested(inner) => as_int(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } if number(expr) => cast(e, DataType::Int(None)),
        e if number(e) => cast(e, DataType::Int(None)),
        _ => {}
    }
}

fn cast(e: &mut Expr, data_type: DataType) {
    let expr = Box::new(std::mem::replace(e, Expr::value(Value::Null)));
    *e = Expr::Cast { kind: CastKind::Cast, expr, data_type, format: None, array: false };
}

/// Without its exponent.
fn expanded(text: &str) -> Option<Expr> {
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, part].concat();
    // So many of them stand before the point.
    let before = whole.len() as i64 + exponent;
    let (zeros, padded) = (before.min(0).unsigned_abs(), before.max(digits.len() as i64).unsigned_abs());
    if zeros + padded > DIGITS_MAX as u64 {
        let mut e = Expr::value(Value::SingleQuotedString(text.into()));
        cast(&mut e, DataType::DoublePrecision);
        return Some(e);
    }
    let all = format!("{}{digits:0<width$}", "0".repeat(zeros as usize), width = padded as usize);
    let (whole, part) = all.split_at(before.max(0) as usize);
    if !part.is_empty() {
        return Some(Expr::value(Value::Number(format!("{whole}.{part}"), false)));
    }
    let mut e = Expr::value(Value::Number(whole.into(), false));
    cast(&mut e, DataType::Numeric(ExactNumberInfo::PrecisionAndScale(whole.len() as u64, 0)));
    Some(e)
}
