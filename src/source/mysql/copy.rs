//! The first copy: every table as it stood at one moment, and the GTID position of that moment.
//!
//! `START TRANSACTION WITH CONSISTENT SNAPSHOT` takes no lock, and the two `binlog_snapshot_` status
//! variables belong to the snapshot itself (`SHOW MASTER STATUS` beside it would be a race). Rows are read
//! by the binary protocol, since text would round floats, and handed on in small batches.
//!
//! It does not promise to go on after a broken connection: the picture is lost with its transaction, and
//! the copy fails as something to try again.

use super::catalog::{Followed, gtid, quote, quoted};
use super::connect::Server;
use super::value::{self, copied};
use super::{End, Event, Outlet};
use crate::error::{Error, Result};
use crate::row::{Gtid, RowWriter};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// Small enough that a batch of ordinary rows stays in cache, large enough that sending one costs nothing.
const ROWS_PER_BATCH_MAX: usize = 1_000;

/// Wide rows make a batch full earlier.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A connection whose transaction sees one moment, and that moment.
pub(super) async fn snapshot(server: &Server) -> Result<(Conn, Gtid)> {
    let fault = |e| server.explain(e);
    let mut conn = server.connect().await?;
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.map_err(fault)?;
    conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await.map_err(fault)?;
    let status: Vec<(String, String)> = conn.query("SHOW STATUS LIKE 'binlog_snapshot_%'").await.map_err(fault)?;
    let of = |name: &str| status.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let (file, position) = (of("binlog_snapshot_file"), of("binlog_snapshot_position"));
    let position = position.and_then(|p| p.parse::<u64>().ok());
    let (file, position) = file.zip(position).ok_or_else(|| {
        Error::operator(format!("`{}` gives no binlog position for a snapshot", server.address()))
            .hint("check that the server is MariaDB 10.11 or later with `log_bin` set")
    })?;
    let text: Option<Option<String>> =
        conn.exec_first("SELECT BINLOG_GTID_POS(?, ?)", (&file, position)).await.map_err(fault)?;
    let text = text.flatten().ok_or_else(|| {
        Error::retry(format!("`{}` purged binlog `{file}` while its snapshot was taken", server.address()))
    })?;
    Ok((conn, gtid(&text, server)?))
}

pub(super) async fn copy(server: &Server, mut conn: Conn, followed: &Followed, outlet: &Outlet) -> Result<(), End> {
    for table in 0..followed.tables.len() {
        copy_table(server, &mut conn, followed, table, outlet).await.map_err(|end| match end {
            End::Failed(error) => End::Failed(error.doing(format!("copy table `{}`", followed.tables[table].name))),
            End::Closed => End::Closed,
        })?;
    }
    server.close(conn).await;
    Ok(())
}

async fn copy_table(
    server: &Server,
    conn: &mut Conn,
    followed: &Followed,
    place: usize,
    outlet: &Outlet,
) -> Result<(), End> {
    let fault = |e| server.explain(e);
    let (table, layout) = (&followed.tables[place], &followed.layouts[place]);
    let names: Vec<&String> = table.schema.fields().iter().map(|f| f.name()).collect();
    let kind = |name: &&String| {
        let column = layout.columns.iter().find(|c| c.name == **name);
        let kind = column.and_then(|c| c.kind.as_ref().ok());
        kind.expect("the layout was fitted to the table").clone()
    };
    let kinds: Vec<_> = names.iter().map(kind).collect();
    let columns: Vec<String> = names.iter().map(|n| quote(n)).collect();
    let query = format!("SELECT {} FROM {}", columns.join(", "), quoted(&table.name));

    let mut result = conn.exec_iter(query, ()).await.map_err(fault)?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(mut row) = result.next().await.map_err(fault)? {
        let mut writer = RowWriter::default();
        for (i, (kind, name)) in kinds.iter().zip(&names).enumerate() {
            let value = row.take(i).expect("the query selects as many columns");
            let datum = copied(value, kind).map_err(|reason| value::refused(&table.name, name, reason))?;
            writer.push(&datum);
        }
        let row = writer.finish();
        bytes += row.bytes().len();
        rows.push(row);
        if rows.len() >= ROWS_PER_BATCH_MAX || bytes >= BATCH_BYTES_MAX {
            bytes = 0;
            outlet.send(Event::Copied { table: place, rows: std::mem::take(&mut rows) }).await?;
        }
    }
    if !rows.is_empty() {
        outlet.send(Event::Copied { table: place, rows }).await?;
    }
    Ok(())
}
