//! Calls that are another expression under a name of their own, most of them of other engines: a table of SQL for SQL.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, OrderByExpr, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Names, how many arguments they take, and what it is of these.
pub(super) const SPELLED: &[(&[&str], usize, &str)] = &[
    (&["every", "logical_and", "booland_agg"], 1, "bool_and($1)"),
    (&["logical_or", "boolor_agg"], 1, "bool_or($1)"),
    (&["count_if", "countif"], 1, "count(*) filter (where $1)"),
    (&["any_value"], 1, "first_value($1 order by $1) filter (where $1 is not null)"),
    (&["max_by"], 2, "first_value($1 order by $2 desc, $1) filter (where $2 is not null)"),
    (&["min_by"], 2, "first_value($1 order by $2, $1) filter (where $2 is not null)"),
    (
        &["arg_max", "argmax"],
        2,
        "first_value($1 order by $2 desc, $1) filter (where $1 is not null and $2 is not null)",
    ),
    (&["arg_min", "argmin"], 2, "first_value($1 order by $2, $1) filter (where $1 is not null and $2 is not null)"),
    (&["listagg"], 1, "string_agg($1, '')"),
    (&["listagg"], 2, "string_agg($1, $2)"),
    (&["group_concat"], 1, "string_agg($1, ',')"),
    (&["group_concat"], 2, "string_agg($1, $2)"),
    (&["list"], 1, "array_agg($1)"),
    (&["iff", "if"], 3, "case when $1 then $2 else $3 end"),
    (&["nvl2"], 3, "case when $1 is not null then $2 else $3 end"),
    (&["zeroifnull"], 1, "coalesce($1, 0)"),
    (&["nullifzero"], 1, "nullif($1, 0)"),
    (&["quote_nullable"], 1, "coalesce(quote_literal($1), 'NULL')"),
    (&["startswith"], 2, "starts_with($1, $2)"),
    (&["endswith"], 2, "ends_with($1, $2)"),
    (&["locate", "charindex"], 2, "strpos($2, $1)"),
    (&["ucase"], 1, "upper($1)"),
    (&["lcase"], 1, "lower($1)"),
    (&["string_split", "str_split"], 2, "string_to_array($1, $2)"),
    // An empty list has no length.
    (&["array_length", "array_upper"], 2, "nullif(array_length($1, $2), 0)::int"),
    (&["array_lower"], 2, "case when array_length($1, $2) > 0 then 1::int end"),
    (&["cardinality", "array_length", "array_size", "list_length"], 1, "cardinality($1)::int"),
    // DataFusion's numbers have no sign, and rows have no such type.
    (&["array_position", "list_position"], 2, "array_position($1, $2)::int"),
    (&["array_positions", "list_positions"], 2, "array_positions($1, $2)::int[]"),
    // All items that are so, not the first.
    (&["array_replace"], 3, "array_replace_all($1, $2, $3)"),
    (&["array_cat"], 2, "$1 || $2"),
    // With the end of what fills it up, and in lines.
    (
        &["encode"],
        2,
        "case $2 when 'base64' then regexp_replace(encode($1, 'base64pad'), '([^=]{76})', '\\1\n', 'g') else encode($1, $2) end",
    ),
    (&["age"], 1, "age(current_date, $1)"),
    (&["struct_extract"], 2, "get_field($1, $2)"),
];

/// Names of functions that take any number of arguments, and the one that it is.
const RENAMED: &[(&str, &str)] = &[("list_value", "make_array"), ("list_pack", "make_array")];

/// For people: what is written, and what it means.
pub(super) fn rows() -> impl Iterator<Item = (String, String)> {
    let spelled = SPELLED.iter().map(|(names, _, meaning)| (names.join(", "), format!("`{meaning}`")));
    let renamed = RENAMED.iter().map(|(name, meaning)| (name.to_string(), format!("`{meaning}`")));
    spelled.chain(renamed)
}

