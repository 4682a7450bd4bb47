//! `values` whose rows read columns outside, the usual unpivot, or that `in` asks → selects without a table, united.
//!
//! `lateral (values ('a', t.a), ('b', t.b)) as v(name, x)` is `lateral (select 'a' as column1, t.a as column2 union all
//! select 'b', t.b) as v(name, x)`: to DataFusion `values` are literals. And `table t` is `select * from t`.

use super::dialect::Postgres;
use datafusion::sql::sqlparser::ast::{
    Expr, Query, SelectItem, SetExpr, SetOperator, SetQuantifier, Statement, Values, Visit, VisitMut, Visitor,
    VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Writes them so.
pub fn selected(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Selected);
}

struct Selected;

impl VisitorMut for Selected {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        each_values(&mut query.body, &|values| Visit::visit(values, &mut Reads).is_break());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        if let Expr::InSubquery { subquery, .. } = e {
            each_values(&mut subquery.body, &|_| true);
        }
        ControlFlow::Continue(())
    }
}

fn each_values(body: &mut SetExpr, such: &impl Fn(&Values) -> bool) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            each_values(left, such);
            each_values(right, such);
        }
        SetExpr::Table(table) => {
            let name = [&table.schema_name, &table.table_name].into_iter().flatten().cloned().collect::<Vec<_>>();
            let sql = format!("select * from {}", name.join("."));
            if let Ok(query) = Parser::new(&Postgres).try_with_sql(&sql).and_then(|mut parser| parser.parse_query()) {
                *body = *query.body;
            }
        }
        SetExpr::Values(values) if such(values) => {
            let selects = std::mem::take(&mut values.rows).into_iter().map(select);
            let union = |left, right| SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All,
                left: Box::new(left),
                right: Box::new(right),
            };
            *body = selects.reduce(union).expect("there is a row");
        }
        _ => {}
    }
}

/// Finds a column.
struct Reads;

impl Visitor for Reads {
    type Break = ();

    fn pre_visit_expr(&mut self, e: &Expr) -> ControlFlow<()> {
        match e {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// The columns have the names that Postgres gives them.
fn select(row: Vec<Expr>) -> SetExpr {
    let names: Vec<String> = (1..=row.len()).map(|place| format!("null as column{place}")).collect();
    let parsed = Parser::new(&Postgres).try_with_sql(&format!("select {}", names.join(", ")));
    let mut query = parsed.and_then(|mut parser| parser.parse_query()).expect("it is correct");
    if let SetExpr::Select(select) = query.body.as_mut() {
        for (item, value) in select.projection.iter_mut().zip(row) {
            if let SelectItem::ExprWithAlias { expr, .. } = item {
                *expr = value;
            }
        }
    }
    *query.body
}
