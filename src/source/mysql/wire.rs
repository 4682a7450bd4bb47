//! The bytes of row events and of the table maps before them.
//!
//! Read here and not by the client's crate: that one builds a column descriptor per cell, reads a negative
//! mediumint as positive, goes on after an error and panics on a short event. Every read is bounded; bytes
//! that end early are corrupt, never a panic.

use super::value::{DECIMAL_BYTES, little};
use crate::error::{Error, Result};

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        if count > self.0.len() {
            return Err(Error::corrupt("a binlog event ends early").hint("mariadb-binlog --verify-binlog-checksum"));
        }
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn uint(&mut self, bytes: usize) -> Result<u64> {
        Ok(little(self.take(bytes)?, false) as u64)
    }

    /// A length as the protocol packs it.
    pub(super) fn length(&mut self) -> Result<usize> {
        Ok(match self.uint(1)? {
            0xFC => self.uint(2)?,
            0xFD => self.uint(3)?,
            0xFE => self.uint(8)?,
            short => short,
        } as usize)
    }

    fn sized(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }
}

/// How a column's values lie in a row event.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wire {
    Int(usize),
    Year,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Date,
    DateTime {
        fraction: usize,
    },
    Timestamp {
        fraction: usize,
    },
    Time {
        fraction: usize,
    },
    /// A length of so many bytes, then the value; fixed binary is padded to `pad`.
    Var {
        prefix: usize,
        pad: usize,
    },
    Enum(usize),
    Set(usize),
    Bit {
        bytes: usize,
    },
    /// Its length is known, its meaning is not.
    Strange {
        prefix: usize,
    },
}

impl Wire {
    pub(super) fn take<'a>(&self, reader: &mut Reader<'a>) -> Result<&'a [u8]> {
        let count = match *self {
            Wire::Int(bytes) | Wire::Enum(bytes) | Wire::Set(bytes) | Wire::Bit { bytes } => bytes,
            Wire::Year => 1,
            Wire::Float => 4,
            Wire::Double => 8,
            Wire::Decimal { precision, scale } => {
                let (whole, part) = ((precision - scale) as usize, scale as usize);
                let bytes = |digits: usize| digits / 9 * 4 + DECIMAL_BYTES[digits % 9];
                bytes(whole) + bytes(part)
            }
            Wire::Date => 3,
            Wire::DateTime { fraction } => 5 + fraction,
            Wire::Timestamp { fraction } => 4 + fraction,
            Wire::Time { fraction } => 3 + fraction,
            Wire::Var { prefix, .. } | Wire::Strange { prefix } => reader.uint(prefix)? as usize,
        };
        reader.take(count)
    }

    /// From a column's type in a table map, and the metadata that belongs to it; `None` for a type whose
    /// values cannot even be skipped.
    fn of(code: u8, meta: &mut Reader) -> Result<Option<Wire>> {
        let fraction = |meta: &mut Reader| Ok::<usize, Error>(meta.uint(1)?.min(6).div_ceil(2) as usize);
        Ok(Some(match code {
            1 => Wire::Int(1),
            2 => Wire::Int(2),
            9 => Wire::Int(3),
            3 => Wire::Int(4),
            8 => Wire::Int(8),
            13 => Wire::Year,
            10 | 14 => Wire::Date,
            4 => meta.take(1).map(|_| Wire::Float)?,
            5 => meta.take(1).map(|_| Wire::Double)?,
            17 => Wire::Timestamp { fraction: fraction(meta)? },
            18 => Wire::DateTime { fraction: fraction(meta)? },
            19 => Wire::Time { fraction: fraction(meta)? },
            15 => Wire::Var { prefix: if meta.uint(2)? < 256 { 1 } else { 2 }, pad: 0 },
            252 => Wire::Var { prefix: meta.uint(1)? as usize, pad: 0 },
            16 => {
                let (bits, bytes) = (meta.uint(1)?, meta.uint(1)? as usize);
                Wire::Bit { bytes: bytes + usize::from(bits > 0) }
            }
            246 => {
                let (precision, scale) = (meta.uint(1)? as u8, meta.uint(1)? as u8);
                if scale > precision {
                    return Ok(None);
                }
                Wire::Decimal { precision, scale }
            }
            // A string's metadata is its real type, whose two bits 0x30 are borrowed for long lengths.
            254 => match (meta.uint(1)?, meta.uint(1)? as usize) {
                (247, bytes) => Wire::Enum(bytes),
                (248, bytes) => Wire::Set(bytes),
                (real, low) => {
                    let pad = ((real as usize & 0x30) ^ 0x30) << 4 | low;
                    Wire::Var { prefix: if pad < 256 { 1 } else { 2 }, pad }
                }
            },
            // Compressed varchar; then compressed blob, vector, json, geometry.
            141 => Wire::Strange { prefix: if meta.uint(2)? < 256 { 1 } else { 2 } },
            140 | 242 | 245 | 255 => Wire::Strange { prefix: meta.uint(1)? as usize },
            _ => return Ok(None),
        }))
    }

    fn is_numeric(&self) -> bool {
        matches!(self, Wire::Int(_) | Wire::Year | Wire::Float | Wire::Double | Wire::Decimal { .. })
    }
}

