//! `driftless ls`: the models, by dbt's selector names and in its order.

use super::{Outcome, Shared};
use crate::error::Result;
use clap::{Args, ValueEnum};

#[derive(Args)]
pub struct List {
    /// How to name the models
    #[arg(long, value_enum, default_value_t = Output::Selector)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Output {
    Selector,
    Name,
    Path,
    Json,
}

impl List {
    pub fn run(&self, shared: &Shared) -> Result<Outcome> {
        let project = shared.project()?;
        let output = if shared.json { Output::Json } else { self.output };
        let mut selected = shared.selected(&project)?;
        selected.sort_by(|a, b| a.unique_id.cmp(&b.unique_id));
        for model in selected {
            match output {
                Output::Selector => println!("{}", model.fqn.join(".")),
                Output::Name => println!("{}", model.name),
                Output::Path => println!("{}", model.path.display()),
                Output::Json => {
                    let sources = model
                        .depends_on_sources
                        .iter()
                        .map(|s| project.source(s).map(|table| table.unique_id.clone()).unwrap_or_default());
                    let nodes: Vec<String> = model.depends_on_models.iter().cloned().chain(sources).collect();
                    let line = serde_json::json!({
                        "name": model.name,
                        "unique_id": model.unique_id,
                        "resource_type": "model",
                        "original_file_path": model.path,
                        "fqn": model.fqn,
                        "tags": model.config.tags(),
                        "config": model.config.values(),
                        "depends_on": {"nodes": nodes},
                    });
                    println!("{line}");
                }
            }
        }
        Ok(Outcome::Good)
    }
}
