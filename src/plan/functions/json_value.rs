//! JSON as `jsonb` has it: members by the length of their names, then by name, of equal names the last, numbers as
//! numerics. And the parts of JSON in text, as they are written there.
//!
//! Two values are equal where their texts are, but for `1.0` and `1`, which Postgres takes for equal too.

use super::own::bad;
use datafusion::common::Result as DfResult;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result as Written, Write};

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A number, a string, a truth value or `null`, as it is printed.
    Scalar(String),
    Array(Vec<Value>),
    Object(BTreeMap<Name, Value>),
}

/// Shorter names come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    length: usize,
    pub text: String,
}

impl Name {
    pub fn new(text: impl Into<String>) -> Name {
        let text = text.into();
        Name { length: text.len(), text }
    }
}

/// The more digits numeric has on neither side of its point.
const DIGITS_MAX: i64 = 16_383;

impl Value {
    /// What a text says, if it is JSON.
    pub fn read(text: &str) -> DfResult<Value> {
        Value::of(valid(text)?)
    }

    fn of(json: &str) -> DfResult<Value> {
        Ok(match kind(json) {
            "object" => {
                let member = |(name, value): (String, &str)| Ok((Name::new(name), Value::of(value)?));
                Value::Object(members(json)?.into_iter().map(member).collect::<DfResult<_>>()?)
            }
            "array" => Value::Array(parts(json).into_iter().map(Value::of).collect::<DfResult<_>>()?),
            "string" => Value::Scalar(quoted(&text(json)?)),
            "number" => Value::Scalar(numeric(json)?),
            _ => Value::Scalar(json.to_string()),
        })
    }

    /// With a line for each part.
    pub fn pretty(&self) -> String {
        let mut text = String::new();
        self.lines(&mut text, 0);
        text
    }

    fn lines(&self, text: &mut String, depth: usize) {
        let line = |text: &mut String, first: bool, name: Option<&Name>, value: &Value| {
            text.push_str(if first { "\n" } else { ",\n" });
            text.push_str(&"    ".repeat(depth + 1));
            name.iter().for_each(|name| text.push_str(&format!("{}: ", quoted(&name.text))));
            value.lines(text, depth + 1);
        };
        let close = match self {
            Value::Scalar(scalar) => return text.push_str(scalar),
            Value::Array(items) => {
                text.push('[');
                items.iter().enumerate().for_each(|(at, item)| line(text, at == 0, None, item));
                ']'
            }
            Value::Object(members) => {
                text.push('{');
                members.iter().enumerate().for_each(|(at, (name, value))| line(text, at == 0, Some(name), value));
                '}'
            }
        };
        text.push('\n');
        text.push_str(&"    ".repeat(depth));
        text.push(close);
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        match self {
            Value::Scalar(text) => f.write_str(text),
            Value::Array(items) => {
                f.write_char('[')?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Value::Object(members) => {
                f.write_char('{')?;
                for (at, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{}: {value}", if at == 0 { "" } else { ", " }, quoted(&name.text))?;
                }
                f.write_char('}')
            }
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Scalar(one), Value::Scalar(other)) => one == other || shortest(one) == shortest(other),
            (Value::Array(one), Value::Array(other)) => one == other,
            (Value::Object(one), Value::Object(other)) => one == other,
            _ => false,
        }
    }
}

/// A number without zeros at its end; all else as it is.
fn shortest(scalar: &str) -> &str {
    match kind(scalar) == "number" && scalar.contains('.') {
        true => scalar.trim_end_matches('0').trim_end_matches('.'),
        false => scalar,
    }
}

