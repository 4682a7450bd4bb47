//! Rows as text, in one form whoever produced them, and the difference of two sets of them.
//!
//! A row is a JSON object, its columns in order. Two values have the same text if and only if SQL takes
//! them for equal: numbers without trailing zeros, whether integer or decimal (`12.5`); floats with an
//! exponent (`1.25e1`), so that they differ from decimals; instants in UTC with microseconds and `Z`,
//! timestamps without a zone the same without `Z`; bytes in hex. `readers.py` writes the same form.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::postgres::Session;

/// A multiset: each row with the number of times it is there.
pub type Rows = BTreeMap<String, i64>;

pub fn multiset(rows: impl IntoIterator<Item = String>) -> Rows {
    let mut set = Rows::new();
    for row in rows {
        *set.entry(row).or_default() += 1;
    }
    set
}

/// More than this many lines of difference help nobody.
const LINES_MAX: usize = 40;

/// None if the two are equal; else a line per row: `-` expected but not found, `+` found but not expected,
/// with the number of times where that is not one.
pub fn difference(expected: &Rows, found: &Rows) -> Option<String> {
    let mut diffs: BTreeMap<&str, i64> = BTreeMap::new();
    for (row, times) in found {
        *diffs.entry(row).or_default() += times;
    }
    for (row, times) in expected {
        *diffs.entry(row).or_default() -= times;
    }
    diffs.retain(|_, diff| *diff != 0);
    if diffs.is_empty() {
        return None;
    }
    let missing: i64 = diffs.values().filter(|diff| **diff < 0).map(|diff| -diff).sum();
    let unexpected: i64 = diffs.values().filter(|diff| **diff > 0).sum();
    let (rows, rows_found) = (expected.values().sum::<i64>(), found.values().sum::<i64>());
    let mut text = format!("expected {rows} rows, found {rows_found}: {missing} missing, {unexpected} unexpected\n");
    for (row, diff) in diffs.iter().take(LINES_MAX) {
        let sign = if *diff < 0 { '-' } else { '+' };
        let times = if diff.abs() == 1 { String::new() } else { format!("{} × ", diff.abs()) };
        writeln!(text, "{sign} {times}{row}").expect("writing to a string");
    }
    if diffs.len() > LINES_MAX {
        writeln!(text, "… and {} more", diffs.len() - LINES_MAX).expect("writing to a string");
    }
    Some(text)
}

#[track_caller]
pub fn assert_same(what: &str, expected: &Rows, found: &Rows) {
    if let Some(difference) = difference(expected, found) {
        panic!("{what}: {difference}");
    }
}

/// What Postgres answers to `sql`.
pub fn pg_rows(session: &mut Session, sql: &str) -> Rows {
    let columns = session.columns(sql);
    let rows = session.query(sql).into_iter().map(|values| {
        let mut text = String::from("{");
        for ((name, kind), value) in columns.iter().zip(values) {
            let comma = if text.len() > 1 { "," } else { "" };
            let value = value.map_or_else(|| "null".to_string(), |value| canonical(kind, &value));
            write!(text, "{comma}{}:{value}", quoted(name)).expect("writing to a string");
        }
        text + "}"
    });
    multiset(rows)
}

/// From the text that Postgres prints for a value of this type.
fn canonical(kind: &str, text: &str) -> String {
    match kind {
        "int2" | "int4" | "int8" | "oid" => text.to_string(),
        "numeric" => decimal(text),
        "float4" => float(format!("{:e}", text.parse::<f32>().expect("Postgres prints floats"))),
        "float8" => float(format!("{:e}", text.parse::<f64>().expect("Postgres prints floats"))),
        "bool" => if text == "t" { "true" } else { "false" }.to_string(),
        "timestamp" => quoted(&timestamp(text)),
        "timestamptz" => {
            let instant = text.strip_suffix("+00").unwrap_or_else(|| panic!("the session's zone is not UTC: {text}"));
            quoted(&(timestamp(instant) + "Z"))
        }
        "bytea" => quoted(text.trim_start_matches("\\x")),
        "time" => quoted(&micros(text)),
        _ => quoted(text),
    }
}

/// `12.50` and `12.5` are one number.
fn decimal(text: &str) -> String {
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

/// Rust's and Python's shortest forms have the same digits; zero has one sign in SQL.
fn float(text: String) -> String {
    match text.as_str() {
        "-0e0" => "0e0".to_string(),
        "NaN" | "inf" | "-inf" => quoted(&text),
        _ => text,
    }
}

fn timestamp(text: &str) -> String {
    micros(&text.replacen(' ', "T", 1))
}

/// All six digits after the second.
fn micros(text: &str) -> String {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<6}")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
