//! What a model is told about itself: dbt's configuration, gathered level by level.
//!
//! Levels, weakest first: the `models:` tree of dbt_project.yml (from the root down to the model's own
//! name), the model's entry in a property file, `config(...)` in the model. A later level replaces a
//! key, except that tags and hooks add up and `meta`, `grants` and `docs` merge key by key. Keys that we
//! do not know are kept and ignored: projects carry settings of every warehouse.

use serde_json::{Map, Value};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config(Map<String, Value>);

impl Config {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub fn values(&self) -> &Map<String, Value> {
        &self.0
    }

    /// `view` where nobody said otherwise, as in dbt.
    pub fn materialized(&self) -> &str {
        self.text("materialized").unwrap_or("view")
    }

    pub fn tags(&self) -> Vec<&str> {
        texts(self.get("tags"))
    }

    /// The custom schema as written; the schema a model lands in is in its `relation`.
    pub fn schema(&self) -> Option<&str> {
        self.text("schema")
    }

    pub fn database(&self) -> Option<&str> {
        self.text("database")
    }

    pub fn alias(&self) -> Option<&str> {
        self.text("alias")
    }

    pub fn enabled(&self) -> bool {
        self.get("enabled").is_none_or(truthy)
    }

    pub fn meta(&self) -> Option<&Map<String, Value>> {
        self.get("meta").and_then(Value::as_object)
    }

    pub fn unique_key(&self) -> Vec<&str> {
        texts(self.get("unique_key"))
    }

    /// A name, a list or a dictionary: every adapter has its own shape.
    pub fn partition_by(&self) -> Option<&Value> {
        self.get("partition_by")
    }

    pub(super) fn merge(&mut self, level: &Map<String, Value>) {
        for (key, new) in level {
            let key = match key.as_str() {
                "pre_hook" => "pre-hook",
                "post_hook" => "post-hook",
                key => key,
            };
            let old = self.0.get(key).cloned().unwrap_or(Value::Null);
            let merged = match (key, old) {
                ("tags" | "pre-hook" | "post-hook" | "packages", old) => Value::Array(both(old, new.clone())),
                ("meta" | "grants" | "docs", Value::Object(mut old)) if new.is_object() => {
                    old.extend(new.as_object().cloned().unwrap_or_default());
                    Value::Object(old)
                }
                _ => new.clone(),
            };
            self.0.insert(key.to_string(), merged);
        }
    }

    /// The levels of a tree of dbt_project.yml that speak about the node at `fqn`. A key with `+` is a
    /// setting; without it, a dictionary is a folder and everything else a setting.
    pub(super) fn merge_tree(&mut self, tree: &Map<String, Value>, fqn: &[String]) {
        self.merge(&settings_of(tree));
        let mut level = tree;
        for part in fqn {
            match level.get(part) {
                Some(Value::Object(next)) => level = next,
                _ => return,
            }
            self.merge(&settings_of(level));
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

/// YAML 1.1 booleans, as dbt reads them.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::String(text) => !matches!(text.trim().to_lowercase().as_str(), "" | "false" | "no" | "off" | "0"),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Null => false,
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn settings_of(level: &Map<String, Value>) -> Map<String, Value> {
    let settings = level.iter().filter_map(|(key, value)| match key.strip_prefix('+') {
        Some(key) => Some((key.trim().to_string(), value.clone())),
        None if !value.is_object() => Some((key.clone(), value.clone())),
        None => None,
    });
    settings.collect()
}

fn both(old: Value, new: Value) -> Vec<Value> {
    let mut all = as_list(old);
    for value in as_list(new) {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

fn as_list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        Value::Null => Vec::new(),
        value => vec![value],
    }
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => vec![text],
        _ => Vec::new(),
    }
}
