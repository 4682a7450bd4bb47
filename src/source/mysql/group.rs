//! Binlog events, one after another, into whole groups.
//!
//! ```text
//!  GTID ─► (table map, rows)* ─► XID | COMMIT      a transaction
//!  GTID standalone ─► statement                    DDL, TRUNCATE
//! ```
//!
//! Pure: it is handed events and answers with a [`Step`]; what needs the server (reading the catalog again
//! after an ALTER) is asked of the caller. A group counts only when it has ended: what a broken connection
//! left open is forgotten by [`Assembly::restart`] and told again by the server.

use super::catalog::{Followed, gone};
use super::plan::Plan;
use super::statement::{Alter, Statement};
use super::wire::{Reader, Rows, TableMap};
use crate::error::{Error, Result};
use crate::row::{Change, TableName};
use std::collections::{HashMap, HashSet};

/// An event without its checksum.
pub(super) struct Binlog<'a> {
    pub(super) kind: u8,
    pub(super) server: u32,
    pub(super) seconds: u32,
    /// The server says that a reader who does not know this event may pass it by.
    pub(super) ignorable: bool,
    pub(super) data: &'a [u8],
}

#[derive(Debug)]
pub(super) enum Step {
    /// Nothing to tell yet.
    More,
    Ended(Group),
    /// A table that is followed was altered: its catalog must be read again, then the group has ended.
    Altered {
        table: usize,
        group: Group,
    },
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) domain: u32,
    pub(super) server: u32,
    pub(super) sequence: u64,
    pub(super) changes: Vec<(usize, Change)>,
    pub(super) committed_us: i64,
    standalone: bool,
    prepared: bool,
    /// Names, and how many changes came before.
    savepoints: Vec<(String, usize)>,
}

#[derive(Default)]
pub(super) struct Assembly {
    open: Option<Group>,
    /// By table id; `None` for a table that is not followed.
    plans: HashMap<u64, Option<Plan>>,
    /// Tables whose rows were read by the catalog's column names, the binlog giving none.
    nameless: HashSet<usize>,
}

const STANDALONE: u8 = 1;
const PREPARED_XA: u8 = 64;

impl Assembly {
    pub(super) fn restart(&mut self) {
        self.open = None;
        self.plans.clear();
    }

    pub(super) fn take(&mut self, followed: &Followed, event: Binlog) -> Result<Step> {
        match event.kind {
            162 => self.begin(event)?,
            2 => return self.statement(followed, event),
            16 => return self.end(event.seconds),
            38 => return self.end(event.seconds),
            19 => {
                let map = TableMap::parse(event.data)?;
                let plan = match followed.place(&map.schema, &map.name) {
                    Some(table) => {
                        if !map.is_named() {
                            self.nameless.insert(table);
                        }
                        Some(Plan::new(followed, table, &map)?)
                    }
                    None => None,
                };
                self.plans.insert(map.id, plan);
            }
            23..=25 | 30..=32 => self.rows(followed, event)?,
            165..=171 => {
                return Err(Error::operator("the binlog is compressed, which cannot be read yet")
                    .hint("SET GLOBAL log_bin_compress = OFF, then copy anew"));
            }
            26 => {
                return Err(Error::operator("the server lost events of its own binlog (an incident event)")
                    .hint("read the server's error log, then copy anew"));
            }
            // A new file: table ids start anew.
            15 => self.plans.clear(),
            // Stop, rotate, the inputs of a statement, heartbeat, annotation, checkpoint, lists.
            3 | 4 | 5 | 13 | 14 | 27 | 28 | 29 | 160 | 161 | 163 | 164 => {}
            17 | 18 => {
                return Err(Error::operator("a LOAD DATA was written to the binlog as a statement")
                    .hint("let no session leave binlog_format = ROW, then copy anew"));
            }
            _ if event.ignorable => {}
            kind => {
                return Err(Error::operator(format!("the binlog holds an event of unknown type {kind}"))
                    .hint("report it with the server's version"));
            }
        }
        Ok(Step::More)
    }

    fn begin(&mut self, event: Binlog) -> Result<()> {
        if self.open.is_some() {
            return Err(Error::corrupt("a group of the binlog begins inside another"));
        }
        let mut reader = Reader::new(event.data);
        let (sequence, domain, flags) = (reader.uint(8)?, reader.uint(4)? as u32, reader.uint(1)? as u8);
        self.open = Some(Group {
            domain,
            server: event.server,
            sequence,
            standalone: flags & STANDALONE != 0,
            prepared: flags & PREPARED_XA != 0,
            ..Group::default()
        });
        Ok(())
    }

    fn end(&mut self, seconds: u32) -> Result<Step> {
        let mut group = self.open.take().ok_or_else(outside)?;
        if group.prepared && !group.changes.is_empty() {
            // Its rows are here, its fate comes later: neither telling nor forgetting them would be right.
            return Err(Error::operator("an XA transaction changed a table that is followed")
                .hint("change it by ordinary transactions; XA is not followed yet"));
        }
        group.committed_us = seconds as i64 * 1_000_000;
        Ok(Step::Ended(group))
    }

