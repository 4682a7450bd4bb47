//! SQL that nests deep, or goes on for long: DataFusion goes down it by recursion, and a stack that ends is the end of the
//! process.
//!
//! So planning and the oracle have a stack of their own, large enough for what is let through; long chains of `and` and
//! `or` become trees as low as can be; and what is deeper still is refused, by its expressions, selects or nodes.

use super::Node;
use super::refusal::{Refusal, tokens};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query, SetExpr};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;
use std::sync::Arc;

/// Parentheses and cases within each other, as they are written.
const NESTED_MAX: usize = 100;
/// What the parser lets through: not less, since it may blame another word where that is what stops it.
pub(super) const PARSED_MAX: usize = 4 * NESTED_MAX;
/// Selects, or terms of `and` or `or`, one after another.
const CHAIN_MAX: usize = 4_000;
/// Levels of what workers, whose stacks are those of any thread, go down for each row.
const RUN_MAX: usize = 500;
/// A chain of so many terms is left as it is written.
const SHORT: usize = 64;
/// Only what is used of it is taken.
const STACK_BYTES: usize = 256 << 20;

pub(super) const HINT: &str = "take it apart, with a common table expression or another model for a part";

/// Does this where the stack is large enough for what is let through.
pub(super) fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        match thread.expect("as any thread can be started").join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Refuses SQL by how deep its parentheses and cases nest.
pub(super) fn refuse_nested(sql: &str) -> Result<(), Refusal> {
    let (mut depth, mut deepest) = (0usize, 0);
    for (token, ..) in tokens(sql) {
        let word = match &token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        match (token, word) {
            (Token::LParen, _) | (_, Keyword::CASE) => depth += 1,
            (Token::RParen, _) | (_, Keyword::END) => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    match deepest {
        ..=NESTED_MAX => Ok(()),
        _ => Err(Refusal::new(too_deep(), HINT)),
    }
}

pub(super) fn too_deep() -> String {
    "the SQL nests too deep: parentheses, calls, cases or selects within each other".into()
}

/// Refuses an expression that goes down too far on its left, where chains do.
pub(super) fn refuse_long(expr: &Expr) -> Result<(), Refusal> {
    let max = match expr {
        Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. } => CHAIN_MAX,
        _ => RUN_MAX,
    };
    match std::iter::successors(Some(expr), |expr| first(expr)).nth(max) {
        None => Ok(()),
        Some(_) => Err(Refusal::new(format!("an expression of more than {max} terms is not planned"), HINT)),
    }
}

fn first(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryOp { left, .. } => Some(left),
        Expr::Cast { expr, .. } | Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => Some(expr),
        _ => None,
    }
}

/// The same of selects that are united.
pub(super) fn refuse_long_query(query: &Query) -> Result<(), Refusal> {
    fn left<'a>(body: &&'a SetExpr) -> Option<&'a SetExpr> {
        match body {
            SetExpr::SetOperation { left, .. } => Some(left),
            _ => None,
        }
    }
    match std::iter::successors(Some(query.body.as_ref()), left).nth(CHAIN_MAX) {
        None => Ok(()),
        Some(_) => Err(Refusal::new(format!("a union of more than {CHAIN_MAX} selects is not planned"), HINT)),
    }
}

/// A long chain of `and`, or of `or`, as a tree of as many levels as its length has bits.
pub(super) fn lowered(expr: &mut Expr) {
    let Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } = expr else { return };
    let op = op.clone();
    let of_chain = |expr: &Expr| matches!(expr, Expr::BinaryOp { op: other, .. } if *other == op);
    let (mut length, mut at) = (1, &*expr);
    while let (true, Some(left)) = (of_chain(at), first(at)) {
        (length, at) = (length + 1, left);
    }
    if length <= SHORT {
        return;
    }
    let mut terms = Vec::with_capacity(length);
    let mut rest = std::mem::replace(expr, nothing());
    while of_chain(&rest) {
        let Expr::BinaryOp { left, right, .. } = rest else { unreachable!("it is of the chain") };
        terms.push(*right);
        rest = *left;
    }
    terms.push(rest);
    terms.reverse();
    *expr = tree(&mut terms.into_iter(), length, &op);
}

fn tree(terms: &mut impl Iterator<Item = Expr>, count: usize, op: &BinaryOperator) -> Expr {
    if count == 1 {
        return terms.next().expect("as many as were counted");
    }
    let left = Box::new(tree(terms, count / 2, op));
    let right = Box::new(tree(terms, count - count / 2, op));
    Expr::BinaryOp { left, op: op.clone(), right }
}

fn nothing() -> Expr {
    Expr::Identifier("".into())
}

/// Refuses what a worker's stack might not be enough for, for each row.
pub(super) fn refuse_deep_expression(expression: &Arc<dyn PhysicalExpr>) -> Result<(), Refusal> {
    fn levels(expression: &Arc<dyn PhysicalExpr>) -> usize {
        1 + expression.children().into_iter().map(levels).max().unwrap_or(0)
    }
    match levels(expression) {
        ..=RUN_MAX => Ok(()),
        deep => {
            Err(Refusal::new(format!("an expression nests {deep} levels deep, which is too deep to maintain"), HINT))
        }
    }
}

/// The same for nodes, of which workers make a dataflow.
pub(super) fn refuse_deep_node(node: &Node) -> Result<(), Refusal> {
    fn levels(node: &Node) -> usize {
        1 + node.inputs().into_iter().map(levels).max().unwrap_or(0)
    }
    match levels(node) {
        ..=RUN_MAX => Ok(()),
        deep => Err(Refusal::new(
            format!("the plan has {deep} steps one after another, which are too many to maintain"),
            HINT,
        )),
    }
}
