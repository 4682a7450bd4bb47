//! A sink on files of its own, beside the multiset that its tables should show, and foreign readers of both.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
pub use driftless::commit::Target;
use driftless::commit::iceberg::{Iceberg, Settings, read_published};
use driftless::commit::{Publication, Sink, Staged};
use driftless::error::Result;
use driftless::row::{
    Clock, Codec, Cut, Datum, Delta, Fingerprint, JSON, Moment, Position, Row, RowWriter, list_of, map_of, struct_of,
};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

pub struct Sandbox {
    pub folder: tempfile::TempDir,
    pub sink: Option<Iceberg>,
    pub targets: Vec<Target>,
    pub shown: Vec<BTreeMap<Row, i64>>,
    pub pending: BTreeMap<usize, BTreeMap<Row, i64>>,
}

impl Sandbox {
    pub fn new(targets: &[Target]) -> Sandbox {
        let folder = tempfile::Builder::new().prefix("drift less").tempdir().expect("a folder");
        let shown = targets.iter().map(|_| BTreeMap::new()).collect();
        let mut sandbox = Sandbox { folder, sink: None, targets: targets.to_vec(), shown, pending: BTreeMap::new() };
        sandbox.reopen(None).expect("opens");
        sandbox
    }

    pub fn catalog(&self) -> PathBuf {
        self.folder.path().join("catalog.db")
    }

    pub fn sink(&mut self) -> &mut Iceberg {
        self.sink.as_mut().expect("open")
    }

    /// As after a kill: nothing in memory survives.
    pub fn reopen(&mut self, staged: Option<&Staged>) -> Result<()> {
        self.sink = None;
        let mut sink = sink(self.folder.path())?;
        sink.open(&self.targets, staged)?;
        self.sink = Some(sink);
        Ok(())
    }

    /// Adds to what the next publication changes.
    pub fn change(&mut self, t: usize, row: Row, diff: i64) {
        *self.pending.entry(t).or_default().entry(row).or_default() += diff;
    }

    /// How often a row is there once the pending changes are.
    pub fn count(&self, t: usize, row: &Row) -> i64 {
        let pending = self.pending.get(&t).and_then(|p| p.get(row)).unwrap_or(&0);
        self.shown[t].get(row).unwrap_or(&0) + pending
    }

    pub fn stage(&mut self, moment: u64) -> Result<Staged> {
        let cut = cut(moment);
        let consolidated = |rows: &BTreeMap<Row, i64>| {
            rows.iter().filter(|(_, diff)| **diff != 0).map(|(row, diff)| (row.clone(), *diff)).collect::<Vec<Delta>>()
        };
        let changes = self.pending.iter().map(|(t, rows)| (*t, consolidated(rows))).collect();
        self.sink().stage(&Publication { moment: Moment(moment), clock: Clock(7), cut: &cut, changes })
    }

    pub fn publish(&mut self, moment: u64) -> Result<Staged> {
        let staged = self.stage(moment)?;
        self.sink().publish(&staged)?;
        self.settle();
        Ok(staged)
    }

    /// What was pending is shown now.
    pub fn settle(&mut self) {
        for (t, rows) in std::mem::take(&mut self.pending) {
            for (row, diff) in rows {
                let count = self.shown[t].entry(row.clone()).or_default();
                *count += diff;
                assert!(*count >= 0, "the test takes away only what is there");
                if *count == 0 {
                    self.shown[t].remove(&row);
                }
            }
        }
    }

    pub fn location(&self, t: usize) -> String {
        let target = &self.targets[t];
        let read = read_published(&self.catalog(), &target.namespace, &target.table, &target.schema);
        read.expect("reads").expect("published").2
    }

    /// The table read from its files, and the sink's own word of it, are the multiset.
    pub fn check(&mut self) {
        for t in 0..self.targets.len() {
            let target = self.targets[t].clone();
            let wanted: Vec<Delta> = self.shown[t].clone().into_iter().collect();
            let read = read_published(&self.catalog(), &target.namespace, &target.table, &target.schema);
            let Some((published, rows, _)) = read.expect("reads") else {
                assert!(wanted.is_empty(), "nothing was published");
                continue;
            };
            assert_eq!(rows, wanted, "table {t}");
            assert_eq!(self.sink().content(t).expect("reads"), wanted, "table {t}");
            assert_eq!(self.sink().published(t), Some(&published));
            assert_eq!(published.rows as i64, wanted.iter().map(|(_, n)| n).sum::<i64>());
            let mut fingerprint = Fingerprint::default();
            wanted.iter().for_each(|(row, n)| fingerprint.add(row, *n));
            assert_eq!(published.fingerprint, fingerprint);
            assert_eq!(published.cut, cut(published.moment.0));
            assert_eq!(published.definition, target.definition);
        }
    }