    fn statement(&mut self, followed: &Followed, event: Binlog) -> Result<Step> {
        let (schema, sql) = query(event.data)?;
        let statement = Statement::parse(&sql, &schema);
        let group = self.open.as_mut().ok_or_else(outside)?;
        let mut altered = None;
        match statement {
            Statement::Commit => return self.end(event.seconds),
            Statement::Rollback => {
                group.changes.clear();
                return self.end(event.seconds);
            }
            Statement::Savepoint(name) => {
                group.savepoints.retain(|(n, _)| *n != name);
                group.savepoints.push((name, group.changes.len()));
            }
            Statement::RollbackTo(name) => {
                if let Some(place) = group.savepoints.iter().position(|(n, _)| *n == name) {
                    group.changes.truncate(group.savepoints[place].1);
                    group.savepoints.truncate(place + 1);
                }
            }
            Statement::Truncate(name) => {
                if let Some(table) = followed.place(&name.schema, &name.name) {
                    group.changes.push((table, Change::Truncate));
                }
            }
            Statement::Alter(alter) => altered = check_alter(followed, &alter, group, &self.nameless)?,
            Statement::Gone(names) => {
                let used = |n: &&TableName| followed.place(&n.schema, &n.name).is_some();
                if let Some(name) = names.iter().find(used) {
                    return Err(gone(name));
                }
            }
            Statement::SchemaGone(name) if followed.is_schema(&name) => {
                return Err(Error::operator(format!("database `{name}` was dropped"))
                    .hint("take its tables out of the models' sources"));
            }
            Statement::Rows(names) => {
                let mentions = |table: &&TableName| names.iter().any(|n| n.eq_ignore_ascii_case(&table.name));
                if let Some(table) = followed.tables.iter().map(|t| &t.name).find(mentions) {
                    return Err(Error::operator(format!("table `{table}` was changed outside the row format"))
                        .hint(format!("let no session leave binlog_format = ROW, then copy `{table}` anew")));
                }
            }
            Statement::SchemaGone(_) | Statement::Other => {}
        }
        if !group.standalone {
            return Ok(Step::More);
        }
        match (self.end(event.seconds)?, altered) {
            (Step::Ended(group), Some(table)) => Ok(Step::Altered { table, group }),
            (step, _) => Ok(step),
        }
    }

    fn rows(&mut self, followed: &Followed, event: Binlog) -> Result<()> {
        let mut rows = Rows::parse(event.kind, event.data)?;
        let plan = match self.plans.get(&rows.table_id) {
            Some(plan) => plan,
            // Closes a statement, and belongs to no table.
            None if rows.data.is_empty() => return Ok(()),
            None => return Err(Error::corrupt("rows in the binlog without the table map that explains them")),
        };
        let group = self.open.as_mut().ok_or_else(outside)?;
        if let Some(plan) = plan {
            plan.read(followed, &mut rows, |change| group.changes.push((plan.table, change)))?;
        }
        Ok(())
    }
}

fn outside() -> Error {
    Error::corrupt("the binlog holds changes outside of any group").hint("check that its GTIDs are on")
}

/// The default schema and the text of a query event.
fn query(data: &[u8]) -> Result<(String, String)> {
    let mut reader = Reader::new(data);
    reader.take(8)?;
    let schema = reader.uint(1)? as usize;
    reader.take(2)?;
    let variables = reader.uint(2)? as usize;
    reader.take(variables)?;
    let schema = String::from_utf8_lossy(reader.take(schema)?).into_owned();
    reader.take(1)?;
    Ok((schema, String::from_utf8_lossy(reader.rest()).into_owned()))
}

/// The table whose catalog an ALTER asks to be read again, or why nobody may go on.
fn check_alter(followed: &Followed, alter: &Alter, group: &Group, nameless: &HashSet<usize>) -> Result<Option<usize>> {
    let place = |name: &TableName| followed.place(&name.schema, &name.name);
    let exchanged = alter.exchanged.as_ref().and_then(place);
    let Some(table) = place(&alter.table).or(exchanged) else { return Ok(None) };
    let name = &followed.tables[table].name;
    if let Some(clause) = &alter.moves_rows {
        let what = format!("{clause} changed rows of table `{name}`, which the binlog does not tell");
        return Err(Error::operator(what).hint(format!("copy `{name}` anew")));
    }
    if alter.renames_table {
        return Err(gone(name));
    }
    // Rows before this statement were told apart by a catalog read after it. With names in the binlog
    // that is right all the same.
    let before = followed.asof.0.get(&group.domain).is_some_and(|(_, asof)| group.sequence <= *asof);
    if before && alter.moves_columns && nameless.contains(&table) {
        let what = format!("table `{name}` was altered while nobody followed, in a binlog without column names");
        return Err(
            Error::operator(what).hint(format!("SET GLOBAL binlog_row_metadata = FULL, then copy `{name}` anew"))
        );
    }
    Ok(Some(table))
}
