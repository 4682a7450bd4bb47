//! What the server holds: is it set up to be followed, and what do the tables look like.
//!
//! Everything here is read from the catalog, and everything that would go wrong later is refused now, by
//! name and with one way out. Columns that the server generates are not in its stream, so they are not
//! part of a table.

use super::connect::{Server, failed, quoted};
use super::types::{Kind, Unreadable};
use crate::error::{Error, Result};
use crate::row::{Datum, Table, TableName, check_types};
use arrow::datatypes::{Field, Schema};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_postgres::Client;

/// The first server version whose catalog and protocol are known to us.
const VERSION_MIN: i32 = 120_000;

/// Checks that the server can be followed by this role at all.
pub async fn check_server(sql: &Client, server: &Server) -> Result<()> {
    let row = sql
        .query_one(
            "SELECT current_setting('server_version_num')::int4, current_setting('wal_level'), pg_is_in_recovery(), \
             (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) \
             OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication' AND pg_has_role(oid, 'MEMBER'))",
            &[],
        )
        .await
        .map_err(failed)?;
    let (address, user) = (server.address(), server.user());
    let (version, wal_level): (i32, String) = (row.get(0), row.get(1));
    if version < VERSION_MIN {
        return Err(Error::operator(format!("the server at `{address}` is older than Postgres 12"))
            .hint("upgrade the server, or follow a newer replica of it"));
    }
    if row.get(2) {
        return Err(Error::operator(format!("the server at `{address}` is a standby, which cannot be followed yet"))
            .hint("name its primary in the url"));
    }
    if wal_level != "logical" {
        return Err(Error::operator(format!(
            "the server at `{address}` has `wal_level = {wal_level}`, so its changes cannot be read"
        ))
        .hint("run `ALTER SYSTEM SET wal_level = logical` and restart the server"));
    }
    if !row.get::<_, Option<bool>>(3).unwrap_or(false) {
        return Err(Error::operator(format!("user `{user}` may not read the stream of changes at `{address}`"))
            .hint(format!("run `ALTER ROLE {} REPLICATION` as a superuser", quoted(user))));
    }
    Ok(())
}

/// The table as it stands now, or why it cannot be followed.
pub async fn table(sql: &Client, server: &Server, domains: &Domains, name: &TableName) -> Result<Table> {
    let Some((oid, _)) = followable(sql, server, name).await? else {
        let hint = match nearest(name, &tables(sql).await?) {
            Some(other) => format!("did you mean `{other}`?"),
            None => "create the table, or mend the source in the dbt project".to_string(),
        };
        return Err(Error::operator(format!("there is no table `{name}` at `{}`", server.address())).hint(hint));
    };
    let mut fields = Vec::new();
    let mut key = Vec::new();
    for column in columns(sql, domains, oid).await? {
        if let Some(place) = column.key_place {
            key.push((place, fields.len()));
        }
        // Only of the key is it sure that no NULL will ever come: NOT NULL can be dropped without a trace
        // in the stream.
        fields.push(Field::new(column.name, column.kind.arrow(), column.key_place.is_none()));
    }
    if key.is_empty() {
        let table = sql_name(name);
        return Err(Error::operator(format!("table `{name}` has no primary key, so its rows cannot be told apart"))
            .hint(format!("add one: `ALTER TABLE {table} ADD PRIMARY KEY (…)`")));
    }
    key.sort_unstable();
    let schema = Arc::new(Schema::new(fields));
    check_types(&schema)?;
    Ok(Table { name: name.clone(), schema, key: key.into_iter().map(|(_, column)| column).collect() })
}

/// A table that is kept, as the catalog knows it: how its columns are read, in the order of its schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub table: Table,
    pub oid: u32,
    /// The file that holds the rows: another one after each TRUNCATE or rewrite.
    pub file: u32,
    pub kinds: Vec<Kind>,
    /// Each column's own type and modifier, domains not resolved: what a change of type is seen by.
    pub types: Vec<(u32, i32)>,
}

