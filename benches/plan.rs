//! How long it takes to plan a project of ordinary shape: `cargo test --release --bench plan -- 500`.

#[path = "../tests/support/warehouse.rs"]
mod warehouse;

use driftless::flow::Layout;
use driftless::plan::Planner;
use std::time::Instant;
use warehouse::{models, relation, tables};

const TURNS: usize = 3;

fn main() {
    let count = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(500);
    for _ in 0..TURNS {
        let begun = Instant::now();
        let mut planner = Planner::new("db", "public");
        for table in tables() {
            planner.add_table(relation(&table.name.name), table);
        }
        let mut slowest = (0.0, String::new());
        for (name, sql) in models(count) {
            let begun = Instant::now();
            planner.compile(relation(&name), &sql).unwrap_or_else(|refusal| panic!("{name}: {}", refusal.reason));
            let took = begun.elapsed().as_secs_f64();
            if took > slowest.0 {
                slowest = (took, name);
            }
        }
        let (tables, models) = planner.finish();
        let planned = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let layout = Layout::of(&models, &tables);
        let laid = begun.elapsed().as_secs_f64();
        let (arrangements, (took, name)) = (layout.arrangements.len(), slowest);
        println!(
            "{count} models in {planned:.2} s, the slowest ({name}) {:.0} ms; {arrangements} arrangements in {laid:.2} s",
            took * 1e3
        );
    }
}
