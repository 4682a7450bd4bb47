//! Several values compared at once, and one with the items of a list, written as comparisons of single values.
//!
//! DataFusion compares `(a, b)` as structs, which are equal or not where SQL has NULL. A subquery of several columns
//! becomes an `exists` where nothing is made of it but `and` and `or`, so that NULL is as good as false.

use super::functions::quantified;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator as Op, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Query, SetExpr,
    Statement, TableAliasColumnDef, TableFactor, UnaryOperator, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

pub fn singly(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Singly);
}

struct Singly;

impl VisitorMut for Singly {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        each_where(&mut query.body, &mut exists);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        if let Some(singly) = compared(e) {
            *e = Expr::Nested(Box::new(singly));
        }
        ControlFlow::Continue(())
    }
}

fn each_where(body: &mut SetExpr, change: &mut impl FnMut(&mut Expr)) {
    match body {
        SetExpr::Select(select) => select.selection.iter_mut().for_each(change),
        SetExpr::SetOperation { left, right, .. } => {
            each_where(left, change);
            each_where(right, change);
        }
        _ => {}
    }
}

/// `(a, b) in (select …)` → `exists (select 1 from (select …) as q(x, y) where q.x = a and q.y = b)`.
fn exists(e: &mut Expr) {
    match e {
        Expr::Nested(e) => exists(e),
        Expr::BinaryOp { left, op: Op::And | Op::Or, right } => {
            exists(left);
            exists(right);
        }
        Expr::InSubquery { expr, subquery, negated: false } => {
            let Some(values) = values(expr) else { return };
            let template = "exists (select 1 from (select 1) as \"in rows\" where true)";
            let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(template);
            let mut outer = parsed.and_then(|mut parser| parser.parse_expr()).expect("it is correct");
            let name = |place: usize| Ident::with_quote('"', format!("in column {place}"));
            let of = |place: usize| Expr::CompoundIdentifier(vec![Ident::with_quote('"', "in rows"), name(place)]);
            if let Expr::Exists { subquery: query, .. } = &mut outer
                && let SetExpr::Select(select) = query.body.as_mut()
                && let TableFactor::Derived { subquery: rows, alias: Some(alias), .. } = &mut select.from[0].relation
            {
                *rows = subquery.clone();
                let columns = (0..values.len()).map(|place| TableAliasColumnDef { name: name(place), data_type: None });
                alias.columns = columns.collect();
                let equal = values.into_iter().enumerate().map(|(place, value)| binary(of(place), Op::Eq, value));
                select.selection = equal.reduce(|one, other| binary(one, Op::And, other));
            }
            *e = outer;
        }
        _ => {}
    }
}

fn compared(e: &Expr) -> Option<Expr> {
    match e {
        Expr::BinaryOp { left, op, right } => pairwise(&values(left)?, op, &values(right)?),
        Expr::InList { expr, list, negated } => {
            let left = values(expr)?;
            let equal = |item: &Expr| pairwise(&left, &Op::Eq, &values(item)?);
            let equal = list.iter().map(equal).collect::<Option<Vec<_>>>()?;
            let any = equal.into_iter().map(nested).reduce(|one, other| binary(one, Op::Or, other))?;
            Some(if *negated { not(any) } else { any })
        }
        Expr::IsNull(e) => all(values(e)?.into_iter().map(|value| Expr::IsNull(Box::new(value)))),
        Expr::IsNotNull(e) => all(values(e)?.into_iter().map(|value| Expr::IsNotNull(Box::new(value)))),
        Expr::AnyOp { left, compare_op, right, .. } => quantified(left, compare_op, right, false),
        Expr::AllOp { left, compare_op, right } => quantified(left, compare_op, right, true),
        _ => None,
    }
}

/// `x = any(array[a, b])` → `x in (a, b)`, `x <> all(…)` → `x not in (…)`; of other lists a function.
fn quantified(left: &Expr, op: &Op, right: &Expr, of_all: bool) -> Option<Expr> {
    match (right, op) {
        (Expr::Subquery(_), _) => None,
        (Expr::Array(array), Op::Eq | Op::NotEq) if of_all == (*op == Op::NotEq) && !array.elem.is_empty() => {
            let expr = Box::new(left.clone());
            Some(Expr::InList { expr, list: array.elem.clone(), negated: of_all })
        }
        _ => {
            let name = quantified::name(op, of_all)?;
            let call = Parser::new(&PostgreSqlDialect {}).try_with_sql(&format!("{name}()"));
            let mut call = call.and_then(|mut parser| parser.parse_expr()).expect("it is correct");
            if let Expr::Function(function) = &mut call
                && let FunctionArguments::List(list) = &mut function.args
            {
                let arguments = [left, right].map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e.clone())));
                list.args = arguments.to_vec();
            }
            Some(call)
        }
    }
}

/// `(a, b)`, `row(a, b)`.
fn values(e: &Expr) -> Option<Vec<Expr>> {
    match e {
        Expr::Tuple(values) => Some(values.clone()),
        Expr::Nested(e) => values(e),
        Expr::Function(function) => {
            let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
            let FunctionArguments::List(list) = &function.args else { return None };
            let value = |argument: &FunctionArg| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
                _ => None,
            };
            let is_row = name.value.eq_ignore_ascii_case("row");
            if is_row { list.args.iter().map(value).collect() } else { None }
        }
        _ => None,
    }
}

/// The first that are not equal decide.
fn pairwise(left: &[Expr], op: &Op, right: &[Expr]) -> Option<Expr> {
    if left.len() != right.len() {
        return None;
    }
    let pairs = || left.iter().cloned().zip(right.iter().cloned());
    let each = |op: &Op| pairs().map(|(left, right)| binary(left, op.clone(), right)).collect::<Vec<_>>();
    let strict = match op {
        Op::Eq => return all(each(&Op::Eq)),
        Op::NotEq => return each(&Op::NotEq).into_iter().reduce(|one, other| binary(one, Op::Or, other)),
        Op::Lt | Op::LtEq => Op::Lt,
        Op::Gt | Op::GtEq => Op::Gt,
        _ => return None,
    };
    let (first, equal) = (each(&strict), each(&Op::Eq));
    let last = each(op).pop()?;
    let before = first.into_iter().zip(equal).rev().skip(1);
    Some(
        before
            .fold(last, |rest, (decided, equal)| binary(decided, Op::Or, nested(binary(equal, Op::And, nested(rest))))),
    )
}

fn all(each: impl IntoIterator<Item = Expr>) -> Option<Expr> {
    each.into_iter().reduce(|one, other| binary(one, Op::And, other))
}

fn binary(left: Expr, op: Op, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn nested(e: Expr) -> Expr {
    Expr::Nested(Box::new(e))
}

fn not(e: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(nested(e)) }
}
