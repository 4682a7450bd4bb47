//! The names a template sees, and what it is told when it asks.
//!
//! ```text
//!   local names ─► macros of its package ─► macros of the project ─► ref, source, config… ─► packages ─► built-in macros
//! ```
//!
//! A project may thus replace `ref` itself and still reach ours as `builtins.ref`. What a render asked
//! for is written down in its [`Run`].

use super::builtin::Builtin;
use super::fault::spoken;
use super::macros::{BUILTIN, MacroValue, Macros, PackageValue};
use super::value::{RelationValue, from_json, from_map};
use crate::project::catalogue::{Catalogue, Known, NotFound};
use crate::project::config::Config;
use crate::project::files::profile::Target;
use crate::project::model::{Relation, SourceRef};
use minijinja::value::Object;
use minijinja::{Error, Value};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What every render of a project shares.
#[derive(Debug, Default)]
pub struct Shared {
    pub project: String,
    /// By package: the variables it sees.
    pub vars: BTreeMap<String, Map<String, Json>>,
    pub target: Option<Target>,
    pub macros: Macros,
    pub docs: BTreeMap<String, String>,
}

/// One render: who asks, what it may find, what it has asked for.
#[derive(Debug, Default)]
pub struct Run {
    /// "model `orders`"
    pub asked_by: String,
    pub this: Option<Relation>,
    pub node: Option<Json>,
    /// None while the project is only being read: then every name is taken to exist.
    pub catalogue: Option<Arc<Catalogue>>,
    pub seen: Mutex<Seen>,
}

#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub config: Config,
    /// Name, what it stands for, and where it lives; in order of first mention.
    pub refs: Vec<(String, Known, Relation)>,
    pub sources: Vec<(SourceRef, Relation)>,
}

