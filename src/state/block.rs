//! A block: a sorted run of rows in one buffer, the unit that is held in memory, written, read and checked.
//!
//! ```text
//!   rows, diffs, width (4 bytes each; width is 0 where rows differ in length)
//!   ends        4 bytes for each row, where rows differ in length
//!   diffs       8 bytes for each row, where not every diff is 1
//!   rows        one after another
//!   checksum    8 bytes, xxh3 of all that stands before
//! ```
//!
//! In memory it is the same without the checksum. Most blocks hold rows once each, and narrow ones are of one
//! width: then a row costs its own bytes and nothing else. The format belongs to `state::FORMAT`.

use crate::error::{Error, Result};
use crate::row::{Diff, compare};
use xxhash_rust::xxh3::xxh3_64;

/// How large a block is where there are rows enough: from half of it to half more.
pub const BLOCK_BYTES: usize = 32 << 10;

/// Sorted; each row once; no diff is 0; never empty.
#[derive(Debug, PartialEq)]
pub struct Block {
    bytes: Box<[u8]>,
    ends: Ends,
    diffs: Option<Box<[Diff]>>,
    rows: u32,
}

#[derive(Debug, PartialEq)]
enum Ends {
    /// Every row has this many bytes.
    Every(u32),
    Each(Box<[u32]>),
}

impl Block {
    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// What it takes in memory.
    pub fn size(&self) -> usize {
        let ends = if let Ends::Each(ends) = &self.ends { ends.len() * 4 } else { 0 };
        let diffs = self.diffs.as_ref().map_or(0, |diffs| diffs.len() * 8);
        size_of::<Block>() + self.bytes.len() + ends + diffs
    }

    #[inline]
    pub fn row(&self, at: usize) -> &[u8] {
        match &self.ends {
            Ends::Every(width) => &self.bytes[at * *width as usize..(at + 1) * *width as usize],
            Ends::Each(ends) => {
                let from = if at == 0 { 0 } else { ends[at - 1] as usize };
                &self.bytes[from..ends[at] as usize]
            }
        }
    }

    #[inline]
    pub fn diff(&self, at: usize) -> Diff {
        self.diffs.as_ref().map_or(1, |diffs| diffs[at])
    }

    /// The first row at or after `from` that is not less than `key`; the number of rows if there is none.
    /// Cheap where it is near.
    pub fn seek(&self, from: usize, key: &[u8]) -> usize {
        let less = |at: usize| compare(self.row(at), key).is_lt();
        let rows = self.rows();
        if from >= rows || !less(from) {
            return from;
        }
        let (mut low, mut step) = (from, 1);
        while low + step < rows && less(low + step) {
            low += step;
            step *= 2;
        }
        let mut high = rows.min(low + step);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if less(middle) { low = middle } else { high = middle }
        }
        high
    }

    pub fn write(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(self.size() + 24);
        let width = if let Ends::Every(width) = self.ends { width } else { 0 };
        let diffs = self.diffs.as_ref().map_or(0, |diffs| diffs.len() as u32);
        [self.rows, diffs, width].iter().for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
        if let Ends::Each(ends) = &self.ends {
            ends.iter().for_each(|end| to.extend_from_slice(&end.to_le_bytes()));
        }
        self.diffs.iter().flatten().for_each(|diff| to.extend_from_slice(&diff.to_le_bytes()));
        to.extend_from_slice(&self.bytes);
        to.extend_from_slice(&xxh3_64(&to).to_le_bytes());
        to
    }

    pub fn read(written: &[u8]) -> Result<Block> {
        let damaged = || Error::corrupt("a block of the state does not match its checksum");
        let (content, checksum) = written.split_last_chunk::<8>().ok_or_else(damaged)?;
        if xxh3_64(content) != u64::from_le_bytes(*checksum) {
            return Err(damaged());
        }
        let mut rest = content;
        let mut take = |bytes: usize| -> Result<&[u8]> {
            let (taken, after) = rest.split_at_checked(bytes).ok_or_else(damaged)?;
            rest = after;
            Ok(taken)
        };
        let mut number = || take(4).map(|b| u32::from_le_bytes(b.try_into().expect("4 bytes were taken")));
        let (rows, diffs, width) = (number()?, number()?, number()?);
        let ends = match width {
            0 => {
                let ends = take(rows as usize * 4)?.chunks_exact(4);
                Ends::Each(ends.map(|b| u32::from_le_bytes(b.try_into().expect("chunks of 4"))).collect())
            }
            width => Ends::Every(width),
        };
        let diffs = match diffs {
            0 => None,
            diffs => {
                let diffs = take(diffs as usize * 8)?.chunks_exact(8);
                Some(diffs.map(|b| Diff::from_le_bytes(b.try_into().expect("chunks of 8"))).collect())
            }
        };
        Ok(Block { bytes: rest.into(), ends, diffs, rows })
    }
}

