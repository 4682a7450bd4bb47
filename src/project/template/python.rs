//! What Python values can do that Jinja's in Rust cannot: methods on text, lists and dictionaries.
//!
//! Values here never change: `append`, `update` and their like are refused with a way out instead of
//! being silently without effect.

use super::fault::spoken;
use super::value::split_arguments;
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

pub fn call_method(state: &mut State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Map) && CHANGING.contains(&method) {
        let what = format!("`{method}` changes a value in place, which is not supported");
        return Err(spoken(what, Some("build a new one, as in `{% set names = names + ['x'] %}`".to_string())));
    }
    let plain = split_arguments(args).0;
    match value.kind() {
        ValueKind::String if method == "format" => {
            format(FormatStyle::StrFormat, value.as_str().unwrap_or_default(), args).map(Value::from)
        }
        ValueKind::String => text_method(state, value.as_str().unwrap_or_default(), method, &plain),
        ValueKind::Map => map_method(state, value, method, &plain),
        ValueKind::Seq => list_method(value, method, &plain),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

const CHANGING: [&str; 11] =
    ["append", "extend", "insert", "remove", "pop", "clear", "update", "setdefault", "sort", "reverse", "popitem"];

fn text_method(state: &mut State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let word = |at: usize| args.get(at).and_then(|arg| arg.as_str()).map(str::to_string);
    let needed = |at: usize| {
        word(at).ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("`{method}` of text needs text")))
    };
    Ok(match method {
        "lower" => Value::from(text.to_lowercase()),
        "upper" => Value::from(text.to_uppercase()),
        "title" => state.apply_filter("title", &[Value::from(text)])?,
        "capitalize" => state.apply_filter("capitalize", &[Value::from(text)])?,
        "strip" | "lstrip" | "rstrip" => Value::from(strip(text, method, word(0))),
        "replace" => Value::from(replace(text, &needed(0)?, &needed(1)?, args.get(2).and_then(Value::as_usize))),
        "startswith" | "endswith" => {
            let found = |part: &str| if method == "startswith" { text.starts_with(part) } else { text.ends_with(part) };
            match args.first() {
                Some(parts) if parts.kind() == ValueKind::Seq => {
                    Value::from(parts.try_iter()?.any(|part| part.as_str().is_some_and(found)))
                }
                _ => Value::from(found(&needed(0)?)),
            }
        }
        "split" => Value::from(split(text, word(0), args.get(1).and_then(Value::as_usize))),
        "splitlines" => text.lines().map(Value::from).collect(),
        "join" => {
            let parts = args.first().cloned().unwrap_or_default().try_iter()?;
            let parts: Vec<String> = parts.map(|part| part.to_string()).collect();
            Value::from(parts.join(text))
        }
        "count" => Value::from(text.matches(&needed(0)?).count()),
        "find" => match text.find(&needed(0)?) {
            Some(byte) => Value::from(text[..byte].chars().count()),
            None => Value::from(-1),
        },
        "isdigit" => Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())),
        "isalpha" => Value::from(!text.is_empty() && text.chars().all(char::is_alphabetic)),
        "isalnum" => Value::from(!text.is_empty() && text.chars().all(char::is_alphanumeric)),
        "isupper" => Value::from(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)),
        "islower" => Value::from(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)),
        "zfill" => {
            let width = args.first().and_then(Value::as_usize).unwrap_or(0);
            Value::from(format!("{}{text}", "0".repeat(width.saturating_sub(text.chars().count()))))
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn map_method(state: &mut State<'_, '_>, map: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    Ok(match method {
        "get" => {
            let key = args.first().ok_or_else(|| Error::new(ErrorKind::MissingArgument, "`get` needs a key"))?;
            let found = map.get_item(key)?;
            if found.is_undefined() { args.get(1).cloned().unwrap_or(Value::from(())) } else { found }
        }
        "items" => state.apply_filter("items", std::slice::from_ref(map))?,
        "keys" => map.try_iter()?.collect(),
        "values" => map.try_iter()?.map(|key| map.get_item(&key)).collect::<Result<Vec<_>, _>>()?.into(),
        "copy" => map.clone(),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn list_method(list: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let wanted = args.first().cloned().unwrap_or_default();
    Ok(match method {
        "count" => Value::from(list.try_iter()?.filter(|item| *item == wanted).count()),
        "index" => match list.try_iter()?.position(|item| item == wanted) {
            Some(at) => Value::from(at),
            None => return Err(spoken(format!("{wanted} is not in the list"), None)),
        },
        "copy" => list.clone(),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn strip<'a>(text: &'a str, method: &str, set: Option<String>) -> &'a str {
    let goes = |c: char| set.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
    match method {
        "lstrip" => text.trim_start_matches(goes),
        "rstrip" => text.trim_end_matches(goes),
        _ => text.trim_matches(goes),
    }
}

fn replace(text: &str, old: &str, new: &str, count: Option<usize>) -> String {
    match count {
        Some(count) => text.replacen(old, new, count),
        None => text.replace(old, new),
    }
}

fn split(text: &str, separator: Option<String>, limit: Option<usize>) -> Vec<String> {
    match (separator, limit) {
        (Some(separator), Some(limit)) => text.splitn(limit + 1, &separator).map(str::to_string).collect(),
        (Some(separator), None) => text.split(&separator).map(str::to_string).collect(),
        (None, _) => text.split_whitespace().map(str::to_string).collect(),
    }
}
