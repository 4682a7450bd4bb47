//! Many rows in one buffer, each with its diff: what flows between operators, and what becomes a batch.
//!
//! No row is an allocation of its own: rows lie one after another in `bytes`, `ends` says where each stops.
//! They are in no order, and equal rows may stand there more than once, until [`Rows::consolidate`].

use super::{Delta, Diff, Row};
use std::cmp::Ordering;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    diffs: Vec<Diff>,
}

impl Rows {
    pub fn with_capacity(rows: usize, bytes: usize) -> Rows {
        Rows { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows), diffs: Vec::with_capacity(rows) }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes the rows have together.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn row(&self, at: usize) -> &[u8] {
        let from = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[from..self.ends[at] as usize]
    }

    pub fn diff(&self, at: usize) -> Diff {
        self.diffs[at]
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], Diff)> {
        (0..self.len()).map(|at| (self.row(at), self.diffs[at]))
    }

    pub fn push(&mut self, row: &[u8], diff: Diff) {
        self.extend(row);
        self.end(diff);
    }

    /// Adds bytes to the row that is being written; [`Rows::end`] completes it.
    pub fn extend(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
    }

    /// The buffer of the row that is being written, for those who write into it themselves.
    pub fn open(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub fn end(&mut self, diff: Diff) {
        self.ends.push(u32::try_from(self.bytes.len()).expect("containers are cut far below 4 GiB"));
        self.diffs.push(diff);
    }

    /// Forgets what was written since the last [`Rows::end`].
    pub fn undo(&mut self) {
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    pub fn append(&mut self, other: &Rows) {
        let offset = self.bytes.len();
        u32::try_from(offset + other.bytes.len()).expect("containers are cut far below 4 GiB");
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| end + offset as u32));
        self.diffs.extend_from_slice(&other.diffs);
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.diffs.clear();
    }

    pub fn negate(&mut self) {
        self.diffs.iter_mut().for_each(|diff| *diff = -*diff);
    }

    /// Sorted, each row once, none that comes to nothing.
    pub fn consolidate(&self) -> Rows {
        let mut result = Rows::with_capacity(self.len(), self.bytes.len());
        self.consolidate_into(|row, diff| result.push(row, diff));
        result
    }

    /// Hears each row once, in order, if its diffs do not come to nothing.
    pub fn consolidate_into(&self, mut hear: impl FnMut(&[u8], Diff)) {
        let order = self.order();
        let mut at = 0;
        while at < order.len() {
            let row = self.row(order[at].1 as usize);
            let mut diff = self.diffs[order[at].1 as usize];
            let word = order[at].0;
            at += 1;
            while at < order.len() && order[at].0 == word && self.row(order[at].1 as usize) == row {
                diff += self.diffs[order[at].1 as usize];
                at += 1;
            }
            if diff != 0 {
                hear(row, diff);
            }
        }
    }

    /// The rows' numbers in the order of their bytes.
    pub fn sorted(&self) -> impl Iterator<Item = usize> {
        self.order().into_iter().map(|(_, at)| at as usize)
    }

    /// The rows' numbers in the order of their bytes, each with the first 64 bits in which rows differ at all.
    fn order(&self) -> Vec<(u64, u32)> {
        let leads = || (0..self.len()).map(|at| lead(self.row(at)));
        let first = leads().next().unwrap_or(0);
        let shared = leads().fold(0, |differing, lead| differing | lead ^ first).leading_zeros();
        let word = |lead: u128| (lead.checked_shl(shared).unwrap_or(0) >> 64) as u64;
        let mut order: Vec<(u64, u32)> = leads().map(word).zip(0..).collect();
        // Most rows differ in their word: rows are compared only within runs of one word, behind what all share.
        order.sort_unstable_by_key(|(word, _)| *word);
        let shortest = (0..self.len()).map(|at| self.row(at).len()).min().unwrap_or(0);
        let same = shortest.min(shared as usize / 8);
        let rest = |at: u32| &self.row(at as usize)[same..];
        for run in order.chunk_by_mut(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
            run.sort_unstable_by(|a, b| compare(rest(a.1), rest(b.1)));
        }
        order
    }
}

impl FromIterator<Delta> for Rows {
    fn from_iter<I: IntoIterator<Item = Delta>>(deltas: I) -> Rows {
        let mut rows = Rows::default();
        deltas.into_iter().for_each(|(row, diff)| rows.push(row.bytes(), diff));
        rows
    }
}

