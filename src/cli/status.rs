//! `driftless status`: each model's rows, Moment, lag and last snapshot.

use super::{Outcome, Shared, report};
use crate::daemon::status::{self, ModelStatus, Phase, Status};
use crate::error::{Error, Result};

pub fn run(shared: &Shared) -> Result<Outcome> {
    let project = shared.project()?;
    let config = shared.config(&project)?;
    let selected = shared.selected(&project)?;
    let mut status = status::read(&config, &selected)?;
    status.models.retain(|model| selected.iter().any(|m| m.name == model.name));
    if shared.json {
        let line = serde_json::to_string(&status).map_err(|e| Error::bug("a status is plain data").because(e))?;
        println!("{line}");
    } else {
        print!("{}", show(&status));
    }
    Ok(Outcome::Good)
}

pub fn show(status: &Status) -> String {
    let phase = match status.phase {
        Phase::Copying => format!("copying ({} rows so far)", status.rows_copied),
        Phase::Live => "live".into(),
        Phase::Stopping => "stopping".into(),
        Phase::Stopped => "stopped".into(),
    };
    let lag = status.lag_ms.map_or("-".into(), |lag| format!("{lag} ms"));
    let mut text = format!("{}: {phase}, Moment {}, lag {lag}\n{}\n\n", status.pipeline, status.moment, status.cut);
    let row = |model: &ModelStatus| {
        let published = model.published.as_ref();
        vec![
            model.name.clone(),
            model.rows.to_string(),
            format!("{:.1}", model.changes_per_s),
            published.map_or("-".into(), |p| p.moment.to_string()),
            published.map_or("-".into(), |p| p.snapshot_id.to_string()),
            match (model.withheld, model.behind) {
                (true, _) => "withheld".into(),
                (false, true) => "behind".into(),
                (false, false) => String::new(),
            },
        ]
    };
    let rows: Vec<Vec<String>> = status.models.iter().map(row).collect();
    text += &report::table(&["model", "rows", "changes/s", "published", "snapshot", ""], &rows);
    for model in status.models.iter().filter(|model| !model.faults.is_empty()) {
        text += &format!("\n{} is withheld, its last good snapshot stays:\n", model.name);
        for fault in &model.faults {
            text += &format!("  {} in {}\n", fault.message, fault.sample);
        }
    }
    text
}
