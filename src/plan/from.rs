//! Functions that give many rows, as Postgres has them: in `from` and in what is selected → `unnest` of a list.
//!
//! `generate_series(1, 3)`, wherever it may stand, is `unnest(generate_series(1, 3))`: to DataFusion it is a list. So with
//! what splits a text. In
//! `from` an alias names the column too, members of JSON are two lists, and `with ordinality` is one more, of numbers. And
//! `(s).a` is the field of a struct; and `array[…]` may read columns outside, which DataFusion does not see in it.

use super::functions::filled;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Statement, Subscript, TableAlias, TableAliasColumnDef, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Writes them so.
pub fn unnested(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Unnested { within_lists: 0 });
}

struct Unnested {
    /// How many functions are around that take lists.
    within_lists: usize,
}

impl VisitorMut for Unnested {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.within_lists += usize::from(matches!(factor, TableFactor::UNNEST { .. }));
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.within_lists -= usize::from(matches!(factor, TableFactor::UNNEST { .. }));
        if let Some(rows) = unnest_of(factor).or_else(|| typed_rows(factor)) {
            *factor = rows;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        self.within_lists += usize::from(takes_lists(e));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        self.within_lists -= usize::from(takes_lists(e));
        if let Some(list) = part_of_rows(e) {
            *e = call("unnest", vec![list]);
        }
        if let Expr::CompoundFieldAccess { root, access_chain } = e {
            // What follows a name may be a part of it.
            let named = matches!(root.as_ref(), Expr::Identifier(_));
            let of_name = |access: &&mut AccessExpr| named && matches!(access, AccessExpr::Dot(_));
            access_chain.iter_mut().skip_while(of_name).for_each(|access| {
                name_field(access);
                from_one(access);
            });
        }
        if let Expr::Array(array) = e {
            *e = call("make_array", std::mem::take(&mut array.elem));
        }
        if self.within_lists == 0
            && let Expr::Function(function) = &*e
            && let Some(name) = called(e).filter(|name| !["unnest", "range"].contains(&name.as_str()))
            && let FunctionArguments::List(list) = &function.args
            && let Some(Rows { lists, .. }) = rows(&name, &list.args)
            && lists.len() == 1
        {
            *e = call("unnest", lists);
        }
        ControlFlow::Continue(())
    }
}

/// `(s).a` as DataFusion reads it.
fn name_field(access: &mut AccessExpr) {
    if let AccessExpr::Dot(Expr::Identifier(name)) = access {
        let name = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
        *access = AccessExpr::Dot(Expr::value(Value::SingleQuotedString(name)));
    }
}

/// Items are counted from the first, 1: of the others DataFusion counts from the last.
fn from_one(access: &mut AccessExpr) {
    let zero = || Expr::value(Value::Number("0".into(), false));
    if let AccessExpr::Subscript(Subscript::Index { index }) = access
        && !matches!(index, Expr::Value(_))
    {
        *index = call("nullif", vec![call("greatest", vec![index.clone(), zero()]), zero()]);
    }
    if let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride: None }) = access {
        let bound = |bound: &Option<Expr>, least: &str| match bound {
            Some(Expr::Value(_)) => None,
            Some(bound) => {
                Some(filled(&format!("case when $1 < {least} then {least} else $1 end"), std::slice::from_ref(bound)))
            }
            None => None,
        };
        *lower_bound = bound(lower_bound, "1").or(lower_bound.take()).or(Some(filled("1", &[])));
        *upper_bound = bound(upper_bound, "0").or(upper_bound.take()).or(Some(filled("2147483647", &[])));
    }
}

fn takes_lists(e: &Expr) -> bool {
    called(e).is_some_and(|name| {
        matches!(name.as_str(), "unnest" | "cardinality") || name.starts_with("array_") || name.starts_with("list_")
    })
}

/// The name of the function that is called.
fn called(e: &Expr) -> Option<String> {
    if let Expr::Function(function) = e { simple(&function.name) } else { None }
}

fn simple(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(name.value.to_lowercase()),
        _ => None,
    }
}

pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(&format!("{name}(1)"));
    let mut e = parser.and_then(|mut parser| parser.parse_expr()).expect("it is correct");
    if let Expr::Function(function) = &mut e
        && let FunctionArguments::List(list) = &mut function.args
    {
        list.args = arguments.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    }
    e
}

/// The function as an `unnest` whose columns have names.
fn unnest_of(factor: &TableFactor) -> Option<TableFactor> {
    let (name, Rows { mut lists, names }, alias, ordinality) = match factor {
        TableFactor::UNNEST { array_exprs, alias, with_offset: false, with_ordinality, .. } => {
            ("unnest".to_string(), Rows::of(array_exprs.clone()), alias, *with_ordinality)
        }
        TableFactor::Table { name, args: Some(arguments), alias, with_ordinality, .. } => {
            let name = simple(name)?;
            let rows = rows(&name, &arguments.args)?;
            (name, rows, alias, *with_ordinality)
        }
        TableFactor::Function { name, args, alias, .. } => {
            let name = simple(name)?;
            let rows = rows(&name, args)?;
            (name, rows, alias, false)
        }
        _ => return None,
    };
    let column = |name: &str| TableAliasColumnDef { name: Ident::new(name), data_type: None };
    let unnamed = || TableAlias { explicit: true, name: Ident::new(&name), columns: Vec::new() };
    let mut alias = alias.clone().unwrap_or_else(unnamed);
    alias.columns.extend(names.iter().skip(alias.columns.len()).map(|name| column(name)));
    if alias.columns.is_empty() && lists.len() == 1 {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
    if ordinality {
        if alias.columns.len() == lists.len() {
            alias.columns.push(column("ordinality"));
        }
        let lengths = lists.iter().map(|list| call("array_length", vec![list.clone()])).collect();
        let one = Expr::value(Value::Number("1".into(), false));
        lists.push(call("generate_series", vec![one, call("greatest", lengths)]));
    }
    Some(TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: lists,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    })
}

