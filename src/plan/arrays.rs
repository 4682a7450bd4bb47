//! `array(select …)` → an aggregate of what is selected, in its order; an empty list where there is nothing.
//!
//! `x = any (array(select …))` is `x = any (select …)`. Items of a list that is unnested, with nothing beside it and no order asked for, stay in theirs.

use super::dialect::Postgres;
use super::firsts::meant;
use super::from::one_list;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, ObjectNamePart, OrderByExpr, OrderByKind,
    OrderByOptions, Query, Select, SelectItem, SetExpr, Statement, TableAlias, TableAliasColumnDef, TableFactor, Visit,
    VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Writes them so.
pub fn aggregated(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Aggregated);
}

struct Aggregated;

impl VisitorMut for Aggregated {
    type Break = ();

    fn pre_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = e
            && let Some(query) = selected(right)
        {
            **right = Expr::Subquery(Box::new(query.clone()));
        }
        if let Some(aggregate) = selected(e).and_then(aggregate) {
            *e = Expr::Nested(Box::new(aggregate));
        }
        ControlFlow::Continue(())
    }
}

/// What `array(select …)` selects.
fn selected(e: &Expr) -> Option<&Query> {
    let Expr::Function(function) = e else { return None };
    let FunctionArguments::Subquery(query) = &function.args else { return None };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    name.value.eq_ignore_ascii_case("array").then_some(query.as_ref())
}

fn aggregate(query: &Query) -> Option<Expr> {
    let template = "(select coalesce(array_agg(\"(item)\" order by 1), array_pop_back(make_array(min(\"(item)\")))) \
                    from (select 1) as \"(rows)\"(\"(item)\"))";
    let mut e = parsed(template);
    let Expr::Subquery(outer) = &mut e else { return None };
    let SetExpr::Select(select) = outer.body.as_mut() else { return None };
    let (rows, order) = placed(query)?;
    let order = order.into_iter().enumerate().map(|(at, by)| OrderByExpr { expr: Expr::Identifier(place(at)), ..by });
    let _ = VisitMut::visit(&mut select.projection, &mut Ordered { order: order.collect() });
    match rows.body.as_ref() {
        // Without a table of its own, so that DataFusion finds what is asked of the row outside.
        SetExpr::Select(of) if is_plain(&rows, of) => {
            select.from = of.from.clone();
            select.selection = of.selection.clone();
            let _ = VisitMut::visit(&mut select.projection, &mut Named { items: &of.projection });
        }
        body => {
            let TableFactor::Derived { subquery, alias: Some(alias), .. } = &mut select.from[0].relation else {
                return None;
            };
            if matches!(body, SetExpr::Select(_)) {
                alias.columns.clear();
            }
            **subquery = rows;
        }
    }
    Some(e)
}

/// Whether its items are columns, or computed of them, of all rows that there are.
fn is_plain(query: &Query, select: &Select) -> bool {
    let whole = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    whole && select.distinct.is_none() && !grouped && Visit::visit(&select.projection, &mut Computes).is_continue()
}

struct Computes;

impl Visitor for Computes {
    type Break = ();

    fn pre_visit_expr(&mut self, e: &Expr) -> ControlFlow<()> {
        match e {
            Expr::Function(_) | Expr::Subquery(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Puts items in the place of their names.
struct Named<'a> {
    items: &'a [SelectItem],
}

impl VisitorMut for Named<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        let item = self.items.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if *e == Expr::Identifier(alias.clone()) => Some(expr),
            _ => None,
        });
        if let Some(item) = item {
            *e = item.clone();
        }
        ControlFlow::Continue(())
    }
}

fn place(at: usize) -> Ident {
    Ident::with_quote('"', format!("(place {at})"))
}

/// Gives `array_agg` its order.
struct Ordered {
    order: Vec<OrderByExpr>,
}

impl VisitorMut for Ordered {
    type Break = ();

    fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = e
            && let FunctionArguments::List(list) = &mut function.args
            && let Some(FunctionArgumentClause::OrderBy(order)) = list.clauses.first_mut()
        {
            *order = std::mem::take(&mut self.order);
            if order.is_empty() {
                list.clauses.clear();
            }
        }
        ControlFlow::Continue(())
    }
}