impl Kept {
    /// Reads the text of one column, or says which column of which table cannot be read.
    pub fn read(&self, column: usize, kind: Kind, text: &[u8]) -> Result<Datum> {
        kind.read(text).map_err(|why| unreadable(&self.table, column, text, why))
    }
}

/// Says what a column holds that its type in a row cannot.
pub(in crate::source) fn unreadable(table: &Table, column: usize, text: &[u8], why: Unreadable) -> Error {
    let field = table.schema.field(column);
    let value: String = String::from_utf8_lossy(text).chars().take(40).collect();
    let (name, column, data_type) = (&table.name, field.name(), field.data_type());
    match why {
        Unreadable::NoForm => {
            Error::operator(format!("column `{column}` of table `{name}` holds `{value}`, which no {data_type} can be"))
                .hint(format!("mend the rows of `{name}` that hold it, or make `{column}` a text column"))
        }
        Unreadable::Garbled => {
            Error::corrupt(format!("column `{column}` of table `{name}` holds `{value}`, which is no {data_type}"))
        }
    }
}

/// Finds again what was described earlier, and refuses by name what has changed since.
pub async fn kept(sql: &Client, server: &Server, domains: &Domains, table: Table) -> Result<Kept> {
    let name = &table.name;
    let Some((oid, file)) = followable(sql, server, name).await? else {
        return Err(Error::operator(format!("table `{name}` is no longer there"))
            .hint(format!("restore `{name}`, or take it out of the project")));
    };
    let found = columns(sql, domains, oid).await?;
    let (mut kinds, mut types) = (Vec::new(), Vec::new());
    for field in table.schema.fields() {
        match found.iter().find(|column| column.name == *field.name()) {
            Some(column) if column.kind.arrow() == *field.data_type() => {
                kinds.push(column.kind);
                types.push(column.own_type);
            }
            Some(_) => return Err(retyped(name, field.name())),
            None => return Err(vanished(name, field.name())),
        }
    }
    Ok(Kept { oid, file, kinds, types, table })
}

/// A column that a model needs is gone.
pub fn vanished(table: &TableName, column: &str) -> Error {
    Error::operator(format!("column `{column}` of table `{table}` is gone"))
        .hint(format!("put `{column}` back, or take it out of the models that use it"))
}

/// A column that a model needs is not what it was.
pub fn retyped(table: &TableName, column: &str) -> Error {
    Error::operator(format!("column `{column}` of table `{table}` has changed its type"))
        .hint("remove the state directory to copy the table anew")
}

/// The types that domains stand for, by object id: `(type, modifier)`.
pub type Domains = HashMap<u32, (u32, i32)>;

pub async fn domains(sql: &Client) -> Result<Domains> {
    let rows = sql
        .query(
            "WITH RECURSIVE d AS (\
               SELECT oid AS domain, typbasetype AS base, typtypmod AS modifier FROM pg_type WHERE typtype = 'd' \
             UNION ALL \
               SELECT d.domain, t.typbasetype, CASE d.modifier WHEN -1 THEN t.typtypmod ELSE d.modifier END \
               FROM d JOIN pg_type t ON t.oid = d.base WHERE t.typtype = 'd') \
             SELECT domain, base, modifier FROM d JOIN pg_type t ON t.oid = d.base WHERE t.typtype <> 'd'",
            &[],
        )
        .await
        .map_err(failed)?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}

/// How a column of this type is read, seen through its domain.
pub fn kind_of(domains: &Domains, oid: u32, modifier: i32) -> Kind {
    let (oid, modifier) = domains.get(&oid).copied().unwrap_or((oid, modifier));
    Kind::of(oid, modifier)
}

pub fn sql_name(name: &TableName) -> String {
    format!("{}.{}", quoted(&name.schema), quoted(&name.name))
}

/// The name that was probably meant.
pub(in crate::source) fn nearest<'a>(name: &TableName, among: &'a [TableName]) -> Option<&'a TableName> {
    let elsewhere = among.iter().find(|other| other.name == name.name);
    let near = || {
        let distance = |other: &TableName| edits(&name.to_string(), &other.to_string());
        among.iter().map(|other| (distance(other), other)).min().filter(|(d, _)| *d <= 3).map(|(_, other)| other)
    };
    elsewhere.or_else(near)
}

