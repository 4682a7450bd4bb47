//! A plan as people read it: one line for each node, inputs below, and how each is kept up to date.

use super::{Aggregate, Node, Op};
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
        Op::Join { left, right, left_key, right_key } => format!(
            "join on ({}) = ({}): incremental, both sides arranged by key",
            names(left_key, left),
            names(right_key, right)
        ),
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
        Op::Beside { parts, key, .. } => {
            let group = names(&(0..*key).collect::<Vec<_>>(), node);
            format!("{} parts side by side by ({group}): incremental, each arranged by key", parts.len())
        }
        Op::Given => "the shared input, below".to_string(),
        Op::Union { inputs } => format!("union of {}: no state", inputs.len()),
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
