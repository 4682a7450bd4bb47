//! SQL through the dataflow, against a recompute at every Moment: seeded random changes in seeded slices,
//! with retractions and duplicates, one worker and several.
//!
//! `SEED=7 cargo test --release --test sql` repeats a failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use driftless::flow::Flow;
use driftless::plan::recompute::Recompute;
use driftless::plan::{Planner, Relation};
use driftless::row::{Codec, Datum, Delta, Diff, Moment, Row, RowWriter, Table, TableName};

const QUERIES: &str = include_str!("sql/maintained.slt");
const MOMENTS: u64 = 25;

/// Name and SQL of each query.
fn queries() -> Vec<(String, String)> {
    let blocks = QUERIES.split("\n\n").filter(|block| block.lines().any(|line| !line.starts_with('#')));
    let query = |block: &str| {
        let (name, sql) = block.trim().split_once('\n').expect("a name and its SQL");
        (name.trim_start_matches("# ").to_string(), sql.to_string())
    };
    blocks.map(query).collect()
}

fn table(name: &str) -> Table {
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("a", DataType::Int32, true),
        Field::new("c", DataType::Utf8, true),
        Field::new("d", DataType::Decimal128(12, 2), true),
        Field::new("s", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ];
    Table { name: TableName::new("public", name), schema: Arc::new(Schema::new(fields)), key: vec![0] }
}

fn relation(name: &str) -> Relation {
    Relation { database: "db".into(), schema: "public".into(), name: name.into() }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn or_null(&mut self, datum: Datum) -> Datum {
        if self.below(5) == 0 { Datum::Null } else { datum }
    }

    fn row(&mut self, id: u64) -> Row {
        let a = Datum::Int32(self.below(8) as i32);
        let c = Datum::Text(["x", "y", " z ", "ü", ""][self.below(5) as usize].into());
        let d = Datum::Decimal(self.below(2_000) as i128 - 1_000);
        let s = Datum::Timestamp(1_700_000_000_000_000 + self.below(90) as i64 * 86_400_000_000);
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int64(id as i64));
        [a, c, d, s].into_iter().for_each(|datum| writer.push(&self.or_null(datum)));
        writer.finish()
    }

    /// Inserts, updates and deletes of rows by key, some of them within one Moment.
    fn changes(&mut self, rows: &mut BTreeMap<u64, Row>) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for _ in 0..self.below(12) {
            let id = self.below(30);
            let new = (self.below(3) > 0).then(|| self.row(id));
            deltas.extend(rows.remove(&id).map(|old| (old, -1)));
            if let Some(new) = new {
                deltas.push((new.clone(), 1));
                rows.insert(id, new);
            }
        }
        deltas
    }
}

#[test]
fn every_query_equals_its_recompute_at_every_moment() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut lively = vec![false; queries().len()];
    for (round, workers) in [1, 2, 3].into_iter().enumerate() {
        run(seed + round as u64, workers, &mut lively);
    }
    let idle = queries().into_iter().zip(lively).filter(|(_, lively)| !lively).map(|((name, _), _)| name);
    assert_eq!(idle.collect::<Vec<_>>(), Vec::<String>::new(), "queries that never give a row show nothing");
}

fn run(seed: u64, workers: usize, lively: &mut [bool]) {
    let tables = [table("t"), table("u")];
    let mut planner = Planner::new("db", "public");
    for table in &tables {
        planner.add_table(relation(&table.name.name), table.clone());
    }
    let queries = queries();
    let refused = queries.iter().enumerate().filter_map(|(number, (name, sql))| {
        let refusal = planner.compile(relation(&format!("q{number}")), sql).err()?;
        Some(format!("`{name}`: {}", refusal.reason))
    });
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<String>::new(), "refused");
    let (pruned, models) = planner.finish();
    assert_eq!(pruned, tables, "the queries use every column, so that rows go in as they are");
    let flow = Flow::start(&models, &pruned, workers).expect("it starts");

    let mut dice = Dice(seed);
    let mut rows = [BTreeMap::new(), BTreeMap::new()];
    let mut kept: Vec<BTreeMap<Row, Diff>> = vec![BTreeMap::new(); models.len()];
    for moment in 1..=MOMENTS {
        for (number, rows) in rows.iter_mut().enumerate() {
            // In two slices, which must not matter.
            flow.feed(Moment(moment), number, dice.changes(rows).into_iter().collect());
            flow.feed(Moment(moment), number, dice.changes(rows).into_iter().collect());
        }
        let output = flow.close(Moment(moment)).expect("it closes");
        for (kept, deltas) in kept.iter_mut().zip(output.models) {
            for (row, diff) in deltas.iter() {
                *kept.entry(Row::from(row)).or_default() += diff;
            }
            kept.retain(|_, diff| *diff != 0);
        }
        let mut recompute = Recompute::new("db", "public");
        for (table, rows) in tables.iter().zip(&rows) {
            let batch = Codec::new(table.schema.clone()).decode(rows.values());
            recompute.table(&relation(&table.name.name), &table.schema, &batch).expect("it registers");
        }
        let mut wrong = Vec::new();
        for (number, (name, sql)) in queries.iter().enumerate() {
            let batch = match recompute.model(&relation(&format!("q{number}")), sql) {
                Ok(batch) => batch,
                Err(error) => {
                    wrong.push(format!("`{name}` cannot be recomputed: {error}"));
                    continue;
                }
            };
            let codec = Codec::new(batch.schema());
            let mut expected: BTreeMap<Row, Diff> = BTreeMap::new();
            codec.encode(&batch).into_iter().for_each(|row| *expected.entry(row).or_default() += 1);
            let faults: i64 = output.faults[number].iter().map(|(_, diff)| *diff).sum();
            assert_eq!(faults, 0, "`{name}` has faults: {:?}", output.faults[number]);
            if expected != kept[number] {
                let show = |rows: &BTreeMap<Row, Diff>| {
                    rows.iter()
                        .map(|(row, diff)| format!("  {diff} × {}", codec.show(row)))
                        .collect::<Vec<_>>()
                        .join("\n")
                };
                let (expected, kept) = (show(&expected), show(&kept[number]));
                wrong.push(format!("`{name}`\nrecompute\n{expected}\nmaintained\n{kept}"));
            }
            lively[number] |= !expected.is_empty();
        }
        let wrong = wrong.join("\n\n");
        assert!(wrong.is_empty(), "at Moment {moment}, {workers} workers, SEED={seed}:\n{wrong}");
    }
}

#[test]
fn a_part_that_occurs_twice_is_computed_once() {
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table("t"));
    let twice = "with q as (select id, 10 / a as q from t) select x.q, y.q as z from q as x join q as y on x.q = y.q";
    for model in ["one", "two"] {
        planner.compile(relation(model), twice).unwrap_or_else(|refusal| panic!("refused: {}", refusal.reason));
    }
    let (pruned, models) = planner.finish();
    let flow = Flow::start(&models, &pruned, 2).expect("it starts");
    let row = |id: i64, a: i32| {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int64(id));
        writer.push(&Datum::Int32(a));
        (writer.finish(), 1)
    };
    flow.feed(Moment(1), 0, [row(1, 0), row(2, 5)].into_iter().collect());
    let output = flow.close(Moment(1)).expect("it closes");
    for model in 0..2 {
        assert_eq!(output.faults[model].len(), 1, "the guilty row is named once, by each model");
        assert_eq!(output.models[model].len(), 1);
    }
}