/// The object and file ids of a table that can be followed; `None` where there is no such table.
async fn followable(sql: &Client, server: &Server, name: &TableName) -> Result<Option<(u32, u32)>> {
    let row = sql
        .query_opt(
            "SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relreplident::text, \
               has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), \
               row_security_active(c.oid), \
               EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid), \
               EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisreplident AND indisprimary), \
               coalesce(pg_relation_filenode(c.oid), 0) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
            &[&name.schema, &name.name],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let table = sql_name(name);
    let text = |i: usize| row.get::<_, String>(i);
    let refuse = |what: String, hint: String| Err(Error::operator(what).hint(hint));
    match (text(1).as_str(), text(2).as_str()) {
        ("r", "p") if row.get(6) => {
            return refuse(
                format!("other tables inherit from `{name}`, which cannot be followed yet"),
                "name the inheriting tables as sources and unite them in a model".to_string(),
            );
        }
        ("r", "p") => {}
        ("p", _) => {
            return refuse(
                format!("table `{name}` is partitioned, which cannot be followed yet"),
                "name its partitions as sources and unite them in a model".to_string(),
            );
        }
        ("r", _) => {
            return refuse(
                format!("table `{name}` is not logged, so its changes cannot be read"),
                format!("run `ALTER TABLE {table} SET LOGGED`"),
            );
        }
        _ => {
            return refuse(
                format!("`{name}` is a view or a foreign table, whose changes are not in the log"),
                "name the tables that it reads as sources, and make it a model".to_string(),
            );
        }
    }
    if !row.get::<_, bool>(4) {
        let (schema, user) = (quoted(&name.schema), quoted(server.user()));
        return refuse(
            format!("user `{}` may not read table `{name}`", server.user()),
            format!("run `GRANT USAGE ON SCHEMA {schema} TO {user}; GRANT SELECT ON {table} TO {user}`"),
        );
    }
    if row.get(5) {
        return refuse(
            format!("row security hides rows of table `{name}` from user `{}`", server.user()),
            format!("run `ALTER ROLE {} BYPASSRLS`", quoted(server.user())),
        );
    }
    if !matches!((text(3).as_str(), row.get(7)), ("d" | "f", _) | ("i", true)) {
        return refuse(
            format!("the replica identity of table `{name}` is not its primary key"),
            format!("run `ALTER TABLE {table} REPLICA IDENTITY DEFAULT`"),
        );
    }
    Ok(Some((row.get(0), row.get(8))))
}

struct Column {
    name: String,
    kind: Kind,
    own_type: (u32, i32),
    /// The place in the primary key.
    key_place: Option<i32>,
}

async fn columns(sql: &Client, domains: &Domains, table: u32) -> Result<Vec<Column>> {
    let rows = sql
        .query(
            // Behind `indnkeyatts` stand the columns that the index only includes.
            "SELECT a.attname, a.atttypid, a.atttypmod, k.place FROM pg_attribute a \
             LEFT JOIN (SELECT unnest(indkey[0:indnkeyatts - 1]) AS attnum, generate_series(0, indnkeyatts - 1) AS place \
                        FROM pg_index WHERE indrelid = $1 AND indisprimary) k ON k.attnum = a.attnum \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum",
            &[&table],
        )
        .await
        .map_err(failed)?;
    let column = |row: &tokio_postgres::Row| Column {
        name: row.get(0),
        kind: kind_of(domains, row.get(1), row.get(2)),
        own_type: (row.get(1), row.get(2)),
        key_place: row.get(3),
    };
    Ok(rows.iter().map(column).collect())
}

async fn tables(sql: &Client) -> Result<Vec<TableName>> {
    let rows = sql
        .query(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY 1, 2",
            &[],
        )
        .await
        .map_err(failed)?;
    Ok(rows.iter().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect())
}

/// How many letters to add, drop or replace to make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut costs: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = costs[0];
        costs[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = costs[j + 1];
            costs[j + 1] = replaced.min(costs[j] + 1).min(diagonal + 1);
        }
    }
    costs[b.len()]
}
