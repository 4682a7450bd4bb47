//! What a MariaDB column is, to us: its kind, and the Arrow type that rows hold it in.
//!
//! - int unsigned and bigint → Int64; smaller integers and year → Int32; bigint unsigned → Decimal128(20, 0).
//! - decimal → Decimal128, or Utf8 as the server prints it where it has more than 38 digits.
//! - datetime → Timestamp(us); timestamp → Timestamp(us, UTC); time → Int64 microseconds, since it spans
//!   ±838 hours and no time of day does.
//! - bit(n) → Int64, bit(64) → Decimal128(20, 0).
//! - enum and set → Utf8, by label; json is longtext to MariaDB.
//!
//! Not held: uuid, inet4, inet6, geometry, compressed columns, charsets other than utf8mb4, utf8mb3, ascii
//! and latin1. [`Kind::of`] gives the reason.

use arrow::datatypes::{DataType, TimeUnit};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Int { bytes: u8, unsigned: bool },
    Year,
    Float,
    Double,
    Decimal { precision: u8, scale: u8 },
    Date,
    DateTime,
    Timestamp,
    Time,
    Bit { bits: u8 },
    Text(Charset),
    Enum(Vec<String>),
    Set(Vec<String>),
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    Ascii,
    Latin1,
}

/// More digits than these do not fit 128 bits.
const DECIMAL_DIGITS_MAX: u8 = 38;

impl Kind {
    /// From information_schema: `data_type` as `int`, `column_type` as `int(10) unsigned`. An error is the
    /// reason why no row can hold it.
    pub(super) fn of(data_type: &str, column_type: &str, charset: Option<&str>) -> Result<Kind, String> {
        let unsigned = column_type.contains(" unsigned");
        let int = |bytes| Ok(Kind::Int { bytes, unsigned });
        if column_type.contains("/*M!100301 COMPRESSED*/") {
            return Err("is compressed by the server".into());
        }
        match data_type {
            "tinyint" => int(1),
            "smallint" => int(2),
            "mediumint" => int(3),
            "int" => int(4),
            "bigint" => int(8),
            "year" => Ok(Kind::Year),
            "float" => Ok(Kind::Float),
            "double" => Ok(Kind::Double),
            "decimal" => match arguments(column_type)[..] {
                [precision, scale] => Ok(Kind::Decimal { precision, scale }),
                _ => Err(format!("has type `{column_type}`")),
            },
            "date" => Ok(Kind::Date),
            "datetime" => Ok(Kind::DateTime),
            "timestamp" => Ok(Kind::Timestamp),
            "time" => Ok(Kind::Time),
            "bit" => Ok(Kind::Bit { bits: arguments(column_type).first().copied().unwrap_or(1) }),
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
                Charset::of(charset.unwrap_or("utf8mb4")).map(Kind::Text)
            }
            // Labels come from the catalog, which speaks UTF-8, or from the binlog in the column's charset.
            "enum" => Charset::of(charset.unwrap_or("utf8mb4")).map(|_| Kind::Enum(labels(column_type))),
            "set" => Charset::of(charset.unwrap_or("utf8mb4")).map(|_| Kind::Set(labels(column_type))),
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Ok(Kind::Binary),
            _ => Err(format!("has type `{column_type}`")),
        }
    }

    pub(super) fn arrow(&self) -> DataType {
        match self {
            Kind::Int { bytes: 1..=3, .. } | Kind::Int { bytes: 4, unsigned: false } | Kind::Year => DataType::Int32,
            Kind::Int { bytes: 8, unsigned: true } | Kind::Bit { bits: 64 } => DataType::Decimal128(20, 0),
            Kind::Int { .. } | Kind::Bit { .. } | Kind::Time => DataType::Int64,
            Kind::Float => DataType::Float32,
            Kind::Double => DataType::Float64,
            Kind::Decimal { precision, scale } if *precision <= DECIMAL_DIGITS_MAX => {
                DataType::Decimal128(*precision, *scale as i8)
            }
            Kind::Decimal { .. } | Kind::Text(_) | Kind::Enum(_) | Kind::Set(_) => DataType::Utf8,
            Kind::Date => DataType::Date32,
            Kind::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Binary => DataType::Binary,
        }
    }

    /// Whether a column of the kind `old` may become this one without any value, as we hold it, changing:
    /// the server rewrites rows in ALTER TABLE without a word in the binlog.
    pub(super) fn holds_all_of(&self, old: &Kind) -> bool {
        match (old, self) {
            (Kind::Int { bytes: a, unsigned: s }, Kind::Int { bytes: b, unsigned: t }) => {
                s == t && b >= a && old.arrow() == self.arrow()
            }
            (Kind::Enum(old), Kind::Enum(new)) | (Kind::Set(old), Kind::Set(new)) => new.starts_with(old),
            // The server transcodes text; all three fit in UTF-8.
            (Kind::Text(old), Kind::Text(new)) => old == new || *new == Charset::Utf8,
            (old, new) => old == new,
        }
    }
}