/// The columns of a table, as the rows after it are written.
#[derive(Debug)]
pub(super) struct TableMap {
    pub(super) id: u64,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<MapColumn>,
}

/// What a map does not say is `None`: that depends on the server's `binlog_row_metadata`.
#[derive(Debug)]
pub(super) struct MapColumn {
    /// `None` from the first column on that cannot be skipped.
    pub(super) wire: Option<Wire>,
    pub(super) name: Option<String>,
    pub(super) unsigned: Option<bool>,
    /// The number of a collation.
    pub(super) collation: Option<u32>,
    pub(super) labels: Option<Vec<Vec<u8>>>,
}

impl TableMap {
    pub(super) fn parse(data: &[u8]) -> Result<TableMap> {
        let mut reader = Reader::new(data);
        let id = reader.uint(6)?;
        reader.take(2)?;
        let mut name = || {
            let length = reader.uint(1)? as usize;
            let name = String::from_utf8_lossy(reader.take(length)?).into_owned();
            reader.take(1)?;
            Ok::<String, Error>(name)
        };
        let (schema, name) = (name()?, name()?);
        let count = reader.length()?;
        let codes = reader.take(count)?;
        let mut meta = Reader::new(reader.sized()?);
        reader.take(count.div_ceil(8))?;
        let mut columns = Vec::with_capacity(count);
        let mut known = true;
        for code in codes {
            let wire = if known { Wire::of(*code, &mut meta)? } else { None };
            known = wire.is_some();
            columns.push(MapColumn { wire, name: None, unsigned: None, collation: None, labels: None });
        }
        let mut map = TableMap { id, schema, name, columns };
        while !reader.is_empty() {
            let field = reader.uint(1)?;
            let value = Reader::new(reader.sized()?);
            map.note(field, value)?;
        }
        Ok(map)
    }

    pub(super) fn is_named(&self) -> bool {
        self.columns.iter().all(|c| c.name.is_some())
    }

    /// One field of the optional metadata.
    fn note(&mut self, field: u64, mut value: Reader) -> Result<()> {
        let text = |c: &&mut MapColumn| matches!(c.wire, Some(Wire::Var { .. } | Wire::Strange { .. }));
        let of_enum = |c: &&mut MapColumn| matches!(c.wire, Some(Wire::Enum(_)));
        let of_set = |c: &&mut MapColumn| matches!(c.wire, Some(Wire::Set(_)));
        let labelled = |c: &&mut MapColumn| matches!(c.wire, Some(Wire::Enum(_) | Wire::Set(_)));
        let columns = self.columns.iter_mut();
        match field {
            // One bit per number, the first in the highest; years count.
            1 => {
                let numeric = columns.filter(|c| c.wire.as_ref().is_some_and(Wire::is_numeric));
                let bits = value.rest();
                for (i, column) in numeric.enumerate() {
                    column.unsigned = bits.get(i / 8).map(|byte| byte >> (7 - i % 8) & 1 == 1);
                }
            }
            2 => default_collation(columns.filter(text).collect(), value)?,
            10 => default_collation(columns.filter(labelled).collect(), value)?,
            3 => each_collation(columns.filter(text).collect(), value)?,
            11 => each_collation(columns.filter(labelled).collect(), value)?,
            4 => {
                for column in columns {
                    column.name = Some(String::from_utf8_lossy(value.sized()?).into_owned());
                }
            }
            5 => each_labels(columns.filter(of_set).collect(), value)?,
            6 => each_labels(columns.filter(of_enum).collect(), value)?,
            _ => {}
        }
        Ok(())
    }
}