/// What a function unnests, and what its columns are called.
struct Rows {
    lists: Vec<Expr>,
    /// None where the alias names the column.
    names: &'static [&'static str],
}

impl Rows {
    fn of(lists: Vec<Expr>) -> Rows {
        Rows { lists, names: &[] }
    }
}

fn rows(name: &str, arguments: &[FunctionArg]) -> Option<Rows> {
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    };
    let arguments = arguments.iter().map(argument).collect::<Option<Vec<_>>>()?;
    let called = |function: &str| call(function, arguments.clone());
    Some(match name {
        "unnest" => Rows::of(arguments),
        "generate_series" | "range" => Rows::of(vec![called(name)]),
        "string_to_table" => Rows::of(vec![called("string_to_array")]),
        "regexp_split_to_table" => Rows::of(vec![called("regexp_split_to_array")]),
        "json_array_elements" | "jsonb_array_elements" => Rows { lists: vec![called("json_items")], names: &["value"] },
        "json_array_elements_text" | "jsonb_array_elements_text" => {
            Rows { lists: vec![called("json_items_text")], names: &["value"] }
        }
        "json_object_keys" | "jsonb_object_keys" => Rows::of(vec![called("json_names")]),
        "json_each" | "jsonb_each" => {
            Rows { lists: vec![called("json_names"), called("json_values")], names: &["key", "value"] }
        }
        "json_each_text" | "jsonb_each_text" => {
            Rows { lists: vec![called("json_names"), called("json_values_text")], names: &["key", "value"] }
        }
        _ => return None,
    })
}

/// What a function is called that gives the rows of one list, and its column, if not as itself.
pub fn one_list(name: &ObjectName, arguments: &[FunctionArg]) -> Option<(String, Option<&'static str>)> {
    let name = simple(name)?;
    let Rows { lists, names } = rows(&name, arguments)?;
    (lists.len() == 1).then(|| (name, names.first().copied()))
}

/// What `(jsonb_each(x)).key` unnests.
fn part_of_rows(e: &Expr) -> Option<Expr> {
    let Expr::CompoundFieldAccess { root, access_chain } = e else { return None };
    let (Expr::Nested(root), [AccessExpr::Dot(Expr::Identifier(part))]) = (root.as_ref(), access_chain.as_slice())
    else {
        return None;
    };
    let Expr::Function(function) = root.as_ref() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let Rows { mut lists, names } = rows(&called(root)?, &list.args)?;
    let place = names.iter().position(|name| part.value.eq_ignore_ascii_case(name))?;
    (lists.len() > 1).then(|| lists.swap_remove(place))
}

/// `jsonb_to_recordset(x) as t(a int)`: members of each item, or of the one object of `jsonb_to_record`, with types.
fn typed_rows(factor: &TableFactor) -> Option<TableFactor> {
    let (name, arguments, alias) = match factor {
        TableFactor::Table { name, args: Some(arguments), alias: Some(alias), .. } => (name, &arguments.args, alias),
        TableFactor::Function { name, args, alias: Some(alias), .. } => (name, args, alias),
        _ => return None,
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(json))] = arguments.as_slice() else { return None };
    let items = match simple(name)?.as_str() {
        "json_to_recordset" | "jsonb_to_recordset" => call("json_items", vec![json.clone()]),
        "json_to_record" | "jsonb_to_record" => call("make_array", vec![call("to_json", vec![json.clone()])]),
        _ => return None,
    };
    let column = |column: &TableAliasColumnDef| {
        let data_type = column.data_type.as_ref()?;
        let name =
            if column.name.quote_style.is_some() { &column.name.value } else { &column.name.value.to_lowercase() };
        let member = Expr::value(Value::SingleQuotedString(name.clone()));
        let arrow = if matches!(data_type, DataType::JSON | DataType::JSONB) { "->" } else { "->>" };
        Some(format!("cast(\"(item)\" {arrow} {member} as {data_type}) as {}", column.name))
    };
    let columns = alias.columns.iter().map(column).collect::<Option<Vec<String>>>()?;
    let sql = format!("select {} from unnest({items}) as \"(items)\"(\"(item)\")", columns.join(", "));
    let query = Parser::new(&PostgreSqlDialect {}).try_with_sql(&sql).ok()?.parse_query().ok()?;
    let alias = TableAlias { columns: Vec::new(), ..alias.clone() };
    Some(TableFactor::Derived { lateral: true, subquery: query, alias: Some(alias), sample: None })
}
