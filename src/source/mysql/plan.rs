//! How the rows behind one table map become changes of a table that is followed.
//!
//! A map with names finds its columns by name, wherever ALTER TABLE has put them. A map without is read by
//! the catalog's order; it may hold more columns than that (hidden ones, and such as were added since, stand
//! at the end), never fewer.

use super::catalog::{Followed, changed};
use super::types::{Charset, Kind};
use super::value::{refused, streamed};
use super::wire::{MapColumn, Rows, TableMap, Wire, bit};
use crate::error::{Error, Result};
use crate::row::{Change, Datum, NewRow, Row, RowWriter, TableName};

pub(super) struct Plan {
    pub(super) table: usize,
    cells: Vec<Cell>,
    /// Places in the table's schema.
    key: Vec<usize>,
    width: usize,
}

struct Cell {
    wire: Wire,
    unsigned: bool,
    /// Where the value goes in the table's schema; `None` where no model uses it.
    kept: Option<(usize, Kind)>,
}

impl Plan {
    pub(super) fn new(followed: &Followed, place: usize, map: &TableMap) -> Result<Plan> {
        let (table, layout) = (&followed.tables[place], &followed.layouts[place]);
        let name = &table.name;
        let named = map.is_named();
        if !named && map.columns.len() < layout.columns.len() {
            return Err(Error::operator(format!("the binlog has fewer columns of table `{name}` than the catalog"))
                .hint(format!("SET GLOBAL binlog_row_metadata = FULL, then copy `{name}` anew")));
        }
        let mut cells = Vec::with_capacity(map.columns.len());
        let mut found = 0;
        for (i, column) in map.columns.iter().enumerate() {
            let column_name = match (&column.name, named) {
                (Some(column), true) => Some(column),
                _ => layout.columns.get(i).map(|c| &c.name),
            };
            let kept = column_name.and_then(|c| table.schema.index_of(c).ok());
            let Some(wire) = column.wire.clone() else {
                let column = column_name.map_or("?", String::as_str);
                return Err(Error::operator(format!(
                    "column `{column}` of table `{name}` has a type of unknown length"
                ))
                .hint(format!("ALTER TABLE {name} FORCE, which rewrites columns of old formats")));
            };
            let kept = match kept {
                None => None,
                Some(kept) => {
                    found += 1;
                    let field = table.schema.field(kept).name();
                    Some((kept, kind_of(followed, place, field, column, &wire).ok_or_else(|| changed(name, field))?))
                }
            };
            // What the map does not say of signs, the catalog does.
            let catalogued = matches!(kept, Some((_, Kind::Int { unsigned: true, .. })));
            cells.push(Cell { wire, unsigned: column.unsigned.unwrap_or(catalogued), kept });
        }
        if found < table.schema.fields().len() {
            let there =
                |field: &&arrow::datatypes::FieldRef| map.columns.iter().any(|c| c.name.as_ref() == Some(field.name()));
            let lost = table.schema.fields().iter().find(|f| !there(f)).expect("fewer were found than are there");
            return Err(changed(name, lost.name()));
        }
        Ok(Plan { table: place, cells, key: table.key.clone(), width: table.schema.fields().len() })
    }

    pub(super) fn read(&self, followed: &Followed, rows: &mut Rows, mut tell: impl FnMut(Change)) -> Result<()> {
        let table = &followed.tables[self.table];
        if rows.columns != self.cells.len() {
            return Err(Error::corrupt(format!("rows of table `{}` are not as wide as its map", table.name)));
        }
        while !rows.data.is_empty() {
            let before = match rows.before {
                Some(present) => Some(self.row(followed, present, rows, true)?),
                None => None,
            };
            let after = match rows.after {
                Some(present) => Some(self.row(followed, present, rows, false)?),
                None => None,
            };
            tell(match (before, after) {
                (None, Some(new)) => Change::Insert(whole(&new)),
                (Some(old), None) => Change::Delete { key: self.key(&old) },
                (Some(old), Some(new)) => {
                    let old_key = self.key(&old);
                    let moved = old_key != self.key(&new);
                    Change::Update { old_key: moved.then_some(old_key), new: NewRow::Whole(whole(&new)) }
                }
                (None, None) => unreachable!("every row event has an image"),
            });
        }
        Ok(())
    }

