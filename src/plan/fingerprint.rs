//! What a node computes, as a number: equal for equal computations, in this process and in any other.
//!
//! It tells the dataflow which parts of its plans are the same, and will tell a restart which state on disk
//! still serves. Names of columns are no part of it, except of a table's: the same rows under other names are the
//! same rows.

use super::{Join, Node, Op, Program};

impl Node {
    /// `table` and `model` say what tables and models are called: a name for each that never means another.
    pub fn fingerprint(&self, table: &dyn Fn(usize) -> String, model: &dyn Fn(usize) -> String) -> u128 {
        let own = match &self.op {
            Op::Table { table: number, .. } => {
                let columns: Vec<_> = self.schema.fields().iter().map(|field| field.name()).collect();
                format!("table {:?} {columns:?}", table(*number))
            }
            Op::Model { model: number, columns } => format!("model {:?} {columns:?}", model(*number)),
            // A row without columns shows nothing: their number tells one from none.
            Op::Constant { rows } => format!("constant {} {rows:?}", rows.len()),
            Op::Map { program, .. } => format!("map {}", program.identity()),
            Op::Join(join) => {
                let Join { kind, left_key, right_key, nulls_equal, residual, left: _, right: _ } = join.as_ref();
                let residual = residual.as_ref().map(Program::identity);
                format!("join {kind:?} {left_key:?} {right_key:?} {nulls_equal} {residual:?}")
            }
            Op::Reduce { key, aggregates, .. } => format!("reduce {key} {aggregates:?}"),
            Op::Top { key, order, places, numbered, .. } => format!("top {key:?} {order:?} {places:?} {numbered}"),
            Op::Temporal { bounds, .. } => format!("temporal {bounds:?}"),
            Op::Ticks { tick, .. } => format!("ticks {tick:?}"),
            Op::Stamp { drawn: false, .. } => "stamp".to_string(),
            Op::Stamp { drawn: true, .. } => "stamp and draw".to_string(),
            Op::Regroup { key, order, work, .. } => format!("regroup {key:?} {order:?} {}", work.identity()),
            Op::Beside { key, .. } => format!("beside {key}"),
            // What it is depends on where it stands: see `open`.
            Op::Given => "given".to_string(),
            Op::Recurring { columns } => format!("recurring {columns:?}"),
            Op::Recursion { .. } => "recursion".to_string(),
            Op::Unnest { lists, kept, .. } => format!("unnest {lists:?} {kept}"),
            Op::Union { .. } => "union".to_string(),
            Op::Rerun { work, .. } => format!("rerun {}", work.identity()),
        };
        let types: Vec<_> = self.schema.fields().iter().map(|field| field.data_type()).collect();
        let inputs: Vec<u128> = self.inputs().into_iter().map(|input| input.fingerprint(table, model)).collect();
        xxhash_rust::xxh3::xxh3_128(format!("{own} {types:?} {inputs:?}").as_bytes())
    }

    /// Whether it reads what is given by a Beside or Recursion around it: then its fingerprint says only a part of what it is.
    pub fn open(&self) -> bool {
        match &self.op {
            Op::Given | Op::Recurring { .. } => true,
            // It reads no other recursion around it.
            Op::Recursion { .. } => false,
            Op::Beside { input, .. } => input.open(),
            _ => self.inputs().into_iter().any(Node::open),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Node, Op, Planner, Relation};
    use crate::row::{Row, Table, TableName};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::collections::HashMap;
    use std::sync::Arc;

    fn relation(name: &str) -> Relation {
        Relation { database: "db".into(), schema: "public".into(), name: name.into() }
    }

    /// Of models over `t` and `u`, which come in this order.
    fn fingerprints(tables: [&str; 2], models: &[&str]) -> Vec<u128> {
        let mut planner = Planner::new("db", "public");
        for name in tables {
            let types = [("id", DataType::Int64), ("a", DataType::Int32), ("c", DataType::Utf8)];
            let fields = types.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec();
            let table =
                Table { name: TableName::new("public", name), schema: Arc::new(Schema::new(fields)), key: vec![0] };
            planner.add_table(relation(name), table);
        }
        for (number, sql) in models.iter().enumerate() {
            planner.compile(relation(&format!("m{number}")), sql).expect("it compiles");
        }
        let (tables, models) = planner.finish();
        let table = |number: usize| tables[number].name.to_string();
        let model = |number: usize| models[number].relation.to_string();
        models.iter().map(|compiled| compiled.node.fingerprint(&table, &model)).collect()
    }

    const DIFFERENT: [&str; 18] = [
        "select id, a from t",
        "select id, a from u",
        "select id, c from t",
        "select a, id from t",
        "select id, a from m0",
        "select id, a from t where a > 1",
        "select id, a from t where a > 2",
        "select id, a from t where c = '1'",
        "select id, a from t where c in ('1, 2', '3')",
        "select id, a from t where c in ('1', '2, 3')",
        "select id, case when a > 1 then 'one' else 'two' end as x from t",
        "select id, case a when 1 then 'one' when 2 then 'two' end as x from t",
        "select id, cast(a as bigint) as a from t",
        "select t.id, u.a from t join u on t.id = u.id",
        "select t.id, u.a from t left join u on t.id = u.id",
        "select t.id, u.a from t left join u on t.id = u.id and t.a > u.a",
        "select a, count(*) as n from t group by a",
        "select a, count(c) as n from t group by a",
    ];

    #[test]
    fn what_differs_has_another_fingerprint() {
        let mut seen: HashMap<u128, &str> = HashMap::new();
        for (fingerprint, sql) in fingerprints(["t", "u"], &DIFFERENT).into_iter().zip(DIFFERENT) {
            assert_eq!(seen.insert(fingerprint, sql), None, "{sql}");
        }
    }

    #[test]
    fn a_row_without_columns_is_not_no_row() {
        let fingerprint = |rows: Vec<Row>| {
            let node = Node { op: Op::Constant { rows }, schema: Arc::new(Schema::empty()) };
            node.fingerprint(&|_| String::new(), &|_| String::new())
        };
        assert_ne!(fingerprint(vec![Row::empty()]), fingerprint(Vec::new()));
    }

    #[test]
    fn neither_the_order_of_tables_nor_names_of_columns_matter() {
        let renamed = DIFFERENT.map(|sql| sql.replace(" as n ", " as number "));
        let renamed: Vec<&str> = renamed.iter().map(String::as_str).collect();
        assert_eq!(fingerprints(["t", "u"], &DIFFERENT), fingerprints(["u", "t"], &renamed));
    }
}
