//! A recorded log of changes, read from a file as if a database were telling it.
//!
//! One file per source, JSON lines in Debezium's shape:
//!
//! ```json
//! {"tables":[{"schema":"public","name":"orders","columns":[{"name":"id","type":"bigint"}],"key":["id"]}]}
//! {"source":{"schema":"public","table":"orders"},"op":"r","after":{"id":1}}
//! {"source":{"schema":"public","table":"orders","txId":7,"ts_ms":1700000000000},"op":"c","after":{"id":2}}
//! ```
//!
//! The first line declares the tables (or a `schema.json` beside the file does), types by their Postgres
//! names. `op` is `r` (a row of the first copy, at the head), `c`, `u`, `d` or `t` (truncate). Consecutive
//! lines of one `txId` are one transaction; without a `txId` each line is one. Values are JSON, text as
//! Postgres prints it for what JSON has no form for; a column that an update leaves out did not change.
//!
//! A position is the number of bytes up to the end of a transaction. After the end of the file it goes on
//! looking for more. There the last transaction counts as whole once the file has been quiet for a poll, so
//! whoever appends should append a transaction in one write.

use super::postgres::describe::{nearest, unreadable};
use super::postgres::types::Kind;
use super::{Event, Outlet, Source, Tail};
use crate::error::{Error, Place, Result};
use crate::row::{Change, Datum, NewRow, Position, Row, RowWriter, Table, TableName, check_types};
use crate::world;
use arrow::datatypes::{Field, Schema};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const POLL: Duration = Duration::from_millis(100);
const BATCH_ROWS: usize = 1_000;
/// What Debezium writes for a value that its database did not send.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

#[derive(Clone, Debug)]
pub struct Settings {
    /// The log, or the folder in which it lies as `<name>.jsonl`.
    pub path: PathBuf,
    /// The source's name in the dbt project.
    pub name: String,
}

pub struct Replay {
    path: PathBuf,
    declared: Vec<Declared>,
}

impl Replay {
    pub fn new(settings: Settings) -> Result<Replay> {
        let path = match settings.path.is_dir() {
            true => settings.path.join(format!("{}.jsonl", settings.name)),
            false => settings.path,
        };
        let declared = declarations(&path)?;
        Ok(Replay { path, declared })
    }

    fn describe_one(&self, name: &TableName) -> Result<Table> {
        let Some(declared) = self.declared.iter().find(|d| d.name() == *name) else {
            let names: Vec<TableName> = self.declared.iter().map(Declared::name).collect();
            let error = Error::operator(format!("the log declares no table `{name}`")).at(Place::file(&self.path));
            return Err(match nearest(name, &names) {
                Some(other) => error.hint(format!("did you mean `{other}`?")),
                None => error.hint("declare it in the first line, or in `schema.json` beside the log"),
            });
        };
        let wrong = |what: String| Err(Error::operator(what).at(Place::file(&self.path)));
        if declared.key.is_empty() {
            return wrong(format!("table `{name}` has no primary key, so its rows cannot be told apart"));
        }
        let mut key = Vec::new();
        for column in &declared.key {
            match declared.columns.iter().position(|c| c.name == *column) {
                Some(place) => key.push(place),
                None => return wrong(format!("the key of table `{name}` names `{column}`, which is no column of it")),
            }
        }
        let field =
            |(i, c): (usize, &Column)| Field::new(&c.name, Kind::named(&c.data_type).arrow(), !key.contains(&i));
        let schema = Arc::new(Schema::new(declared.columns.iter().enumerate().map(field).collect::<Vec<_>>()));
        check_types(&schema)?;
        Ok(Table { name: name.clone(), schema, key })
    }