impl Charset {
    pub(super) fn of(name: &str) -> Result<Charset, String> {
        match name {
            "utf8mb4" | "utf8mb3" | "utf8" => Ok(Charset::Utf8),
            "ascii" => Ok(Charset::Ascii),
            "latin1" => Ok(Charset::Latin1),
            other => Err(format!("has character set `{other}`, which is not read from a binlog yet")),
        }
    }

    /// The text of these bytes; `None` where they are none.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<String> {
        match self {
            Charset::Utf8 => String::from_utf8(bytes.to_vec()).ok(),
            Charset::Ascii => bytes.is_ascii().then(|| String::from_utf8_lossy(bytes).into_owned()),
            Charset::Latin1 => Some(bytes.iter().map(|b| latin1(*b)).collect()),
        }
    }
}

/// What MariaDB calls latin1 is Windows-1252, with its five holes filled by the control characters of
/// ISO 8859-1.
fn latin1(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH[(byte - 0x80) as usize],
        _ => byte as char,
    }
}

/// The numbers in `decimal(10,2) unsigned`.
fn arguments(column_type: &str) -> Vec<u8> {
    let Some((_, rest)) = column_type.split_once('(') else { return Vec::new() };
    let inside = rest.split(')').next().unwrap_or_default();
    inside.split(',').filter_map(|n| n.trim().parse().ok()).collect()
}

/// The labels in `enum('a','it''s')`.
fn labels(column_type: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut label: Option<String> = None;
    let mut chars = column_type.chars().peekable();
    while let Some(c) = chars.next() {
        match (&mut label, c) {
            (None, '\'') => label = Some(String::new()),
            (None, _) => {}
            (Some(text), '\'') if chars.peek() == Some(&'\'') => text.extend(chars.next()),
            (Some(_), '\'') => labels.extend(label.take()),
            (Some(text), c) => text.push(c),
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_the_catalog_prints_them() {
        assert_eq!(Kind::of("decimal", "decimal(10,2) unsigned", None), Ok(Kind::Decimal { precision: 10, scale: 2 }));
        assert_eq!(
            Kind::of("enum", "enum('a','it''s')", Some("latin1")),
            Ok(Kind::Enum(vec!["a".into(), "it's".into()]))
        );
        assert_eq!(Kind::of("int", "int(10) unsigned", None).expect("held").arrow(), DataType::Int64);
        assert!(Kind::of("varchar", "varchar(9)", Some("cp1251")).expect_err("not held").contains("cp1251"));
        assert!(Kind::of("geometry", "geometry", None).is_err());
    }

    #[test]
    fn widening_is_told_from_rewriting() {
        let int = |bytes, unsigned| Kind::Int { bytes, unsigned };
        assert!(int(4, false).holds_all_of(&int(2, false)));
        assert!(!int(8, false).holds_all_of(&int(4, false)));
        assert!(!int(2, true).holds_all_of(&int(2, false)));
        assert!(Kind::Enum(vec!["a".into(), "b".into()]).holds_all_of(&Kind::Enum(vec!["a".into()])));
        assert!(!Kind::Enum(vec!["b".into()]).holds_all_of(&Kind::Enum(vec!["a".into()])));
        assert!(Kind::Text(Charset::Utf8).holds_all_of(&Kind::Text(Charset::Latin1)));
    }
}
