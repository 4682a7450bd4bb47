//! Values as JSON: what `to_json` makes of each type, and objects and arrays of them.
//!
//! `json` is as Postgres writes it, `{"a" : 1}` where it builds and `{"a":1}` where it converts a row; `jsonb` is read
//! from that, and so has its one text.

use super::casts::text_of;
use super::json::AS_JSON;
use super::json_value::{Value, kind, quoted, valid};
use super::own::{Args, Function, Kind, bad};
use crate::row::{JSON, list_of};
use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use std::sync::Arc;

use Kind::{Any, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "json",
        aliases: &[],
        takes: &[&[Text]],
        gives: AS_JSON,
        work: |args| given(args, |row| Ok(Some(valid(args.text(0, row))?.to_string()))),
        does: "`x::json`: a text that is JSON, as it is written",
        differs: "none",
    },
    Function {
        name: "jsonb",
        aliases: &[],
        takes: &[&[Text]],
        gives: AS_JSON,
        work: |args| given(args, |row| Ok(Some(Value::read(args.text(0, row))?.to_string()))),
        does: "`x::jsonb`: the one text of a value",
        differs: "none",
    },
    Function {
        name: "to_json",
        aliases: &["row_to_json", "array_to_json"],
        takes: &[&[Any]],
        gives: AS_JSON,
        work: |args| converted(&args.columns[0], Ok),
        does: "a value as JSON",
        differs: "none",
    },
    Function {
        name: "to_jsonb",
        aliases: &[],
        takes: &[&[Any]],
        gives: AS_JSON,
        work: |args| converted(&args.columns[0], canonical),
        does: "a value as `jsonb`",
        differs: "none",
    },
    Function {
        name: "json_build_object",
        aliases: &[],
        takes: &[&[], &[Any]],
        gives: AS_JSON,
        work: |args| built(args, object, Ok),
        does: "an object of names and values by turns",
        differs: "none",
    },
    Function {
        name: "jsonb_build_object",
        aliases: &[],
        takes: &[&[], &[Any]],
        gives: AS_JSON,
        work: |args| built(args, object, canonical),
        does: "the same as `jsonb`",
        differs: "none",
    },
    Function {
        name: "json_build_array",
        aliases: &[],
        takes: &[&[], &[Any]],
        gives: AS_JSON,
        work: |args| built(args, array, Ok),
        does: "an array of values",
        differs: "none",
    },
    Function {
        name: "jsonb_build_array",
        aliases: &[],
        takes: &[&[], &[Any]],
        gives: AS_JSON,
        work: |args| built(args, array, canonical),
        does: "the same as `jsonb`",
        differs: "none",
    },
    Function {
        name: "json_of_items",
        aliases: &[],
        takes: &[&[Any]],
        gives: AS_JSON,
        work: items,
        does: "what `json_agg` makes of the list of its values",
        differs: "none",
    },
    Function {
        name: "json_of_members",
        aliases: &[],
        takes: &[&[Any, Any]],
        gives: AS_JSON,
        work: |args| of_members(args, Ok),
        does: "what `json_object_agg` makes of the lists of its names and values",
        differs: "none",
    },
    Function {
        name: "jsonb_of_members",
        aliases: &[],
        takes: &[&[Any, Any]],
        gives: AS_JSON,
        work: |args| of_members(args, canonical),
        does: "what `jsonb_object_agg` makes of them",
        differs: "none",
    },
];

fn given(args: &Args, value: impl FnMut(usize) -> DfResult<Option<String>>) -> DfResult<ArrayRef> {
    Ok(Arc::new(args.each::<LargeStringArray, _>(value)?))
}

/// What is made of a text that was put together.
type Finish = fn(String) -> DfResult<String>;

pub(super) fn canonical(json: String) -> DfResult<String> {
    Ok(Value::read(&json)?.to_string())
}

/// Text as `jsonb`: the cast of what is JSON but has not its type.
pub(super) fn read(texts: &ArrayRef) -> DfResult<ArrayRef> {
    let texts = cast(texts, &DataType::Utf8)?;
    let values = texts.as_string::<i32>().iter().map(|text| text.map(|text| canonical(text.into())).transpose());
    Ok(Arc::new(values.collect::<DfResult<LargeStringArray>>()?))
}

fn converted(array: &ArrayRef, finish: Finish) -> DfResult<ArrayRef> {
    let values = jsons(array)?.into_iter().map(|value| value.map(finish).transpose());
    Ok(Arc::new(values.collect::<DfResult<LargeStringArray>>()?))
}

/// From all arguments of a row.
fn built(args: &Args, write: fn(&[&str]) -> DfResult<String>, finish: Finish) -> DfResult<ArrayRef> {
    let columns = args.columns.iter().map(jsons).collect::<DfResult<Vec<_>>>()?;
    let value = |row: usize| {
        let values: Vec<&str> = columns.iter().map(|column| column[row].as_deref().unwrap_or(NULL)).collect();
        finish(write(&values)?).map(Some)
    };
    Ok(Arc::new((0..args.rows).map(value).collect::<DfResult<LargeStringArray>>()?))
}