    fn begin(self, tables: Vec<Table>, resume: Option<Position>, outlet: Outlet) -> Result<Tail> {
        let mut kept = Vec::new();
        for table in tables {
            let declared = self.describe_one(&table.name)?;
            let mut kinds = Vec::new();
            for field in table.schema.fields() {
                let now = declared.schema.index_of(field.name()).ok().map(|i| declared.schema.field(i));
                if now.map(|f| f.data_type()) != Some(field.data_type()) {
                    let what = format!("column `{}` of table `{}` is no longer what it was", field.name(), table.name);
                    return Err(Error::operator(what).at(Place::file(&self.path)));
                }
                let columns = &self.declared.iter().find(|d| d.name() == table.name).expect("just described").columns;
                let column = columns.iter().find(|c| c.name == *field.name()).expect("just described");
                kinds.push(Kind::named(&column.data_type));
            }
            kept.push(Kept { table, kinds });
        }
        let (offset, copying) = match resume {
            None => (0, true),
            Some(Position::Offset(offset)) => (offset, false),
            Some(other) => {
                return Err(Error::operator(format!("position `{other}` is not one of a recorded log"))
                    .hint("remove the state directory, or give the source its former kind back"));
            }
        };
        let log = Log::open(&self.path, offset)?;
        let (sender, mut acknowledged) = watch::channel(None);
        let player = Player { log, kept, outlet: outlet.clone(), told: offset, copying, copied: None, group: None };
        let task = tokio::spawn(async move {
            let played = tokio::select! {
                played = player.play() => played,
                () = async { while acknowledged.changed().await.is_ok() {} } => Ok(()),
            };
            if let Err(error) = played {
                // Where nobody listens, nobody needs to know.
                let _ = outlet.send(Event::Failed(error)).await;
            }
        });
        Ok(Tail::new(sender, task))
    }
}

impl Source for Replay {
    fn describe<'a>(&'a mut self, names: &'a [TableName]) -> BoxFuture<'a, Result<Vec<Table>>> {
        async move { names.iter().map(|name| self.describe_one(name)).collect() }.boxed()
    }

    /// The end of the last line that is complete.
    fn present(&mut self) -> BoxFuture<'_, Result<Position>> {
        async move {
            let mut log = Log::open(&self.path, 0)?;
            while log.line()?.is_some() {}
            Ok(Position::Offset(log.offset))
        }
        .boxed()
    }

    fn start(
        self: Box<Self>,
        tables: Vec<Table>,
        resume: Option<Position>,
        outlet: Outlet,
    ) -> BoxFuture<'static, Result<Tail>> {
        async move { self.begin(tables, resume, outlet) }.boxed()
    }

    /// A log has nothing set up for it.
    fn forget(&mut self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }
}

#[derive(Deserialize)]
struct Declarations {
    tables: Vec<Declared>,
}

#[derive(Deserialize)]
struct Declared {
    schema: String,
    name: String,
    columns: Vec<Column>,
    key: Vec<String>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
}

impl Declared {
    fn name(&self) -> TableName {
        TableName::new(&self.schema, &self.name)
    }
}

/// From the log's first line, else from `schema.json` beside it.
fn declarations(path: &Path) -> Result<Vec<Declared>> {
    let first = Log::open(path, 0)?.line()?.unwrap_or_default();
    let header = serde_json::from_str::<Value>(&first).is_ok_and(|v| v.get("tables").is_some());
    let (text, file) = match header {
        true => (first, path.to_path_buf()),
        false => {
            let file = path.with_file_name("schema.json");
            let text = std::fs::read_to_string(&file).map_err(|e| {
                Error::operator("the log does not declare its tables")
                    .at(Place::at(path, 1, 0))
                    .because(e)
                    .hint("declare them in its first line, or in `schema.json` beside it")
            })?;
            (text, file)
        }
    };
    let declared: Declarations = serde_json::from_str(&text).map_err(|e| {
        Error::operator("the declaration of tables cannot be read").at(Place::at(file, e.line(), 0)).because(e)
    })?;
    Ok(declared.tables)
}

/// The complete lines of a file that may grow.
struct Log {
    path: PathBuf,
    reader: BufReader<File>,
    /// Bytes and lines behind us.
    offset: u64,
    lines: usize,
    half: Vec<u8>,
}

impl Log {
    fn open(path: &Path, offset: u64) -> Result<Log> {
        let unreadable = |e| Error::operator("the recorded log cannot be read").at(Place::file(path)).because(e);
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut log = Log { path: path.into(), reader: BufReader::new(file), offset: 0, lines: 0, half: Vec::new() };
        if length < offset {
            return Err(log.shorter(offset, length));
        }
        // Walked, not jumped over: errors name the line.
        while log.offset < offset && log.line()?.is_some() {}
        if log.offset != offset {
            let what = format!("position {offset} is not at the end of a line");
            return Err(Error::operator(what).at(Place::file(path)).hint("remove the state directory to start over"));
        }
        Ok(log)
    }

