//! Scalar functions, casts and operators against a Postgres: the same text, the same kind of type, an error where it
//! gives one.
//!
//! `sql/functions/*.txt` hold an expression a line, over the rows of the table `t` below; each is asked for row by row.
//! What is meant to differ, or is not there yet, stands with its reason in `sql/functions/differences`, and nothing else.
//! `UPDATE=1 cargo test --release --test functions` writes `FUNCTIONS.md` anew; `ALL=1` prints every answer.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use driftless::plan::recompute::Recompute;
use driftless::plan::{Planner, Relation};
use driftless::row::{Clock, Codec, Datum, JSON, Row, RowWriter, Table, TableName};
use support::postgres::{Postgres, Session};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sql/functions");

/// The table in Postgres, with the rows as ours has them too.
const TABLE: &str = r#"create table t (id int, i int, b bigint, f double precision, n numeric(12,2), s text, csv text,
    d date, ts timestamp, tz timestamptz, j jsonb);
insert into t values
(1, 5, 1715951655, 2.5, 1234.55, 'Hello', 'a,b,c', '2024-05-17', '2024-05-17 13:14:15.678901',
    '2024-05-17 13:14:15.678901+00',
    '{"a": 1, "b": {"c": "x"}, "d": "2024-01-02", "l": [10, "y", null], "n": null, "s": "q\"u\n", "t": true}'),
(2, -3, -7, -0.1, -0.50, '', 'ü', '1999-12-31', '1999-12-31 23:59:59', '1999-12-31 23:59:59+00', '{}'),
(3, null, null, null, null, null, null, null, null, null, null),
(4, 0, 9007199254740993, 1e20, 0, ' äb l ', ',x,', '2000-02-29', '2000-02-29 00:00:00', '2000-02-29 00:00:00+00',
    '[1, {"a": 2}]');
"#;

fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let instant = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    Arc::new(Schema::new(vec![
        field("id", DataType::Int32),
        field("i", DataType::Int32),
        field("b", DataType::Int64),
        field("f", DataType::Float64),
        field("n", DataType::Decimal128(12, 2)),
        field("s", DataType::Utf8),
        field("csv", DataType::Utf8),
        field("d", DataType::Date32),
        field("ts", instant(None)),
        field("tz", instant(Some("UTC"))),
        field("j", JSON),
    ]))
}

/// The rows of the table as Postgres prints them.
fn rows(postgres: &mut Session) -> Vec<(String, Row)> {
    let sql = "select id, i, b, f, (n * 100)::bigint, s, csv, d - '1970-01-01'::date,
        (extract(epoch from ts) * 1000000)::bigint, (extract(epoch from tz) * 1000000)::bigint, j from t order by id";
    let row = |values: Vec<Option<String>>| {
        let mut writer = RowWriter::default();
        let id = values[0].clone().expect("every row has one");
        for (value, field) in values.into_iter().zip(schema().fields()) {
            let Some(value) = value else {
                writer.push(&Datum::Null);
                continue;
            };
            let whole = || value.parse::<i64>().expect("Postgres prints it so");
            writer.push(&match field.data_type() {
                DataType::Date32 => Datum::Date(whole() as i32),
                DataType::Int32 => Datum::Int32(whole() as i32),
                DataType::Int64 => Datum::Int64(whole()),
                DataType::Float64 => Datum::Float64(value.parse().expect("Postgres prints it so")),
                DataType::Decimal128(..) => Datum::Decimal(whole().into()),
                DataType::Timestamp(..) => Datum::Timestamp(whole()),
                _ => Datum::Text(value),
            });
        }
        (id, writer.finish())
    };
    postgres.query(sql).into_iter().map(row).collect()
}

/// What one of the two says of an expression over one row: its kind of type and its text, or why there is none.
type Answer = Result<(String, Option<String>), String>;

fn of_postgres(postgres: &mut Session, expression: &str, id: &str) -> Answer {
    let sql = format!("select pg_typeof({expression}), ({expression})::text from t where id = {id}");
    let mut row = postgres.try_query(&sql)?.pop().expect("there is one such row");
    let text = row.pop().expect("there are two columns");
    let kind = row.pop().flatten().expect("everything has a type");
    Ok((kind_in_postgres(&kind), text))
}

fn kind_in_postgres(name: &str) -> String {
    let kind = match name {
        "smallint" | "integer" | "bigint" => "integer",
        "double precision" | "real" => "double",
        "character varying" | "character" | "json" | "jsonb" | "unknown" | "name" => "text",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        "time without time zone" => "time",
        other if other.ends_with("[]") => "list",
        other => other,
    };
    kind.to_string()
}

fn kind(data_type: &DataType) -> String {
    let kind = match data_type {
        DataType::Int32 | DataType::Int64 => "integer",
        DataType::Float32 | DataType::Float64 => "double",
        DataType::Decimal128(..) => "numeric",
        DataType::Utf8 | DataType::LargeUtf8 => "text",
        DataType::Boolean => "boolean",
        DataType::Date32 => "date",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Time64(_) => "time",
        DataType::Interval(_) => "interval",
        DataType::Binary => "bytea",
        DataType::List(_) => "list",
        other => return other.to_string(),
    };
    kind.to_string()
}

