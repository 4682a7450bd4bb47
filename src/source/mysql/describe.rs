//! Whether a server can be followed, and what its tables look like.
//!
//! Each refusal names the one statement that lifts it. A column that no row can hold is left out of its
//! table with a warning that says why, since models may not want it; in a primary key it refuses the table.

use super::catalog::{layout, quote, quoted};
use super::connect::Server;
use crate::error::{Doing, Error, Result};
use crate::row::{Table, TableName, check_types};
use arrow::datatypes::{Field, Schema};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::sync::Arc;

pub(super) async fn describe(conn: &mut Conn, server: &Server, names: &[TableName]) -> Result<Vec<Table>> {
    check_server(conn, server).await?;
    check_filters(conn, server, names).await?;
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        tables.push(table(conn, server, name).await?);
    }
    Ok(tables)
}

/// The settings and rights without which no stream is whole.
pub(super) async fn check_server(conn: &mut Conn, server: &Server) -> Result<()> {
    let fault = |e| server.explain(e);
    let address = server.address();
    let version: Option<String> = conn.query_first("SELECT VERSION()").await.map_err(fault)?;
    let version = version.unwrap_or_default();
    if !version.contains("MariaDB") {
        let what = format!("`{address}` is MySQL {version}, and only MariaDB can be followed yet");
        return Err(Error::operator(what).hint("follow a MariaDB 10.11 or later"));
    }
    let settings: Option<(u8, String, String, u8)> = conn
        .query_first("SELECT @@log_bin, @@global.binlog_format, @@global.binlog_row_image, @@global.log_bin_compress")
        .await
        .map_err(fault)?;
    let (log_bin, format, image, compress) = settings.unwrap_or_default();
    let refuse = |what: &str, hint: &str| Err(Error::operator(format!("`{address}` {what}")).hint(hint));
    if log_bin == 0 {
        return refuse("writes no binlog", "set `log_bin` in its configuration and restart it");
    }
    if format != "ROW" {
        return refuse(&format!("writes its binlog by {format}, not by row"), "SET GLOBAL binlog_format = ROW");
    }
    if image != "FULL" {
        return refuse(&format!("writes {image} row images, not FULL"), "SET GLOBAL binlog_row_image = FULL");
    }
    if compress != 0 {
        return refuse("compresses its binlog, which cannot be read yet", "SET GLOBAL log_bin_compress = OFF");
    }
    let metadata: Option<String> = conn.query_first("SELECT @@global.binlog_row_metadata").await.map_err(fault)?;
    if metadata.is_some_and(|m| m != "FULL") {
        let hint = "SET GLOBAL binlog_row_metadata = FULL";
        tracing::warn!(server = address, hint, "no column names in the binlog: an ALTER TABLE may stop the source");
    }
    let grants: Vec<String> = conn.query("SHOW GRANTS").await.map_err(fault)?;
    let granted = |right: &str| {
        let global = grants.iter().filter(|g| g.contains(" ON *.* "));
        global.into_iter().any(|g| g.contains("ALL PRIVILEGES") || g.contains(right))
    };
    let account: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.map_err(fault)?;
    let account = account.unwrap_or_default();
    // REPLICATION CLIENT is what BINLOG MONITOR was called before 10.5; SHOW GRANTS prints the new name.
    for right in ["REPLICATION SLAVE", "BINLOG MONITOR"] {
        if !granted(right) {
            let grantee = account.split('@').map(|part| format!("'{part}'")).collect::<Vec<_>>().join("@");
            let what = format!("account `{account}` at `{address}` lacks the right {right}");
            return Err(Error::operator(what).hint(format!("GRANT {right} ON *.* TO {grantee}")));
        }
    }
    Ok(())
}