    /// The next line, or `None` where it is not there yet in full.
    fn line(&mut self) -> Result<Option<String>> {
        let here = self.here();
        let failed = |e| Error::operator("the recorded log cannot be read").at(here.clone()).because(e);
        self.reader.read_until(b'\n', &mut self.half).map_err(failed)?;
        if self.half.last() != Some(&b'\n') {
            return Ok(None);
        }
        self.offset += self.half.len() as u64;
        self.lines += 1;
        let mut line = std::mem::take(&mut self.half);
        line.pop();
        String::from_utf8(line)
            .map(Some)
            .map_err(|e| Error::operator("the line is not UTF-8").at(self.here()).because(e))
    }

    /// Whether the file has become shorter than what was read of it.
    fn check_length(&self) -> Result<()> {
        let here = Place::file(&self.path);
        let failed = |e| Error::operator("the recorded log cannot be read").at(here.clone()).because(e);
        let length = self.reader.get_ref().metadata().map_err(failed)?.len();
        if length < self.offset {
            return Err(self.shorter(self.offset, length));
        }
        Ok(())
    }

    fn shorter(&self, offset: u64, length: u64) -> Error {
        Error::operator(format!("position {offset} is lost: the log holds only {length} bytes"))
            .at(Place::file(&self.path))
            .hint("put the log back, or remove the state directory to start over")
    }

    /// The line just read.
    fn here(&self) -> Place {
        Place::at(&self.path, self.lines, 0)
    }
}

struct Kept {
    table: Table,
    kinds: Vec<Kind>,
}

/// Lines in, events out.
struct Player {
    log: Log,
    kept: Vec<Kept>,
    outlet: Outlet,
    told: u64,
    /// Still at the rows of the first copy.
    copying: bool,
    copied: Option<(usize, Vec<Row>)>,
    group: Option<Group>,
}

/// A transaction of which more lines may come.
struct Group {
    id: Value,
    changes: Vec<(usize, Change)>,
    end: u64,
    committed_us: i64,
}

