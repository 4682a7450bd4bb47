//! Rows in an order of one's choice: columns turned so that bytes compare as wanted.
//!
//! A column as `codec` writes it ascends, NULL last. Turned, it may descend (a value's bytes are complemented,
//! none of which is then NULL's) or have NULL first (NULL gets the least byte). Since columns end by themselves, their
//! complement orders the other way round, and a turned column can be turned back without knowing its length.

use super::{Codec, Datum, append};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

/// NULL where it comes first: less than the first byte of any value.
const NULL_FIRST: u8 = 0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Direction {
    pub descending: bool,
    pub nulls_first: bool,
}

impl Direction {
    /// As rows order by themselves.
    pub const PLAIN: Direction = Direction { descending: false, nulls_first: false };

    pub fn reversed(self) -> Direction {
        Direction { descending: !self.descending, nulls_first: !self.nulls_first }
    }

    fn turn(self, column: &[u8], to: &mut Vec<u8>) {
        if Codec::is_null(column) {
            return to.push(if self.nulls_first { NULL_FIRST } else { column[0] });
        }
        self.write(column, to);
    }

    /// Turns back the column that `bytes` begin with, and says how many bytes it took. `codec` is its own.
    fn turn_back(self, bytes: &[u8], codec: &Codec, to: &mut Vec<u8>) -> usize {
        if bytes[0] == NULL_FIRST || Codec::is_null(bytes) {
            append(to, &Datum::Null);
            return 1;
        }
        let from = to.len();
        self.write(bytes, to);
        let length = codec.prefix(&to[from..], 1);
        to.truncate(from + length);
        length
    }

    fn write(self, value: &[u8], to: &mut Vec<u8>) {
        match self.descending {
            true => to.extend(value.iter().map(|byte| !byte)),
            false => to.extend_from_slice(value),
        }
    }
}

/// Turns the rows of one schema: `key` columns as they are, then columns each in a direction, then the rest.
#[derive(Clone, Debug)]
pub struct Sorted {
    codec: Codec,
    key: usize,
    turned: Vec<(Direction, Codec)>,
}

impl Sorted {
    pub fn new(schema: SchemaRef, key: usize, directions: &[Direction]) -> Sorted {
        // Behind the last column that is turned nothing need be looked at.
        let last = directions.iter().rposition(|direction| *direction != Direction::PLAIN);
        let turned = directions[..last.map_or(0, |last| last + 1)].iter().zip(&schema.fields()[key..]);
        let own = |field| Codec::new(Arc::new(Schema::new(vec![Arc::clone(field)])));
        let turned = turned.map(|(direction, field)| (*direction, own(field))).collect();
        Sorted { codec: Codec::new(schema), key, turned }
    }

    /// The codec of rows that are not turned; of turned ones it knows the key.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Whether turned rows are the rows themselves.
    pub fn is_plain(&self) -> bool {
        self.turned.is_empty()
    }

    /// `ends` is the caller's, to be used again.
    pub fn turn(&self, row: &[u8], ends: &mut Vec<u32>, to: &mut Vec<u8>) {
        if self.is_plain() {
            return to.extend_from_slice(row);
        }
        self.codec.ends(row, ends);
        let end = |columns: usize| if columns == 0 { 0 } else { ends[columns - 1] as usize };
        to.extend_from_slice(&row[..end(self.key)]);
        for (at, (direction, _)) in (self.key..).zip(&self.turned) {
            direction.turn(&row[end(at)..end(at + 1)], to);
        }
        to.extend_from_slice(&row[end(self.key + self.turned.len())..]);
    }

    pub fn turn_back(&self, row: &[u8], to: &mut Vec<u8>) {
        let mut at = self.codec.prefix(row, self.key);
        to.extend_from_slice(&row[..at]);
        for (direction, codec) in &self.turned {
            at += direction.turn_back(&row[at..], codec, to);
        }
        to.extend_from_slice(&row[at..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    #[test]
    fn turned_rows_compare_as_wanted_and_come_back() {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let schema = Arc::new(Schema::new(vec![
            field("key", DataType::Int32),
            field("text", DataType::Utf8),
            field("number", DataType::Int64),
            field("rest", DataType::Utf8),
        ]));
        let texts = [Some(""), Some("\0"), Some("\0a"), Some("a"), Some("a\0"), Some("aa"), Some("b"), None];
        let numbers = [Some(i64::MIN), Some(-257), Some(-1), Some(0), Some(9), Some(256), Some(i64::MAX), None];
        let all = [false, true];
        let directions = all
            .iter()
            .flat_map(|d| all.iter().map(|n| Direction { descending: *d, nulls_first: *n }))
            .collect::<Vec<_>>();
        // Where a value stands among its like.
        let place = |number: usize, count: usize, direction: Direction| match (number + 1 == count, direction) {
            (true, Direction { nulls_first: true, .. }) => -1,
            (true, _) => count as i64 + 1,
            (false, Direction { descending: true, .. }) => (count - number) as i64,
            (false, _) => number as i64,
        };
        for first in &directions {
            for second in &directions {
                let sorted = Sorted::new(schema.clone(), 1, &[*first, *second]);
                let mut rows = Vec::new();
                for (t, text) in texts.iter().enumerate() {
                    for (n, number) in numbers.iter().enumerate() {
                        let mut row = Vec::new();
                        append(&mut row, &Datum::Int32(7));
                        append(&mut row, &text.map_or(Datum::Null, |text| Datum::Text(text.into())));
                        append(&mut row, &number.map_or(Datum::Null, Datum::Int64));
                        append(&mut row, &Datum::Text("rest".into()));
                        let mut turned = Vec::new();
                        sorted.turn(&row, &mut Vec::new(), &mut turned);
                        let mut back = Vec::new();
                        sorted.turn_back(&turned, &mut back);
                        assert_eq!(back, row, "{first:?} {second:?}");
                        let wanted = (place(t, texts.len(), *first), place(n, numbers.len(), *second));
                        rows.push((turned, wanted));
                    }
                }
                rows.sort();
                assert!(rows.is_sorted_by_key(|(_, wanted)| *wanted), "{first:?} {second:?}");
            }
        }
    }
}
