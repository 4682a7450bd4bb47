//! `driftless compile`: the SQL of the models as rendered, to stdout and, as dbt does, below `target/compiled`.

use super::{Outcome, Shared};
use crate::error::{Error, Result};

pub fn run(shared: &Shared) -> Result<Outcome> {
    let project = shared.project()?;
    let selected = shared.selected(&project)?;
    for model in &selected {
        let file = project.dir.join("target/compiled").join(&project.name).join(&model.path);
        let folder = file.parent().unwrap_or(&project.dir);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, &model.compiled_sql));
        written.map_err(|e| Error::operator(format!("cannot write `{}`", file.display())).because(e))?;
        if shared.json {
            let line = serde_json::json!({
                "model": model.name,
                "relation": model.relation.to_string(),
                "table": format!("{}.{}", model.relation.schema, model.relation.identifier),
                "materialized": model.config.materialized(),
                "compiled_sql": model.compiled_sql,
            });
            println!("{line}");
        } else {
            println!("-- {} ({})\n{}\n", model.name, model.path.display(), model.compiled_sql.trim_end());
        }
    }
    Ok(Outcome::Good)
}