    /// The values of one image; of the one before a change only the key is of use.
    fn row(&self, followed: &Followed, present: &[u8], rows: &mut Rows, only_key: bool) -> Result<Vec<Datum>> {
        let table = &followed.tables[self.table];
        let held = (0..self.cells.len()).filter(|i| bit(present, *i)).count();
        let nulls = rows.data.take(held.div_ceil(8))?;
        let mut datums = vec![Datum::Null; self.width];
        let mut nth = 0;
        for (i, cell) in self.cells.iter().enumerate() {
            let kept = cell.kept.as_ref().filter(|(place, _)| !only_key || self.key.contains(place));
            if !bit(present, i) {
                if let Some((place, _)) = kept {
                    return Err(partial(&table.name, table.schema.field(*place).name()));
                }
                continue;
            }
            let null = bit(nulls, nth);
            nth += 1;
            match kept {
                _ if null => {}
                None => {
                    cell.wire.take(&mut rows.data)?;
                }
                Some((place, kind)) => {
                    let datum = streamed(&cell.wire, cell.unsigned, kind, &mut rows.data)?;
                    let field = table.schema.field(*place).name();
                    datums[*place] = datum.map_err(|refusal| refused(&table.name, field, refusal))?;
                }
            }
        }
        Ok(datums)
    }

    fn key(&self, datums: &[Datum]) -> Row {
        let mut writer = RowWriter::default();
        self.key.iter().for_each(|place| writer.push(&datums[*place]));
        writer.finish()
    }
}

fn whole(datums: &[Datum]) -> Row {
    let mut writer = RowWriter::default();
    datums.iter().for_each(|datum| writer.push(datum));
    writer.finish()
}

/// The kind of a column as the rows behind this map have it: charset and labels may since have changed.
/// `None` where its values are no longer what the table holds.
fn kind_of(followed: &Followed, place: usize, field: &str, column: &MapColumn, wire: &Wire) -> Option<Kind> {
    let layout = &followed.layouts[place];
    let kind = layout.columns.iter().find(|c| c.name == field)?.kind.as_ref().ok()?;
    let charset = match column.collation {
        Some(BINARY) => None,
        Some(collation) => followed.charsets.get(&collation)?.as_ref().ok().copied(),
        None => None,
    };
    let labels = |own: &Vec<String>| match &column.labels {
        Some(labels) => labels.iter().map(|l| charset.unwrap_or(Charset::Utf8).decode(l)).collect(),
        None => Some(own.clone()),
    };
    let fits = match (kind, wire) {
        (Kind::Int { .. }, Wire::Int(_)) => true,
        (Kind::Text(_), Wire::Var { .. }) => column.collation != Some(BINARY),
        (Kind::Binary, Wire::Var { .. }) => column.collation.is_none_or(|c| c == BINARY),
        (Kind::Decimal { scale, .. }, Wire::Decimal { scale: there, .. }) => scale == there,
        (Kind::Year, Wire::Year) | (Kind::Float, Wire::Float) | (Kind::Double, Wire::Double) => true,
        (Kind::Date, Wire::Date) | (Kind::DateTime, Wire::DateTime { .. }) => true,
        (Kind::Timestamp, Wire::Timestamp { .. }) | (Kind::Time, Wire::Time { .. }) => true,
        (Kind::Bit { .. }, Wire::Bit { .. }) => true,
        (Kind::Enum(_), Wire::Enum(_)) | (Kind::Set(_), Wire::Set(_)) => true,
        _ => false,
    };
    if !fits {
        return None;
    }
    Some(match kind {
        Kind::Text(own) => Kind::Text(charset.unwrap_or(*own)),
        Kind::Enum(own) => Kind::Enum(labels(own)?),
        Kind::Set(own) => Kind::Set(labels(own)?),
        other => other.clone(),
    })
}

/// The collation of bytes that are no text.
const BINARY: u32 = 63;

fn partial(table: &TableName, column: &str) -> Error {
    Error::operator(format!("a change of table `{table}` came without its column `{column}`"))
        .hint(format!("let no session leave binlog_row_image = FULL, then copy `{table}` anew"))
}