/// One collation for most, then pairs of a place and its own.
fn default_collation(mut columns: Vec<&mut MapColumn>, mut value: Reader) -> Result<()> {
    let default = value.length()? as u32;
    columns.iter_mut().for_each(|c| c.collation = Some(default));
    while !value.is_empty() {
        let (place, collation) = (value.length()?, value.length()? as u32);
        if let Some(column) = columns.get_mut(place) {
            column.collation = Some(collation);
        }
    }
    Ok(())
}

fn each_collation(columns: Vec<&mut MapColumn>, mut value: Reader) -> Result<()> {
    for column in columns {
        column.collation = Some(value.length()? as u32);
    }
    Ok(())
}

fn each_labels(columns: Vec<&mut MapColumn>, mut value: Reader) -> Result<()> {
    for column in columns {
        let count = value.length()?;
        let labels: Result<Vec<Vec<u8>>> = (0..count).map(|_| Ok(value.sized()?.to_vec())).collect();
        column.labels = Some(labels?);
    }
    Ok(())
}

/// A row event: which table, which images, and the rows' bytes.
pub(super) struct Rows<'a> {
    pub(super) table_id: u64,
    pub(super) columns: usize,
    /// The columns present in the image before and after, one bit each, the first in the lowest.
    pub(super) before: Option<&'a [u8]>,
    pub(super) after: Option<&'a [u8]>,
    pub(super) data: Reader<'a>,
}

impl<'a> Rows<'a> {
    /// `kind` is the type of the event: writes, updates, deletes of version 1 and of version 2.
    pub(super) fn parse(kind: u8, data: &'a [u8]) -> Result<Rows<'a>> {
        let mut reader = Reader::new(data);
        let table_id = reader.uint(6)?;
        reader.take(2)?;
        if kind >= 30 {
            let extra = reader.uint(2)? as usize;
            reader.take(extra.saturating_sub(2))?;
        }
        let columns = reader.length()?;
        let (has_before, has_after) = (!matches!(kind, 23 | 30), !matches!(kind, 25 | 32));
        let before = if has_before { Some(reader.take(columns.div_ceil(8))?) } else { None };
        let after = if has_after { Some(reader.take(columns.div_ceil(8))?) } else { None };
        Ok(Rows { table_id, columns, before, after, data: reader })
    }
}

/// Bit `i`, the first in the lowest.
pub(super) fn bit(bits: &[u8], i: usize) -> bool {
    bits[i / 8] >> (i % 8) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_cut_anywhere_is_an_error_and_never_a_panic() {
        // `d`.`t` of (int unsigned, varchar(300)), with names.
        let mut map = vec![7, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 2, 3, 15, 2, 44, 1, 0b10];
        map.extend([1, 1, 0x80, 4, 4, 1, b'a', 1, b'b']);
        let whole = TableMap::parse(&map).expect("parses");
        assert_eq!((whole.id, whole.schema.as_str(), whole.name.as_str()), (7, "d", "t"));
        assert_eq!(whole.columns[0].wire, Some(Wire::Int(4)));
        assert_eq!(whole.columns[0].unsigned, Some(true));
        assert_eq!(whole.columns[1].wire, Some(Wire::Var { prefix: 2, pad: 0 }));
        assert_eq!(whole.columns[1].name.as_deref(), Some("b"));
        for end in 0..map.len() {
            // A cut between two optional fields leaves a shorter map that is whole.
            let _ = TableMap::parse(&map[..end]);
        }
        assert!(TableMap::parse(&map[..20]).is_err());
        assert!(Rows::parse(24, &[7, 0, 0, 0, 0, 0, 1, 0, 9]).is_err());
    }
}
