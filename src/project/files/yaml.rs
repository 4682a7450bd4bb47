//! YAML text to values with places: what enters is a file, what leaves is JSON in the order of the file.
//!
//! Two equal keys in one mapping are an error, since one of them would be lost. Keys we do not know are
//! told once per class, not once per occurrence, and are otherwise ignored.

use super::Text;
use crate::error::{Error, Place, Result};
use crate::project::nearest::did_you_mean;
use serde_json::{Map, Value};
use serde_yaml_ng::Value as Yaml;

pub fn parse(text: &Text) -> Result<Value> {
    let mut yaml: Yaml = serde_yaml_ng::from_str(&text.text).map_err(|e| fault(text, &e))?;
    yaml.apply_merge().map_err(|e| fault(text, &e))?;
    Ok(json(yaml))
}

/// A file of a shape known beforehand.
pub fn read<T: serde::de::DeserializeOwned>(text: &Text) -> Result<T> {
    serde_yaml_ng::from_str(&text.text).map_err(|e| fault(text, &e))
}

/// A file whose top level is a mapping; an empty file is an empty mapping.
pub fn parse_mapping(text: &Text) -> Result<Map<String, Value>> {
    match parse(text)? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(Error::operator("the file must hold `key: value` pairs").at(Place::file(&text.file))),
    }
}

/// Where `key: value` first stands in the file; the whole file where it is written in another way.
pub fn place_of(text: &Text, key: &str, value: &str) -> Place {
    for (at, line) in text.text.lines().enumerate() {
        let bare = line.trim_start_matches([' ', '-', '{', ',']);
        let Some(written) = bare.strip_prefix(key).and_then(|rest| rest.trim_start().strip_prefix(':')) else {
            continue;
        };
        let written = written.split(" #").next().unwrap_or_default().trim();
        if written.trim_matches(['"', '\'']) == value {
            let column = line.chars().count() - bare.chars().count() + 1;
            return Place::within(&text.file, &text.text, at + 1, column, bare.chars().count());
        }
    }
    Place::file(&text.file)
}

/// One mapping of a property file, with enough around it to complain well.
pub struct Section<'a> {
    pub text: &'a Text,
    /// "model `orders`", "`models`": what the reader calls this mapping.
    pub called: String,
    pub map: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    pub fn of(text: &'a Text, called: impl Into<String>, value: &'a Value) -> Result<Section<'a>> {
        let called = called.into();
        match value {
            Value::Object(map) => Ok(Section { text, called, map }),
            _ => Err(fault_of(text, format!("{called} must be a mapping, and is {}", kind(value)))),
        }
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => {
                Err(fault_of(self.text, format!("`{key}` of {} must be text, and is {}", self.called, kind(value))))
            }
        }
    }

    pub fn name(&self) -> Result<&'a str> {
        self.text("name")?.ok_or_else(|| fault_of(self.text, format!("an entry of {} has no `name`", self.called)))
    }

    pub fn list(&self, key: &str) -> Result<&'a [Value]> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(value) => {
                Err(fault_of(self.text, format!("`{key}` of {} must be a list, and is {}", self.called, kind(value))))
            }
        }
    }

    pub fn mapping(&self, key: &str) -> Result<Map<String, Value>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(value) => {
                let wrong = format!("`{key}` of {} must be a mapping, and is {}", self.called, kind(value));
                Err(fault_of(self.text, wrong))
            }
        }
    }
}

/// Keys nobody here reads, one sentence per (section, key) however often it occurs.
#[derive(Default)]
pub struct Unknown(Vec<(String, String, String, usize)>);

impl Unknown {
    pub fn note(&mut self, section: &Section<'_>, class: &str, known: &[&str]) {
        for key in section.map.keys().filter(|key| !known.contains(&key.as_str())) {
            match self.0.iter_mut().find(|(c, k, ..)| c == class && k == key) {
                Some((.., count)) => *count += 1,
                None => {
                    let file = section.text.file.display().to_string();
                    self.0.push((class.to_string(), key.clone(), file, 1));
                }
            }
        }
    }

    pub fn sentences(self) -> Vec<String> {
        let sentence = |(class, key, file, count): (String, String, String, usize)| {
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            format!("unknown key `{key}` of a {class} is ignored ({file}{more})")
        };
        self.0.into_iter().map(sentence).collect()
    }
}

fn fault_of(text: &Text, what: String) -> Error {
    Error::operator(what).at(Place::file(&text.file))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn fault(text: &Text, error: &serde_yaml_ng::Error) -> Error {
    let said = error.to_string();
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    if let Some((_, key)) = said.split_once("duplicate entry with key ") {
        let key = key.split('"').nth(1).unwrap_or_default();
        let (line, column) = second_of(&text.text, key, line, column).unwrap_or((line, column));
        return Error::operator(format!("bad yaml: the key `{key}` stands twice in one mapping"))
            .at(Place::within(&text.file, &text.text, line, column, key.chars().count()))
            .hint("remove one of the two");
    }
    if let Some((_, rest)) = said.split_once("unknown field `") {
        let names: Vec<&str> = rest.split('`').step_by(2).collect();
        let (key, known) = (names[0], &names[1..]);
        let listed =
            || format!("the keys are {}", known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", "));
        return Error::operator(format!("unknown key `{key}`"))
            .at(Place::within(&text.file, &text.text, line, column, key.chars().count()))
            .hint(did_you_mean(key, known.iter().copied()).unwrap_or_else(listed));
    }
    // The place is told apart from the sentence: cut what the library appends to it.
    let what = match said.find(" at line ") {
        Some(at) => &said[..at],
        None => &said,
    };
    let jinja = text.text.lines().nth(line.saturating_sub(1)).is_some_and(|line| line.contains(": {{"));
    let error = Error::operator(format!("bad yaml: {what}")).at(Place::within(&text.file, &text.text, line, column, 1));
    if jinja { error.hint("put quotes around `{{ … }}`") } else { error }
}

/// The library names where the mapping starts; the user wants the second of the two keys.
fn second_of(text: &str, key: &str, line: usize, column: usize) -> Option<(usize, usize)> {
    let stands = |row: &str| {
        let rest: String = row.chars().skip(column - 1).collect();
        let rest = rest.trim_start_matches(['"', '\'']).strip_prefix(key)?.trim_start_matches(['"', '\'']).trim_start();
        rest.starts_with(':').then_some(())
    };
    let mut seen = text.lines().enumerate().skip(line - 1).filter(|(_, row)| stands(row).is_some());
    seen.nth(1).map(|(at, _)| (at + 1, column))
}

fn json(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Number(number) => serde_json::to_value(number).unwrap_or(Value::Null),
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(values) => Value::Array(values.into_iter().map(json).collect()),
        Yaml::Mapping(map) => Value::Object(map.into_iter().map(|(key, value)| (key_text(key), json(value))).collect()),
        Yaml::Tagged(tagged) => json(tagged.value),
    }
}

fn key_text(key: Yaml) -> String {
    match json(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