    /// DuckDB and pyiceberg see the multiset too.
    pub fn check_readers(&self, readers: &Readers) {
        for (t, target) in self.targets.iter().enumerate() {
            let codec = Codec::new(target.schema.clone());
            let kinds: Vec<&str> = target.schema.fields().iter().map(|f| kind(f.data_type())).collect();
            for reader in ["duckdb", "pyiceberg"] {
                let repeat = |(row, n): (&Row, &i64)| std::iter::repeat_n(canonical(&codec, row, reader), *n as usize);
                let mut wanted: Vec<String> = self.shown[t].iter().flat_map(repeat).collect();
                wanted.sort();
                let request = json!({
                    "do": reader, "location": self.location(t), "catalog": self.catalog(), "kinds": kinds,
                    "namespace": target.namespace, "table": target.table,
                });
                let rows = readers.ask(request).expect(reader);
                assert_eq!(rows, json!(wanted), "{reader} of table {t}");
            }
        }
    }

    pub fn describe(&self, t: usize, readers: &Readers) -> Value {
        let target = &self.targets[t];
        let request = json!({ "do": "describe", "catalog": self.catalog(), "namespace": target.namespace, "table": target.table });
        readers.ask(request).expect("describes")
    }

    /// Every file of a table's folder, sorted.
    pub fn files(&self, t: usize) -> Vec<String> {
        let folder = self.folder.path().join("warehouse").join(&self.targets[t].namespace).join(&self.targets[t].table);
        let list = |part: &str| std::fs::read_dir(folder.join(part)).expect("a folder");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("a file").path().display().to_string();
        let mut files: Vec<String> = ["data", "metadata"].iter().flat_map(|part| list(part)).map(name).collect();
        files.sort();
        files
    }
}

pub fn sink(folder: &Path) -> Result<Iceberg> {
    let (warehouse, catalog) = (folder.join("warehouse"), folder.join("catalog.db"));
    Iceberg::new(Settings { warehouse, catalog, pipeline: "shop".into() })
}

/// The Cut at a Moment of these tests.
pub fn cut(moment: u64) -> Cut {
    Cut([("shop".to_string(), Position::Offset(moment * 10))].into())
}

/// A seeded source of chance.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A row of every type: small domains, so that equal rows meet, and the odd ends of each type.
    pub fn row(&mut self) -> Row {
        let texts =
            ["", "a", "long enough that a bound of it must be cut somewhere", "Ünï\u{10FFFF}\u{10FFFF}", "a\0b"];
        let floats = [0.0, -0.0, 1.5, -2.25, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-30];
        let float = floats[self.below(8) as usize];
        let bytes = vec![255; self.below(40) as usize];
        let day = self.below(60_000) as i64 - 20_000;
        let us = day * 86_400_000_000 + self.below(86_400_000_000) as i64;
        let datums = [
            Datum::Bool(self.below(2) == 1),
            Datum::Int32([i32::MIN, -1, 0, 7, i32::MAX][self.below(5) as usize]),
            Datum::Int64([i64::MIN, -1, 0, 7, i64::MAX][self.below(5) as usize]),
            Datum::Float32(float as f32),
            Datum::Float64(float),
            Datum::Decimal([0, -1, 12_345, -9_999_999, 999_999_999][self.below(5) as usize]),
            Datum::Decimal([0, -1, 10i128.pow(37), -(10i128.pow(38) - 1)][self.below(4) as usize]),
            Datum::Text(texts[self.below(5) as usize].into()),
            Datum::Text(["{}", "[1, \"a\"]"][self.below(2) as usize].into()),
            Datum::Bytes(bytes),
            Datum::Date(day as i32),
            Datum::Time(self.below(86_400_000_000) as i64),
            Datum::Timestamp(us),
            Datum::Timestamp(us),
            Datum::Uuid((u128::from(self.next()) << 64).to_be_bytes()),
            Datum::List((0..self.below(3)).map(|_| self.pair()).collect()),
            Datum::Struct(vec![self.small(), Datum::List((0..self.below(3)).map(|_| self.small()).collect())]),
            self.map(),
        ];
        let all_null = self.below(20) == 0;
        let datums = datums.map(|d| if all_null || self.below(8) == 0 { Datum::Null } else { d });
        row(&datums)
    }

    fn small(&mut self) -> Datum {
        [Datum::Null, Datum::Int64(-1), Datum::Int64(7)][self.below(3) as usize].clone()
    }

    /// A text and a number.
    fn pair(&mut self) -> Datum {
        let text = ["", "a\"b", "ü"][self.below(3) as usize];
        match self.below(4) {
            0 => Datum::Null,
            1 => Datum::Struct(vec![Datum::Null, self.small()]),
            _ => Datum::Struct(vec![Datum::Text(text.into()), self.small()]),
        }
    }

    /// Some texts, each once, with a number.
    fn map(&mut self) -> Datum {
        let keys = ["", "a\"b", "ü"].into_iter().take(self.below(4) as usize);
        Datum::List(keys.map(|key| Datum::Struct(vec![Datum::Text(key.into()), self.small()])).collect())
    }
}

