//! `distinct on`: the row that is numbered 1 among those with the same values.
//!
//! DataFusion takes only columns for these values. What is more, an expression, a name or a place in what is selected, or
//! what stands beside groups, windows and subqueries, is written with a `row_number` here.

use super::dialect::Postgres;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    Value, Visit, VisitMut, Visitor, VisitorMut, WindowType,
};
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Writes them so.
pub fn numbered(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Numbered);
}

struct Numbered;

impl VisitorMut for Numbered {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_mut()
            && let Some(Distinct::On(on)) = &select.distinct
            && query.limit_clause.is_none()
            && query.fetch.is_none()
            && (on.iter().any(|e| !is_column(e, select)) || computes(select))
        {
            let order = match &query.order_by {
                None => Some(Vec::new()),
                Some(order) => match &order.kind {
                    OrderByKind::Expressions(order) => Some(order.clone()),
                    OrderByKind::All(_) => None,
                },
            };
            let outer = order.and_then(|order| first(select, on, order));
            if let Some(outer) = outer {
                *query.body = SetExpr::Select(Box::new(outer));
                query.order_by = None;
            }
        }
        ControlFlow::Continue(())
    }
}

/// `select distinct on (a) … order by b` → `select … from (select …, row_number() over (partition by a order by b)) where it
/// is 1`, if what is meant by places and names can be told.
fn first(select: &Select, on: &[Expr], order: Vec<OrderByExpr>) -> Option<Select> {
    let template = "select * exclude (\"(place)\") from (select row_number() over (partition by 1 order by 1) as \
                    \"(place)\") as \"(rows)\" where \"(place)\" = 1";
    let parsed = Parser::new(&Postgres).try_with_sql(template).and_then(|mut parser| parser.parse_query());
    let SetExpr::Select(mut outer) = *parsed.expect("it is correct").body else { return None };
    let TableFactor::Derived { subquery, .. } = &mut outer.from[0].relation else { return None };
    let SetExpr::Select(rows) = subquery.body.as_mut() else { return None };
    let mut place = rows.projection.pop()?;
    if let SelectItem::ExprWithAlias { expr: Expr::Function(function), .. } = &mut place
        && let Some(WindowType::WindowSpec(over)) = &mut function.over
    {
        over.partition_by = on.iter().map(|e| meant(e, select)).collect::<Option<_>>()?;
        let order = order.into_iter().map(|by| Some(OrderByExpr { expr: meant(&by.expr, select)?, ..by }));
        over.order_by = order.collect::<Option<_>>()?;
    }
    **rows = Select { distinct: None, ..select.clone() };
    rows.projection.push(place);
    Some(*outer)
}

/// Whether it is a column, and not a name of what is selected.
fn is_column(e: &Expr, select: &Select) -> bool {
    match e {
        Expr::CompoundIdentifier(_) => true,
        Expr::Identifier(_) => meant(e, select).is_some_and(|meant| meant == *e),
        _ => false,
    }
}

/// What an expression of `order by` says, or what is selected by this name or in this place.
pub fn meant(e: &Expr, select: &Select) -> Option<Expr> {
    match e {
        Expr::Nested(e) => meant(e, select),
        Expr::Identifier(name) => {
            let named = select.projection.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } if alias.value == name.value => Some(expr),
                _ => None,
            });
            Some(named.unwrap_or(e).clone())
        }
        Expr::Value(value) => match &value.value {
            Value::Number(place, _) => {
                let place = place.parse::<usize>().ok()?.checked_sub(1)?;
                match select.projection.get(place)? {
                    _ if select.projection.iter().any(is_wildcard) => None,
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
                    _ => None,
                }
            }
            _ => Some(e.clone()),
        },
        e => Some(e.clone()),
    }
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// Whether it groups, or selects windows or subqueries.
fn computes(select: &Select) -> bool {
    let groups = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    groups || Visit::visit(&select.projection, &mut Computes).is_break()
}

struct Computes;

impl Visitor for Computes {
    type Break = ();

    fn pre_visit_expr(&mut self, e: &Expr) -> ControlFlow<()> {
        match e {
            Expr::Function(function) if function.over.is_some() => ControlFlow::Break(()),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}