/// Builds blocks from rows that come in order.
#[derive(Default)]
pub struct Builder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    diffs: Vec<Diff>,
}

impl Builder {
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn first(&self) -> &[u8] {
        &self.bytes[..self.ends[0] as usize]
    }

    #[inline]
    pub fn push(&mut self, row: &[u8], diff: Diff) {
        debug_assert!(diff != 0);
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len() as u32);
        self.diffs.push(diff);
    }

    /// A block of the rows that begin within the first `bytes` bytes; the others stay. There is one at least.
    pub fn cut(&mut self, bytes: usize) -> Block {
        let count = 1 + self.ends[..self.ends.len() - 1].partition_point(|end| (*end as usize) < bytes);
        let size = self.ends[count - 1];
        let width = self.ends[0];
        let ends = &self.ends[..count];
        let every = width > 0 && ends.iter().zip(1..).all(|(end, row): (_, u32)| *end == width * row);
        let ends = if every { Ends::Every(width) } else { Ends::Each(ends.into()) };
        let diffs = &self.diffs[..count];
        let diffs = (!diffs.iter().all(|diff| *diff == 1)).then(|| diffs.into());
        let block = Block { bytes: self.bytes[..size as usize].into(), ends, diffs, rows: count as u32 };
        self.bytes.drain(..size as usize);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|end| *end -= size);
        self.diffs.drain(..count);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(rows: &[(&[u8], Diff)]) -> Block {
        let mut builder = Builder::default();
        rows.iter().for_each(|(row, diff)| builder.push(row, *diff));
        builder.cut(usize::MAX)
    }

    #[test]
    fn every_shape_comes_back_from_disk() {
        for block in [
            block(&[(b"aa", 1), (b"bb", 1)]),
            block(&[(b"a", 1), (b"bb", -3)]),
            block(&[(b"", 2)]),
            block(&[(b"", 1), (b"a", 1)]),
        ] {
            let mut written = block.write();
            assert_eq!(Block::read(&written).expect("as it was written"), block);
            written[3] ^= 1;
            assert!(Block::read(&written).is_err(), "a changed byte must be seen");
        }
        assert!(Block::read(b"short").is_err());
    }

    #[test]
    fn a_cut_leaves_the_rows_behind_it() {
        let mut builder = Builder::default();
        [b"aa", b"bb", b"cc"].iter().for_each(|row| builder.push(*row, 1));
        assert_eq!(builder.cut(3), block(&[(b"aa", 1), (b"bb", 1)]));
        assert_eq!(builder.cut(3), block(&[(b"cc", 1)]));
        assert!(builder.is_empty());
    }

    #[test]
    fn seeking_finds_the_first_that_is_not_less() {
        let rows: Vec<[u8; 2]> = (0..200u8).map(|n| [n, 0]).collect();
        let block = block(&rows.iter().map(|row| (row.as_slice(), 1)).collect::<Vec<_>>());
        for from in [0, 3, 150, 200] {
            for key in 0..=255u8 {
                let expected = (from..200).find(|at| *at >= key as usize).unwrap_or(200);
                assert_eq!(block.seek(from, &[key]), expected, "from {from}, key {key}");
            }
        }
    }
}