/// A server may keep whole databases out of its binlog.
async fn check_filters(conn: &mut Conn, server: &Server, names: &[TableName]) -> Result<()> {
    let status: Option<(String, u64, String, String)> =
        conn.query_first("SHOW MASTER STATUS").await.map_err(|e| server.explain(e))?;
    let (_, _, only, not) = status.unwrap_or_default();
    let listed = |list: &str, schema: &str| list.split(',').any(|s| s == schema);
    for TableName { schema, .. } in names {
        let setting = match () {
            () if listed(&not, schema) => "binlog_ignore_db",
            () if !only.is_empty() && !listed(&only, schema) => "binlog_do_db",
            () => continue,
        };
        let what = format!("`{}` keeps database `{schema}` out of its binlog by `{setting}`", server.address());
        return Err(Error::operator(what).hint(format!("change `{setting}` in its configuration and restart it")));
    }
    Ok(())
}

async fn table(conn: &mut Conn, server: &Server, name: &TableName) -> Result<Table> {
    let Some(layout) = layout(conn, server, name).await? else {
        return Err(missing(conn, server, name).await);
    };
    if let Some((what, hint)) = layout.unfit {
        return Err(Error::operator(what).hint(hint));
    }
    if layout.key.is_empty() {
        return Err(Error::operator(format!("table `{name}` has no primary key"))
            .hint(format!("ALTER TABLE {} ADD PRIMARY KEY (…)", quoted(name))));
    }
    let mut fields = Vec::new();
    for column in &layout.columns {
        let (column, reason) = match &column.kind {
            Ok(kind) => {
                fields.push(Field::new(&column.name, kind.arrow(), !layout.key.contains(&column.name)));
                continue;
            }
            Err(reason) => (&column.name, reason),
        };
        if layout.key.contains(column) {
            let what = format!("column `{column}` of table `{name}` {reason}, and is part of its primary key");
            return Err(Error::operator(what).hint("change the column's type, or give the table another key"));
        }
        tracing::warn!(table = %name, %column, %reason, "column left out");
    }
    let schema = Schema::new(fields);
    check_types(&schema).doing(format!("describe table `{name}`"))?;
    let place = |column: &String| schema.index_of(column).expect("columns of the key were kept above");
    let key = layout.key.iter().map(place).collect();
    readable(conn, server, name, &schema).await?;
    Ok(Table { name: name.clone(), key, schema: Arc::new(schema) })
}

/// Tries the right to read now rather than in the middle of a copy.
async fn readable(conn: &mut Conn, server: &Server, name: &TableName, schema: &Schema) -> Result<()> {
    let columns: Vec<String> = schema.fields().iter().map(|f| quote(f.name())).collect();
    let query = format!("SELECT {} FROM {} LIMIT 0", columns.join(", "), quoted(name));
    match conn.query_drop(query).await {
        Ok(()) => Ok(()),
        Err(mysql_async::Error::Server(error)) if matches!(error.code, 1142 | 1143) => {
            let what = format!("no right to read table `{name}` at `{}`", server.address());
            Err(Error::operator(what).hint(format!("GRANT SELECT ON {} to the account", quoted(name))))
        }
        Err(fault) => Err(server.explain(fault)),
    }
}

async fn missing(conn: &mut Conn, server: &Server, name: &TableName) -> Error {
    let what = format!("no table `{name}` at `{}`, or no right to see it", server.address());
    let list = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?";
    let others: Vec<String> = match conn.exec(list, (&name.schema,)).await {
        Ok(others) => others,
        Err(fault) => return server.explain(fault),
    };
    let near = others.iter().map(|other| (distance(other, &name.name), other)).min();
    Error::operator(what).hint(match near {
        Some((distance, other)) if distance <= name.name.len() / 2 + 1 => format!("did you mean `{other}`?"),
        _ => format!("GRANT SELECT ON {} to the account, or correct the name", quoted(name)),
    })
}

/// How many characters to insert, drop or replace, case aside.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn names_that_look_alike_are_near() {
        assert_eq!(distance("orders", "Order"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
