//! Parts of JSON: what `->` and its like lead to, as it is written there. Text that is no column of JSON is taken too.

use super::json_value::{item, kind, member, parts, plain, valid};
use super::own::{Args, Function, Kind, bad};
use crate::row::JSON;
use arrow::array::{ArrayRef, BooleanArray, Int32Array, LargeStringArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use std::sync::Arc;

use Kind::{Any, Integer, Keys, Text};

pub(super) const AS_JSON: fn(&[DataType]) -> DataType = |_| JSON;
pub(super) const AS_TEXT: fn(&[DataType]) -> DataType = |_| DataType::Utf8;
pub(super) const AS_TRUTH: fn(&[DataType]) -> DataType = |_| DataType::Boolean;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "json_get",
        aliases: &[],
        takes: &[&[Text, Integer], &[Text, Text]],
        gives: AS_JSON,
        work: |args| jsons(args, step),
        does: "`json -> key` or `json -> place`: a member or an item, as JSON",
        differs: "none",
    },
    Function {
        name: "json_get_text",
        aliases: &[],
        takes: &[&[Text, Integer], &[Text, Text]],
        gives: AS_TEXT,
        work: |args| texts(args, step),
        does: "`json ->> key`: the same as text, NULL for `null`",
        differs: "none",
    },
    Function {
        name: "json_get_path",
        aliases: &[],
        takes: &[&[Text, Keys]],
        gives: AS_JSON,
        work: |args| jsons(args, |args, row, text| Ok(along(args.keys(1, row), text))),
        does: "`json #> '{a,0}'`: what stands at the end of a path, as JSON",
        differs: "none",
    },
    Function {
        name: "json_get_path_text",
        aliases: &[],
        takes: &[&[Text, Keys]],
        gives: AS_TEXT,
        work: |args| texts(args, |args, row, text| Ok(along(args.keys(1, row), text))),
        does: "`json #>> '{a,0}'`: the same as text",
        differs: "none",
    },
    Function {
        name: "json_extract_path",
        aliases: &["jsonb_extract_path"],
        takes: &[&[Text, Any]],
        gives: AS_JSON,
        work: |args| jsons(args, given_path),
        does: "what stands at the end of a path of keys and places, as JSON",
        differs: "none",
    },
    Function {
        name: "json_extract_path_text",
        aliases: &["jsonb_extract_path_text"],
        takes: &[&[Text, Any]],
        gives: AS_TEXT,
        work: |args| texts(args, given_path),
        does: "the same as text",
        differs: "none",
    },
    Function {
        name: "json_extract",
        aliases: &[],
        takes: &[&[Text, Text]],
        gives: AS_JSON,
        work: |args| jsons(args, |args, row, text| Ok(along(dollared(args.text(1, row)), text))),
        does: "what a path like `$.a.b[0]` leads to, as JSON",
        differs: "none",
    },
    Function {
        name: "json_extract_scalar",
        aliases: &["json_extract_string", "json_value"],
        takes: &[&[Text, Text]],
        gives: AS_TEXT,
        work: |args| texts(args, |args, row, text| Ok(along(dollared(args.text(1, row)), text))),
        does: "the same as text",
        differs: "none",
    },
    Function {
        name: "json_array_length",
        aliases: &["jsonb_array_length"],
        takes: &[&[Text]],
        gives: |_| DataType::Int32,
        work: array_length,
        does: "how many items an array has; an error for what is none",
        differs: "none",
    },
    Function {
        name: "json_typeof",
        aliases: &["jsonb_typeof"],
        takes: &[&[Text]],
        gives: AS_TEXT,
        work: |args| {
            let kind = |row| Ok(Some(kind(valid(args.text(0, row))?)));
            Ok(Arc::new(args.each::<StringArray, _>(kind)?))
        },
        does: "`object`, `array`, `string`, `number`, `boolean` or `null`",
        differs: "none",
    },
    Function {
        name: "json_has",
        aliases: &["jsonb_exists"],
        takes: &[&[Text, Text]],
        gives: AS_TRUTH,
        work: |args| {
            let has = |row| Ok(Some(has(valid(args.text(0, row))?, args.text(1, row))));
            Ok(Arc::new(args.each::<BooleanArray, _>(has)?))
        },
        does: "`json ? key`: whether a member or an item that is a string has this name",
        differs: "none",
    },
    Function {
        name: "json_has_any",
        aliases: &["jsonb_exists_any"],
        takes: &[&[Text, Keys]],
        gives: AS_TRUTH,
        work: |args| {
            let any = |row| {
                let json = valid(args.text(0, row))?;
                Ok(Some(args.keys(1, row).iter().flatten().any(|key| has(json, key))))
            };
            Ok(Arc::new(args.each::<BooleanArray, _>(any)?))
        },
        does: "`json ?| keys`: whether any of them is there",
        differs: "none",
    },
    Function {
        name: "json_has_all",
        aliases: &["jsonb_exists_all"],
        takes: &[&[Text, Keys]],
        gives: AS_TRUTH,
        work: |args| {
            let all = |row| {
                let json = valid(args.text(0, row))?;
                Ok(Some(args.keys(1, row).iter().flatten().all(|key| has(json, key))))
            };
            Ok(Arc::new(args.each::<BooleanArray, _>(all)?))
        },
        does: "`json ?& keys`: whether all of them are there",
        differs: "none",
    },
];

