//! A plan as people read it: one line for each node, inputs below, and how each is kept up to date.

use super::{Aggregate, ITERATIONS_MAX, JoinKind, Node, Op, Tick};
use crate::row::Direction;
use std::fmt::Write;
use std::ops::Range;

/// A node as people read it: what it does, how that is kept up to date, and what it reads.
pub struct Explained {
    pub does: String,
    /// Empty where another node's says it.
    pub upkeep: String,
    pub inputs: Vec<Explained>,
}

impl Explained {
    /// `table` and `model` say what tables and models are called.
    pub fn of(node: &Node, table: &dyn Fn(usize) -> String, model: &dyn Fn(usize) -> String) -> Explained {
        let (does, upkeep) = told(node, table, model);
        let inputs = node.inputs().into_iter().map(|input| Explained::of(input, table, model)).collect();
        Explained { does, upkeep, inputs }
    }

    /// One line, without its inputs.
    pub fn line(&self) -> String {
        match self.upkeep.as_str() {
            "" => self.does.clone(),
            upkeep => format!("{}: {upkeep}", self.does),
        }
    }

    fn write(&self, depth: usize, text: &mut String) {
        let _ = writeln!(text, "{:indent$}{}", "", self.line(), indent = depth * 2);
        self.inputs.iter().for_each(|input| input.write(depth + 1, text));
    }
}

/// The whole tree as text.
pub fn explain(node: &Node, table: &dyn Fn(usize) -> String, model: &dyn Fn(usize) -> String) -> String {
    let mut text = String::new();
    Explained::of(node, table, model).write(0, &mut text);
    text
}

/// What a node does, and its upkeep.
fn told(node: &Node, table: &dyn Fn(usize) -> String, model: &dyn Fn(usize) -> String) -> (String, String) {
    let names = |columns: &[usize], of: &Node| {
        let name = |c: &usize| of.schema.field(*c).name().clone();
        columns.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let stateless = "row by row, no state".to_string();
    match &node.op {
        Op::Table { table: number, .. } => {
            (format!("source {}", table(*number)), "from its base arrangement".to_string())
        }
        Op::Model { model: number, .. } => (format!("model {}", model(*number)), "from its changes".to_string()),
        Op::Constant { rows } => ("constant".to_string(), format!("{} rows", rows.len())),
        Op::Map { program, .. } => (format!("map {program}"), stateless),
        Op::Join(join) => {
            let on = format!("on ({}) = ({})", names(&join.left_key, &join.left), names(&join.right_key, &join.right));
            let (residual, whole) = match &join.residual {
                None => (String::new(), ""),
                Some(residual) if join.kind == JoinKind::Inner => (format!(" and {residual}"), ""),
                Some(residual) => (format!(" and {residual}"), " and by whole row"),
            };
            let does = format!("{} {on}{residual}", join.kind.name());
            (does, format!("incremental, both sides arranged by key{whole}"))
        }
        Op::Reduce { aggregates, key, .. } if aggregates.is_empty() => {
            (format!("distinct on {key} columns"), "incremental, a count for each row".to_string())
        }
        Op::Reduce { key, aggregates, .. } => {
            let group = names(&(0..*key).collect::<Vec<_>>(), node);
            let aggregates: Vec<&str> = aggregates.iter().map(Aggregate::name).collect();
            let does = format!("reduce by ({group}) {}", aggregates.join(", "));
            (does, "incremental, a sum and a count for each group".to_string())
        }
        Op::Top { input, key, order, places, .. } => {
            let by = if key.is_empty() { "of all".into() } else { format!("of each ({})", names(key, input)) };
            let order: Vec<String> = order.iter().map(|(c, direction)| ordered(input, *c, *direction)).collect();
            let rows = match places {
                Range { start: 0, end } => format!("first {end}"),
                Range { start, end: u64::MAX } => format!("all behind the first {start}"),
                Range { start, end } => format!("rows {} to {end}", start + 1),
            };
            let does = format!("top {rows} {by} by {}", order.join(", "));
            (does, "incremental, reads the front of a changed group".to_string())
        }
        Op::Temporal { text, .. } => {
            (format!("rows while {text}"), "incremental, scheduled to enter and to leave".to_string())
        }
        Op::Ticks { tick, .. } => {
            let (of, next) = match tick {
                Tick::Hour => ("hour", "the next hour"),
                Tick::Day => ("day", "the next day"),
            };
            (format!("rows with the {of} of the clock"), format!("all arranged, and computed again as {next} begins"))
        }
        Op::Stamp { drawn, .. } => {
            let kept = if *drawn { "was drawn for each as they" } else { "the clock said when they" };
            (format!("rows with what {kept} came"), "incremental, all arranged".to_string())
        }
        Op::Regroup { input, key, work, .. } => match key.is_empty() {
            true => (work.to_string(), "one group, every change computes all rows again".to_string()),
            false => (work.to_string(), format!("recomputes each group of ({}) that changes", names(key, input))),
        },
        Op::Beside { parts, key, .. } => {
            let group = names(&(0..*key).collect::<Vec<_>>(), node);
            let does = format!("{} parts side by side by ({group})", parts.len());
            (does, "incremental, each arranged by key".to_string())
        }
        Op::Given => ("the shared input, below".to_string(), String::new()),
        Op::Recursion { .. } => {
            ("recursion".to_string(), format!("incremental, an iteration at a time, at most {ITERATIONS_MAX}"))
        }
        Op::Recurring { .. } => ("what the recursion has found, an iteration later".to_string(), String::new()),
        Op::Unnest { input, lists, kept } => {
            let without = if *kept { ", rows without items kept" } else { "" };
            (format!("unnest {}{without}", names(lists, input)), stateless)
        }
        Op::Union { inputs } => (format!("union of {}", inputs.len()), "no state".to_string()),
        Op::Rerun { work, .. } => {
            ("recompute".to_string(), format!("all of it when something has changed, since {}", work.why()))
        }
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
