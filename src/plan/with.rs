//! SQL as it is written: what DataFusion passes over without a word in `with recursive`, and names that it loses.
//!
//! It binds a recursion without its list of columns, without what follows the selects (`order by`, `limit`), and
//! without a `with` before them. The names are written into the first select here; the rest is refused.

use super::arrays::aggregated;
use super::copies::copies;
use super::deep::{lowered, refuse_long, refuse_long_query, refuse_nested};
use super::dialect::{Postgres, tokens};
use super::firsts::numbered;
use super::from::unnested;
use super::functions;
use super::lateral::plain;
use super::names::{distinct, name_computed};
use super::refusal::{MORE_THAN_ONE, NOTHING, Refusal};
use super::sets::listed;
use super::several::apart;
use super::single::single_values;
use super::sliding::counted;
use super::table_row::bound;
use super::tuples::singly;
use super::using::qualified;
use super::values::selected;
use datafusion::common::{DataFusionError, Result as DfResult, plan_err};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    self, Cte, LimitClause, Query, SetExpr, SetOperator, TableAlias, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use std::ops::ControlFlow;

/// The plan of a model, as it is bound, with subqueries that stand for one value made single and apart, copies and values counted, and
/// nothing lateral where that can be.
pub async fn bind(state: &SessionState, sql: &str) -> DfResult<LogicalPlan> {
    let mut statement = parse(state, sql)?;
    if let Statement::Statement(statement) = &mut statement {
        selected(statement.as_mut());
        aggregated(statement.as_mut());
        singly(statement.as_mut());
        qualified(statement.as_mut());
        listed(statement.as_mut());
        numbered(statement.as_mut());
        let of_rows =
            |name: &str| state.aggregate_functions().contains_key(name) || state.window_functions().contains_key(name);
        distinct(statement.as_mut(), &of_rows);
        let _ = VisitMut::visit(statement.as_mut(), &mut NameColumns);
        unnested(statement.as_mut());
        functions::rewrite(statement);
    }
    plain(counted(copies(apart(single_values(bound(state, statement).await?)?)?)?)?)
}

fn parse(state: &SessionState, sql: &str) -> DfResult<Statement> {
    let limit = state.config().options().sql_parser.recursion_limit;
    let tokens = tokens(sql).map_err(|e| DataFusionError::from(ParserError::from(e)))?;
    let parser = DFParserBuilder::new(tokens).with_dialect(&Postgres).with_recursion_limit(limit).build();
    let mut statements = parser?.parse_statements()?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (Some(_), false) => plan_err!("{MORE_THAN_ONE}"),
        (None, _) => plan_err!("{NOTHING}"),
    }
}

/// Only what is a `union` is a recursion; else all parts are bound.
fn recursions(query: &Query) -> impl Iterator<Item = &Cte> {
    let with = query.with.iter().filter(|with| with.recursive);
    let union = |cte: &&Cte| matches!(*cte.query.body, SetExpr::SetOperation { op: SetOperator::Union, .. });
    with.flat_map(|with| &with.cte_tables).filter(union)
}

/// `r(a, b) as (x union y)` becomes `r as (select * from (x) as r(a, b) union y)`; whatever an alias renames has a name; and
/// chains are lowered.
struct NameColumns;

impl VisitorMut for NameColumns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        lowered(expr);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { subquery, alias, .. } = factor {
            let renamed = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
            name_computed(&mut subquery.body, renamed);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        limit_by_fetch(query);
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            name_computed(&mut cte.query.body, !cte.alias.columns.is_empty());
        }
        let with = query.with.iter_mut().filter(|with| with.recursive);
        for cte in with.flat_map(|with| &mut with.cte_tables).filter(|cte| !cte.alias.columns.is_empty()) {
            if let SetExpr::SetOperation { op: SetOperator::Union, left, .. } = cte.query.body.as_mut() {
                **left = named(left.as_ref().clone(), &cte.alias);
                cte.alias.columns.clear();
            }
        }
        ControlFlow::Continue(())
    }
}

/// `fetch first 3 rows only` is `limit 3`.
fn limit_by_fetch(query: &mut Query) {
    let only = |fetch: &mut ast::Fetch| !fetch.with_ties && !fetch.percent;
    let limited = matches!(
        query.limit_clause,
        Some(LimitClause::LimitOffset { limit: Some(_), .. } | LimitClause::OffsetCommaLimit { .. })
    );
    let Some(fetch) = query.fetch.take_if(|fetch| only(fetch) && !limited) else { return };
    let one = ast::Expr::value(ast::Value::Number("1".into(), false));
    let rows = Some(fetch.quantity.unwrap_or(one));
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) => *limit = rows,
        clause => *clause = Some(LimitClause::LimitOffset { limit: rows, offset: None, limit_by: Vec::new() }),
    }
}