const NULL: &str = "null";

fn object(values: &[&str]) -> DfResult<String> {
    if !values.len().is_multiple_of(2) {
        return bad("an object is built of names and values by turns: the last name has no value");
    }
    Ok(format!("{{{}}}", members(values.chunks(2).map(|pair| (pair[0], pair[1])))?))
}

fn members<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> DfResult<String> {
    let member = |(name, value)| match kind(name) {
        NULL => bad("the name of a member is NULL"),
        "object" | "array" => bad(format_args!("`{name}` is no name of a member")),
        "string" => Ok(format!("{name} : {value}")),
        _ => Ok(format!("{} : {value}", quoted(name))),
    };
    Ok(pairs.map(member).collect::<DfResult<Vec<String>>>()?.join(", "))
}

fn array(values: &[&str]) -> DfResult<String> {
    Ok(format!("[{}]", values.join(", ")))
}

fn items(args: &Args) -> DfResult<ArrayRef> {
    let between = match args.data_type(0) {
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_) | DataType::List(_)) => ", \n ",
        _ => ", ",
    };
    let lists = lists(&args.columns[0])?.into_iter();
    let lists = lists.map(|items| items.map(|items| format!("[{}]", items.join(between))));
    Ok(Arc::new(lists.collect::<LargeStringArray>()))
}

fn of_members(args: &Args, finish: Finish) -> DfResult<ArrayRef> {
    let pairs = lists(&args.columns[0])?.into_iter().zip(lists(&args.columns[1])?);
    let object = |(names, values): (Option<Vec<String>>, Option<Vec<String>>)| {
        let (Some(names), Some(values)) = (names, values) else { return Ok(None) };
        let members = members(names.iter().map(String::as_str).zip(values.iter().map(String::as_str)))?;
        finish(format!("{{ {members} }}")).map(Some)
    };
    Ok(Arc::new(pairs.map(object).collect::<DfResult<LargeStringArray>>()?))
}

/// The items of each list as JSON.
fn lists(array: &ArrayRef) -> DfResult<Vec<Option<Vec<String>>>> {
    let item = match array.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.data_type().clone(),
        DataType::Null => return Ok(vec![None; array.len()]),
        other => return bad(format_args!("{other} is no list")),
    };
    let array = cast(array, &list_of(item))?;
    let list = |items: Option<ArrayRef>| {
        let items = items.map(|items| jsons(&items)).transpose()?;
        Ok(items.map(|items| items.into_iter().map(|item| item.unwrap_or_else(|| NULL.into())).collect()))
    };
    array.as_list::<i32>().iter().map(list).collect()
}

/// Each value as `to_json` writes it; `None` for NULL.
fn jsons(array: &ArrayRef) -> DfResult<Vec<Option<String>>> {
    Ok(match array.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let list = |items: Option<Vec<String>>| items.map(|items| format!("[{}]", items.join(",")));
            lists(array)?.into_iter().map(list).collect()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(jsons).collect::<DfResult<Vec<_>>>()?;
            let names: Vec<String> = fields.iter().map(|field| quoted(field.name())).collect();
            let row = |row: usize| {
                let value = |column: &Vec<Option<String>>| column[row].clone().unwrap_or_else(|| NULL.into());
                let members = names.iter().zip(&columns).map(|(name, column)| format!("{name}:{}", value(column)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            };
            (0..array.len()).map(|at| array.is_valid(at).then(|| row(at))).collect()
        }
        of => {
            let texts = text_of(array)?;
            let json = |text: Option<&str>| text.map(|text| scalar(text, of));
            texts.as_string::<i32>().iter().map(json).collect()
        }
    })
}

/// A value as JSON, of its text.
fn scalar(text: &str, of: &DataType) -> String {
    match of {
        &JSON | DataType::Boolean => text.into(),
        of if of.is_numeric() && text.ends_with(|last: char| last.is_ascii_digit()) => text.into(),
        DataType::Timestamp(_, zone) => {
            let minutes = if zone.is_some() { ":00" } else { "" };
            quoted(&format!("{}{minutes}", text.replacen(' ', "T", 1)))
        }
        _ => quoted(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{FixedSizeBinaryArray, StringArray};

    #[test]
    fn a_uuid_is_a_string_with_hyphens() {
        let bytes: Vec<u8> = (0xA0..0xB0).collect();
        let uuids = FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes)).expect("of one width");
        let json = jsons(&(Arc::new(uuids) as ArrayRef)).expect("it has a text");
        assert_eq!(json, [Some("\"a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf\"".to_string())]);
    }

    #[test]
    fn text_is_quoted_and_json_is_not() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["{}"]));
        assert_eq!(jsons(&text).expect("it has a text"), [Some("\"{}\"".to_string())]);
        let json = cast(&text, &JSON).expect("it is text");
        assert_eq!(jsons(&json).expect("it has a text"), [Some("{}".to_string())]);
    }
}