#[derive(Debug)]
pub struct Scope {
    shared: Arc<Shared>,
    pub run: Arc<Run>,
    package: String,
    depth: usize,
    locals: Vec<(&'static str, Value)>,
}

/// Macros that call each other deeper than this will not come back.
const DEPTH_MAX: usize = 50;

impl Scope {
    pub fn new(shared: &Arc<Shared>, run: &Arc<Run>, locals: Vec<(&'static str, Value)>) -> Scope {
        Scope { shared: shared.clone(), run: run.clone(), package: shared.project.clone(), depth: 0, locals }
    }

    /// The scope of a macro's body.
    pub fn within(&self, package: &str, surplus: Vec<Value>, named: Vec<(String, Value)>) -> Result<Scope, Error> {
        if self.depth == DEPTH_MAX {
            return Err(spoken(format!("macros call each other more than {DEPTH_MAX} deep"), None));
        }
        let locals = vec![("varargs", Value::from(surplus)), ("kwargs", Value::from_pairs(named))];
        // The built-in macros work for whoever calls them, so that they find the project's own.
        let package = if package == BUILTIN { &self.package } else { package }.to_string();
        Ok(Scope { shared: self.shared.clone(), run: self.run.clone(), package, depth: self.depth + 1, locals })
    }

    pub fn package(&self) -> &str {
        &self.package
    }

    pub fn root(&self) -> &str {
        &self.shared.project
    }

    pub fn adapter(&self) -> String {
        self.shared.target.as_ref().map_or("postgres".to_string(), |target| target.kind.clone())
    }

    pub fn macro_of(self: &Arc<Self>, package: &str, name: &str) -> Option<Value> {
        let entry = self.shared.macros.find(package, name)?.clone();
        let (package, name, scope) = (package.to_string(), name.to_string(), self.clone());
        Some(Value::from_object(MacroValue { package, name, entry, scope }))
    }

    pub fn var(&self, name: &str) -> Option<Value> {
        self.vars()?.get(name).map(from_json)
    }

    pub fn var_names(&self) -> Vec<String> {
        self.vars().map(|vars| vars.keys().cloned().collect()).unwrap_or_default()
    }

    pub fn doc(&self, name: &str) -> Option<Value> {
        self.shared.docs.get(name).map(|text| Value::from(text.as_str()))
    }

    pub fn doc_names(&self) -> Vec<String> {
        self.shared.docs.keys().cloned().collect()
    }

    pub fn reference(&self, package: Option<&str>, name: &str) -> Result<Value, Error> {
        let Some(catalogue) = &self.run.catalogue else { return Ok(RelationValue::of(&self.placeholder(name))) };
        let entry = catalogue.find(&self.run.asked_by, package, name).map_err(not_found)?;
        let seen = (name.to_string(), entry.known.clone(), entry.relation.clone());
        let mut noted = self.run.seen.lock().expect("no render panics while it notes a name");
        if !noted.refs.contains(&seen) {
            noted.refs.push(seen);
        }
        Ok(RelationValue::of(&entry.relation))
    }

    pub fn source(&self, source: &str, table: &str) -> Result<Value, Error> {
        let Some(catalogue) = &self.run.catalogue else { return Ok(RelationValue::of(&self.placeholder(table))) };
        let relation = catalogue.find_source(&self.run.asked_by, source, table).map_err(not_found)?;
        let reference = SourceRef { source: source.to_string(), table: table.to_string() };
        let seen = (reference, relation.clone());
        let mut noted = self.run.seen.lock().expect("no render panics while it notes a name");
        if !noted.sources.contains(&seen) {
            noted.sources.push(seen);
        }
        Ok(RelationValue::of(relation))
    }

    fn vars(&self) -> Option<&Map<String, Json>> {
        self.shared.vars.get(&self.package).or_else(|| self.shared.vars.get(&self.shared.project))
    }

    fn placeholder(&self, name: &str) -> Relation {
        let target = self.shared.target.as_ref();
        Relation {
            database: target.map_or_else(String::new, |target| target.database.clone()),
            schema: target.map_or_else(String::new, |target| target.schema.clone()),
            identifier: name.to_string(),
        }
    }

    fn fact(&self, name: &str) -> Option<Value> {
        let target = self.shared.target.as_ref();
        Some(match name {
            "this" => RelationValue::of(self.run.this.as_ref()?),
            "model" | "node" => from_json(self.run.node.as_ref()?),
            "execute" => Value::from(self.run.catalogue.is_some()),
            "target" => target_value(target?),
            "schema" => Value::from(target?.schema.as_str()),
            "database" => Value::from(target?.database.as_str()),
            "project_name" => Value::from(self.shared.project.as_str()),
            "dbt_version" => Value::from("1.11.0"),
            "flags" => Value::from_pairs([
                ("FULL_REFRESH", Value::from(false)),
                ("STORE_FAILURES", Value::from(false)),
                ("WHICH", Value::from("run")),
            ]),
            _ => return None,
        })
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        if let Some((_, value)) = self.locals.iter().find(|(local, _)| *local == name) {
            return Some(value.clone());
        }
        self.macro_of(&self.package, name)
            .or_else(|| self.macro_of(&self.shared.project, name))
            .or_else(|| self.fact(name))
            .or_else(|| Builtin::find(name, self))
            .or_else(|| {
                let package = self.shared.macros.has_package(name).then(|| name.to_string())?;
                Some(Value::from_object(PackageValue { package, scope: self.clone() }))
            })
            .or_else(|| self.macro_of(BUILTIN, name))
    }
}

fn target_value(target: &Target) -> Value {
    let mut map = target.settings.clone();
    for (key, value) in [
        ("profile_name", &target.profile),
        ("name", &target.name),
        ("target_name", &target.name),
        ("type", &target.kind),
        ("schema", &target.schema),
        ("database", &target.database),
        ("dbname", &target.database),
    ] {
        map.insert(key.to_string(), Json::from(value.as_str()));
    }
    from_map(&map)
}

fn not_found(not_found: NotFound) -> Error {
    spoken(not_found.what, not_found.hint)
}
