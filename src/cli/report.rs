//! Words on a terminal: errors with their place and one hint, tables, logs. Readable without colour.

use crate::error::Error;
use std::error::Error as _;
use std::io::IsTerminal;

pub fn start_logging(level: &str) {
    let level = if level.eq_ignore_ascii_case("none") { "off" } else { level };
    let filter = tracing_subscriber::EnvFilter::new(format!("driftless={level}"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(colour).with_target(false).init();
}

/// What is wrong, where, and what to do: to stderr; as one JSON document to stdout where that is wanted.
pub fn error(error: &Error, json: bool) {
    if json {
        println!("{}", as_json(error));
    }
    eprint!("{}", as_text(error));
}

pub fn as_json(error: &Error) -> serde_json::Value {
    let place =
        error.place().map(|place| serde_json::json!({"file": place.file, "line": place.line, "column": place.column}));
    serde_json::json!({
        "error": error.what(),
        "doing": error.steps(),
        "because": causes(error),
        "place": place,
        "hint": error.remedy(),
    })
}

/// ```text
/// error: model `a` is refused: left joins are not maintained yet
///   --> models/a.sql:3:1
///    |
///  3 | left join b on true
///    | ^^^^
///   hint: use an inner join
/// ```
pub fn as_text(error: &Error) -> String {
    let mut text = format!("error: {}\n", error.what());
    if let Some(place) = error.place() {
        text += &format!("  --> {place}\n");
        if let Some((line, width)) = place.excerpt.as_ref().filter(|_| place.line > 0) {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            let marks = if place.column > 0 {
                let before: String =
                    line.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                format!("{before}{}", "^".repeat(*width))
            } else {
                String::new()
            };
            text += &format!(" {margin} |\n {number} | {line}\n {margin} | {marks}\n");
        }
    }
    for step in error.steps() {
        text += &format!("  while: {step}\n");
    }
    for cause in causes(error) {
        text += &format!("  because: {cause}\n");
    }
    if let Some(hint) = error.remedy() {
        text += &format!("  hint: {hint}\n");
    }
    text
}

fn causes(error: &Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some libraries repeat the cause within their own message.
        if !causes.iter().any(|c| c.contains(&said)) {
            causes.push(said);
        }
        source = cause.source();
    }
    causes
}

/// Columns as wide as their widest cell; numbers to the right.
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headers[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| {
            let number = cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
            if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    let headers: Vec<String> = headers.iter().map(|h| h.to_string()).collect();
    let mut text = line(&headers);
    rows.iter().for_each(|row| text += &line(row));
    text
}

/// So many bytes, for people.
pub fn bytes(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} KiB", bytes >> 10),
        10_000_000..10_000_000_000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
