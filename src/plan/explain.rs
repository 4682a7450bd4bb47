//! A plan as people read it: one line for each node, inputs below, and how each is kept up to date.

use super::{Aggregate, ITERATIONS_MAX, JoinKind, Node, Op, Tick};
use crate::row::Direction;
use std::fmt::Write;
use std::ops::Range;

/// `name` says what a table or a model is called.
pub fn explain(node: &Node, table: &dyn Fn(usize) -> String, model: &dyn Fn(usize) -> String) -> String {
    let mut text = String::new();
    write_node(node, 0, table, model, &mut text);
    text
}

fn write_node(
    node: &Node,
    depth: usize,
    table: &dyn Fn(usize) -> String,
    model: &dyn Fn(usize) -> String,
    text: &mut String,
) {
    let names = |columns: &[usize], of: &Node| {
        let name = |c: &usize| of.schema.field(*c).name().clone();
        columns.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let line = match &node.op {
        Op::Table { table: number, .. } => format!("source {}: from its base arrangement", table(*number)),
        Op::Model { model: number, .. } => format!("model {}: from its changes", model(*number)),
        Op::Constant { rows } => format!("constant: {} rows", rows.len()),
        Op::Map { program, .. } => format!("map {program}: row by row, no state"),
        Op::Join(join) => {
            let on = format!("on ({}) = ({})", names(&join.left_key, &join.left), names(&join.right_key, &join.right));
            let (residual, whole) = match &join.residual {
                None => (String::new(), ""),
                Some(residual) if join.kind == JoinKind::Inner => (format!(" and {residual}"), ""),
                Some(residual) => (format!(" and {residual}"), " and by whole row"),
            };
            format!("{} {on}{residual}: incremental, both sides arranged by key{whole}", join.kind.name())
        }
        Op::Reduce { aggregates, key, .. } if aggregates.is_empty() => {
            format!("distinct on {key} columns: incremental, a count for each row")
        }
        Op::Reduce { key, aggregates, .. } => {
            let group = names(&(0..*key).collect::<Vec<_>>(), node);
            let aggregates: Vec<&str> = aggregates.iter().map(Aggregate::name).collect();
            format!("reduce by ({group}) {}: incremental, a sum and a count for each group", aggregates.join(", "))
        }
        Op::Top { input, key, order, places, .. } => {
            let by = if key.is_empty() { "of all".into() } else { format!("of each ({})", names(key, input)) };
            let order: Vec<String> = order.iter().map(|(c, direction)| ordered(input, *c, *direction)).collect();
            let rows = match places {
                Range { start: 0, end } => format!("first {end}"),
                Range { start, end: u64::MAX } => format!("all behind the first {start}"),
                Range { start, end } => format!("rows {} to {end}", start + 1),
            };
            format!("top {rows} {by} by {}: incremental, reads the front of a changed group", order.join(", "))
        }
        Op::Temporal { text, .. } => format!("rows while {text}: incremental, scheduled to enter and to leave"),
        Op::Ticks { tick, .. } => {
            let (of, next) = match tick {
                Tick::Hour => ("hour", "the next hour"),
                Tick::Day => ("day", "the next day"),
            };
            format!("rows with the {of} of the clock: all arranged, and computed again as {next} begins")
        }
        Op::Stamp { .. } => "rows with what the clock said when they came: incremental, all arranged".to_string(),
        Op::Regroup { input, key, work, .. } => match key.is_empty() {
            true => format!("{work}: one group, every change computes all rows again"),
            false => format!("{work}: recomputes each group of ({}) that changes", names(key, input)),
        },
        Op::Beside { parts, key, .. } => {
            let group = names(&(0..*key).collect::<Vec<_>>(), node);
            format!("{} parts side by side by ({group}): incremental, each arranged by key", parts.len())
        }
        Op::Given => "the shared input, below".to_string(),
        Op::Recursion { .. } => format!("recursion: incremental, an iteration at a time, at most {ITERATIONS_MAX}"),
        Op::Recurring { .. } => "what the recursion has found, an iteration later".to_string(),
        Op::Unnest { input, lists, kept } => {
            let without = if *kept { ", rows without items kept" } else { "" };
            format!("unnest {}{without}: row by row, no state", names(lists, input))
        }
        Op::Union { inputs } => format!("union of {}: no state", inputs.len()),
        Op::Rerun { work, .. } => format!("recompute: all of it when something has changed, since {}", work.why()),
    };
    let _ = writeln!(text, "{:indent$}{line}", "", indent = depth * 2);
    for input in node.inputs() {
        write_node(input, depth + 1, table, model, text);
    }
}

fn ordered(node: &Node, column: usize, direction: Direction) -> String {
    let name = node.schema.field(column).name();
    let descends = if direction.descending { " desc" } else { "" };
    let nulls = match (direction.descending, direction.nulls_first) {
        (true, false) => " nulls last",
        (false, true) => " nulls first",
        _ => "",
    };
    format!("{name}{descends}{nulls}")
}

impl JoinKind {
    fn name(self) -> &'static str {
        match self {
            JoinKind::Inner => "join",
            JoinKind::Left => "left join",
            JoinKind::Full => "full join",
            JoinKind::Semi => "semi join",
            JoinKind::Anti => "anti join",
            JoinKind::Mark => "mark join",
            JoinKind::NotIn => "not in",
        }
    }
}