impl Player {
    /// Ends only with an error, or when nobody listens.
    async fn play(mut self) -> Result<()> {
        loop {
            let mut progress = false;
            loop {
                let before = self.log.offset;
                let Some(line) = self.log.line()? else { break };
                progress = true;
                if !self.take(&line, before).await? {
                    return Ok(());
                }
            }
            if !progress && !self.rest().await? {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
            self.log.check_length()?;
        }
    }

    /// One line, which began at `start`; `false` where nobody listens.
    async fn take(&mut self, line: &str, start: u64) -> Result<bool> {
        if line.trim().is_empty() {
            return Ok(true);
        }
        let entry: Value = serde_json::from_str(line)
            .map_err(|e| Error::operator("the line is not JSON").at(self.log.here()).because(e))?;
        if entry.get("tables").is_some() && entry.get("op").is_none() {
            return Ok(true);
        }
        let read = self.change(&entry).map_err(|e| e.at(self.log.here()))?;
        if entry["op"] == "r" && self.copying {
            return match read {
                Some((table, Change::Insert(row))) => self.copy_row(table, row).await,
                _ => Ok(true),
            };
        }
        if !self.end_copy(start).await? {
            return Ok(false);
        }
        let id = entry["source"]["txId"].clone();
        let same = self.group.as_ref().is_some_and(|group| group.id == id && !id.is_null());
        if !same && !self.end_group().await? {
            return Ok(false);
        }
        let committed_us = entry["source"]["ts_ms"].as_i64().map_or_else(world::now_us, |ms| ms * 1000);
        let group = self.group.get_or_insert(Group { id, changes: Vec::new(), end: 0, committed_us });
        group.changes.extend(read);
        group.end = self.log.offset;
        group.committed_us = committed_us;
        if group.id.is_null() {
            return self.end_group().await;
        }
        Ok(true)
    }

    /// The file has been quiet: what is open is whole.
    async fn rest(&mut self) -> Result<bool> {
        let end = self.log.offset;
        if !self.end_copy(end).await? || !self.end_group().await? {
            return Ok(false);
        }
        if end > self.told {
            self.told = end;
            return Ok(self.outlet.send(Event::Idle { position: Position::Offset(end) }).await.is_ok());
        }
        Ok(true)
    }

    async fn copy_row(&mut self, table: usize, row: Row) -> Result<bool> {
        let full = self.copied.as_ref().is_some_and(|(t, rows)| *t != table || rows.len() >= BATCH_ROWS);
        if full && !self.end_batch().await {
            return Ok(false);
        }
        self.copied.get_or_insert((table, Vec::new())).1.push(row);
        Ok(true)
    }

    async fn end_batch(&mut self) -> bool {
        match self.copied.take() {
            Some((table, rows)) => self.outlet.send(Event::Copied { table, rows }).await.is_ok(),
            None => true,
        }
    }

    async fn end_copy(&mut self, at: u64) -> Result<bool> {
        if !self.copying {
            return Ok(true);
        }
        self.copying = false;
        self.told = at;
        let done = Event::CopyDone { position: Position::Offset(at) };
        Ok(self.end_batch().await && self.outlet.send(done).await.is_ok())
    }

    /// A transaction of other tables only is told as `Idle` where the log rests.
    async fn end_group(&mut self) -> Result<bool> {
        match self.group.take() {
            Some(Group { changes, end, committed_us, .. }) if !changes.is_empty() => {
                self.told = end;
                let position = Position::Offset(end);
                Ok(self.outlet.send(Event::Transaction { changes, position, committed_us }).await.is_ok())
            }
            _ => Ok(true),
        }
    }

    /// What a line says; `None` where it speaks of a table that is not kept.
    fn change(&self, entry: &Value) -> Result<Option<(usize, Change)>> {
        let text = |value: &Value| value.as_str().map(str::to_string);
        let (Some(schema), Some(table)) = (text(&entry["source"]["schema"]), text(&entry["source"]["table"])) else {
            return Err(Error::operator("the line names no `source.schema` and `source.table`"));
        };
        let name = TableName::new(schema, table);
        let Some(table) = self.kept.iter().position(|k| k.table.name == name) else { return Ok(None) };
        let kept = &self.kept[table];
        let part = |name: &str| {
            let missing = || Error::operator(format!("the line has no `{name}`"));
            entry[name].as_object().ok_or_else(missing)
        };
        let change = match entry["op"].as_str() {
            Some("c" | "r") => Change::Insert(kept.row(part("after")?)?),
            Some("u") => kept.update(entry["before"].as_object(), part("after")?)?,
            Some("d") => Change::Delete { key: kept.key(part("before")?)? },
            Some("t") => Change::Truncate,
            _ => return Err(Error::operator("`op` is none of `c`, `u`, `d`, `r`, `t`")),
        };
        Ok(Some((table, change)))
    }
}

impl Kept {
    fn row(&self, values: &Map<String, Value>) -> Result<Row> {
        self.glued(values, &(0..self.kinds.len()).collect::<Vec<_>>())
    }

    fn key(&self, values: &Map<String, Value>) -> Result<Row> {
        self.glued(values, &self.table.key)
    }

    fn glued(&self, values: &Map<String, Value>, columns: &[usize]) -> Result<Row> {
        let mut writer = RowWriter::default();
        for column in columns {
            let missing = || {
                let name = self.table.schema.field(*column).name();
                Error::operator(format!("the line holds no value of column `{name}` of table `{}`", self.table.name))
            };
            writer.push(&self.datum(values, *column)?.ok_or_else(missing)?);
        }
        Ok(writer.finish())
    }

    fn update(&self, old: Option<&Map<String, Value>>, new: &Map<String, Value>) -> Result<Change> {
        let cells: Vec<Option<Datum>> = (0..self.kinds.len()).map(|c| self.datum(new, c)).collect::<Result<_>>()?;
        let new_key = self.key(new)?;
        let old_key = old.map(|old| self.key(old)).transpose()?.filter(|old| *old != new_key);
        let new = match cells.iter().all(Option::is_some) {
            true => NewRow::Whole(self.row(new)?),
            false => NewRow::Patch(cells),
        };
        Ok(Change::Update { old_key, new })
    }

    /// `None` for a value that was not recorded.
    fn datum(&self, values: &Map<String, Value>, column: usize) -> Result<Option<Datum>> {
        let text = match values.get(self.table.schema.field(column).name()) {
            None => return Ok(None),
            Some(Value::String(text)) if text == UNAVAILABLE => return Ok(None),
            Some(Value::Null) => return Ok(Some(Datum::Null)),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let read = self.kinds[column].read(text.as_bytes());
        read.map(Some).map_err(|why| unreadable(&self.table, column, text.as_bytes(), why))
    }
}
