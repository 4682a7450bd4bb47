//! The functions and objects dbt gives to templates: `ref`, `source`, `config`, `var`, `adapter`…

use super::fault::{Returned, spoken};
use super::macros::dispatch;
use super::scope::Scope;
use super::value::{fit, from_json, split_arguments, to_json, to_map};
use crate::project::nearest::did_you_mean;
use minijinja::value::{Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use std::fmt;
use std::sync::Arc;

pub struct Builtin {
    name: &'static str,
    scope: Arc<Scope>,
}

impl Builtin {
    pub const NAMES: [&str; 18] = [
        "ref",
        "source",
        "config",
        "var",
        "env_var",
        "is_incremental",
        "should_full_refresh",
        "return",
        "log",
        "print",
        "tojson",
        "fromjson",
        "doc",
        "exceptions",
        "adapter",
        "builtins",
        "should_store_failures",
        "set",
    ];

    pub fn find(name: &str, scope: &Arc<Scope>) -> Option<Value> {
        let name = Builtin::NAMES.iter().find(|known| **known == name)?;
        Some(Value::from_object(Builtin { name, scope: scope.clone() }))
    }

    fn reference(&self, args: &[Value]) -> Result<Value, Error> {
        let (plain, named) = split_arguments(args);
        if let Some((key, _)) = named.iter().find(|(_, value)| !value.is_none()) {
            return Err(spoken(format!("`ref` with `{key}`: versions of models are not supported"), None));
        }
        match plain.iter().map(|arg| arg.as_str()).collect::<Vec<_>>()[..] {
            [Some(name)] => self.scope.reference(None, name),
            [Some(package), Some(name)] => self.scope.reference(Some(package), name),
            _ => Err(spoken("`ref` takes the name of a model, or a package and a name", None)),
        }
    }

    fn source(&self, args: &[Value]) -> Result<Value, Error> {
        match fit("source", ["source_name", "table_name"], args)? {
            [Some(source), Some(table)] => self.scope.source(&source.to_string(), &table.to_string()),
            _ => Err(spoken("`source` takes the name of a source and of a table", None)),
        }
    }

    /// Settings by keyword or as one dictionary; prints as nothing.
    fn config(&self, args: &[Value]) -> Result<Value, Error> {
        let (plain, named) = split_arguments(args);
        let mut level = match plain.as_slice() {
            [] => serde_json::Map::new(),
            [map] if map.kind() == ValueKind::Map => to_map(map),
            _ => return Err(spoken("`config` takes settings by name, or one dictionary", None)),
        };
        level.extend(named.into_iter().map(|(key, value)| (key, to_json(&value))));
        self.scope.run.seen.lock().expect("no render panics while it notes a setting").config.merge(&level);
        Ok(Value::from(""))
    }

    fn setting(&self, args: &[Value], needed: bool) -> Result<Value, Error> {
        let [name, default, _] = fit("config.get", ["name", "default", "validator"], args)?;
        let name = name.unwrap_or_default().to_string();
        let seen = self.scope.run.seen.lock().expect("no render panics while it notes a setting");
        let of_node =
            || self.scope.run.node.as_ref()?.get("config")?.get(&name).filter(|value| !value.is_null()).cloned();
        match seen.config.get(&name).cloned().or_else(of_node) {
            Some(value) => Ok(from_json(&value)),
            None if needed => Err(spoken(format!("the setting `{name}` is required and not set"), None)),
            None => Ok(default.unwrap_or_else(|| Value::from(()))),
        }
    }

    fn var(&self, args: &[Value]) -> Result<Value, Error> {
        let [name, default] = fit("var", ["name", "default"], args)?;
        let name = name.unwrap_or_default().to_string();
        match self.scope.var(&name).or(default) {
            Some(value) => Ok(value),
            None => {
                let names = self.scope.var_names();
                let hint = did_you_mean(&name, names.iter().map(String::as_str));
                let usual = || format!("set it under `vars:` in dbt_project.yml or with `--vars '{name}: …'`");
                Err(spoken(format!("variable `{name}` is not set"), Some(hint.unwrap_or_else(usual))))
            }
        }
    }

    fn env_var(&self, args: &[Value]) -> Result<Value, Error> {
        let [name, default] = fit("env_var", ["var", "default"], args)?;
        let name = name.unwrap_or_default().to_string();
        match (std::env::var(&name), default) {
            (Ok(value), _) => Ok(Value::from(value)),
            (Err(_), Some(default)) => Ok(default),
            (Err(std::env::VarError::NotPresent), None) => Err(spoken(
                format!("environment variable `{name}` is not set"),
                Some(format!("set it, or give a default: `env_var('{name}', '…')`")),
            )),
            (Err(_), None) => Err(spoken(format!("environment variable `{name}` is not UTF-8"), None)),
        }
    }

    fn doc(&self, args: &[Value]) -> Result<Value, Error> {
        let name = split_arguments(args).0.last().cloned().unwrap_or_default().to_string();
        self.scope.doc(&name).ok_or_else(|| {
            let names = self.scope.doc_names();
            let hint = did_you_mean(&name, names.iter().map(String::as_str));
            spoken(format!("no docs block is named `{name}`"), hint)
        })
    }
}

impl Object for Builtin {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.name {
            "builtins" => Builtin::find(key.as_str()?, &self.scope),
            _ => None,
        }
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let first = || split_arguments(args).0.first().cloned().unwrap_or_default();
        match self.name {
            "ref" => self.reference(args),
            "source" => self.source(args),
            "config" => self.config(args),
            "var" => self.var(args),
            "env_var" => self.env_var(args),
            "doc" => self.doc(args),
            // A model here is the pure query: what a full refresh would give.
            "is_incremental" | "should_store_failures" => Ok(Value::from(false)),
            "should_full_refresh" => Ok(Value::from(true)),
            "return" => Err(spoken("", None).with_source(Returned(first()))),
            "log" | "print" => {
                tracing::debug!(asked_by = self.scope.run.asked_by, "{}", first());
                Ok(Value::from(""))
            }
            "tojson" => Ok(Value::from(to_json(&first()).to_string())),
            "fromjson" => match serde_json::from_str(&first().to_string()) {
                Ok(json) => Ok(from_json(&json)),
                Err(e) => Err(spoken(format!("`fromjson`: {e}"), None)),
            },
            "set" => {
                let mut items: Vec<Value> = Vec::new();
                for item in first().try_iter()? {
                    if !items.contains(&item) {
                        items.push(item);
                    }
                }
                Ok(Value::from(items))
            }
            name => Err(Error::new(ErrorKind::InvalidOperation, format!("`{name}` is not a function"))),
        }
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        let first = || split_arguments(args).0.first().cloned().unwrap_or_default();
        match (self.name, method) {
            ("config", "get") => self.setting(args, false),
            ("config", "require") => self.setting(args, true),
            ("var", "has_var") => Ok(Value::from(self.scope.var(&first().to_string()).is_some())),
            ("exceptions", "raise_compiler_error" | "raise_fail_fast_error") => Err(spoken(first().to_string(), None)),
            ("exceptions", "warn") => {
                tracing::warn!(asked_by = self.scope.run.asked_by, "{}", first());
                Ok(Value::from(""))
            }
            ("adapter", "dispatch") => dispatch(&self.scope, args),
            ("adapter", "quote") => Ok(Value::from(format!("\"{}\"", first()))),
            ("adapter", "type") => Ok(Value::from(self.scope.adapter())),
            ("builtins", _) => Err(Error::from(ErrorKind::UnknownMethod)),
            (name, method) => Err(spoken(format!("`{name}.{method}` is not supported"), None)),
        }
    }
}

impl fmt::Debug for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.name)
    }
}
