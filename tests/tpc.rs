//! TPC-H, TPC-DS and Nexmark, maintained, against DuckDB: the queries of its own extensions over their own rows, and those
//! of `tests/tpc/nexmark.sql`; then seeded inserts, updates and deletes of all tables. After each every model equals
//! DuckDB's answer.
//!
//! `SCALE=0.1 STEPS=10 SEED=7 cargo test --release --test tpc` looks longer; with `-- --nocapture` it tells what each step
//! takes, and what DuckDB takes to compute all queries again.

#[path = "tpc/answer.rs"]
mod answer;
#[path = "tpc/duckdb.rs"]
mod duckdb;
#[path = "support/life.rs"]
mod life;
#[path = "support/python.rs"]
mod python;

use answer::difference;
use driftless::flow::Flow;
use driftless::plan::Planner;
use driftless::row::{Clock, Codec, Diff, Moment, Rows};
use driftless::state::Bodies;
use duckdb::DuckDb;
use life::{Counted, add, relation};
use std::time::Instant;

/// Of the rows of all tables, at each step.
const SHARE: f64 = 0.02;

#[test]
fn tpch_equals_duckdb_at_every_step() {
    maintained("tpch", 0.1, 0);
}

/// At this scale there is but one store, and few items: what asks for many things at once finds nothing.
#[test]
fn tpcds_equals_duckdb_at_every_step() {
    maintained("tpcds", 0.01, 25);
}

/// The queries from q0 on, of which none is computed as a whole.
#[test]
fn nexmark_equals_duckdb_at_every_step() {
    maintained("nexmark", 1.0, 0);
}

fn set<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|set| set.parse().ok()).unwrap_or(default)
}

/// All queries of the suite, of which no more than so many never give a row; at a smaller scale there may be more.
fn maintained(suite: &str, scale_least: f64, silent_max: usize) {
    let (scale, steps, seed) = (set("SCALE", scale_least), set("STEPS", 2), set("SEED", 1));
    let mut duckdb = DuckDb::start(suite, scale);
    let mut planner = Planner::new("db", "public");
    for table in &duckdb.tables {
        planner.add_table(relation(&table.name.name), table.clone());
    }
    let refused = duckdb.queries.iter().enumerate().filter_map(|(number, sql)| {
        let refusal = planner.compile(relation(&format!("q{}", number + 1)), sql).err()?;
        Some(format!("{suite} {}: {}", number + 1, refusal.reason))
    });
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<String>::new(), "refused");

    let (tables, models) = planner.finish();
    let recomputed = models.iter().filter_map(|model| Some(format!("{}: {}", model.relation, model.recomputed()?)));
    assert_eq!(recomputed.collect::<Vec<_>>(), Vec::<String>::new(), "computed as a whole");
    let flow = Flow::start(&models, &tables, 2, &Bodies::resident_only(), None).expect("it starts");
    let codecs: Vec<Codec> = models.iter().map(|model| Codec::new(model.schema().clone())).collect();
    let mut kept = vec![Counted::new(); models.len()];
    let mut faults: Vec<Diff> = vec![0; models.len()];
    let mut silent = vec![true; models.len()];
    for step in 0..=steps {
        if step > 0 {
            duckdb.change(seed + step, SHARE);
        }
        let changes: Vec<Rows> = tables.iter().map(|table| duckdb.rows(table)).collect();
        let (rows, begun) = (changes.iter().map(Rows::len).sum::<usize>(), Instant::now());
        for (number, changes) in changes.into_iter().enumerate() {
            flow.feed(Moment(step + 1), number, changes);
        }
        let output = flow.close(Moment(step + 1), Clock(0)).expect("it closes");
        let (took, begun) = (begun.elapsed(), Instant::now());
        let answers = duckdb.answers();
        println!("{suite} step {step}: {rows} changes in {took:.2?}; DuckDB computes all in {:.2?}", begun.elapsed());
        let mut wrong = Vec::new();
        for (number, theirs) in answers.iter().enumerate() {
            let name = format!("{suite} {}", number + 1);
            add(&mut kept[number], &output.models[number]);
            silent[number] &= kept[number].is_empty();
            faults[number] += output.faults[number].iter().map(|(_, diff)| diff).sum::<Diff>();
            match theirs {
                None if faults[number] == 0 => wrong.push(format!("{name} has no fault")),
                None => {}
                Some(_) if faults[number] != 0 => {
                    wrong.push(format!("{name} has faults: {:?}", output.faults[number]));
                }
                Some(theirs) => {
                    let copies = kept[number].iter().flat_map(|(row, diff)| (0..*diff).map(move |_| row));
                    let ours = codecs[number].decode(copies);
                    // All that round do so to two places.
                    let rounds = duckdb.queries[number].to_lowercase().contains("round(").then_some(2);
                    let difference = difference(&ours, theirs, rounds);
                    wrong.extend(difference.map(|difference| format!("{name}, {difference}")));
                }
            }
        }
        assert!(wrong.is_empty(), "after {step} steps, SCALE={scale} SEED={seed}:\n{}", wrong.join("\n"));
    }
    let silent = silent.iter().enumerate().filter(|(_, silent)| **silent).map(|(number, _)| number + 1);
    let silent: Vec<usize> = silent.collect();
    assert!(scale < scale_least || silent.len() <= silent_max, "never give a row: {silent:?}");
}
