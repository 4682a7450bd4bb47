//! Data tests: a query whose rows are the failures.
//!
//! A test is declared in a property file and rendered by a macro `test_<kind>`, as in dbt: the built-in
//! four come with the built-in macros, a project may replace them or bring its own.

use super::Project;
use super::files::yaml::Section;
use super::model::Relation;
use crate::error::{Error, Place, Result};
use serde_json::{Map, Value};

#[derive(Clone, Debug)]
pub struct Test {
    /// As dbt names it: `not_null_orders_order_id`, or the name given in YAML.
    pub name: String,
    pub kind: Kind,
    pub column: Option<String>,
    pub arguments: Map<String, Value>,
    pub severity: Severity,
    /// `where`, `limit`, `warn_if` and their like.
    pub config: Map<String, Value>,
    /// The model, seed or source table under test.
    pub tested: Relation,
    /// The property file that declares it.
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    NotNull,
    Unique,
    AcceptedValues,
    Relationships,
    /// A generic test of the project, or `package.test`.
    Other(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Warn,
    Error,
}

impl Test {
    /// The query that selects failing rows.
    pub fn sql(&self, project: &Project) -> Result<String> {
        project.engine().render_test(self).map_err(|e| e.doing(format!("compile the test `{}`", self.name)))
    }

    pub fn filter(&self) -> Option<&str> {
        self.config.get("where").and_then(Value::as_str)
    }
}

impl Kind {
    pub fn of(name: &str) -> Kind {
        match name {
            "not_null" => Kind::NotNull,
            "unique" => Kind::Unique,
            "accepted_values" => Kind::AcceptedValues,
            "relationships" => Kind::Relationships,
            other => Kind::Other(other.to_string()),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Kind::NotNull => "not_null",
            Kind::Unique => "unique",
            Kind::AcceptedValues => "accepted_values",
            Kind::Relationships => "relationships",
            Kind::Other(name) => name,
        }
    }
}

/// A test as YAML states it, before it is known where the tested relation lives.
#[derive(Clone, Debug)]
pub struct Declared {
    kind: Kind,
    name: Option<String>,
    column: Option<String>,
    arguments: Map<String, Value>,
    config: Map<String, Value>,
    place: Place,
}

impl Declared {
    /// `unique`, `{unique: {…}}`, or `{test_name: unique, …}`; settings may stand beside the arguments.
    pub fn read(section: &Section<'_>, column: Option<&str>, entry: &Value) -> Result<Declared> {
        let fault = |what: String| Error::operator(what).at(Place::file(&section.text.file));
        let (kind, mut body) = match entry {
            Value::String(kind) => (kind.clone(), Map::new()),
            Value::Object(map) if map.contains_key("test_name") => {
                let mut body = map.clone();
                match body.remove("test_name") {
                    Some(Value::String(kind)) => (kind, body),
                    _ => return Err(fault(format!("`test_name` of a test of {} must be text", section.called))),
                }
            }
            Value::Object(map) => match map.iter().collect::<Vec<_>>()[..] {
                [(kind, Value::Null)] => (kind.clone(), Map::new()),
                [(kind, Value::Object(body))] => (kind.clone(), body.clone()),
                [(kind, _)] => return Err(fault(format!("test `{kind}` of {} must be a mapping", section.called))),
                _ => {
                    let keys: Vec<String> = map.keys().map(|key| format!("`{key}`")).collect();
                    let what = format!("a test of {} must have one name, and has {}", section.called, keys.join(", "));
                    return Err(fault(what).hint("indent what belongs to the test one step further"));
                }
            },
            _ => return Err(fault(format!("a test of {} must be a name or a mapping", section.called))),
        };
        let mut config = Map::new();
        for key in SETTINGS {
            if let Some(value) = body.remove(*key) {
                config.insert(key.to_string(), value);
            }
        }
        if let Some(Value::Object(nested)) = body.remove("config") {
            config.extend(nested);
        }
        let name = body.remove("name").and_then(|name| name.as_str().map(str::to_string));
        body.remove("description");
        let column = match body.remove("column_name") {
            Some(Value::String(column)) => Some(column),
            _ => column.map(str::to_string),
        };
        if let Some(Value::Object(nested)) = body.remove("arguments") {
            body.extend(nested);
        }
        let place = Place::file(&section.text.file);
        Ok(Declared { kind: Kind::of(&kind), name, column, arguments: body, config, place })
    }

    pub fn enabled(&self) -> bool {
        self.config.get("enabled").is_none_or(super::config::truthy)
    }

    /// The test of `tested`, which names call `called`: `orders`, or `raw_orders` with the prefix `source_`.
    pub fn into_test(self, prefix: &str, called: &str, tested: &Relation) -> Result<Test> {
        let severity = match self.config.get("severity").and_then(Value::as_str).map(str::to_lowercase).as_deref() {
            None | Some("error") => Severity::Error,
            Some("warn") => Severity::Warn,
            Some(other) => {
                return Err(Error::operator(format!("severity `{other}` of a test of `{called}` is not known"))
                    .at(self.place)
                    .hint("write `warn` or `error`"));
            }
        };
        let name = self.name.clone().unwrap_or_else(|| format!("{prefix}{}", self.usual_name(called)));
        Ok(Test {
            name,
            kind: self.kind,
            column: self.column,
            arguments: self.arguments,
            severity,
            config: self.config,
            tested: tested.clone(),
            place: self.place,
        })
    }

    /// dbt's `<kind>_<model>_<arguments>`, every argument in order of its key.
    fn usual_name(&self, called: &str) -> String {
        let mut arguments: Vec<(&str, String)> =
            self.arguments.iter().map(|(key, value)| (key.as_str(), flat(value))).collect();
        arguments.extend(self.column.as_ref().map(|column| ("column_name", column.clone())));
        arguments.sort();
        let mut words = vec![self.kind.name().replace('.', "_"), called.to_string()];
        words.extend(arguments.into_iter().map(|(_, text)| text));
        let clean = |word: &String| {
            let mut out = String::new();
            for c in word.chars() {
                match c.is_ascii_alphanumeric() || c == '_' {
                    true => out.push(c),
                    false if !out.ends_with('\u{1}') => out.push('\u{1}'),
                    false => {}
                }
            }
            out.replace('\u{1}', "_")
        };
        let first = format!("{}_{}", words[0], words[1]);
        match words[2..].iter().map(clean).collect::<Vec<_>>() {
            rest if rest.is_empty() => first,
            rest => format!("{first}_{}", rest.join("__")),
        }
    }
}

const SETTINGS: &[&str] = &[
    "severity",
    "where",
    "limit",
    "warn_if",
    "error_if",
    "fail_calc",
    "store_failures",
    "store_failures_as",
    "enabled",
    "tags",
    "meta",
    "database",
    "schema",
    "alias",
    "group",
];

fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(flat).collect::<Vec<_>>().join("__"),
        Value::Object(map) => map.values().map(flat).collect::<Vec<_>>().join("__"),
        // The name is what Python prints.
        Value::Bool(value) => if *value { "True" } else { "False" }.to_string(),
        Value::Null => "None".to_string(),
        Value::Number(number) => number.to_string(),
    }
}
