//! `driftless plan`: how each model is kept up to date, or why it is refused, before anything runs.

use super::{Outcome, Shared, report};
use crate::daemon::Assembly;
use crate::daemon::status;
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
    // What it takes to compute a model as a whole is known to the daemon that does it, if one is running.
    let measured = status::read(&config, &selected).map_or(Vec::new(), |status| status.models);
    let took = |name: &str| measured.iter().find(|model| model.name == name)?.recompute_ms;
    let (mut refused, mut recomputed) = (0, 0);
    for planned in planned.iter().filter(|planned| planned.selected || planned.outcome.is_err()) {
        refused += planned.outcome.is_err() as usize;
        let outcome = planned.outcome.as_ref().ok();
        recomputed += outcome.is_some_and(|number| assembly.compiled[*number].recomputed().is_some()) as usize;
        match (&planned.outcome, shared.json) {
            (Ok(number), false) => {
                match assembly.compiled[*number].recomputed() {
                    None => println!("model {}: incremental", planned.name),
                    Some(_) => {
                        let took = took(&planned.name).map_or(String::new(), |ms| format!(", {ms} ms the last time"));
                        println!("model {}: recompute{took}", planned.name);
                    }
                }
                let tree = explain(&assembly.compiled[*number].node, &table, &model);
                tree.lines().for_each(|line| println!("  {line}"));
                println!();
            }
            (Err(error), false) => println!("model {}: refused\n{}", planned.name, report::as_text(error)),
            (Ok(number), true) => {
                let tree = explain(&assembly.compiled[*number].node, &table, &model);
                let mut line = serde_json::json!({"model": planned.name, "mode": "incremental", "plan": tree});
                if let Some(why) = assembly.compiled[*number].recomputed() {
                    (line["mode"], line["why"]) = ("recompute".into(), why.into());
                    line["recompute_ms"] = took(&planned.name).into();
                }
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
        let incremental = planned.len() - refused - recomputed;
        println!("{} models: {incremental} incremental, {recomputed} recompute, {refused} refused", planned.len());
    }
    Ok(if refused == 0 { Outcome::Good } else { Outcome::Failed })
}
