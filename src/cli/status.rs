//! `driftless status`: each model's rows, Moment, lag and last snapshot.

use super::{Outcome, Shared, report};
use crate::commit::iceberg;
use crate::daemon::Config;
use crate::daemon::control::{Answer, Request, ask};
use crate::daemon::status::{ModelStatus, Phase, Status};
use crate::error::{Error, Result};
use crate::project::Model;
use crate::row::{Cut, Moment};

pub fn run(shared: &Shared) -> Result<Outcome> {
    let project = shared.project()?;
    let config = shared.config(&project)?;
    let selected = shared.selected(&project)?;
    let mut status = match ask(&config.state, &Request::Status)? {
        Some(Answer::Status(status)) => status,
        Some(Answer::Failed(why)) => return Err(Error::operator(why).doing("ask the running daemon")),
        Some(Answer::Verdict(_)) => return Err(Error::bug("the daemon answered another question")),
        None => stopped(&config, &selected)?,
    };
    status.models.retain(|model| selected.iter().any(|m| m.name == model.name));
    if shared.json {
        let line = serde_json::to_string(&status).map_err(|e| Error::bug("a status is plain data").because(e))?;
        println!("{line}");
    } else {
        print!("{}", show(&status));
    }
    Ok(Outcome::Good)
}

/// What the last daemon left in the catalog.
fn stopped(config: &Config, selected: &[&Model]) -> Result<Status> {
    let (mut moment, mut cut) = (Moment::default(), Cut::default());
    let mut models = Vec::new();
    for model in selected {
        let (namespace, table) = (&model.relation.schema, &model.relation.identifier);
        let published = iceberg::published(&config.catalog(), namespace, table)?;
        if let Some(published) = published.as_ref().filter(|p| p.moment >= moment) {
            (moment, cut) = (published.moment, published.cut.clone());
        }
        models.push(ModelStatus {
            name: model.name.clone(),
            table: Some(format!("{namespace}.{table}")),
            rows: published.as_ref().map_or(0, |p| p.rows as i64),
            changes: 0,
            changes_per_s: 0.0,
            published: published.as_ref().map(Into::into),
            faults: Vec::new(),
            withheld: false,
        });
    }
    let pipeline = config.pipeline.clone();
    Ok(Status {
        pipeline,
        pid: 0,
        phase: Phase::Stopped,
        moment,
        cut: cut.clone(),
        durable_moment: moment,
        durable_cut: cut,
        lag_ms: None,
        rows_copied: 0,
        models,
    })
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
            if model.withheld { "withheld".into() } else { String::new() },
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
