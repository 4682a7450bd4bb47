//! The nouns of a project: relations, models, sources, seeds.

use super::config::Config;
use super::data_test::Test;
use super::definition;
use super::origin;
use crate::error::Place;
use std::fmt;
use std::path::PathBuf;

/// A table by its full name, printed as dbt-postgres prints it: every part quoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Relation {
    pub database: String,
    pub schema: String,
    pub identifier: String,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        write!(f, "{}.{}.{}", quoted(&self.database), quoted(&self.schema), quoted(&self.identifier))
    }
}

#[derive(Clone, Debug)]
pub struct Model {
    /// `model.<package>.<name>`
    pub unique_id: String,
    pub name: String,
    pub package: String,
    /// Package, folders below the model path, name: what selectors and the config tree go by.
    pub fqn: Vec<String>,
    /// Relative to the project.
    pub path: PathBuf,
    /// The file as it stands.
    pub raw_sql: String,
    pub compiled_sql: String,
    pub relation: Relation,
    pub config: Config,
    pub description: String,
    pub columns: Vec<ColumnDoc>,
    pub tests: Vec<Test>,
    /// Unique ids, in order of first mention.
    pub depends_on_models: Vec<String>,
    pub depends_on_seeds: Vec<String>,
    pub depends_on_sources: Vec<SourceRef>,
    /// Names and relations of all parents, sorted: part of the definition.
    pub(super) parents: Vec<(String, Relation)>,
}

impl Model {
    /// Changes when the meaning of the model may have changed: its SQL but for comments and white space,
    /// or where a parent lives. Not when it is moved, described or tagged.
    pub fn definition_hash(&self) -> String {
        definition::hash(&self.compiled_sql, &self.parents)
    }

    /// Where in the user's file a place of the compiled SQL came from (lines and columns from 1). Exact
    /// where the line stands in the file as it is; else the best guess; never worse than line 1.
    pub fn place_in_raw(&self, compiled_line: usize, compiled_column: usize) -> Place {
        let found = origin::trace(&self.raw_sql, &self.compiled_sql, compiled_line, compiled_column);
        Place::within(&self.path, &self.raw_sql, found.line, found.column, found.width)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDoc {
    pub name: String,
    pub description: String,
    pub data_type: Option<String>,
}

/// A source table as a model names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceRef {
    pub source: String,
    pub table: String,
}

#[derive(Clone, Debug)]
pub struct SourceTable {
    /// `source.<package>.<source>.<table>`
    pub unique_id: String,
    pub source_name: String,
    pub name: String,
    pub package: String,
    pub fqn: Vec<String>,
    /// The property file that declares it, relative to the project.
    pub path: PathBuf,
    pub database: String,
    pub schema: String,
    pub identifier: String,
    pub relation: Relation,
    pub config: Config,
    pub description: String,
    pub columns: Vec<ColumnDoc>,
    pub tests: Vec<Test>,
}

impl SourceTable {
    pub fn reference(&self) -> SourceRef {
        SourceRef { source: self.source_name.clone(), table: self.name.clone() }
    }
}

/// A CSV file of the project that models may refer to.
#[derive(Clone, Debug)]
pub struct Seed {
    /// `seed.<package>.<name>`
    pub unique_id: String,
    pub name: String,
    pub package: String,
    pub fqn: Vec<String>,
    pub path: PathBuf,
    pub relation: Relation,
    pub config: Config,
    pub description: String,
    pub columns: Vec<ColumnDoc>,
    pub tests: Vec<Test>,
}
