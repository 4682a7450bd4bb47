//! What DataFusion's binder cannot bind, or would bind wrongly, written so that it can: in the SQL's own tree.

use super::literals;
use super::spelled::{arguments, filled, spelled};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, CharacterLength, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    Statement, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

pub(super) const TABLE: &[(&str, &str)] = &[
    ("x at time zone 'Europe/Berlin'", "`timezone('Europe/Berlin', x)`: with a zone without it, without one with it"),
    ("cast(x as varchar(3)), x::char(3)", "cut to so many characters"),
    ("json -> key, json ->> key, json #> path, json #>> path", "parts of JSON"),
    ("x::json, x::jsonb", "`json(x)`, `jsonb(x)`"),
    ("json_agg(x order by y), jsonb_agg(x)", "`json_of_items(array_agg(x order by y))`, `to_jsonb(array_agg(x))`"),
    ("json_object_agg(k, v), jsonb_object_agg(k, v)", "`json_of_members(array_agg(k), array_agg(v))`, and as `jsonb`"),
    ("to_json(t), json_agg(t.*)", "of the rows of a table"),
    ("string_agg(x, ',')", "text, as it is"),
    ("interval '1 year 04:05:06', interval '1 month - 1 day'", "intervals with a time, or with signs between"),
    ("@ x", "`abs(x)`"),
    ("x similar to 'a%'", "`similar_to(x, 'a%')`"),
    ("dateadd(day, 1, x), datediff(day, x, y)", "the unit as a word or as text"),
    ("(a, b) = (1, 2), (a, b) < (1, 2), (a, b) in ((1, 2), (3, 4))", "value by value"),
    ("x = any(list), x <> all(list)", "NULL where an item that is NULL might have decided"),
    ("x like any (array['a%', 'b%'])", "`x like 'a%' or x like 'b%'`"),
    ("x collate \"C\"", "`x`: all text is compared so"),
    ("1, 1e5, 1e300", "an int where something is made of it, a numeric, a double"),
    ("approx_distinct(x), approx_count_distinct(x)", "`count(distinct x)`, which is exact"),
    ("approx_median(x)", "`median(x)`, which is exact"),
    (
        "approx_percentile_cont(x, 0.9), approx_quantile(x, 0.9)",
        "`percentile_cont(0.9) within group (order by x)`, which is exact",
    ),
];

/// Functions whose first argument is a unit, often written as a word.
const OF_UNITS: [&str; 5] = ["dateadd", "date_add", "datediff", "date_diff", "timestampadd"];

/// Functions that take a row, as `t` or `t.*`.
const OF_ROWS: [&str; 5] = ["to_json", "to_jsonb", "row_to_json", "json_agg", "jsonb_agg"];

pub fn rewrite(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Rewrite);
}

struct Rewrite;

