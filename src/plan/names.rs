//! Names of what is selected: DataFusion gives equal expressions one name, casts the name of what they cast, and takes no
//! name twice.
//!
//! Where nobody can ask for a name, what stands there twice gets one of its own. Calls that differ in their casts alone,
//! `sum(a)` and `sum(a::bigint)`, differ in a `coalesce` of one value too, which the optimiser takes away.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Select, SelectItem, SetExpr, Statement,
    VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Gives them such names. `of_rows` says which functions are aggregates or windows.
pub fn distinct(statement: &mut Statement, of_rows: &dyn Fn(&str) -> bool) {
    let _ = VisitMut::visit(statement, &mut Distinct { of_rows });
}

struct Distinct<'a> {
    of_rows: &'a dyn Fn(&str) -> bool,
}

impl VisitorMut for Distinct<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        if let Expr::Exists { subquery, .. } = e {
            name_computed(&mut subquery.body, false);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let mut calls = Calls { of_rows: self.of_rows, seen: Vec::new(), depth: 0 };
        each_select(&mut query.body, &mut |select, is_first| {
            if !is_first {
                name_select(select, false);
            }
            calls.seen.clear();
            let _ = VisitMut::visit(select, &mut calls);
        });
        if matches!(query.body.as_ref(), SetExpr::Select(_)) {
            let _ = VisitMut::visit(&mut query.order_by, &mut calls);
        }
        ControlFlow::Continue(())
    }
}

fn each_select(body: &mut SetExpr, change: &mut impl FnMut(&mut Select, bool)) {
    fn each(body: &mut SetExpr, is_first: bool, change: &mut impl FnMut(&mut Select, bool)) {
        match body {
            SetExpr::Select(select) => change(select, is_first),
            SetExpr::SetOperation { left, right, .. } => {
                each(left, is_first, change);
                each(right, false, change);
            }
            SetExpr::Query(query) if !is_first => each(&mut query.body, false, change),
            _ => {}
        }
    }
    each(body, true, change);
}

/// What is computed gets a name, where an alias around gives another: DataFusion calls a cast of `t.a` by that name, and
/// to rename it looks for the column. If not all are `renamed`, what stands there twice gets one: nobody can ask for it.
pub fn name_computed(body: &mut SetExpr, renamed: bool) {
    match body {
        SetExpr::Query(query) => name_computed(&mut query.body, renamed),
        // All have the names of the first.
        SetExpr::SetOperation { left, .. } => name_computed(left, renamed),
        SetExpr::Select(select) => name_select(select, renamed),
        _ => {}
    }
}

fn name_select(select: &mut Select, renamed: bool) {
    let mut seen = HashSet::new();
    for (place, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item {
            let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            if !seen.insert(without_casts(expr)) || renamed && !is_column {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::new(format!("unnamed_{place}")) };
            }
        }
    }
}

/// What DataFusion makes a name of.
fn without_casts(e: &Expr) -> String {
    struct WithoutCasts;
    impl VisitorMut for WithoutCasts {
        type Break = ();

        fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
            if let Expr::Cast { expr, .. } | Expr::Nested(expr) = e {
                *e = expr.as_ref().clone();
            }
            ControlFlow::Continue(())
        }
    }
    let mut e = e.clone();
    let _ = VisitMut::visit(&mut e, &mut WithoutCasts);
    e.to_string().to_lowercase()
}

/// The calls of a select: each with its name, and as it is written.
struct Calls<'a> {
    of_rows: &'a dyn Fn(&str) -> bool,
    seen: Vec<(String, Vec<String>)>,
    /// How many queries are around within the select.
    depth: usize,
}

impl VisitorMut for Calls<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        let is_call =
            matches!(e, Expr::Function(function) if (self.of_rows)(&function.name.to_string().to_lowercase()));
        if self.depth > 0 || !is_call {
            return ControlFlow::Continue(());
        }
        let (name, written) = (without_casts(e), e.to_string());
        let at = place(&mut self.seen, |(other, _)| *other == name, || (name.clone(), Vec::new()));
        let times = place(&mut self.seen[at].1, |other| *other == written, || written.clone());
        if let Expr::Function(function) = e
            && let FunctionArguments::List(list) = &mut function.args
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
            && !matches!(first, Expr::Value(_))
        {
            (0..times).for_each(|_| *first = coalesce(first));
        }
        ControlFlow::Continue(())
    }
}

/// Where such a one is, put there if there is none.
fn place<T>(all: &mut Vec<T>, is: impl Fn(&T) -> bool, new: impl Fn() -> T) -> usize {
    all.iter().position(is).unwrap_or_else(|| {
        all.push(new());
        all.len() - 1
    })
}

fn coalesce(e: &Expr) -> Expr {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(&format!("coalesce({e})"));
    parsed.and_then(|mut parser| parser.parse_expr()).expect("it is correct")
}
