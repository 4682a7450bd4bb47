//! `jsonb` that is made of other `jsonb`, and what holds what.

use super::json::{AS_JSON, AS_TEXT, AS_TRUTH};
use super::json_value::{Name, Value, kind, placed, quoted};
use super::own::{Args, Function, Kind, bad};
use arrow::array::{ArrayRef, AsArray, BooleanArray, LargeStringArray, StringArray};
use datafusion::common::Result as DfResult;
use std::collections::BTreeMap;
use std::sync::Arc;

use Kind::{Any, Integer, Json, Keys, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "jsonb_contains",
        aliases: &[],
        takes: &[&[Json, Json]],
        gives: AS_TRUTH,
        work: |args| truths(args, |one, other| holds_all(&one, &other)),
        does: "`jsonb @> jsonb`: whether all that the right side says is in the left",
        differs: "none",
    },
    Function {
        name: "jsonb_contained",
        aliases: &[],
        takes: &[&[Json, Json]],
        gives: AS_TRUTH,
        work: |args| truths(args, |one, other| holds_all(&other, &one)),
        does: "`jsonb <@ jsonb`: the same the other way round",
        differs: "none",
    },
    Function {
        name: "jsonb_concat",
        aliases: &[],
        takes: &[&[Json, Json]],
        gives: AS_JSON,
        work: |args| changed(args, |args, row, value| Ok(joined(value, Value::read(args.json(1, row))?))),
        does: "`jsonb || jsonb`: members of both, or items of both",
        differs: "none",
    },
    Function {
        name: "jsonb_delete",
        aliases: &[],
        takes: &[&[Json, Integer], &[Json, Text], &[Json, Keys]],
        gives: AS_JSON,
        work: |args| changed(args, without),
        does: "`jsonb - key`, `jsonb - place`, `jsonb - keys`: without these",
        differs: "none",
    },
    Function {
        name: "jsonb_delete_path",
        aliases: &[],
        takes: &[&[Json, Keys]],
        gives: AS_JSON,
        work: |args| changed(args, |args, row, value| at_path(value, &path(args, row)?, &Change::Delete)),
        does: "`jsonb #- path`: without what the path leads to",
        differs: "none",
    },
    Function {
        name: "jsonb_set",
        aliases: &[],
        takes: &[&[Json, Keys, Json], &[Json, Keys, Json, Any]],
        gives: AS_JSON,
        work: |args| {
            changed(args, |args, row, value| {
                let new = Value::read(args.json(2, row))?;
                at_path(value, &path(args, row)?, &Change::Set { new, create: flag(args, row).unwrap_or(true) })
            })
        },
        does: "with another value at the end of a path, made if it is not there and the last argument does not forbid it",
        differs: "none",
    },
    Function {
        name: "jsonb_insert",
        aliases: &[],
        takes: &[&[Json, Keys, Json], &[Json, Keys, Json, Any]],
        gives: AS_JSON,
        work: |args| {
            changed(args, |args, row, value| {
                let new = Value::read(args.json(2, row))?;
                at_path(value, &path(args, row)?, &Change::Insert { new, after: flag(args, row).unwrap_or(false) })
            })
        },
        does: "with a new member, or with a new item before or after the one there",
        differs: "none",
    },
    Function {
        name: "jsonb_strip_nulls",
        aliases: &[],
        takes: &[&[Json]],
        gives: AS_JSON,
        work: |args| changed(args, |_, _, value| Ok(stripped(value))),
        does: "without members that are `null`",
        differs: "none",
    },
    Function {
        name: "jsonb_pretty",
        aliases: &[],
        takes: &[&[Json]],
        gives: AS_TEXT,
        work: |args| {
            let pretty = |row| Ok(Some(Value::read(args.json(0, row))?.pretty()));
            Ok(Arc::new(args.each::<StringArray, _>(pretty)?))
        },
        does: "with a line for each part",
        differs: "none",
    },
];

fn changed(args: &Args, change: fn(&Args, usize, Value) -> DfResult<Value>) -> DfResult<ArrayRef> {
    let value = |row| Ok(Some(change(args, row, Value::read(args.json(0, row))?)?.to_string()));
    Ok(Arc::new(args.each::<LargeStringArray, _>(value)?))
}

fn truths(args: &Args, truth: fn(Value, Value) -> bool) -> DfResult<ArrayRef> {
    let truth = |row| Ok(Some(truth(Value::read(args.json(0, row))?, Value::read(args.json(1, row))?)));
    Ok(Arc::new(args.each::<BooleanArray, _>(truth)?))
}

/// An array holds a scalar too, as nothing within it does.
fn holds_all(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Array(items), Value::Scalar(_)) => items.contains(part),
        _ => holds(whole, part),
    }
}

fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| holds(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => part.iter().all(|part| whole.iter().any(|item| holds(item, part))),
        (Value::Scalar(_), Value::Scalar(_)) => whole == part,
        _ => false,
    }
}