pub fn row(datums: &[Datum]) -> Row {
    let mut writer = RowWriter::default();
    datums.iter().for_each(|d| writer.push(d));
    writer.finish()
}

pub fn target(name: &str, columns: &[(&str, DataType)]) -> Target {
    let field = |(name, t): &(&str, DataType)| Field::new(*name, t.clone(), true);
    Target {
        model: name.into(),
        namespace: "analytics".into(),
        table: name.into(),
        schema: Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())),
        description: format!("all about {name}"),
        column_descriptions: columns.iter().map(|(name, _)| format!("the {name}")).collect(),
        definition: "1".into(),
    }
}

pub fn every_type(name: &str) -> Target {
    let us = TimeUnit::Microsecond;
    target(
        name,
        &[
            ("bool", DataType::Boolean),
            ("int", DataType::Int32),
            ("long", DataType::Int64),
            ("float", DataType::Float32),
            ("double", DataType::Float64),
            ("decimal", DataType::Decimal128(9, 2)),
            ("wide", DataType::Decimal128(38, 0)),
            ("text", DataType::Utf8),
            ("json", JSON),
            ("bytes", DataType::Binary),
            ("date", DataType::Date32),
            ("time", DataType::Time64(us)),
            ("timestamp", DataType::Timestamp(us, None)),
            ("timestamptz", DataType::Timestamp(us, Some("UTC".into()))),
            ("uuid", DataType::FixedSizeBinary(16)),
            ("list", list_of(struct_of([("json", JSON), ("long", DataType::Int64)]))),
            ("struct", struct_of([("long", DataType::Int64), ("longs", list_of(DataType::Int64))])),
            ("map", map_of(DataType::Utf8, DataType::Int64)),
        ],
    )
}

fn kind(t: &DataType) -> &'static str {
    match t {
        DataType::Boolean => "bool",
        DataType::Int32 => "int",
        DataType::Int64 => "long",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Decimal128(_, _) => "decimal",
        DataType::Utf8 | DataType::LargeUtf8 => "text",
        DataType::Binary => "bytes",
        DataType::Date32 => "date",
        DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::List(_) | DataType::Struct(_) | DataType::Map(_, _) => "nested",
        _ => "uuid",
    }
}

/// A row as `readers.py` writes it.
fn canonical(codec: &Codec, row: &Row, reader: &str) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let structs = |field: &Field| matches!(field.data_type(), DataType::List(item) if item.data_type().is_nested());
    let cell = |(datum, field): (&Datum, &Arc<Field>)| match datum {
        // pyiceberg 0.12 reads a NULL list of structs as an empty one (apache/iceberg-python#3833).
        Datum::Null if reader == "pyiceberg" && structs(field) => "[]".into(),
        Datum::Null => "-".into(),
        Datum::Float32(v) if v.is_nan() => "nan".into(),
        Datum::Float64(v) if v.is_nan() => "nan".into(),
        Datum::Float32(v) => hex(&v.to_be_bytes()),
        Datum::Float64(v) => hex(&v.to_be_bytes()),
        Datum::Text(v) => hex(v.as_bytes()),
        Datum::Date(v) => v.to_string(),
        Datum::List(_) | Datum::Struct(_) => nested(datum).to_string(),
        other => other.to_string(),
    };
    codec.datums(row).iter().zip(codec.schema().fields()).map(cell).collect::<Vec<_>>().join("|")
}

/// A struct as the list of its fields.
fn nested(datum: &Datum) -> Value {
    match datum {
        Datum::Null => Value::Null,
        Datum::Int64(v) => json!(v),
        Datum::Text(v) => json!(v),
        Datum::List(items) | Datum::Struct(items) => items.iter().map(nested).collect(),
        other => panic!("{other:?} is in no nested column here"),
    }
}

/// A Python process that reads tables with DuckDB and pyiceberg.
pub struct Readers(RefCell<(Child, ChildStdin, Lines<BufReader<ChildStdout>>)>);

impl Readers {
    pub fn start() -> Readers {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache"));
        let python = cache.join("driftless/venv/bin/python");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/iceberg/readers.py");
        let mut child = Command::new(&python)
            .args(["-u", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}; `make setup` installs it", python.display()));
        let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Readers(RefCell::new((child, to, BufReader::new(from).lines())))
    }

    pub fn ask(&self, request: Value) -> Result<Value, String> {
        let (_, to, from) = &mut *self.0.borrow_mut();
        writeln!(to, "{request}").expect("the readers live");
        let line = from.next().expect("an answer").expect("an answer");
        let mut answer: Value = serde_json::from_str(&line).expect("JSON");
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["ok"].take()),
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let (child, ..) = self.0.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}