/// What a call of this name is, if it is spelled otherwise; what it says of distinct values, of an order, of a filter and
/// of windows is said of that.
pub(super) fn spelled(call: &mut Function, name: &str) -> Option<Expr> {
    if let Some((_, other)) = RENAMED.iter().find(|(own, _)| *own == name) {
        call.name = ObjectName::from(vec![Ident::new(*other)]);
        return None;
    }
    if name == "struct_pack" {
        name_fields(call);
        return None;
    }
    let args = arguments(call)?;
    let (.., meaning) = SPELLED.iter().find(|(names, count, _)| names.contains(&name) && *count == args.len())?;
    // Windows have an order of their own.
    if call.over.is_some() && meaning.contains("order by") {
        return None;
    }
    let mut other = filled(meaning, &args);
    if let (Expr::Function(other), FunctionArguments::List(own)) = (&mut other, &mut call.args) {
        let within = std::mem::take(&mut call.within_group);
        let order = if within.is_empty() { order_of(own) } else { within };
        said(other, own.duplicate_treatment, order, args.len());
        let filters = [other.filter.take(), call.filter.take()];
        other.filter = filters.into_iter().flatten().reduce(|one, two| Box::new(filled("$1 and $2", &[*one, *two])));
        other.over = call.over.take();
    }
    Some(other)
}

/// `struct_pack(a := 1)` is `named_struct('a', 1)`.
fn name_fields(call: &mut Function) {
    let FunctionArguments::List(list) = &mut call.args else { return };
    call.name = ObjectName::from(vec![Ident::new("named_struct")]);
    let fields = std::mem::take(&mut list.args).into_iter().flat_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp { left, op: BinaryOperator::Assignment, right })) => {
            let name = Expr::value(Value::SingleQuotedString(left.to_string()));
            [name, *right].map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).to_vec()
        }
        other => vec![other],
    });
    list.args = fields.collect();
}

/// The order in which a call asks for its rows.
fn order_of(list: &mut FunctionArgumentList) -> Vec<OrderByExpr> {
    let order = list.clauses.iter_mut().find_map(|clause| match clause {
        FunctionArgumentClause::OrderBy(order) => Some(std::mem::take(order)),
        _ => None,
    });
    order.unwrap_or_default()
}

/// The order of a call settles the ties of that by its second argument, and goes before that by its first.
fn said(other: &mut Function, distinct: Option<DuplicateTreatment>, asked: Vec<OrderByExpr>, count: usize) {
    let FunctionArguments::List(list) = &mut other.args else { return };
    list.duplicate_treatment = distinct.or(list.duplicate_treatment);
    let mut order = order_of(list);
    let place = if count > 1 { order.len().min(1) } else { 0 };
    order.splice(place..place, asked);
    // A number would be the place of a column.
    order.retain(|by| !matches!(by.expr, Expr::Value(_)));
    list.clauses = if order.is_empty() { Vec::new() } else { vec![FunctionArgumentClause::OrderBy(order)] };
}

/// The arguments of a call, if they have no names.
pub(super) fn arguments(call: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let expression = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    };
    list.args.iter().map(expression).collect()
}

/// An expression with these in the places of `$1`, `$2` and so on.
pub(in crate::plan) fn filled(template: &str, args: &[Expr]) -> Expr {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(template).and_then(|mut parser| parser.parse_expr());
    let mut e = parsed.expect("templates are correct");
    let _ = VisitMut::visit(&mut e, &mut Fill { args });
    e
}

struct Fill<'a> {
    args: &'a [Expr],
}

impl VisitorMut for Fill<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = e
            && let Value::Placeholder(place) = &value.value
            && let Some(arg) =
                place.trim_start_matches('$').parse().ok().and_then(|place: usize| self.args.get(place - 1))
        {
            *e = arg.clone();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_takes_as_many_arguments_as_it_says() {
        let args: Vec<Expr> = ["a", "b", "c"].map(|name| Expr::Identifier(Ident::new(name))).to_vec();
        for (names, count, template) in SPELLED {
            let text = filled(template, &args[..*count]).to_string();
            assert!(!text.contains('$'), "{names:?}: {text}");
        }
    }
}