fn joined(one: Value, other: Value) -> Value {
    let items = |value| match value {
        Value::Array(items) => items,
        other => vec![other],
    };
    match (one, other) {
        (Value::Object(mut one), Value::Object(other)) => {
            one.extend(other);
            Value::Object(one)
        }
        (one, other) => Value::Array([items(one), items(other)].concat()),
    }
}

fn without(args: &Args, row: usize, value: Value) -> DfResult<Value> {
    if let Some(places) = args.columns[1].as_primitive_opt::<arrow::datatypes::Int64Type>() {
        return match value {
            Value::Array(mut items) => {
                placed(places.value(row), items.len()).filter(|place| *place < items.len()).map(|at| items.remove(at));
                Ok(Value::Array(items))
            }
            other => bad(format_args!("`{other}` has no places to delete from")),
        };
    }
    let keys = match args.columns[1].as_string_opt::<i32>() {
        Some(keys) => vec![keys.value(row).to_string()],
        None => args.keys(1, row).into_iter().flatten().collect(),
    };
    Ok(match value {
        Value::Object(mut members) => {
            keys.into_iter().for_each(|key| drop(members.remove(&Name::new(key))));
            Value::Object(members)
        }
        Value::Array(mut items) => {
            let gone: Vec<Value> = keys.iter().map(|key| Value::Scalar(quoted(key))).collect();
            items.retain(|item| !gone.contains(item));
            Value::Array(items)
        }
        scalar => return bad(format_args!("nothing can be deleted from `{scalar}`")),
    })
}

/// What happens at the end of a path.
enum Change {
    Delete,
    Set { new: Value, create: bool },
    Insert { new: Value, after: bool },
}

fn path(args: &Args, row: usize) -> DfResult<Vec<String>> {
    let keys: Option<Vec<String>> = args.keys(1, row).into_iter().collect();
    keys.map_or_else(|| bad("a key of a path is NULL"), Ok)
}

fn flag(args: &Args, row: usize) -> Option<bool> {
    Some(args.columns.get(3)?.as_boolean_opt()?.value(row))
}

fn at_path(value: Value, path: &[String], change: &Change) -> DfResult<Value> {
    match value {
        Value::Scalar(scalar) => bad(format_args!("there is no path in `{scalar}`")),
        value if path.is_empty() => Ok(value),
        value => along(value, path, change),
    }
}

/// What the path does not lead to stays as it is.
fn along(value: Value, path: &[String], change: &Change) -> DfResult<Value> {
    let Some((key, rest)) = path.split_first() else { return Ok(value) };
    Ok(match value {
        Value::Object(members) => Value::Object(in_object(members, Name::new(key), rest, change)?),
        Value::Array(items) => match key.trim().parse() {
            Ok(place) => Value::Array(in_array(items, place, rest, change)?),
            Err(_) => return bad(format_args!("`{key}` is no place in an array")),
        },
        scalar => scalar,
    })
}

fn in_object(
    mut members: BTreeMap<Name, Value>,
    name: Name,
    rest: &[String],
    change: &Change,
) -> DfResult<BTreeMap<Name, Value>> {
    if !rest.is_empty() {
        if let Some(member) = members.remove(&name) {
            members.insert(name, along(member, rest, change)?);
        }
        return Ok(members);
    }
    match change {
        Change::Delete => drop(members.remove(&name)),
        Change::Set { new, create } if *create || members.contains_key(&name) => {
            members.insert(name, new.clone());
        }
        Change::Set { .. } => {}
        Change::Insert { .. } if members.contains_key(&name) => {
            return bad(format_args!("`{}` is there already", name.text));
        }
        Change::Insert { new, .. } => {
            members.insert(name, new.clone());
        }
    }
    Ok(members)
}

fn in_array(mut items: Vec<Value>, place: i64, rest: &[String], change: &Change) -> DfResult<Vec<Value>> {
    let at = placed(place, items.len());
    if !rest.is_empty() {
        if let Some(item) = at.and_then(|at| items.get_mut(at)) {
            *item = along(item.clone(), rest, change)?;
        }
        return Ok(items);
    }
    let there = at.filter(|at| *at < items.len());
    // Beyond an end it is put at that end.
    let end = if at.is_none() { 0 } else { items.len() };
    match (change, there) {
        (Change::Delete, Some(at)) => drop(items.remove(at)),
        (Change::Set { new, .. }, Some(at)) => items[at] = new.clone(),
        (Change::Set { new, create: true }, None) => items.insert(end, new.clone()),
        (Change::Insert { new, after }, Some(at)) => items.insert(at + usize::from(*after), new.clone()),
        (Change::Insert { new, .. }, None) => items.insert(end, new.clone()),
        (Change::Delete | Change::Set { create: false, .. }, None) => {}
    }
    Ok(items)
}

fn stripped(value: Value) -> Value {
    let is_null = |value: &Value| matches!(value, Value::Scalar(text) if kind(text) == "null");
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !is_null(value));
            Value::Object(kept.map(|(name, value)| (name, stripped(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(stripped).collect()),
        scalar => scalar,
    }
}
