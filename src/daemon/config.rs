//! `driftless.yml`: small, beside `dbt_project.yml`, with defaults that work.
//!
//! It is rendered with dbt's `env_var` and `var` before it is read, so that secrets come from the environment.

use crate::error::{Error, Place, Result};
use crate::project::Project;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const FILE: &str = "driftless.yml";

/// What `memory:` is where it is left out, and what it must be at least.
pub const MEMORY_BYTES: usize = 2 << 30;
const MEMORY_BYTES_MIN: usize = 128 << 20;

#[derive(Clone, Debug)]
pub struct Config {
    /// By name of the dbt source.
    pub sources: BTreeMap<String, SourceConfig>,
    /// The data directory.
    pub state: PathBuf,
    /// Where the Iceberg tables lie.
    pub warehouse: PathBuf,
    /// How long a change may wait before it is committed to Iceberg.
    pub commit_every: Duration,
    /// Threads of the dataflow.
    pub workers: usize,
    /// How much memory the process may take, in bytes; what does not fit is on disk.
    pub memory_bytes: usize,
    /// What slots, publications and snapshots are marked with: one for each daemon on a database.
    pub pipeline: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    Postgres(String),
    MySql(String),
    Replay(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    sources: BTreeMap<String, WrittenSource>,
    state: Option<PathBuf>,
    warehouse: Option<PathBuf>,
    commit_every: Option<String>,
    workers: Option<usize>,
    memory: Option<String>,
    pipeline: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSource {
    postgres: Option<String>,
    mysql: Option<String>,
    replay: Option<PathBuf>,
}

impl Config {
    /// Reads the project's `driftless.yml`; relative paths are the project's.
    pub fn load(project: &Project) -> Result<Config> {
        let file = project.dir.join(FILE);
        if !file.exists() {
            let message = format!("no `{FILE}` beside dbt_project.yml in `{}`", project.dir.display());
            return Err(Error::operator(message).hint(
                "write one that says where each dbt source lives: `sources: {shop: {postgres: \"postgresql://…\"}}`",
            ));
        }
        let written: Written = project.config_file(&file)?;
        let wrong = |message: String, hint: &str| Error::operator(message).at(Place::file(FILE)).hint(hint);
        let mut sources = BTreeMap::new();
        for (name, source) in written.sources {
            let given = [
                source.postgres.map(SourceConfig::Postgres),
                source.mysql.map(SourceConfig::MySql),
                source.replay.map(|path| SourceConfig::Replay(absolute(&project.dir, &path))),
            ];
            let mut given = given.into_iter().flatten();
            match (given.next(), given.next()) {
                (Some(one), None) => sources.insert(name, one),
                _ => {
                    let message = format!("source `{name}` needs exactly one of `postgres`, `mysql`, `replay`");
                    return Err(wrong(message, "give the connection URL of its database"));
                }
            };
        }
        let state = absolute(&project.dir, &written.state.unwrap_or_else(|| "state".into()));
        let warehouse = written.warehouse.map_or_else(|| state.join("warehouse"), |path| absolute(&project.dir, &path));
        let commit_every = match written.commit_every {
            None => Duration::from_secs(10),
            Some(text) => duration(&text).ok_or_else(|| {
                wrong(format!("`commit_every: {text}` is not a duration"), "write it as `500ms`, `10s` or `1m`")
            })?,
        };
        let workers = written.workers.unwrap_or(1);
        if workers == 0 || workers > 64 {
            return Err(wrong(
                format!("`workers: {workers}` is not between 1 and 64"),
                "leave it out: 1 is the default",
            ));
        }
        let memory_bytes = match written.memory {
            None => MEMORY_BYTES,
            Some(text) => bytes(&text).filter(|bytes| *bytes >= MEMORY_BYTES_MIN).ok_or_else(|| {
                let hint = "write it as `2GiB` or `512MiB`; 128MiB is the least";
                wrong(format!("`memory: {text}` is not an amount of memory to work with"), hint)
            })?,
        };
        let pipeline = written.pipeline.unwrap_or_else(|| project.name.clone());
        Ok(Config { sources, state, warehouse, commit_every, workers, memory_bytes, pipeline })
    }

    /// Refuses early, before a source hears of us, what could not even be made a directory.
    pub fn check_places(&self) -> Result<()> {
        for (key, place) in [("state", &self.state), ("warehouse", &self.warehouse)] {
            let found = place.ancestors().find(|path| path.exists());
            if let Some(file) = found.filter(|path| !path.is_dir()) {
                let what = format!("the {key} directory `{}` cannot be made", place.display());
                return Err(Error::operator(what)
                    .because(format!("`{}` is not a directory", file.display()))
                    .hint(format!("set `{key}:` in {FILE} to another place")));
            }
        }
        Ok(())
    }

    /// The SQLite file of the embedded Iceberg catalog.
    pub fn catalog(&self) -> PathBuf {
        self.state.join("catalog.db")
    }
}

fn absolute(dir: &Path, path: &Path) -> PathBuf {
    std::path::absolute(dir.join(path)).unwrap_or_else(|_| dir.join(path))
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.trim().parse().ok()?;
    let millis = match &text[digits.len()..] {
        "ms" => number,
        "s" | "" => number.checked_mul(1_000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(millis))
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: usize = digits.trim().parse().ok()?;
    let unit: usize = match &text[digits.len()..].to_ascii_lowercase()[..] {
        "kb" => 1_000,
        "kib" | "k" => 1 << 10,
        "mb" => 1_000_000,
        "mib" | "m" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" | "g" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_written_with_its_unit() {
        assert_eq!(bytes("2GiB"), Some(2 << 30));
        assert_eq!(bytes("512 MB"), Some(512_000_000));
        assert_eq!(bytes("512"), None);
        assert_eq!(bytes("much"), None);
    }

    #[test]
    fn durations_are_written_with_their_unit() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(duration("2 m"), Some(Duration::from_secs(120)));
        assert_eq!(duration("soon"), None);
    }
}
