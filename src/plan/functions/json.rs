//! JSON in text: what Postgres' `json` and `jsonb` columns are here. A part is given as it is written.

use super::own::{Args, Function, Kind, bad};
use arrow::array::{ArrayRef, Int32Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use serde::de::IgnoredAny;
use std::sync::Arc;

use Kind::{Any, Integer, Text};

const TEXT: fn(&[DataType]) -> DataType = |_| DataType::Utf8;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "json_get",
        aliases: &[],
        takes: &[&[Text, Integer], &[Text, Text]],
        gives: TEXT,
        work: |args| steps(args, |args, row, text| step(args, row, 1, text), false),
        does: "`json -> key` or `json -> place`: a member or an item, as JSON",
        differs: "none",
    },
    Function {
        name: "json_get_text",
        aliases: &[],
        takes: &[&[Text, Integer], &[Text, Text]],
        gives: TEXT,
        work: |args| steps(args, |args, row, text| step(args, row, 1, text), true),
        does: "`json ->> key`: the same as text, NULL for `null`",
        differs: "none",
    },
    Function {
        name: "json_get_path",
        aliases: &[],
        takes: &[&[Text, Text]],
        gives: TEXT,
        work: |args| steps(args, |args, row, text| along(braced(args.text(1, row)), text), false),
        does: "`json #> '{a,0}'`: what stands at the end of a path, as JSON",
        differs: "none",
    },
    Function {
        name: "json_get_path_text",
        aliases: &[],
        takes: &[&[Text, Text]],
        gives: TEXT,
        work: |args| steps(args, |args, row, text| along(braced(args.text(1, row)), text), true),
        does: "`json #>> '{a,0}'`: the same as text",
        differs: "none",
    },
    Function {
        name: "json_extract_path",
        aliases: &["jsonb_extract_path"],
        takes: &[&[Text, Any]],
        gives: TEXT,
        work: |args| steps(args, given_path, false),
        does: "what stands at the end of a path of keys and places, as JSON",
        differs: "none",
    },
    Function {
        name: "json_extract_path_text",
        aliases: &["jsonb_extract_path_text"],
        takes: &[&[Text, Any]],
        gives: TEXT,
        work: |args| steps(args, given_path, true),
        does: "the same as text",
        differs: "none",
    },
    Function {
        name: "json_extract",
        aliases: &[],
        takes: &[&[Text, Text]],
        gives: TEXT,
        work: |args| steps(args, |args, row, text| along(dollared(args.text(1, row))?, text), false),
        does: "what a path like `$.a.b[0]` leads to, as JSON",
        differs: "none",
    },
    Function {
        name: "json_extract_scalar",
        aliases: &["json_extract_string", "json_value"],
        takes: &[&[Text, Text]],
        gives: TEXT,
        work: |args| steps(args, |args, row, text| along(dollared(args.text(1, row))?, text), true),
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
        gives: TEXT,
        work: |args| {
            let kind = |row| Ok(Some(kind(valid(args.text(0, row))?)));
            Ok(Arc::new(args.each::<StringArray, _>(kind)?))
        },
        does: "`object`, `array`, `string`, `number`, `boolean` or `null`",
        differs: "none",
    },
];

type Step = fn(&Args, usize, &str) -> DfResult<Option<String>>;

fn steps(args: &Args, step: Step, as_text: bool) -> DfResult<ArrayRef> {
    let value = |row| {
        let part = step(args, row, valid(args.text(0, row))?)?;
        Ok(part.and_then(|part| if as_text { plain(&part) } else { Some(part) }))
    };
    Ok(Arc::new(args.each::<StringArray, _>(value)?))
}

fn step(args: &Args, row: usize, column: usize, text: &str) -> DfResult<Option<String>> {
    let part = match args.data_type(column) {
        DataType::Utf8 => member(text, args.text(column, row)),
        DataType::Int64 => item(text, args.integer(column, row)),
        other => return bad(format_args!("a key of JSON is text or an integer, and not {other}")),
    };
    Ok(part.map(String::from))
}

fn given_path(args: &Args, row: usize, text: &str) -> DfResult<Option<String>> {
    let keys: Vec<String> = (1..args.len()).map(|column| args.text(column, row).to_string()).collect();
    along(keys, text)
}

fn along(keys: Vec<String>, text: &str) -> DfResult<Option<String>> {
    let next = |text, key: &String| match kind(text) {
        "array" => item(text, key.parse().ok()?),
        _ => member(text, key),
    };
    Ok(keys.iter().try_fold(text, next).map(String::from))
}

/// The keys of `{a,"b c",0}`.
fn braced(path: &str) -> Vec<String> {
    let inner = path.trim().trim_start_matches('{').trim_end_matches('}');
    let keys = inner.split(',').map(|key| key.trim().trim_matches('"').to_string());
    if inner.trim().is_empty() { Vec::new() } else { keys.collect() }
}

/// The keys of `$.a."b c"[0]`.
fn dollared(path: &str) -> DfResult<Vec<String>> {
    let Some(rest) = path.trim().strip_prefix('$') else {
        return Ok(vec![path.to_string()]);
    };
    let keys = rest.split(['.', '[']).map(|key| key.trim_end_matches(']').trim_matches(['"', '\'']).to_string());
    Ok(keys.filter(|key| !key.is_empty()).collect())
}

/// The text, if it is JSON.
fn valid(text: &str) -> DfResult<&str> {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(text.trim_ascii()),
        Err(e) => bad(format_args!("`{text}` is no JSON: {e}")),
    }
}

fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// The text of a scalar, and a whole as it is written; `None` for `null`.
fn plain(json: &str) -> Option<String> {
    match kind(json) {
        "null" => None,
        "string" => serde_json::from_str(json).ok(),
        _ => Some(json.to_string()),
    }
}

/// Of several members of one name the last, as Postgres has it.
fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let mut found = None;
    if kind(object) == "object" {
        for entry in parts(object) {
            let name = &entry[..end(entry)];
            if serde_json::from_str::<String>(name).is_ok_and(|name| name == key) {
                let value = entry[name.len()..].trim_ascii_start().strip_prefix(':');
                found = value.map(str::trim_ascii);
            }
        }
    }
    found
}

fn item(array: &str, place: i64) -> Option<&str> {
    if kind(array) != "array" {
        return None;
    }
    let items = parts(array);
    let place = if place < 0 { place.checked_add(items.len() as i64)? } else { place };
    items.get(usize::try_from(place).ok()?).copied()
}

fn array_length(args: &Args) -> DfResult<ArrayRef> {
    let length = |row| match valid(args.text(0, row))? {
        json if kind(json) == "array" => Ok(Some(parts(json).len() as i32)),
        json => bad(format_args!("`{json}` is no array")),
    };
    Ok(Arc::new(args.each::<Int32Array, _>(length)?))
}

/// What stands between the commas of a valid object or array.
fn parts(json: &str) -> Vec<&str> {
    let inner = &json[1..json.len() - 1];
    let (mut parts, mut from, mut at, mut depth) = (Vec::new(), 0, 0, 0);
    let bytes = inner.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at += end(&inner[at..]) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(inner[from..at].trim_ascii());
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(inner[from..].trim_ascii());
    parts.retain(|part| !part.is_empty());
    parts
}

/// How long the string is with which a text begins, quotes included.
fn end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}
