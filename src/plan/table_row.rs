//! A table's name as a value: its row, as in `to_json(t)`.
//!
//! It is a struct of the columns. What a function in `from` gives has only one often, and so the alias is that:
//! `jsonb_array_elements(x) as item` has the column `value`, and `item` is it too. A column of that name comes first:
//! so DataFusion is asked, and only what it does not find is written out.

use super::from::call;
use datafusion::common::{DataFusionError, Result as DfResult, SchemaError};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    self, Expr, GroupByExpr, Ident, ObjectNamePart, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor,
    Value, Visit, VisitMut, Visitor, VisitorMut,
};
use std::ops::ControlFlow;

/// The plan of a statement in which names of tables may be values.
pub async fn bound(state: &SessionState, mut statement: Statement) -> DfResult<LogicalPlan> {
    let mut written: Vec<String> = Vec::new();
    loop {
        let error = match state.statement_to_plan(statement.clone()).await {
            Ok(plan) => return Ok(plan),
            Err(error) => error,
        };
        let Statement::Statement(sql) = &mut statement else { return Err(error) };
        let Some((name, columns)) = unknown(&error).filter(|(name, _)| !written.contains(name)) else {
            return Err(error);
        };
        let mut named = Named { name: &name, functions: 0, tables: 0 };
        let _ = Visit::visit(sql.as_ref(), &mut named);
        // Of several tables of one name nobody has said of which these are the columns.
        if named.tables > 1 || named.tables + named.functions == 0 {
            return Err(error);
        }
        let _ = VisitMut::visit(sql.as_mut(), &mut WriteOut { name: &name, columns: &columns });
        written.push(name);
    }
}

/// What has the name of no column, and the columns of a table of that name.
fn unknown(error: &DataFusionError) -> Option<(String, Vec<String>)> {
    let DataFusionError::SchemaError(error, _) = error.find_root() else { return None };
    let SchemaError::FieldNotFound { field, valid_fields } = error.as_ref() else { return None };
    let own = valid_fields.iter().filter(|column| column.relation.as_ref().is_some_and(|of| of.table() == field.name));
    let columns = own.map(|column| column.name.clone()).collect();
    field.relation.is_none().then(|| (field.name.clone(), columns))
}

/// How often something in `from` has a name.
struct Named<'a> {
    name: &'a str,
    functions: usize,
    tables: usize,
}

impl Visitor for Named<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if is_called(factor, self.name) {
            match factor {
                TableFactor::UNNEST { .. } => self.functions += 1,
                _ => self.tables += 1,
            }
        }
        ControlFlow::Continue(())
    }
}

fn is_called(factor: &TableFactor, name: &str) -> bool {
    let own = match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. } => Some(&alias.name),
        TableFactor::Table { name, args: None, .. } => match name.0.last() {
            Some(ObjectNamePart::Identifier(name)) => Some(name),
            _ => None,
        },
        _ => None,
    };
    own.is_some_and(|own| is(own, name))
}

fn is(ident: &Ident, name: &str) -> bool {
    match ident.quote_style {
        Some(_) => ident.value == name,
        None => ident.value.to_lowercase() == name,
    }
}

/// Writes the row out in each select that reads such a table.
struct WriteOut<'a> {
    name: &'a str,
    columns: &'a [String],
}

impl VisitorMut for WriteOut<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let order = query.order_by.iter_mut().filter_map(|order| match &mut order.kind {
            OrderByKind::Expressions(by) => Some(by),
            OrderByKind::All(_) => None,
        });
        let order = order.flatten().map(|by| &mut by.expr);
        if let SetExpr::Select(select) = query.body.as_mut() {
            self.select(select, order.collect());
        } else {
            self.each(&mut query.body);
        }
        ControlFlow::Continue(())
    }
}

impl WriteOut<'_> {
    fn each(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.select(select, Vec::new()),
            SetExpr::SetOperation { left, right, .. } => {
                self.each(left);
                self.each(right);
            }
            _ => {}
        }
    }

    fn select(&self, select: &mut Select, order: Vec<&mut Expr>) {
        let factors = select
            .from
            .iter()
            .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
        let Some(row) = factors.filter(|factor| is_called(factor, self.name)).map(|of| self.row(of)).next() else {
            return;
        };
        let is_it = |e: &Expr| matches!(e, Expr::Identifier(ident) if is(ident, self.name));
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(e) = item
                && is_it(e)
            {
                *item = SelectItem::ExprWithAlias { expr: row.clone(), alias: quoted(self.name) };
            }
        }
        // There it is what is selected under that name.
        let selected = select.projection.iter().position(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => is(alias, self.name),
            _ => false,
        });
        let group = match &mut select.group_by {
            GroupByExpr::Expressions(group, _) => group.iter_mut().collect(),
            GroupByExpr::All(_) => Vec::new(),
        };
        if let Some(place) = selected {
            let place = Expr::value(Value::Number((place + 1).to_string(), false));
            order.into_iter().chain(group).filter(|e| is_it(e)).for_each(|e| *e = place.clone());
        } else {
            let mut replace = Replace { name: self.name, row: &row, apart: 0 };
            for e in order {
                let _ = VisitMut::visit(e, &mut replace);
            }
        }
        let _ = VisitMut::visit(select, &mut Replace { name: self.name, row: &row, apart: 0 });
    }

    fn row(&self, factor: &TableFactor) -> Expr {
        let of = |column: &Ident| Expr::CompoundIdentifier(vec![quoted(self.name), column.clone()]);
        let columns: Vec<Ident> = match factor {
            TableFactor::UNNEST { alias: Some(alias), .. } => {
                alias.columns.iter().map(|column| plain(&column.name)).collect()
            }
            _ => self.columns.iter().map(|column| quoted(column)).collect(),
        };
        match (factor, columns.as_slice()) {
            (TableFactor::UNNEST { .. }, [column]) => of(column),
            (_, columns) => {
                let name = |column: &Ident| Expr::value(Value::SingleQuotedString(column.value.clone()));
                call("named_struct", columns.iter().flat_map(|column| [name(column), of(column)]).collect())
            }
        }
    }
}

/// In quotes, with the letters that it means.
fn plain(ident: &Ident) -> Ident {
    if ident.quote_style.is_some() { ident.clone() } else { quoted(&ident.value.to_lowercase()) }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// Puts the row in the place of the name.
struct Replace<'a> {
    name: &'a str,
    row: &'a Expr,
    /// How many selects are around that do not see the table.
    apart: usize,
}

impl VisitorMut for Replace<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.apart += usize::from(matches!(factor, TableFactor::Derived { lateral: false, .. }));
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.apart -= usize::from(matches!(factor, TableFactor::Derived { lateral: false, .. }));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, e: &mut ast::Expr) -> ControlFlow<()> {
        if self.apart == 0
            && let Expr::Identifier(ident) = &*e
            && is(ident, self.name)
        {
            *e = self.row.clone();
        }
        ControlFlow::Continue(())
    }
}