/// What a step leads to from a value, if there is something.
type Step = for<'a> fn(&Args, usize, &'a str) -> DfResult<Option<&'a str>>;

fn jsons(args: &Args, step: Step) -> DfResult<ArrayRef> {
    let part = |row| Ok(step(args, row, valid(args.text(0, row))?)?.map(String::from));
    Ok(Arc::new(args.each::<LargeStringArray, _>(part)?))
}

fn texts(args: &Args, step: Step) -> DfResult<ArrayRef> {
    let text = |row| match step(args, row, valid(args.text(0, row))?)? {
        Some(part) => plain(part),
        None => Ok(None),
    };
    Ok(Arc::new(args.each::<StringArray, _>(text)?))
}

fn step<'a>(args: &Args, row: usize, json: &'a str) -> DfResult<Option<&'a str>> {
    match args.data_type(1) {
        DataType::Utf8 => Ok(member(json, args.text(1, row))),
        DataType::Int64 => Ok(item(json, args.integer(1, row))),
        other => bad(format_args!("a key of JSON is text or an integer, and not {other}")),
    }
}

fn given_path<'a>(args: &Args, row: usize, json: &'a str) -> DfResult<Option<&'a str>> {
    let mut keys = Vec::new();
    for column in 1..args.len() {
        match args.data_type(column) {
            DataType::Utf8 => keys.push(Some(args.text(column, row).to_string())),
            other => return bad(format_args!("a key of a path is text, and not {other}")),
        }
    }
    Ok(along(keys, json))
}

fn along(keys: Vec<Option<String>>, json: &str) -> Option<&str> {
    let next = |json, key: Option<String>| match kind(json) {
        "array" => item(json, key?.parse().ok()?),
        _ => member(json, &key?),
    };
    keys.into_iter().try_fold(json, next)
}

/// The keys of `$.a."b c"[0]`.
fn dollared(path: &str) -> Vec<Option<String>> {
    let Some(rest) = path.trim().strip_prefix('$') else {
        return vec![Some(path.to_string())];
    };
    let keys = rest.split(['.', '[']).map(|key| key.trim_end_matches(']').trim_matches(['"', '\'']).to_string());
    keys.filter(|key| !key.is_empty()).map(Some).collect()
}

fn array_length(args: &Args) -> DfResult<ArrayRef> {
    let length = |row| match valid(args.text(0, row))? {
        json if kind(json) == "array" => Ok(Some(parts(json).len() as i32)),
        json => bad(format_args!("`{json}` is no array")),
    };
    Ok(Arc::new(args.each::<Int32Array, _>(length)?))
}

fn has(json: &str, key: &str) -> bool {
    let is_it = |item: &&str| kind(item) == "string" && plain(item).is_ok_and(|text| text.as_deref() == Some(key));
    match kind(json) {
        "object" => member(json, key).is_some(),
        "array" => parts(json).iter().any(is_it),
        _ => is_it(&json),
    }
}
