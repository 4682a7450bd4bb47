//! The first copy: every kept table in one picture of the database, as text.
//!
//! One transaction under the slot's exported snapshot reads table after table, so the copy is exactly what
//! the stream behind the slot's position continues. Rows leave in batches; a full outlet holds back the
//! server. A connection that breaks here cannot be mended: rows already told cannot be taken back, so the
//! copy has to begin anew.

use super::connect::{failed, quoted};
use super::describe::{Kept, sql_name};
use crate::error::{Doing, Error, Result};
use crate::row::{Datum, Row, RowWriter};
use crate::source::{Event, Outlet};
use bytes::Bytes;
use futures::StreamExt;
use tokio_postgres::Client;

/// Rows told at once: enough to make the queue cheap, few enough to keep it small.
const BATCH_ROWS: usize = 1_000;

/// Opens the transaction in which the copy will read. From here on no table changes its shape or is
/// truncated until the copy is done; writing to them goes on (the lock is that of any SELECT).
pub async fn pin(sql: &Client, snapshot: &str, kept: &[Kept]) -> Result<()> {
    let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let locks: Vec<String> = kept.iter().map(|k| format!("ONLY {}", sql_name(&k.table.name))).collect();
    let lock = if locks.is_empty() {
        String::new()
    } else {
        format!("; LOCK TABLE {} IN ACCESS SHARE MODE", locks.join(", "))
    };
    let statement = format!("{begin}; SET TRANSACTION SNAPSHOT '{snapshot}'{lock}");
    sql.batch_execute(&statement).await.map_err(failed).doing("take the picture for the first copy")
}

/// Tells every row; `false` where nobody listens any more.
pub async fn copy(sql: &Client, kept: &[Kept], outlet: &Outlet) -> Result<bool> {
    for (table, kept) in kept.iter().enumerate() {
        let doing = format!("copy table `{}`", kept.table.name);
        if !copy_table(sql, table, kept, outlet).await.doing(doing)? {
            return Ok(false);
        }
    }
    sql.batch_execute("COMMIT").await.map_err(failed)?;
    Ok(true)
}

async fn copy_table(sql: &Client, table: usize, kept: &Kept, outlet: &Outlet) -> Result<bool> {
    let columns: Vec<String> = kept.table.schema.fields().iter().map(|f| quoted(f.name())).collect();
    let query = format!("COPY (SELECT {} FROM ONLY {}) TO STDOUT", columns.join(", "), sql_name(&kept.table.name));
    let mut lines = std::pin::pin!(sql.copy_out(&query).await.map_err(failed)?);
    let mut reader = Reader { kept, half: Vec::new(), rows: Vec::new() };
    while let Some(chunk) = lines.next().await {
        reader.read(chunk.map_err(failed)?)?;
        if reader.rows.len() >= BATCH_ROWS {
            let rows = std::mem::take(&mut reader.rows);
            if outlet.send(Event::Copied { table, rows }).await.is_err() {
                return Ok(false);
            }
        }
    }
    if !reader.half.is_empty() {
        return Err(Error::corrupt("the copy ends within a row"));
    }
    if reader.rows.is_empty() {
        return Ok(true);
    }
    Ok(outlet.send(Event::Copied { table, rows: reader.rows }).await.is_ok())
}

/// COPY's text in, rows out.
struct Reader<'a> {
    kept: &'a Kept,
    /// A line whose end has not come yet.
    half: Vec<u8>,
    rows: Vec<Row>,
}

impl Reader<'_> {
    fn read(&mut self, chunk: Bytes) -> Result<()> {
        let mut rest: &[u8] = &chunk;
        // A line break within a value is escaped, so a bare one always ends a row.
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let row = if self.half.is_empty() {
                self.row(&rest[..end])?
            } else {
                self.half.extend_from_slice(&rest[..end]);
                let line = std::mem::take(&mut self.half);
                self.row(&line)?
            };
            self.rows.push(row);
            rest = &rest[end + 1..];
        }
        self.half.extend_from_slice(rest);
        Ok(())
    }

    fn row(&self, line: &[u8]) -> Result<Row> {
        let mut writer = RowWriter::default();
        let mut fields = line.split(|b| *b == b'\t');
        for (column, kind) in self.kept.kinds.iter().enumerate() {
            let field = fields.next().ok_or_else(|| Error::corrupt("the copy holds a row that is too short"))?;
            let datum = if field == b"\\N" {
                Datum::Null
            } else if field.contains(&b'\\') {
                self.kept.read(column, *kind, &unescaped(field))?
            } else {
                self.kept.read(column, *kind, field)?
            };
            writer.push(&datum);
        }
        Ok(writer.finish())
    }
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            text.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(b'b') => text.push(8),
            Some(b't') => text.push(b'\t'),
            Some(b'n') => text.push(b'\n'),
            Some(b'v') => text.push(11),
            Some(b'f') => text.push(12),
            Some(b'r') => text.push(b'\r'),
            Some(other) => text.push(*other),
            None => {}
        }
    }
    text
}
