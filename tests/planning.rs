//! Planning is quick enough for a large project: 500 models of ordinary shape take seconds.

#[path = "support/warehouse.rs"]
mod warehouse;

use datafusion::prelude::{SessionConfig, SessionContext};
use driftless::plan::Planner;
use std::sync::Arc;
use std::time::{Duration, Instant};
use warehouse::{models, relation, tables};

const MODELS: usize = 500;

/// What we may take for each second that DataFusion takes to bind and to optimise the same SQL, which we do and more.
const TIMES_DATAFUSION: u32 = 4;

fn ours() -> Duration {
    let begun = Instant::now();
    let mut planner = Planner::new("db", "public");
    for table in tables() {
        planner.add_table(relation(&table.name.name), table);
    }
    for (name, sql) in models(MODELS) {
        let planned = planner.compile(relation(&name), &sql);
        let number = planned.unwrap_or_else(|refusal| panic!("{name}: {}\n{sql}", refusal.reason));
        assert_eq!(planner.model(number).recomputed(), None, "{name}");
    }
    planner.finish();
    begun.elapsed()
}

fn theirs() -> Duration {
    let begun = Instant::now();
    let config = SessionConfig::new().with_default_catalog_and_schema("db", "public");
    let session = SessionContext::new_with_config(config);
    let empty = |schema| Arc::new(datafusion::datasource::empty::EmptyTable::new(schema));
    for table in tables() {
        session.register_table(table.name.name.as_str(), empty(table.schema)).expect("it is new");
    }
    for (name, sql) in models(MODELS) {
        let state = session.state();
        let plan = futures::executor::block_on(state.create_logical_plan(&sql)).expect("it binds");
        let plan = state.optimize(&plan).expect("it is optimised");
        session.register_table(name.as_str(), empty(Arc::new(plan.schema().as_arrow().clone()))).expect("it is new");
    }
    begun.elapsed()
}

#[test]
fn a_project_of_500_models_is_planned_within_seconds() {
    let (theirs, ours) = (theirs(), ours());
    eprintln!("{MODELS} models: {ours:?}; DataFusion alone {theirs:?}");
    assert!(ours < theirs * TIMES_DATAFUSION, "{ours:?}; DataFusion alone takes {theirs:?}");
}