/// A number of JSON as a numeric is printed: `-1.50e1` is `-15.0`.
fn numeric(number: &str) -> DfResult<String> {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.parse::<i64>().ok().filter(|e| e.abs() <= DIGITS_MAX);
    let Some(exponent) = exponent else { return bad(format_args!("`{number}` is out of the range of numeric")) };
    // The place of the point in all digits, which may be before or behind them.
    let point = whole.len() as i64 + exponent;
    let mut all = "0".repeat((1 - point).max(0) as usize) + whole + part;
    let point = point.max(1) as usize;
    all.push_str(&"0".repeat(point.saturating_sub(all.len())));
    let (whole, part) = all.split_at(point);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let sign = if all.bytes().all(|digit| digit == b'0') { "" } else { sign };
    Ok(format!("{sign}{whole}{}{part}", if part.is_empty() { "" } else { "." }))
}

/// The text, if it is JSON.
pub(super) fn valid(text: &str) -> DfResult<&str> {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(text.trim_ascii()),
        Err(e) => bad(format_args!("`{text}` is no JSON: {e}")),
    }
}

pub(super) fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// A text as a string of JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a string of JSON says.
pub(super) fn text(string: &str) -> DfResult<String> {
    match serde_json::from_str::<String>(string) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => bad(format_args!("{string} cannot be text")),
    }
}

/// The text of a scalar, and a whole as it is written; `None` for `null`.
pub(super) fn plain(json: &str) -> DfResult<Option<String>> {
    Ok(match kind(json) {
        "null" => None,
        "string" => Some(text(json)?),
        _ => Some(json.to_string()),
    })
}

/// The members of a valid object, as they are written.
pub(super) fn members(object: &str) -> DfResult<Vec<(String, &str)>> {
    let member = |part| {
        let (name, value) = named(part);
        Ok((text(name)?, value))
    };
    parts(object).into_iter().map(member).collect()
}

/// Of several members of one name the last, as Postgres has it.
pub(super) fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    if kind(object) != "object" {
        return None;
    }
    let is_it = |name: &str| serde_json::from_str::<String>(name).is_ok_and(|name| name == key);
    parts(object).into_iter().rev().map(named).find(|(name, _)| is_it(name)).map(|(_, value)| value)
}

pub(super) fn item(array: &str, place: i64) -> Option<&str> {
    if kind(array) != "array" {
        return None;
    }
    let items = parts(array);
    items.get(placed(place, items.len())?).copied()
}

/// A place from the end, where it is negative.
pub(super) fn placed(place: i64, length: usize) -> Option<usize> {
    let place = if place < 0 { place.checked_add(length as i64)? } else { place };
    usize::try_from(place).ok()
}

/// What stands between the commas of a valid object or array.
pub(super) fn parts(json: &str) -> Vec<&str> {
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

/// A member's name, in quotes, and its value.
fn named(member: &str) -> (&str, &str) {
    let (name, rest) = member.split_at(end(member));
    (name, rest.trim_ascii_start().trim_start_matches(':').trim_ascii_start())
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

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn a_value_is_printed_as_jsonb_is() {
        for (text, printed) in [
            (r#" {"bb":1,"a" : [ ], "c":{"x":null}, "a":2} "#, r#"{"a": 2, "c": {"x": null}, "bb": 1}"#),
            ("[1e2, -1.50e1, 0.5E-3, -0.0, 1.0e2, 12e-1, 0e5]", "[100, -15.0, 0.0005, 0.0, 100, 1.2, 0]"),
            (r#""\u00fc\/\n\u0001\"""#, "\"ü/\\n\\u0001\\\"\""),
        ] {
            assert_eq!(Value::read(text).map(|value| value.to_string()).ok().as_deref(), Some(printed));
        }
        for broken in ["", "{", "[1,]", "1e99999", r#""\u0000""#, "nan"] {
            assert!(Value::read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn numbers_are_equal_by_value() {
        let equal = |one, other| Value::read(one).ok() == Value::read(other).ok();
        assert!(equal("[1.0, 10]", "[1, 1e1]"));
        assert!(!equal("10", "1"));
        assert!(!equal("\"1.0\"", "\"1\""));
    }
}
