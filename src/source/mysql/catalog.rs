//! What the server says its tables are, and what we follow of them.
//!
//! A [`Layout`] is every column of a table in the server's order, as the binlog numbers them. Where the
//! binlog carries names, the layout only supplies charsets and labels; where it does not, it is also what
//! tells one column from another, and [`Followed::asof`] bounds how far that may be trusted.

use super::connect::Server;
use super::types::{Charset, Kind};
use crate::error::{Error, Result};
use crate::row::{Gtid, Table, TableName};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;

/// The tables that are followed, and what it takes to read them from the binlog.
pub(super) struct Followed {
    pub(super) tables: Vec<Table>,
    pub(super) layouts: Vec<Layout>,
    /// The catalog was read when the binlog stood here, or earlier.
    pub(super) asof: Gtid,
    /// Character set by the number of a collation.
    pub(super) charsets: HashMap<u32, Result<Charset, String>>,
    /// The server does not tell `Orders` from `orders`.
    folds_case: bool,
    places: HashMap<TableName, usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) columns: Vec<Column>,
    /// Names of the primary key's columns, in the key's order.
    pub(super) key: Vec<String>,
    /// Why the binlog does not hold all that happens to the table, and what to do.
    pub(super) unfit: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Result<Kind, String>,
    /// As the server prints it: `varchar(20)`.
    type_text: String,
    /// Characters, bytes, or digits of a second; whichever the type counts.
    length: u64,
    nullable: bool,
    generated: Option<String>,
}

impl Followed {
    pub(super) async fn read(conn: &mut Conn, server: &Server, tables: Vec<Table>) -> Result<Followed> {
        let fault = |e| server.explain(e);
        let folds: u8 = conn.query_first("SELECT @@lower_case_table_names").await.map_err(fault)?.unwrap_or(0);
        let sets = "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY";
        let sets: Vec<(u32, String)> = conn.query(sets).await.map_err(fault)?;
        let mut followed = Followed {
            tables: Vec::new(),
            layouts: Vec::new(),
            asof: Gtid::default(),
            charsets: sets.into_iter().map(|(id, name)| (id, Charset::of(&name))).collect(),
            folds_case: folds != 0,
            places: HashMap::new(),
        };
        for table in tables {
            let layout = followed.fit(&table, layout(conn, server, &table.name).await?)?;
            followed.places.insert(followed.folded(table.name.clone()), followed.tables.len());
            followed.tables.push(table);
            followed.layouts.push(layout);
        }
        followed.asof = present(conn, server).await?;
        Ok(followed)
    }

    /// Reads one table's layout again after an ALTER; refuses where what we hold is no longer what the
    /// server holds.
    pub(super) async fn read_again(&mut self, conn: &mut Conn, server: &Server, table: usize) -> Result<()> {
        let now = self.fit(&self.tables[table], layout(conn, server, &self.tables[table].name).await?)?;
        let (old, name) = (&self.layouts[table], &self.tables[table].name);
        for field in self.tables[table].schema.fields() {
            let find = |layout: &Layout| layout.columns.iter().find(|c| c.name == *field.name()).cloned();
            if !find(old).zip(find(&now)).is_some_and(|(old, now)| now.holds_all_of(&old)) {
                return Err(changed(name, field.name()));
            }
        }
        self.layouts[table] = now;
        self.asof = present(conn, server).await?;
        Ok(())
    }

    pub(super) fn place(&self, schema: &str, name: &str) -> Option<usize> {
        self.places.get(&self.folded(TableName::new(schema, name))).copied()
    }

    pub(super) fn is_schema(&self, schema: &str) -> bool {
        let schema = self.folded(TableName::new(schema, "")).schema;
        self.places.keys().any(|name| name.schema == schema)
    }

    fn folded(&self, name: TableName) -> TableName {
        match self.folds_case {
            true => TableName::new(name.schema.to_lowercase(), name.name.to_lowercase()),
            false => name,
        }
    }

    /// Every column of `table` is still there, with the type that we hold, under the same key.
    fn fit(&self, table: &Table, layout: Option<Layout>) -> Result<Layout> {
        let name = &table.name;
        let layout = layout.ok_or_else(|| gone(name))?;
        if let Some((what, hint)) = &layout.unfit {
            return Err(Error::operator(what.clone()).hint(hint.clone()));
        }
        for field in table.schema.fields() {
            let column = layout.columns.iter().find(|c| c.name == *field.name());
            let kind = column.and_then(|c| c.kind.as_ref().ok());
            if kind.is_none_or(|k| k.arrow() != *field.data_type()) {
                return Err(changed(name, field.name()));
            }
        }
        let key: Vec<&String> = table.key.iter().map(|k| table.schema.field(*k).name()).collect();
        if key != layout.key.iter().collect::<Vec<_>>() {
            return Err(Error::operator(format!("the primary key of table `{name}` has changed"))
                .hint(format!("copy `{name}` anew")));
        }
        Ok(layout)
    }
}