/// The query with what it is ordered by behind the item.
fn placed(query: &Query) -> Option<(Query, Vec<OrderByExpr>)> {
    let mut query = query.clone();
    let SetExpr::Select(select) = query.body.as_mut() else {
        return query.order_by.is_none().then_some((query, Vec::new()));
    };
    let order = match query.order_by.as_ref().map(|order| &order.kind) {
        None if select.distinct.is_none() => of_list(select),
        None => Vec::new(),
        Some(OrderByKind::Expressions(order)) => order.clone(),
        Some(OrderByKind::All(_)) => return None,
    };
    let means = |by: OrderByExpr| Some(OrderByExpr { expr: meant(&by.expr, select)?, ..by });
    let order = order.into_iter().map(means).collect::<Option<Vec<_>>>()?;
    let places = order.iter().enumerate();
    let places = places.map(|(at, by)| SelectItem::ExprWithAlias { expr: by.expr.clone(), alias: place(at) });
    let [item] = select.projection.as_slice() else { return None };
    let item = match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
        _ => return None,
    };
    let alias = Ident::with_quote('"', "(item)");
    select.projection = [SelectItem::ExprWithAlias { expr: item, alias }].into_iter().chain(places).collect();
    let limited = query.limit_clause.is_some() || query.fetch.is_some();
    if let Some(OrderByKind::Expressions(by)) = query.order_by.as_mut().filter(|_| limited).map(|order| &mut order.kind)
    {
        by.iter_mut().enumerate().for_each(|(at, by)| by.expr = Expr::Identifier(place(at)));
    } else {
        query.order_by = None;
    }
    Some((query, order))
}

/// The order of a list, of which the items are selected: it gets numbers.
fn of_list(select: &mut Select) -> Vec<OrderByExpr> {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if select.from.is_empty() {
        put_into_from(select);
    }
    let [from] = select.from.as_mut_slice() else { return Vec::new() };
    let (alias, numbered, list) = match &mut from.relation {
        TableFactor::UNNEST { alias, with_ordinality, array_exprs, .. } if array_exprs.len() == 1 => {
            (alias, with_ordinality, Some(("unnest".to_string(), None)))
        }
        TableFactor::Table { name, args: Some(arguments), alias, with_ordinality, .. } => {
            (alias, with_ordinality, one_list(name, &arguments.args))
        }
        _ => return Vec::new(),
    };
    let Some((name, column)) = list.filter(|_| !grouped && from.joins.is_empty() && !*numbered) else {
        return Vec::new();
    };
    let unnamed = || TableAlias { explicit: true, name: Ident::new(name), columns: Vec::new() };
    let alias = alias.get_or_insert_with(unnamed);
    if alias.columns.is_empty() {
        // The row of the list, by its alias, is its item.
        let is_row = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => {
                *e == Expr::Identifier(alias.name.clone())
            }
            _ => false,
        };
        let column = column.filter(|_| !select.projection.iter().any(is_row));
        let name = column.map_or_else(|| alias.name.clone(), Ident::new);
        alias.columns.push(TableAliasColumnDef { name, data_type: None });
    }
    if alias.columns.len() != 1 {
        return Vec::new();
    }
    *numbered = true;
    let number = Ident::with_quote('"', "(number)");
    alias.columns.push(TableAliasColumnDef { name: number.clone(), data_type: None });
    let options = OrderByOptions { asc: None, nulls_first: None };
    vec![OrderByExpr { expr: Expr::Identifier(number), options, with_fill: None }]
}

/// `select unnest(x)` is `select item from unnest(x) as list(item)`.
fn put_into_from(select: &mut Select) {
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_mut_slice()
    else {
        return;
    };
    let Expr::Function(function) = &*item else { return };
    let FunctionArguments::List(list) = &function.args else { return };
    if one_list(&function.name, &list.args).is_some()
        && let Expr::Subquery(query) = parsed(&format!("(select 1 from {function} as \"(list)\"(\"(of list)\"))"))
        && let SetExpr::Select(of) = *query.body
    {
        *item = Expr::Identifier(Ident::with_quote('"', "(of list)"));
        select.from = of.from;
    }
}

fn parsed(sql: &str) -> Expr {
    let parsed = Parser::new(&Postgres).try_with_sql(sql).and_then(|mut parser| parser.parse_expr());
    parsed.expect("it is correct")
}
