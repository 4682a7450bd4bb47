//! A sqllogictest file as records: what to run, and what should come of it.
//!
//! The records of SQLite's format, with what others have added: errors with their text, `include`, `halt`,
//! `skipif`/`onlyif` (we are `driftless`).

use std::path::Path;

pub struct Record {
    pub file: String,
    /// Of its first line, from 1.
    pub line: usize,
    pub what: What,
    pub expected: Expected,
}

pub enum What {
    Sql(String),
    /// Something that only another program can do.
    Unsupported(String),
}

pub enum Expected {
    Ok,
    /// So many rows are changed.
    Count(usize),
    /// Whatever it says: everyone has their own words.
    Error,
    Rows {
        sort: Sort,
        lines: Vec<String>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// As they come.
    None,
    Rows,
    Values,
}

impl Record {
    /// Whether only a hash of the rows is there.
    pub fn is_hashed(&self) -> bool {
        matches!(&self.expected, Expected::Rows { lines, .. } if lines.iter().any(|line| line.contains(" values hashing to ")))
    }

    pub fn first_line(&self) -> &str {
        match &self.what {
            What::Sql(sql) => sql.lines().next().unwrap_or_default(),
            What::Unsupported(why) => why,
        }
    }
}

pub fn read(path: &Path) -> Result<Vec<Record>, String> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("`{file}` cannot be read: {error}"))?;
    let mut records = Vec::new();
    let mut lines = Lines { all: text.lines().collect(), at: 0 };
    let mut skip = false;
    while let Some((number, line)) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut push = |what: What, expected: Expected| {
            if !std::mem::take(&mut skip) {
                records.push(Record { file: file.clone(), line: number, what, expected });
            }
        };
        match words.as_slice() {
            [] => {}
            [comment, ..] if comment.starts_with('#') => {}
            ["halt", ..] => {
                if !std::mem::take(&mut skip) {
                    break;
                }
            }
            ["skipif", of, ..] => skip |= *of == "driftless",
            ["onlyif", of, ..] => skip |= *of != "driftless",
            ["hash-threshold" | "subtest" | "control" | "sleep" | "mode", ..] => skip = false,
            ["include", other, ..] => {
                let other = path.parent().unwrap_or(Path::new(".")).join(other);
                records.extend(read(&other).map_err(|error| format!("{file}:{number}: {error}"))?);
            }
            ["statement", kind, rest @ ..] => {
                let (sql, _) = lines.block();
                let expected = match (*kind, rest.first().and_then(|count| count.parse().ok())) {
                    ("ok", _) => Expected::Ok,
                    ("count", Some(count)) => Expected::Count(count),
                    ("error", _) => Expected::Error,
                    _ => return Err(format!("{file}:{number}: `statement {kind}` is neither ok, error nor count N")),
                };
                push(What::Sql(sql), expected);
            }
            ["query", "error", ..] => {
                let (sql, _) = lines.block();
                push(What::Sql(sql), Expected::Error);
            }
            ["query", rest @ ..] => {
                let sort = match rest.get(1) {
                    Some(&"rowsort") => Sort::Rows,
                    Some(&"valuesort") => Sort::Values,
                    _ => Sort::None,
                };
                let (sql, below) = lines.block();
                let expected = match below {
                    Some(lines) => Expected::Rows { sort, lines: lines.into_iter().map(String::from).collect() },
                    None => Expected::Ok,
                };
                push(What::Sql(sql), expected);
            }
            [other, ..] => {
                // With all that belongs to it.
                lines.block();
                push(What::Unsupported(format!("`{other}` records")), Expected::Ok);
            }
        }
    }
    Ok(records)
}

struct Lines<'a> {
    all: Vec<&'a str>,
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let line = self.all.get(self.at)?;
        self.at += 1;
        Some((self.at, line))
    }

    /// Up to the next empty line: what is above `----`, and what is below if there is one.
    fn block(&mut self) -> (String, Option<Vec<&'a str>>) {
        let (mut sql, mut below): (Vec<&str>, Option<Vec<&str>>) = (Vec::new(), None);
        while let Some((_, line)) = self.next().filter(|(_, line)| !line.trim().is_empty()) {
            match &mut below {
                Some(below) => below.push(line),
                None if line.trim() == "----" => below = Some(Vec::new()),
                None => sql.push(line),
            }
        }
        (sql.join("\n"), below)
    }
}
