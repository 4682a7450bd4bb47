//! Iceberg tables as DuckDB and pyiceberg read them: a Python process behind a pipe (`readers.py`).
//!
//! It promises nothing about which version of a table it reads while somebody writes: whoever compares
//! several tables takes [`Readers::tables`] once, which is one look at the catalog, and reads those.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::compare::{Rows, multiset};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    DuckDb,
    PyIceberg,
}

pub const BOTH: [Reader; 2] = [Reader::DuckDb, Reader::PyIceberg];

/// A version of a table, read whole.
#[derive(Debug)]
pub struct Table {
    pub rows: Rows,
    /// Of the current snapshot, `operation` included; empty if the table has no snapshot.
    pub summary: BTreeMap<String, String>,
    pub snapshot: Option<i64>,
    /// Names and Iceberg types.
    pub columns: Vec<(String, String)>,
    pub metadata: String,
}

pub struct Readers {
    python: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Readers {
    pub fn start() -> Self {
        let mut python = Command::new(python())
            .arg(super::repository().join("tests/support/readers.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the readers start: run `make setup`");
        // No leash: at the end of its input it leaves by itself.
        let (requests, answers) = (python.stdin.take(), python.stdout.take());
        Readers { python, requests, answers: BufReader::new(answers.expect("piped")) }
    }

    /// All tables of a catalog at one moment: `public.customer_orders` → where its metadata is.
    pub fn tables(&mut self, catalog: &Path) -> BTreeMap<String, String> {
        let mut answer = self.ask(&json!({ "do": "tables", "catalog": catalog }));
        serde_json::from_value(answer["tables"].take()).expect("names and locations")
    }

    pub fn read(&mut self, reader: Reader, metadata: &str) -> Table {
        let reader = match reader {
            Reader::DuckDb => "duckdb",
            Reader::PyIceberg => "pyiceberg",
        };
        table(self.ask(&json!({ "do": "read", "reader": reader, "metadata": metadata })))
    }

    /// The newest version of `public.customer_orders`, found and read by pyiceberg's own catalog.
    pub fn load(&mut self, catalog: &Path, name: &str) -> Table {
        table(self.ask(&json!({ "do": "load", "catalog": catalog, "table": name })))
    }

    fn ask(&mut self, request: &Value) -> Value {
        let requests = self.requests.as_mut().expect("open until dropped");
        writeln!(requests, "{request}").expect("the readers listen");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the readers answer");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in the answer {line:?}"));
        if let Some(error) = answer["error"].as_str() {
            panic!("{request}: {error}");
        }
        answer
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.python.wait();
    }
}

fn table(mut answer: Value) -> Table {
    let rows: Vec<String> = serde_json::from_value(answer["rows"].take()).expect("rows as text");
    Table {
        rows: multiset(rows),
        summary: serde_json::from_value(answer["summary"].take()).expect("text properties"),
        snapshot: answer["snapshot"].as_i64(),
        columns: serde_json::from_value(answer["columns"].take()).expect("pairs of text"),
        metadata: answer["metadata"].as_str().expect("a location").to_string(),
    }
}

/// The interpreter that has both libraries.
pub fn python() -> std::path::PathBuf {
    super::cache().join("venv/bin/python")
}
