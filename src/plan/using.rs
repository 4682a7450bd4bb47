//! `join … using (c)`: which column an unqualified `c` is, written out.
//!
//! Of an inner or left join it is that of the left side, of a right join that of the right, of a full join the one that is
//! there. DataFusion takes that of the left in all of them, and finds it ambiguous in some places.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, JoinConstraint, JoinOperator, ObjectNamePart, OrderByKind, Query, Select, SelectItem,
    SetExpr, Statement, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

pub fn qualified(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Using);
}

struct Using;

impl VisitorMut for Using {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        each_select(&mut query.body, &mut exchanged);
        let mut merged = Merged::default();
        each_select(&mut query.body, &mut |select| merged = named(select));
        // Of a union only outputs have names.
        let order = query.order_by.iter_mut().filter_map(|order| match &mut order.kind {
            OrderByKind::Expressions(by) => Some(by),
            OrderByKind::All(_) => None,
        });
        if let SetExpr::Select(select) = query.body.as_ref() {
            for by in order.flatten().filter(|by| !is_output(&by.expr, select)) {
                let _ = VisitMut::visit(&mut by.expr, &mut merged);
            }
        }
        ControlFlow::Continue(())
    }
}

/// `a natural right join b` is `b natural left join a`, as far as nobody asks for all columns, in their order.
fn exchanged(select: &mut Select) {
    let has_all = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    if let [from] = select.from.as_mut_slice()
        && let [join] = from.joins.as_mut_slice()
        && let JoinOperator::Right(of) | JoinOperator::RightOuter(of) = &join.join_operator
        && *of == JoinConstraint::Natural
        && !has_all
    {
        join.join_operator = JoinOperator::Left(JoinConstraint::Natural);
        std::mem::swap(&mut from.relation, &mut join.relation);
    }
}

fn each_select(body: &mut SetExpr, change: &mut impl FnMut(&mut Select)) {
    match body {
        SetExpr::Select(select) => change(select),
        SetExpr::SetOperation { left, right, .. } => {
            each_select(left, change);
            each_select(right, change);
        }
        _ => {}
    }
}

/// Whether `order by` means what is selected.
fn is_output(e: &Expr, select: &Select) -> bool {
    let Expr::Identifier(by) = e else { return false };
    select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name)) | SelectItem::ExprWithAlias { alias: name, .. } => {
            same(name, by)
        }
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().is_some_and(|name| same(name, by)),
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => true,
        _ => false,
    })
}

/// Names that `using` has made one, and what each is.
#[derive(Default)]
struct Merged {
    columns: Vec<(Ident, Expr)>,
    /// How many queries are around within the expression.
    depth: usize,
}

impl Merged {
    fn of(&self, name: &Ident) -> Option<&Expr> {
        self.columns.iter().find(|(column, _)| same(column, name)).map(|(_, e)| e)
    }
}

impl VisitorMut for Merged {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Identifier(name) = e
            && let Some(column) = self.of(name)
        {
            *e = column.clone();
        }
        ControlFlow::Continue(())
    }
}

/// Writes them out in a select; those whose table cannot be told stay as they are.
fn named(select: &mut Select) -> Merged {
    let mut merged = merged(select);
    if merged.columns.is_empty() {
        return merged;
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item
            && let Some(e @ Expr::Function(_)) = merged.of(name)
        {
            *item = SelectItem::ExprWithAlias { expr: e.clone(), alias: name.clone() };
        }
    }
    let _ = VisitMut::visit(select, &mut merged);
    merged
}

fn merged(select: &mut Select) -> Merged {
    let has_all = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    let [from] = select.from.as_mut_slice() else { return Merged::default() };
    let Some(first) = table(&from.relation) else { return Merged::default() };
    let mut merged = Merged::default();
    // The only table so far, and what `using` asks once it is written out.
    let mut only = Some(first);
    let mut conditions = Vec::new();
    let (mut all_known, mut keeps_right) = (true, false);
    for join in &from.joins {
        let right = table(&join.relation);
        let side = match &join.join_operator {
            JoinOperator::Join(of) | JoinOperator::Inner(of) => (of, true, true),
            JoinOperator::Left(of) | JoinOperator::LeftOuter(of) => (of, true, false),
            JoinOperator::Right(of) | JoinOperator::RightOuter(of) => (of, false, true),
            JoinOperator::FullOuter(of) => (of, false, false),
            JoinOperator::CrossJoin(JoinConstraint::None) => {
                only = None;
                continue;
            }
            _ => return Merged::default(),
        };
        let (constraint, left_is_whole, right_is_whole) = side;
        let mut condition: Option<Expr> = None;
        match constraint {
            JoinConstraint::Natural => return Merged::default(),
            JoinConstraint::Using(names) => {
                keeps_right |= !left_is_whole;
                for name in names {
                    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return Merged::default() };
                    let column = |table: &Ident| Expr::CompoundIdentifier(vec![table.clone(), name.clone()]);
                    let left = merged.of(name).cloned().or(only.as_ref().map(column));
                    let right = right.as_ref().map(column);
                    let equal = left.clone().zip(right.clone()).map(|(left, right)| equal(left, right));
                    all_known &= equal.is_some();
                    condition = condition.into_iter().chain(equal).reduce(and);
                    let one = match (left_is_whole, right_is_whole) {
                        (true, true) => left.or(right),
                        (true, false) => left,
                        (false, true) => right,
                        (false, false) => left.zip(right).map(|(left, right)| coalesce(left, right)),
                    };
                    merged.columns.retain(|(column, _)| !same(column, name));
                    merged.columns.extend(one.map(|one| (name.clone(), one)));
                }
            }
            _ => {}
        }
        conditions.push(condition);
        only = None;
    }
    // DataFusion's columns are those of the left: so there is no `using` for it, as far as nobody asks for all columns.
    if keeps_right && (has_all || !all_known || conditions.len() != from.joins.len()) {
        return Merged::default();
    }
    if keeps_right {
        for (join, condition) in from.joins.iter_mut().zip(conditions) {
            if let Some(condition) = condition
                && let JoinOperator::Join(of)
                | JoinOperator::Inner(of)
                | JoinOperator::Left(of)
                | JoinOperator::LeftOuter(of)
                | JoinOperator::Right(of)
                | JoinOperator::RightOuter(of)
                | JoinOperator::FullOuter(of) = &mut join.join_operator
            {
                *of = JoinConstraint::On(condition);
            }
        }
    }
    merged
}

/// The name by which a table's columns are asked for.
fn table(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.clone())
        }
        TableFactor::Table { name, args: None, .. } => match name.0.last() {
            Some(ObjectNamePart::Identifier(name)) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn same(one: &Ident, other: &Ident) -> bool {
    let value = |name: &Ident| match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    };
    value(one) == value(other)
}

fn equal(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::Eq, right: Box::new(right) }
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) }
}

fn coalesce(left: Expr, right: Expr) -> Expr {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(&format!("coalesce({left}, {right})"));
    parsed.and_then(|mut parser| parser.parse_expr()).expect("it is correct")
}
