//! JSON to template values and back, and the arguments of a call.

use crate::project::model::Relation;
use minijinja::value::{Kwargs, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use serde_json::{Map, Value as Json};
use std::fmt;
use std::sync::Arc;

pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(values) => values.iter().map(from_json).collect(),
        Json::Object(map) => from_map(map),
    }
}

pub fn from_map(map: &Map<String, Json>) -> Value {
    Value::from_pairs(map.iter().map(|(key, value)| (key.clone(), from_json(value))))
}

/// What JSON cannot hold becomes its text: a relation, for one.
pub fn to_json(value: &Value) -> Json {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => match (value.is_integer(), value.as_i64()) {
            (true, Some(number)) => Json::from(number),
            _ => f64::try_from(value.clone())
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map_or(Json::Null, Json::Number),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            Json::Array(value.try_iter().map(|items| items.map(|item| to_json(&item)).collect()).unwrap_or_default())
        }
        ValueKind::Map => Json::Object(to_map(value)),
        _ => Json::String(value.to_string()),
    }
}

pub fn to_map(value: &Value) -> Map<String, Json> {
    let keys = value.try_iter().map(|keys| keys.collect::<Vec<_>>()).unwrap_or_default();
    let pairs = keys.into_iter().map(|key| (key.to_string(), to_json(&value.get_item(&key).unwrap_or_default())));
    pairs.collect()
}

/// Positional arguments, and those given by name.
pub fn split_arguments(args: &[Value]) -> (Vec<Value>, Vec<(String, Value)>) {
    match args.split_last() {
        Some((named, plain)) if named.is_kwargs() => (plain.to_vec(), pairs(named)),
        _ => (args.to_vec(), Vec::new()),
    }
}

pub fn join_arguments(mut plain: Vec<Value>, named: Vec<(String, Value)>) -> Vec<Value> {
    if !named.is_empty() {
        plain.push(named.into_iter().collect::<Kwargs>().into());
    }
    plain
}

/// The arguments of a function with fixed names, by position or by name.
pub fn fit<const N: usize>(function: &str, names: [&str; N], args: &[Value]) -> Result<[Option<Value>; N], Error> {
    let (plain, named) = split_arguments(args);
    if plain.len() > N {
        return Err(Error::new(ErrorKind::TooManyArguments, format!("`{function}` takes at most {N} arguments")));
    }
    let mut fitted = [const { None }; N];
    for (slot, value) in fitted.iter_mut().zip(plain) {
        *slot = Some(value);
    }
    for (name, value) in named {
        match names.iter().position(|known| *known == name) {
            Some(at) => fitted[at] = Some(value),
            None => {
                return Err(Error::new(ErrorKind::TooManyArguments, format!("`{function}` has no argument `{name}`")));
            }
        }
    }
    Ok(fitted)
}

pub fn pairs(map: &Value) -> Vec<(String, Value)> {
    let keys = map.try_iter().map(|keys| keys.collect::<Vec<_>>()).unwrap_or_default();
    keys.into_iter().map(|key| (key.to_string(), map.get_item(&key).unwrap_or_default())).collect()
}

/// A relation inside a template: prints as SQL, answers for its parts.
#[derive(Debug)]
pub struct RelationValue {
    pub relation: Relation,
    /// The `where` of the test that reads it.
    pub filter: Option<String>,
}

impl RelationValue {
    pub fn of(relation: &Relation) -> Value {
        RelationValue::of_tested(relation, None)
    }

    pub fn of_tested(relation: &Relation, filter: Option<&str>) -> Value {
        Value::from_object(RelationValue { relation: relation.clone(), filter: filter.map(str::to_string) })
    }
}

impl Object for RelationValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let relation = &self.relation;
        Some(match key.as_str()? {
            "database" => Value::from(relation.database.as_str()),
            "schema" => Value::from(relation.schema.as_str()),
            "identifier" | "name" | "table" => Value::from(relation.identifier.as_str()),
            "type" => Value::from("table"),
            "is_table" => Value::from(true),
            "is_view" | "is_cte" => Value::from(false),
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        let shown = |part: &str, usual: bool| {
            split_arguments(args).1.iter().find(|(name, _)| name == part).map_or(usual, |(_, value)| value.is_true())
        };
        match method {
            "render" => Ok(Value::from(self.relation.to_string())),
            "include" => {
                let relation = &self.relation;
                let parts = [
                    ("database", &relation.database),
                    ("schema", &relation.schema),
                    ("identifier", &relation.identifier),
                ];
                let parts = parts.iter().filter(|(part, _)| shown(part, true));
                Ok(Value::from(parts.map(|(_, name)| format!("\"{name}\"")).collect::<Vec<_>>().join(".")))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.filter {
            Some(filter) => write!(f, "(select * from {} where {filter}) dbt_subquery", self.relation),
            None => write!(f, "{}", self.relation),
        }
    }
}
