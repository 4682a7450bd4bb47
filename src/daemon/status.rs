//! What the daemon says of itself: one document, for people and machines.

use super::config::Config;
use super::control::{Answer, Request, ask};
use crate::commit::iceberg;
use crate::error::{Error, Result};
use crate::project::Model;
use crate::row::{Cut, Moment};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub pipeline: String,
    pub pid: u32,
    pub phase: Phase,
    /// The last closed Moment: what the maintained models hold.
    pub moment: Moment,
    pub cut: Cut,
    /// The last Moment on disk: what the tables show, and what sources were told.
    pub durable_moment: Moment,
    pub durable_cut: Cut,
    /// From the last commit at a source to its Moment's close, in milliseconds.
    pub lag_ms: Option<i64>,
    pub rows_copied: u64,
    pub models: Vec<ModelStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A first copy is under way.
    Copying,
    Live,
    Stopping,
    /// No daemon runs; this is what the last one left.
    Stopped,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelStatus {
    pub name: String,
    /// `namespace.table` in the catalog; `None` where the model is maintained and not published.
    pub table: Option<String>,
    pub rows: i64,
    pub changes: u64,
    pub changes_per_s: f64,
    pub published: Option<PublishedStatus>,
    /// Rows that cannot be computed; while there are any the last good snapshot stays.
    pub faults: Vec<crate::flow::Fault>,
    /// Whether the model, or one that it reads, has faults.
    pub withheld: bool,
    /// Whether the model waits for the rest of a huge transaction, or to be computed as a whole; until then its last
    /// snapshot stays.
    pub behind: bool,
    /// What it took the last time, where the model is computed as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recompute_ms: Option<u64>,
    /// Where the table's current metadata lies: what one hands to a reader.
    pub metadata: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublishedStatus {
    pub moment: Moment,
    pub snapshot_id: i64,
    pub rows: u64,
    pub fingerprint: String,
}

impl From<&crate::commit::Published> for PublishedStatus {
    fn from(published: &crate::commit::Published) -> PublishedStatus {
        PublishedStatus {
            moment: published.moment,
            snapshot_id: published.snapshot_id,
            rows: published.rows,
            fingerprint: published.fingerprint.to_string(),
        }
    }
}

/// What the running daemon says, or what the last one left in the catalog.
pub fn read(config: &Config, models: &[&Model]) -> Result<Status> {
    let mut status = match ask(&config.state, &Request::Status)? {
        Some(Answer::Status(status)) => status,
        Some(Answer::Failed(why)) => return Err(Error::operator(why).doing("ask the running daemon")),
        Some(_) => return Err(Error::bug("the daemon answered another question")),
        None => left(config, models)?,
    };
    for model in &mut status.models {
        let Some((namespace, table)) = model.table.as_ref().and_then(|table| table.split_once('.')) else { continue };
        model.metadata = iceberg::metadata_location(&config.catalog(), namespace, table)?;
    }
    Ok(status)
}

/// Where the current metadata of a model's table lies.
pub fn metadata(config: &Config, model: &Model) -> Result<Option<String>> {
    iceberg::metadata_location(&config.catalog(), &model.relation.schema, &model.relation.identifier)
}

fn left(config: &Config, models: &[&Model]) -> Result<Status> {
    let mut status = Status {
        pipeline: config.pipeline.clone(),
        pid: 0,
        phase: Phase::Stopped,
        moment: Moment::default(),
        cut: Cut::default(),
        durable_moment: Moment::default(),
        durable_cut: Cut::default(),
        lag_ms: None,
        rows_copied: 0,
        models: Vec::new(),
    };
    for model in models {
        let (namespace, table) = (&model.relation.schema, &model.relation.identifier);
        let published = iceberg::published(&config.catalog(), namespace, table)?;
        if let Some(published) = published.as_ref().filter(|p| p.moment >= status.moment) {
            (status.moment, status.cut) = (published.moment, published.cut.clone());
            (status.durable_moment, status.durable_cut) = (published.moment, published.cut.clone());
        }
        status.models.push(ModelStatus {
            name: model.name.clone(),
            table: Some(format!("{namespace}.{table}")),
            rows: published.as_ref().map_or(0, |p| p.rows as i64),
            changes: 0,
            changes_per_s: 0.0,
            published: published.as_ref().map(Into::into),
            faults: Vec::new(),
            withheld: false,
            behind: false,
            recompute_ms: None,
            metadata: None,
        });
    }
    Ok(status)
}
