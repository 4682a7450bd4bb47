//! Model in: a dbt project, loaded as it stands.
//!
//! ```text
//!   dbt_project.yml, profiles.yml ─► files ──┐
//!   property files (YAML) ─────────► files ──┤
//!   macros/, dbt_packages/*/macros ► template┼─► inspect: config(…) ─► catalogue ─► compile ─► graph ─► Project
//!   models/**/*.sql ─────────────────────────┘   (where each lives)    (ref, source)  (SQL)   (order)
//! ```
//!
//! Every materialization means the pure query: `is_incremental()` is false, an ephemeral model is a
//! relation like any other. Nothing here talks to a database, and nothing knows what the SQL means.
//! Invariants: `models` stand parents first; every name a model depends on is in the project; no two
//! models share a name or a relation.

mod catalogue;
mod config;
mod data_test;
mod definition;
mod files;
mod graph;
mod load;
mod model;
mod nearest;
mod origin;
mod selector;
mod template;

pub use config::Config;
pub use data_test::{Kind as TestKind, Severity, Test};
pub use files::profile::Target;
pub use model::{ColumnDoc, Model, Relation, Seed, SourceRef, SourceTable};
pub use nearest::nearest;

use crate::error::Result;
use std::path::{Path, PathBuf};

/// How the project is to be read, as on dbt's command line.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub target: Option<String>,
    pub vars: serde_json::Map<String, serde_json::Value>,
    pub profiles_dir: Option<PathBuf>,
}

pub struct Project {
    pub name: String,
    pub dir: PathBuf,
    pub target: Target,
    /// Enabled models, parents before children.
    pub models: Vec<Model>,
    pub sources: Vec<SourceTable>,
    pub seeds: Vec<Seed>,
    /// What was understood but not acted on, one sentence per class.
    pub warnings: Vec<String>,
    engine: template::Engine,
}

impl Project {
    pub fn load(dir: &Path, options: &Options) -> Result<Project> {
        load::load(dir, options)
    }

    /// By name or by unique id.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name || model.unique_id == name)
    }

    pub fn source(&self, reference: &SourceRef) -> Option<&SourceTable> {
        self.sources.iter().find(|table| table.source_name == reference.source && table.name == reference.table)
    }

    /// The models that `--select` and `--exclude` mean, parents first; all where `select` is empty. That
    /// nothing matched is no error.
    pub fn select(&self, select: &[String], exclude: &[String]) -> Result<Vec<&Model>> {
        let chosen = selector::select(self, select, exclude)?;
        Ok(self.models.iter().filter(|model| chosen.contains(&model.unique_id)).collect())
    }

    /// A configuration file's text with `env_var` and the project's `var` rendered.
    pub fn render_text(&self, text: &str, file: &Path) -> Result<String> {
        self.engine.file(text, file)
    }

    /// A configuration file of another program that lives in the project: rendered, then read as `T`.
    pub fn config_file<T: serde::de::DeserializeOwned>(&self, file: &Path) -> Result<T> {
        let mut text = files::Text::read(&self.dir, file)?;
        text.text = self.render_text(&text.text, &text.file)?;
        files::yaml::read(&text)
    }

    fn engine(&self) -> &template::Engine {
        &self.engine
    }
}

/// Variables as dbt's `--vars` takes them: a mapping in YAML or JSON.
pub fn parse_vars(text: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
    let text = files::Text { file: "--vars".into(), text: text.to_string() };
    files::yaml::parse_mapping(&text)
}

/// A configuration file's text with `env_var` rendered, where there is no project yet.
pub fn render_text(text: &str, file: &Path) -> Result<String> {
    template::Engine::new(template::Setting::default())?.file(text, file)
}
