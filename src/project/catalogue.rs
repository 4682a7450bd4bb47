//! What `ref` and `source` can find: every name of the project with the relation behind it.

use super::model::{Relation, SourceRef};
use super::nearest::did_you_mean;
use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Model { unique_id: String },
    Seed { unique_id: String },
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub package: String,
    pub known: Known,
    pub relation: Relation,
}

#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    nodes: BTreeMap<String, Vec<Entry>>,
    sources: BTreeMap<(String, String), Relation>,
    disabled: Vec<String>,
}

/// Why a name was not found, and what to do about it.
#[derive(Clone, Debug)]
pub struct NotFound {
    pub what: String,
    pub hint: Option<String>,
}

impl Catalogue {
    pub fn add(&mut self, name: &str, entry: Entry) {
        self.nodes.entry(name.to_string()).or_default().push(entry);
    }

    pub fn add_source(&mut self, reference: SourceRef, relation: Relation) {
        self.sources.insert((reference.source, reference.table), relation);
    }

    pub fn add_disabled(&mut self, name: &str) {
        self.disabled.push(name.to_string());
    }

    /// `asked_by`: "model `orders`".
    pub fn find(&self, asked_by: &str, package: Option<&str>, name: &str) -> Result<&Entry, NotFound> {
        let entries = self.nodes.get(name).into_iter().flatten();
        if let Some(entry) = entries.into_iter().find(|entry| package.is_none_or(|package| entry.package == package)) {
            return Ok(entry);
        }
        let full = package.map_or(name.to_string(), |package| format!("{package}.{name}"));
        if self.disabled.iter().any(|disabled| disabled == name) {
            return Err(NotFound {
                what: format!("{asked_by} depends on a node named `{full}` which is disabled"),
                hint: Some(format!("set `enabled: true` on `{name}`, or stop reading it")),
            });
        }
        Err(NotFound {
            what: format!("{asked_by} depends on a node named `{full}` which was not found"),
            hint: did_you_mean(name, self.nodes.keys().map(String::as_str)),
        })
    }

    pub fn find_source(&self, asked_by: &str, source: &str, table: &str) -> Result<&Relation, NotFound> {
        if let Some(relation) = self.sources.get(&(source.to_string(), table.to_string())) {
            return Ok(relation);
        }
        let full = format!("{source}.{table}");
        let names: Vec<String> = self.sources.keys().map(|(source, table)| format!("{source}.{table}")).collect();
        Err(NotFound {
            what: format!("{asked_by} depends on a source named `{full}` which was not found"),
            hint: did_you_mean(&full, names.iter().map(String::as_str)),
        })
    }
}
