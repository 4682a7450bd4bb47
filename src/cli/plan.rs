//! `driftless plan`: how each model is kept up to date, or why it is refused, before anything runs.

use super::{Outcome, Shared, report};
use crate::daemon::Assembly;
use crate::error::Result;
use crate::plan::explain;

pub fn run(shared: &Shared) -> Result<Outcome> {
    let project = shared.project()?;
    let config = shared.config(&project)?;
    let selected = shared.selected(&project)?;
    let (assembly, planned, _sources) = super::runtime()?.block_on(Assembly::live(&project, &config, &selected))?;
    let table = |number: usize| {
        let table = &assembly.tables[number];
        format!("{}.{}", table.source, table.table.name.name)
    };
    let model = |number: usize| assembly.models[number].name.clone();
    let mut refused = 0;
    for planned in planned.iter().filter(|planned| planned.selected || planned.outcome.is_err()) {
        refused += planned.outcome.is_err() as usize;
        match (&planned.outcome, shared.json) {
            (Ok(number), false) => {
                println!("model {}: incremental", planned.name);
                let tree = explain(&assembly.compiled[*number].node, &table, &model);
                tree.lines().for_each(|line| println!("  {line}"));
                println!();
            }
            (Err(error), false) => println!("model {}: refused\n{}", planned.name, report::as_text(error)),
            (Ok(number), true) => {
                let tree = explain(&assembly.compiled[*number].node, &table, &model);
                let line = serde_json::json!({"model": planned.name, "mode": "incremental", "plan": tree});
                println!("{line}");
            }
            (Err(error), true) => {
                let line =
                    serde_json::json!({"model": planned.name, "mode": "refused", "refusal": report::as_json(error)});
                println!("{line}");
            }
        }
    }
    if !shared.json {
        println!("{} models: {} incremental, {refused} refused", planned.len(), planned.len() - refused);
    }
    Ok(if refused == 0 { Outcome::Good } else { Outcome::Failed })
}
