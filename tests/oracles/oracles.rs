//! Postgres and DuckDB, asked one query after another.

use serde_json::{Value, json};

use super::answer::{Cell, Rows, cell};
use super::python::Python;
use super::support::postgres::{Postgres, Session};

/// What DuckDB is not asked, each with its reason.
const DIFFERENCES: &str = include_str!("differences");

pub struct Oracles {
    /// In its database everything is temporary.
    session: Session,
    duckdb: Python,
    _server: Postgres,
}

impl Oracles {
    pub fn start() -> Oracles {
        let server = Postgres::start();
        let session = server.create_database("oracles", "");
        Oracles { session, duckdb: Python::start("answers.py"), _server: server }
    }

    /// Its answer, which is right; or why it gives none.
    pub fn postgres(&mut self, tables: &str, sql: &str) -> Result<Rows, String> {
        self.session.execute(&format!("drop table if exists t, u, v; {tables}"));
        let rows = self.session.try_query(sql)?;
        let kinds = self.session.columns(sql);
        let row = |row: Vec<Option<String>>| {
            row.iter().zip(&kinds).map(|(text, (_, kind))| cell(kind, text.as_deref())).collect::<Vec<_>>()
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// The same of DuckDB, unless it is known to differ.
    pub fn duckdb(&mut self, tables: &str, sql: &str) -> Option<Result<Rows, String>> {
        if differences().any(|part| sql.contains(part)) {
            return None;
        }
        let answer = self.duckdb.ask(&json!({ "tables": tables, "query": sql }));
        if let Some(reason) = answer["refused"].as_str() {
            return Some(Err(reason.to_string()));
        }
        let value = |value: &Value| match value {
            Value::Null => Cell::Null,
            pair => cell(pair[0].as_str().expect("a type"), pair[1].as_str()),
        };
        let row = |row: &Value| row.as_array().expect("a row").iter().map(value).collect::<Vec<_>>();
        Some(Ok(answer["rows"].as_array().expect("rows").iter().map(row).collect()))
    }
}

fn differences() -> impl Iterator<Item = &'static str> {
    DIFFERENCES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}