struct Ours {
    recompute: Recompute,
    asked: usize,
}

fn relation(name: &str) -> Relation {
    Relation { database: "db".into(), schema: "public".into(), name: name.into() }
}

impl Ours {
    fn new(rows: &[(String, Row)]) -> Ours {
        let mut recompute = Recompute::new("db", "public", Clock(1_800_000_000_000_000));
        for (id, row) in rows {
            let batch: RecordBatch = Codec::new(schema()).decode([row.bytes()]);
            recompute.table(&relation(&format!("t{id}")), &schema(), &batch).expect("the table is taken");
        }
        Ours { recompute, asked: 0 }
    }

    fn kind(&self, expression: &str) -> Result<String, String> {
        let mut planner = Planner::new("db", "public");
        planner.add_table(relation("t"), Table { name: TableName::new("public", "t"), schema: schema(), key: vec![0] });
        let sql = format!("select id, {expression} as x from t");
        let model = planner.compile(relation("m"), &sql).map_err(|refusal| refusal.reason)?;
        Ok(kind(planner.model(model).schema().field(1).data_type()))
    }

    fn answer(&mut self, expression: &str, id: &str) -> Answer {
        let kind = self.kind(expression)?;
        self.asked += 1;
        let sql = format!("select ({expression})::text as x from t{id}");
        let batch = self.recompute.model(&relation(&format!("m{}", self.asked)), &sql).map_err(|e| e.to_string())?;
        let text = batch.column(0).as_string::<i32>().iter().next().expect("there is one row");
        Ok((kind, text.map(String::from)))
    }
}

/// A number without the zeros at its end: Postgres' numerics each have a scale of their own, ours that of their type.
fn without_zeros(answer: Answer) -> Answer {
    let (kind, text) = answer?;
    let text = text.map(|text| match text.contains('.') && kind == "numeric" {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    });
    Ok((kind, text))
}

fn shown(answer: &Answer) -> String {
    match answer {
        Ok((kind, Some(text))) => format!("{kind} {text:?}"),
        Ok((kind, None)) => format!("{kind} NULL"),
        Err(message) => format!("error: {}", message.lines().next().unwrap_or_default()),
    }
}

/// Lines that are no comment, with the comment above them.
fn lines(text: &str) -> Vec<(&str, &str)> {
    let mut comment = "";
    let line = |line| match str::strip_prefix(line, "# ") {
        Some(words) => {
            comment = words;
            None
        }
        None => (!line.is_empty()).then_some((line, comment)),
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn expressions_are_what_postgres_makes_of_them() {
    let server = Postgres::start();
    let mut postgres = server.create_database("functions", TABLE);
    let rows = rows(&mut postgres);
    let mut ours = Ours::new(&rows);
    let differences = std::fs::read_to_string(format!("{FOLDER}/differences")).expect("it is there");
    let mut known: BTreeMap<&str, &str> = lines(&differences).into_iter().collect();

    let files = std::fs::read_dir(FOLDER).expect("the folder is there").map(|file| file.expect("it is read").path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|kind| kind == "txt")).collect();
    files.sort();
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("it is text");
        for (expression, _) in lines(&text) {
            asked += 1;
            let mut differs = Vec::new();
            for (id, _) in &rows {
                let theirs = without_zeros(of_postgres(&mut postgres, expression, id));
                // An interval is no column here: only its text can be.
                let own = match &theirs {
                    Ok((kind, _)) if kind == "interval" => {
                        let text = ours.answer(&format!("({expression})::text"), id);
                        text.map(|(_, text)| (kind.clone(), text))
                    }
                    _ => without_zeros(ours.answer(expression, id)),
                };
                let same = match (&own, &theirs) {
                    (Ok(own), Ok(theirs)) => own == theirs,
                    (Err(_), Err(_)) => true,
                    _ => false,
                };
                if !same || std::env::var_os("ALL").is_some() {
                    differs.push(format!("  {id}: {}, Postgres {}", shown(&own), shown(&theirs)));
                }
            }
            match (known.remove(expression), differs.is_empty()) {
                (None, false) => wrong.push(format!("{expression}\n{}", differs.join("\n"))),
                (Some(_), true) => wrong.push(format!("{expression}\n  is listed as a difference and is none")),
                _ => {}
            }
        }
    }
    for expression in known.keys() {
        wrong.push(format!("{expression}\n  is listed as a difference and stands in no file"));
    }
    assert!(wrong.is_empty(), "{} of {asked} expressions:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_document_is_that_of_the_code() {
    let file = support::repository().join("FUNCTIONS.md");
    let document = driftless::plan::functions::document();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &document).expect("the document is written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == document, "FUNCTIONS.md is not what the code says: run this test with UPDATE=1");
}