impl Column {
    fn holds_all_of(&self, old: &Column) -> bool {
        let (Ok(new_kind), Ok(old_kind)) = (&self.kind, &old.kind) else { return false };
        // Floats and fixed bytes are rounded and padded anew by a change of width.
        let refits = old_kind.is_padded(&old.type_text) && self.type_text != old.type_text;
        new_kind.holds_all_of(old_kind)
            && self.length >= old.length
            && !refits
            && (self.nullable || !old.nullable)
            && self.generated == old.generated
    }
}

impl Kind {
    fn is_padded(&self, type_text: &str) -> bool {
        matches!(self, Kind::Float | Kind::Double) || *self == Kind::Binary && type_text.starts_with("binary")
    }
}

/// What the server has told its binlog by now.
pub(super) async fn present(conn: &mut Conn, server: &Server) -> Result<Gtid> {
    let text: Option<String> =
        conn.query_first("SELECT @@global.gtid_binlog_pos").await.map_err(|e| server.explain(e))?;
    gtid(&text.unwrap_or_default(), server)
}

pub(super) fn gtid(text: &str, server: &Server) -> Result<Gtid> {
    Gtid::parse(text).ok_or_else(|| {
        Error::corrupt(format!("`{}` gives `{text}` as its GTID position", server.address()))
            .hint("check that the server is MariaDB 10.11 or later")
    })
}

pub(super) fn changed(table: &TableName, column: &str) -> Error {
    Error::operator(format!("column `{column}` of table `{table}` was dropped or changed"))
        .hint(format!("adapt the models that use `{column}`, then copy `{table}` anew"))
}

pub(super) fn gone(table: &TableName) -> Error {
    Error::operator(format!("table `{table}` was dropped or renamed"))
        .hint(format!("adapt the models that use `{table}`, or bring it back and copy it anew"))
}

type CatalogRow = (String, String, String, Option<String>, Option<u64>, String, Option<String>);

/// `None` where there is no such table, or none that the account may see.
pub(super) async fn layout(conn: &mut Conn, server: &Server, name: &TableName) -> Result<Option<Layout>> {
    let fault = |e| server.explain(e);
    let named = (&name.schema, &name.name);
    // Engines without transactions write rows that no snapshot is consistent with; a system-versioned
    // table's history rows look like rows.
    let kind = "SELECT TABLE_TYPE, COALESCE(t.ENGINE, ''), COALESCE(e.TRANSACTIONS, 'NO')
        FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
        WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let Some((table_type, engine, transactions)) =
        conn.exec_first::<(String, String, String), _, _>(kind, named).await.map_err(fault)?
    else {
        return Ok(None);
    };
    let columns = "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME,
            COALESCE(CHARACTER_MAXIMUM_LENGTH, DATETIME_PRECISION), IS_NULLABLE, GENERATION_EXPRESSION
        FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";
    let columns: Vec<CatalogRow> = conn.exec(columns, named).await.map_err(fault)?;
    let columns = columns.into_iter().map(|(name, data_type, type_text, charset, length, nullable, generated)| {
        let kind = Kind::of(&data_type, &type_text, charset.as_deref());
        Column { name, kind, type_text, length: length.unwrap_or(0), nullable: nullable == "YES", generated }
    });
    let columns = columns.collect();
    let key = "SELECT COLUMN_NAME FROM information_schema.STATISTICS
        WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX";
    let key = conn.exec(key, named).await.map_err(fault)?;
    // The engine carries a cascade out below the binlog, which holds the parent's row and not the child's.
    let cascades = "SELECT CONSTRAINT_NAME, CONCAT('ON DELETE ', DELETE_RULE), CONCAT('ON UPDATE ', UPDATE_RULE)
        FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ?
        AND (DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL'))";
    let cascade: Option<(String, String, String)> = conn.exec_first(cascades, named).await.map_err(fault)?;

    let unfit = if table_type != "BASE TABLE" {
        let what = format!("`{name}` is a {}, which a binlog does not hold", table_type.to_lowercase());
        Some((what, "name the tables under it as sources instead".to_string()))
    } else if transactions != "YES" {
        let what = format!("table `{name}` has engine {engine}, which has no consistent snapshot");
        Some((what, format!("ALTER TABLE {} ENGINE = InnoDB", quoted(name))))
    } else if let Some((constraint, delete, update)) = cascade {
        let silent = |rule: &str| rule.ends_with("CASCADE") || rule.ends_with("SET NULL");
        let rule = if silent(&delete) { delete } else { update };
        let what = format!("foreign key `{constraint}` of table `{name}` has {rule}, whose changes no binlog holds");
        let hint = format!("make it RESTRICT and let the application change `{}` itself", name.name);
        Some((what, hint))
    } else {
        None
    };
    Ok(Some(Layout { columns, key, unfit }))
}

pub(super) fn quoted(name: &TableName) -> String {
    format!("{}.{}", quote(&name.schema), quote(&name.name))
}

pub(super) fn quote(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}