impl VisitorMut for Rewrite {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<()> {
        literals::typed_outputs(query);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        literals::typed(e);
        let null = || Expr::value(Value::Null);
        match e {
            Expr::AtTimeZone { timestamp, time_zone } => {
                let args =
                    vec![std::mem::replace(time_zone.as_mut(), null()), std::mem::replace(timestamp.as_mut(), null())];
                *e = call("timezone", args);
            }
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, data_type, .. } => {
                if let Some(name) = json(data_type) {
                    let Expr::Cast { expr, .. } = std::mem::replace(e, null()) else { unreachable!("it was one") };
                    *e = call(name, vec![*expr]);
                } else if let Some(length) = length(data_type) {
                    *data_type = DataType::Text;
                    let length = Expr::value(Value::Number(length.to_string(), false));
                    let cast = std::mem::replace(e, null());
                    *e = call("left", vec![cast, length]);
                }
            }
            Expr::BinaryOp { left, op, right } if let Some(name) = part_of_json(op) => {
                let args = [left, right].map(|side| std::mem::replace(side.as_mut(), null()));
                *e = call(name, args.into());
            }
            Expr::Interval(interval) if interval.leading_field.is_none() => {
                if let Expr::Value(value) = interval.value.as_ref()
                    && let Value::SingleQuotedString(text) = &value.value
                    && [":", " - ", " + "].iter().any(|sign| text.contains(sign))
                {
                    let expr = Box::new(Expr::value(Value::SingleQuotedString(text.clone())));
                    let data_type = DataType::Interval { fields: None, precision: None };
                    *e = Expr::Cast { kind: CastKind::Cast, expr, data_type, format: None, array: false };
                }
            }
            Expr::SimilarTo { negated, expr, pattern, escape_char: None } => {
                let args = vec![std::mem::replace(expr.as_mut(), null()), std::mem::replace(pattern.as_mut(), null())];
                let similar = call("similar_to", args);
                *e = match negated {
                    true => Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(similar) },
                    false => similar,
                };
            }
            Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::UnaryOp { op: ast::UnaryOperator::Not, .. }
            | Expr::BinaryOp { op: BinaryOperator::And, .. } => put_outside(e),
            Expr::UnaryOp { op: ast::UnaryOperator::PGAbs, expr } => {
                *e = call("abs", vec![std::mem::replace(expr.as_mut(), null())]);
            }
            Expr::Function(function) => {
                let name = called(function);
                if OF_UNITS.contains(&name.as_str())
                    && let FunctionArguments::List(list) = &mut function.args
                    && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.first_mut()
                    && let Expr::Identifier(word) = unit
                {
                    *unit = Expr::value(Value::SingleQuotedString(word.value.clone()));
                }
                if name == "row" {
                    name_fields(function);
                }
                if let FunctionArguments::List(list) = &mut function.args
                    && OF_ROWS.contains(&name.as_str())
                {
                    list.args.iter_mut().for_each(row_of_table);
                }
                if let Some(made) = json_of_lists(function, &name) {
                    *e = made;
                    return ControlFlow::Continue(());
                }
                make_exact(function, &name);
                match name.as_str() {
                    "make_interval" => in_place(function, INTERVAL_PARTS),
                    "coalesce" => flattened(function),
                    _ => {}
                }
                if let Some(other) = spelled(function, &name) {
                    *e = other;
                }
                // To DataFusion its text is larger than others, which is how JSON is told from text.
                if matches!(e, Expr::Function(function) if called(function) == "string_agg") {
                    *e = filled("$1::text", &[std::mem::replace(e, null())]);
                }
            }
            Expr::Collate { expr, .. } => *e = std::mem::replace(expr.as_mut(), null()),
            Expr::UnaryOp { op: ast::UnaryOperator::BitwiseNot, expr } => {
                *e = filled("$1 # -1", &[std::mem::replace(expr.as_mut(), null())]);
            }
            Expr::BinaryOp { left, op: BinaryOperator::PGStartsWith, right } => {
                *e = filled("starts_with($1, $2)", &[left.as_ref().clone(), right.as_ref().clone()]);
            }
            Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => like_any(e),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The function that is such an operator: as one it is found in `distinct on` too, where DataFusion knows no types.
fn part_of_json(op: &BinaryOperator) -> Option<&'static str> {
    match op {
        BinaryOperator::Arrow => Some("json_get"),
        BinaryOperator::LongArrow => Some("json_get_text"),
        BinaryOperator::HashArrow => Some("json_get_path"),
        BinaryOperator::HashLongArrow => Some("json_get_path_text"),
        _ => None,
    }
}

/// `row(a, b)` has the fields `f1` and `f2`.
fn name_fields(function: &mut ast::Function) {
    if let FunctionArguments::List(list) = &mut function.args {
        let name = |place| Expr::value(Value::SingleQuotedString(format!("f{place}")));
        let named = |(place, value)| [FunctionArg::Unnamed(FunctionArgExpr::Expr(name(place))), value];
        list.args = (1..).zip(std::mem::take(&mut list.args)).flat_map(named).collect();
        function.name = ast::ObjectName::from(vec![ast::Ident::new("named_struct")]);
    }
}

fn row_of_table(argument: &mut FunctionArg) {
    if let FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(table)) = argument
        && let [ast::ObjectNamePart::Identifier(table)] = table.0.as_slice()
    {
        *argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(table.clone())));
    }
}

/// Aggregates of JSON, by lists of what they aggregate.
fn json_of_lists(function: &ast::Function, name: &str) -> Option<Expr> {
    let (made, width) = match name {
        "json_agg" => ("json_of_items", 1),
        "jsonb_agg" => ("to_jsonb", 1),
        "json_object_agg" => ("json_of_members", 2),
        "jsonb_object_agg" => ("jsonb_of_members", 2),
        _ => return None,
    };
    let FunctionArguments::List(list) = &function.args else { return None };
    let of = |argument: &FunctionArg| {
        let mut aggregate = function.clone();
        aggregate.name = ast::ObjectName::from(vec![ast::Ident::new("array_agg")]);
        if let FunctionArguments::List(list) = &mut aggregate.args {
            list.args = vec![argument.clone()];
        }
        Expr::Function(aggregate)
    };
    (list.args.len() == width).then(|| call(made, list.args.iter().map(of).collect()))
}

/// What `make_interval` takes, in this order.
const INTERVAL_PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

/// Arguments by place or by name, of which none is left out: then it is 0.
fn in_place(function: &mut ast::Function, names: [&str; 7]) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let zero = || FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::value(Value::Number("0".into(), false))));
    let mut placed = names.map(|_| zero());
    for (at, arg) in list.args.iter().enumerate() {
        let (place, arg) = match arg {
            FunctionArg::Named { name, arg, .. } => (names.iter().position(|known| name.value == *known), arg),
            FunctionArg::Unnamed(arg) => (Some(at), arg),
            FunctionArg::ExprNamed { .. } => return,
        };
        let Some(place) = place.and_then(|place| placed.get_mut(place)) else { return };
        *place = FunctionArg::Unnamed(arg.clone());
    }
    list.args = placed.to_vec();
}