impl From<&Rows> for Vec<Delta> {
    fn from(rows: &Rows) -> Vec<Delta> {
        rows.iter().map(|(row, diff)| (Row::from(row), diff)).collect()
    }
}

/// The first 16 bytes of a row as a number: where two leads differ, they order their rows.
#[inline]
pub fn lead(row: &[u8]) -> u128 {
    match (row.first_chunk::<16>(), row.first_chunk::<8>(), row.last_chunk::<8>()) {
        (Some(chunk), _, _) => u128::from_be_bytes(*chunk),
        // Two loads, of which the second begins within the first.
        (None, Some(first), Some(last)) => {
            let rest = u64::from_be_bytes(*last).checked_shl(8 * (16 - row.len() as u32)).unwrap_or(0);
            u128::from(u64::from_be_bytes(*first)) << 64 | u128::from(rest)
        }
        _ => u128::from(word(row)) << 64,
    }
}

/// The first 8 bytes as a number: where two words differ, they order what they are of.
#[inline]
pub fn word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(chunk), _, _) => u64::from_be_bytes(*chunk),
        // Two loads, of which the second begins within the first or right behind it.
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_be_bytes(*first)) << 32
                | u64::from(u32::from_be_bytes(*last)) << (8 * (8 - bytes.len()))
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word >> 8 | u64::from(*byte) << 56),
    }
}

/// The order of rows: that of their bytes.
#[inline]
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    lead(a).cmp(&lead(b)).then_with(|| a.cmp(b))
}

/// Whether a row begins with this key, which is most often short.
#[inline]
pub fn begins(row: &[u8], key: &[u8]) -> bool {
    match key.len() {
        0 => true,
        short @ 1..=16 => row.len() >= short && (lead(row) ^ lead(key)) >> (128 - 8 * short) == 0,
        _ => row.starts_with(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_meet_whatever_their_length() {
        let mut rows = Rows::default();
        let long = [7u8; 40];
        let mut longer = long.to_vec();
        longer[39] = 8;
        for (row, diff) in [
            (&long[..], 1),
            (&[][..], 1),
            (&[1, 0][..], 2),
            (&longer[..], 1),
            (&[1][..], 1),
            (&long[..], 2),
            (&[1, 0][..], -2),
            (&[][..], 4),
        ] {
            rows.push(row, diff);
        }
        let all: Vec<(Vec<u8>, Diff)> = rows.consolidate().iter().map(|(row, diff)| (row.to_vec(), diff)).collect();
        assert_eq!(all, [(vec![], 5), (vec![1], 1), (long.to_vec(), 3), (longer, 1)]);
    }

    #[test]
    fn rows_are_in_order_wherever_they_differ() {
        // One bit at a time, early and late, and rows that end where others go on.
        let mut all: Vec<Vec<u8>> = vec![vec![0; 30]];
        for bit in 0..240 {
            let mut row = vec![0; 30];
            row[bit / 8] |= 1 << (bit % 8);
            all.extend([row[..bit / 8].to_vec(), row[..bit / 8 + 1].to_vec(), row]);
        }
        for shared in [0, 1, 9, 16, 20] {
            let mut expected: Vec<Vec<u8>> = all.iter().map(|row| [&vec![3; shared][..], row].concat()).collect();
            let mut rows = Rows::default();
            expected.iter().for_each(|row| rows.push(row, 1));
            expected.sort();
            expected.dedup();
            assert!(rows.consolidate().iter().map(|(row, _)| row).eq(expected.iter()), "{shared} bytes are shared");
        }
    }

    #[test]
    fn short_cuts_say_what_slices_say() {
        let long: Vec<u8> = (0..20).collect();
        let mut all: Vec<Vec<u8>> = (0..=20).map(|length| long[..length].to_vec()).collect();
        for length in 1..=20 {
            for last in [0, 1, 255] {
                all.push([&long[..length - 1], &[last]].concat());
            }
        }
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
            assert_eq!(compare(a, b), a.cmp(b), "{a:?} and {b:?}");
            assert_eq!(begins(a, b), a.starts_with(b), "{a:?} and {b:?}");
            assert!(word(a) == word(b) || word(a).cmp(&word(b)) == a.cmp(b), "{a:?} and {b:?}");
        }
    }

    #[test]
    fn what_is_undone_leaves_no_bytes() {
        let mut rows = Rows::default();
        rows.push(b"a", 1);
        rows.extend(b"half");
        rows.undo();
        rows.push(b"b", 1);
        assert_eq!(rows.row(1), b"b");
    }
}