impl Aggregate {
    fn name(&self) -> &'static str {
        match self {
            Aggregate::CountRows => "count(*)",
            Aggregate::Count(_) => "count",
            Aggregate::Sum { .. } | Aggregate::FloatSum(_) => "sum",
            Aggregate::Average { .. } | Aggregate::FloatAverage(_) => "avg",
            Aggregate::All(_) => "bool_and",
            Aggregate::Any(_) => "bool_or",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Planner, Relation, explain};
    use crate::row::{Table, TableName};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn explained(sql: &str) -> String {
        let relation = |name: &str| Relation { database: "db".into(), schema: "public".into(), name: name.into() };
        let mut planner = Planner::new("db", "public");
        for name in ["t", "u"] {
            let fields = ["id", "a", "d"].map(|name| Field::new(name, DataType::Int64, true)).to_vec();
            let schema = Arc::new(Schema::new(fields));
            planner.add_table(relation(name), Table { name: TableName::new("public", name), schema, key: vec![0] });
        }
        let number = planner.compile(relation("m"), sql).unwrap_or_else(|refusal| panic!("{}", refusal.reason));
        explain(&planner.model(number).node, &|table| ["t", "u"][table].to_string(), &|_| String::new())
    }

    #[test]
    fn a_join_is_one_line_whatever_it_takes() {
        let left = "\
map t.id, u.d: row by row, no state
  left join on (a) = (id) and t.d > u.d: incremental, both sides arranged by key and by whole row
    source t: from its base arrangement
    source u: from its base arrangement
";
        assert_eq!(explained("select t.id, u.d from t left join u on t.a = u.id and t.d > u.d"), left);
        let not_in = "\
map t.id: row by row, no state
  not in on (a) = (id): incremental, both sides arranged by key
    source t: from its base arrangement
    source u: from its base arrangement
";
        assert_eq!(explained("select id from t where a not in (select id from u)"), not_in);
        let except = "\
anti join on (a) = (id): incremental, both sides arranged by key
  distinct on 1 columns: incremental, a count for each row
    map t.a: row by row, no state
      source t: from its base arrangement
  source u: from its base arrangement
";
        assert_eq!(explained("select a from t except select id from u"), except);
    }

    #[test]
    fn lists_beside_their_rows_have_no_state() {
        let sql = "select t.id, x from t left join generate_series(t.a, t.d) as x on true";
        let plan = explained(sql);
        assert!(plan.contains("rows without items kept: row by row, no state"), "{plan}");
        assert!(!plan.contains("incremental"), "{plan}");
    }
}