/// `coalesce(coalesce(a, b), c)` is `coalesce(a, b, c)`.
fn flattened(function: &mut ast::Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let args = std::mem::take(&mut list.args).into_iter();
    list.args = args
        .flat_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(inner))) if called(&inner) == "coalesce" => {
                match inner.args {
                    FunctionArguments::List(list) => list.args,
                    _ => Vec::new(),
                }
            }
            other => vec![other],
        })
        .collect();
}

/// `x like any (array['a%', 'b%'])`: one or the other.
fn like_any(e: &mut Expr) {
    let (Expr::Like { pattern, .. } | Expr::ILike { pattern, .. }) = &*e else { return };
    let mut patterns = pattern.as_ref();
    while let Expr::Nested(inner) = patterns {
        patterns = inner;
    }
    let patterns = match patterns {
        // `array[…]` is a call by now.
        Expr::Function(call) => arguments(call).unwrap_or_default(),
        Expr::Tuple(patterns) => patterns.clone(),
        one => vec![one.clone()],
    };
    let one = |one: Expr| {
        let mut like = e.clone();
        if let Expr::Like { any, pattern, .. } | Expr::ILike { any, pattern, .. } = &mut like {
            (*any, **pattern) = (false, one);
        }
        like
    };
    let either = patterns.into_iter().map(one).reduce(|one, other| filled("$1 or $2", &[one, other]));
    *e = Expr::Nested(Box::new(either.unwrap_or(Expr::value(Value::Boolean(false)))));
}

/// What is near enough depends on the order of rows, which none has: so it is exact.
fn make_exact(function: &mut ast::Function, name: &str) {
    let exact = match name {
        "approx_distinct" | "approx_count_distinct" => "count",
        "approx_median" => "median",
        "approx_percentile_cont" | "approx_quantile" => "percentile_cont",
        _ => return,
    };
    let FunctionArguments::List(list) = &mut function.args else { return };
    function.name = ast::ObjectName::from(vec![ast::Ident::new(exact)]);
    match exact {
        "count" => list.duplicate_treatment = Some(ast::DuplicateTreatment::Distinct),
        "percentile_cont" => {
            // What may follow is how near it shall come.
            list.args.truncate(if function.within_group.is_empty() { 2 } else { 1 });
            if let [FunctionArg::Unnamed(FunctionArgExpr::Expr(value)), _] = list.args.as_slice() {
                let options = ast::OrderByOptions { asc: None, nulls_first: None };
                function.within_group = vec![ast::OrderByExpr { expr: value.clone(), options, with_fill: None }];
                list.args.remove(0);
            }
        }
        _ => {}
    }
}

/// `a is distinct from b and c`: the parser takes all of `b and c` for the right side. So `and` and `or` without
/// parentheses of their own go outside of it, and of what it stands in.
fn put_outside(e: &mut Expr) {
    let (right, and_is_looser) = match e {
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => (right, true),
        Expr::UnaryOp { expr, .. } => (expr, true),
        Expr::BinaryOp { right, .. } => (right, false),
        _ => return,
    };
    let mut outside = std::mem::replace(right.as_mut(), Expr::value(Value::Null));
    std::mem::swap(leftmost(&mut outside, and_is_looser), right.as_mut());
    let inside = std::mem::replace(e, outside);
    *leftmost(e, and_is_looser) = inside;
}

/// What stands before the first `or`, and `and` if that is looser too.
fn leftmost(e: &mut Expr, and_is_looser: bool) -> &mut Expr {
    let is_looser = |op: &BinaryOperator| *op == BinaryOperator::Or || and_is_looser && *op == BinaryOperator::And;
    if !matches!(e, Expr::BinaryOp { op, .. } if is_looser(op)) {
        return e;
    }
    let Expr::BinaryOp { left, .. } = e else { unreachable!("it was one") };
    leftmost(left, and_is_looser)
}

/// The function that is a cast to this type.
fn json(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::JSON => Some("json"),
        DataType::JSONB => Some("jsonb"),
        _ => None,
    }
}

pub(super) fn called(function: &ast::Function) -> String {
    function.name.to_string().to_lowercase()
}

/// How many characters a type takes, if it says so.
fn length(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::Varchar(Some(length))
        | DataType::CharacterVarying(Some(length))
        | DataType::CharVarying(Some(length))
        | DataType::Char(Some(length))
        | DataType::Character(Some(length)) => match length {
            CharacterLength::IntegerLength { length, .. } => Some(*length),
            CharacterLength::Max => None,
        },
        _ => None,
    }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let nothing = Parser::new(&PostgreSqlDialect {}).try_with_sql(&format!("\"{name}\"()"));
    let mut e = nothing.and_then(|mut parser| parser.parse_expr()).expect("it is correct");
    if let Expr::Function(function) = &mut e
        && let FunctionArguments::List(list) = &mut function.args
    {
        list.args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    }
    e
}