fn named(select: SetExpr, names: &TableAlias) -> SetExpr {
    let statement = Parser::parse_sql(&PostgreSqlDialect {}, "select * from (select 1) as r");
    let statement = statement.expect("it is correct").pop().expect("it is one");
    let ast::Statement::Query(query) = statement else { unreachable!("it is a query") };
    let mut outer = *query.body;
    if let SetExpr::Select(outer) = &mut outer
        && let TableFactor::Derived { subquery, alias, .. } = &mut outer.from[0].relation
    {
        *subquery.body = select;
        *alias = Some(names.clone());
    }
    outer
}

/// Refuses what would be passed over, what is too long, and what DataFusion panics over.
pub fn refuse_passed_over(state: &SessionState, sql: &str) -> Result<(), Refusal> {
    refuse_nested(sql)?;
    let statement = parse(state, sql).map_err(|e| Refusal::from_datafusion(&e, sql))?;
    let Statement::Statement(statement) = &statement else { return Ok(()) };
    match Visit::visit(statement.as_ref(), &mut PassedOver { sql }) {
        ControlFlow::Break(refusal) => Err(refusal),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct PassedOver<'a> {
    sql: &'a str,
}

fn gives_nothing(query: &Query) -> bool {
    matches!(query.body.as_ref(), SetExpr::Select(select) if select.projection.is_empty())
}

/// Whether a collation compares bytes, as all text is compared here.
fn is_by_bytes(collation: &ast::ObjectName) -> bool {
    let name = collation.to_string().to_lowercase();
    ["c", "posix", "ucs_basic", "default"].contains(&name.rsplit('.').next().unwrap_or_default().trim_matches('"'))
}

impl Visitor for PassedOver<'_> {
    type Break = Refusal;

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Refusal> {
        if let Err(refusal) = refuse_long(expr) {
            return ControlFlow::Break(refusal);
        }
        match expr {
            ast::Expr::TypedString(typed) if typed.value.clone().into_string().is_none() => {
                let reason = format!("`{typed}` is no literal: a text in quotes follows the type");
                let refusal = Refusal::new(reason, "put the value in quotes, or use `cast`");
                let words = [typed.data_type.to_string(), typed.value.to_string()];
                ControlFlow::Break(refusal.at_words(self.sql, &words.each_ref().map(String::as_str)))
            }
            ast::Expr::Collate { collation, .. } if !is_by_bytes(collation) => {
                let reason = format!("text is not compared as `collate {collation}` would");
                let refusal = Refusal::new(reason, "leave `collate` out, or write `collate \"C\"`, which is how it is");
                ControlFlow::Break(refusal.at_words(self.sql, &["collate"]))
            }
            ast::Expr::InSubquery { subquery, .. } | ast::Expr::Subquery(subquery) if gives_nothing(subquery) => {
                let refusal = Refusal::new("a select within an expression gives no column", "name one behind `select`");
                ControlFlow::Break(refusal.at_words(self.sql, &["select", "from"]))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        if let Err(refusal) = refuse_long_query(query) {
            return ControlFlow::Break(refusal);
        }
        for cte in recursions(query) {
            let (query, name) = (&cte.query, &cte.alias.name.value);
            let after = "write it in a select that reads the recursion";
            let (word, hint) = match () {
                () if query.with.is_some() => ("with", "name it before the recursion, in the same `with`"),
                () if query.order_by.is_some() => ("order by", after),
                () if query.limit_clause.is_some() => ("limit", after),
                () if query.fetch.is_some() => ("fetch", after),
                () => continue,
            };
            let reason = format!("`{word}` of all that `{name}` gives, within `with recursive`, is not maintained");
            let words: Vec<&str> = word.split(' ').collect();
            let refusal = Refusal::new(reason, hint);
            let refusal = match word {
                "with" => refusal.at_words(self.sql, &["(", "with"]),
                _ => refusal.at_words(self.sql, &words).at_words(self.sql, &["offset"]),
            };
            return ControlFlow::Break(refusal);
        }
        ControlFlow::Continue(())
    }
}
