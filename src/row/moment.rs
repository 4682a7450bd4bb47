//! Our time and the sources' places.
//!
//! A [`Moment`] only grows, and with it what the [`Clock`] says. A [`Position`] is a place in one source's
//! history, and a [`Cut`] is the Position of every source at one Moment: it is stored with each checkpoint and
//! each Iceberg snapshot. Positions of different kinds, or of diverged histories, are not comparable: [`Position::reaches`] says
//! no rather than guess.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A point of our own time: all models published at one Moment agree with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    pub fn next(self) -> Moment {
        Moment(self.0 + 1)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What the clock says at a Moment: microseconds since 1970 in UTC. From Moment to Moment it never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Clock(pub i64);

impl Clock {
    /// Before anything was read.
    pub const UNREAD: Clock = Clock(i64::MIN);
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A set of MariaDB transactions: per replication domain the server that wrote last and its sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gtid(pub BTreeMap<u32, (u32, u64)>);

impl Gtid {
    /// Reads `0-1-100,1-1-7`; `None` where a part is not `domain-server-sequence`.
    pub fn parse(text: &str) -> Option<Gtid> {
        let mut domains = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let mut numbers = part.split('-');
            let domain = numbers.next()?.parse().ok()?;
            let server = numbers.next()?.parse().ok()?;
            let sequence = numbers.next()?.parse().ok()?;
            if numbers.next().is_some() {
                return None;
            }
            domains.insert(domain, (server, sequence));
        }
        Some(Gtid(domains))
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (domain, (server, sequence))) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

/// A place in one source's history: everything before it is in, nothing after it is. Written as
/// `{"lsn": "0/16B3748"}`, `{"gtid": "0-1-42"}` or `{"offset": "1024"}`: the source's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Position {
    /// Postgres: the end of a commit record.
    Lsn(u64),
    /// MariaDB: the last complete transaction of every domain.
    Gtid(Gtid),
    /// A recorded log: bytes read.
    Offset(u64),
}

impl Position {
    /// Reads an lsn as Postgres prints it: `0/16B3748`.
    pub fn lsn(text: &str) -> Option<Position> {
        let (high, low) = text.split_once('/')?;
        let part = |text| u64::from_str_radix(text, 16).ok();
        Some(Position::Lsn((part(high)? << 32) | part(low)?))
    }

    /// Whether this place is at or behind (later than) `other` in the same history.
    pub fn reaches(&self, other: &Position) -> bool {
        match (self, other) {
            (Position::Lsn(a), Position::Lsn(b)) => a >= b,
            (Position::Offset(a), Position::Offset(b)) => a >= b,
            (Position::Gtid(a), Position::Gtid(b)) => {
                b.0.iter().all(|(domain, (_, b))| a.0.get(domain).is_some_and(|(_, a)| a >= b))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Lsn(lsn) => write!(f, "{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF),
            Position::Gtid(gtid) => write!(f, "{gtid}"),
            Position::Offset(offset) => write!(f, "{offset}"),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    Lsn(String),
    Gtid(String),
    Offset(String),
}

impl From<Position> for Written {
    fn from(position: Position) -> Written {
        let text = position.to_string();
        match position {
            Position::Lsn(_) => Written::Lsn(text),
            Position::Gtid(_) => Written::Gtid(text),
            Position::Offset(_) => Written::Offset(text),
        }
    }
}

impl TryFrom<Written> for Position {
    type Error = String;
    fn try_from(written: Written) -> Result<Position, String> {
        let position = match &written {
            Written::Lsn(text) => Position::lsn(text),
            Written::Gtid(text) => Gtid::parse(text).map(Position::Gtid),
            Written::Offset(text) => text.parse().ok().map(Position::Offset),
        };
        let (Written::Lsn(text) | Written::Gtid(text) | Written::Offset(text)) = written;
        position.ok_or_else(|| format!("`{text}` is not a position"))
    }
}

/// Every source's Position at a Moment, by the source's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut(pub BTreeMap<String, Position>);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (source, position)) in self.0.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            write!(f, "{space}{source}={position}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gtid_reaches_another_only_when_every_domain_does() {
        let a = Position::Gtid(Gtid::parse("0-1-5,1-2-7").expect("parses"));
        let b = Position::Gtid(Gtid::parse("0-9-5").expect("parses"));
        assert!(a.reaches(&b));
        assert!(!b.reaches(&a));
        assert!(!a.reaches(&Position::Lsn(0)));
        assert_eq!(a.to_string(), "0-1-5,1-2-7");
        assert_eq!(Gtid::parse("0-1"), None);
    }

    #[test]
    fn positions_are_written_in_the_words_of_their_source() {
        let gtid = Position::Gtid(Gtid::parse("0-1-5").expect("parses"));
        for (position, text) in [
            (Position::Lsn(0x1_0000_00AB), r#"{"lsn":"1/AB"}"#),
            (gtid, r#"{"gtid":"0-1-5"}"#),
            (Position::Offset(7), r#"{"offset":"7"}"#),
        ] {
            assert_eq!(serde_json::to_string(&position).expect("plain data"), text);
            assert_eq!(serde_json::from_str::<Position>(text).expect("what was written"), position);
        }
    }

    #[test]
    fn an_lsn_prints_as_postgres_prints_it() {
        assert_eq!(Position::Lsn(0x1_0000_00AB).to_string(), "1/AB");
    }
}
