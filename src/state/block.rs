//! A block: a sorted run of rows in one buffer, the unit that is held in memory, written, read and checked.
//!
//! ```text
//!   rows, diff, width (4 bytes each; diff is the bytes of each diff, width those of each row, or how ends follow)
//!   ends        where rows differ in length, 2 bytes for each (width 0), or 4 if a row is huge (width FFFFFFFF)
//!   diffs       1 byte for each row where not every diff is 1, 8 where one does not fit
//!   rows        one after another
//!   checksum    8 bytes, xxh3 of all that stands before
//! ```
//!
//! In memory it is the same without the checksum. Most blocks hold rows once each: then a row costs its own bytes
//! and two for its end, but for the signposts: what distinguishes the first row of every short stretch of rows, as
//! a number, so that a search touches a dense array and then one stretch. They follow from the rows and are not
//! written. The format belongs to `state::FORMAT`.

use crate::error::{Error, Result};
use crate::row::{Diff, word};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// How large a block is where there are rows enough: from half of it to half more.
pub const BLOCK_BYTES: usize = 32 << 10;

/// How many bytes of rows there are for each signpost: a few cache lines.
const STRETCH_BYTES: usize = 256;

/// Sorted; each row once; no diff is 0; never empty.
#[derive(Debug, PartialEq)]
pub struct Block {
    bytes: Box<[u8]>,
    ends: Ends,
    diffs: Diffs,
    rows: u32,
    /// So many bytes are the same in all rows.
    shared: u32,
    /// So many rows are a stretch.
    stretch: u32,
    /// The [`word`] of the first row of each stretch.
    signposts: Box<[u64]>,
}

#[derive(Debug, PartialEq)]
enum Ends {
    /// Every row has this many bytes.
    Every(u32),
    Near(Box<[u16]>),
    Far(Box<[u32]>),
}

/// In the place of a width: ends follow, which are near, or far.
const NEAR: u32 = 0;
const FAR: u32 = u32::MAX;

impl Ends {
    fn of(ends: &[u32]) -> Ends {
        let width = ends[0];
        if width > 0 && ends.iter().zip(1..).all(|(end, row): (_, u32)| *end == width * row) {
            return Ends::Every(width);
        }
        let near = ends.iter().map(|end| u16::try_from(*end));
        near.collect::<Result<_, _>>().map_or_else(|_| Ends::Far(ends.into()), Ends::Near)
    }

    #[inline]
    fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.end(row - 1) }
    }

    #[inline]
    fn end(&self, row: usize) -> usize {
        match self {
            Ends::Every(width) => (row + 1) * *width as usize,
            Ends::Near(ends) => ends[row].into(),
            Ends::Far(ends) => ends[row] as usize,
        }
    }

    fn size(&self) -> usize {
        match self {
            Ends::Every(_) => 0,
            Ends::Near(ends) => size_of_val(&**ends),
            Ends::Far(ends) => size_of_val(&**ends),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Diffs {
    Ones,
    Small(Box<[i8]>),
    Wide(Box<[Diff]>),
}

impl Diffs {
    fn of(diffs: &[Diff]) -> Diffs {
        if diffs.iter().all(|diff| *diff == 1) {
            return Diffs::Ones;
        }
        let small = diffs.iter().map(|diff| i8::try_from(*diff));
        small.collect::<Result<_, _>>().map_or_else(|_| Diffs::Wide(diffs.into()), Diffs::Small)
    }

    /// How many bytes each takes.
    fn width(&self) -> usize {
        match self {
            Diffs::Ones => 0,
            Diffs::Small(_) => size_of::<i8>(),
            Diffs::Wide(_) => size_of::<Diff>(),
        }
    }
}

impl Block {
    fn new(bytes: Box<[u8]>, ends: Ends, diffs: Diffs, rows: u32) -> Block {
        let mut block = Block { bytes, ends, diffs, rows, shared: 0, stretch: 1, signposts: Box::default() };
        let (first, last) = (block.row(0), block.row(rows as usize - 1));
        let same = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let shortest = match &block.ends {
            Ends::Every(width) => *width as usize,
            _ => (0..rows as usize).map(|at| block.row(at).len()).min().unwrap_or(0),
        };
        // Where rows are long enough, eight bytes follow in each, so that a word is one load.
        block.shared = same.min(shortest.saturating_sub(8)) as u32;
        block.stretch = (STRETCH_BYTES * rows as usize / block.bytes.len().max(STRETCH_BYTES)).max(1) as u32;
        block.signposts = (0..rows as usize).step_by(block.stretch as usize).map(|at| block.word(at)).collect();
        block
    }

    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// How many of the rows take back.
    pub fn negative(&self) -> usize {
        match &self.diffs {
            Diffs::Ones => 0,
            Diffs::Small(diffs) => diffs.iter().filter(|diff| **diff < 0).count(),
            Diffs::Wide(diffs) => diffs.iter().filter(|diff| **diff < 0).count(),
        }
    }

    /// What it takes in memory.
    pub fn size(&self) -> usize {
        let diffs = self.rows() * self.diffs.width();
        size_of::<Block>() + self.bytes.len() + self.ends.size() + diffs + self.signposts.len() * 8
    }

    #[inline]
    pub fn row(&self, at: usize) -> &[u8] {
        &self.bytes[self.ends.start(at)..self.ends.end(at)]
    }

    #[inline]
    pub fn diff(&self, at: usize) -> Diff {
        match &self.diffs {
            Diffs::Ones => 1,
            Diffs::Small(diffs) => diffs[at].into(),
            Diffs::Wide(diffs) => diffs[at],
        }
    }

    #[inline]
    fn word(&self, at: usize) -> u64 {
        word(&self.row(at)[self.shared as usize..])
    }

    /// The first row at or after `from` that is not less than `key`; the number of rows if there is none.
    /// Cheap where it is near.
    pub fn seek(&self, from: usize, key: &[u8]) -> usize {
        let rows = self.rows();
        let (shared, stretch) = (self.shared as usize, self.stretch as usize);
        if from >= rows {
            return from;
        }
        let own = &self.bytes[..shared];
        if !key.starts_with(own) {
            return if own < key { rows } else { from };
        }
        let word = word(&key[shared..]);
        let less = |at: usize, of: u64| of < word || of == word && self.row(at) < key;
        if !less(from, self.word(from)) {
            return from;
        }
        // The last signpost before the key, or the one before `from`.
        let before = |signpost: usize| less(signpost * stretch, self.signposts[signpost]);
        let (mut low, mut step) = (from / stretch, 1);
        while low + step < self.signposts.len() && before(low + step) {
            low += step;
            step *= 2;
        }
        let mut high = self.signposts.len().min(low + step);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if before(middle) { low = middle } else { high = middle }
        }
        // Counted, not searched: the loads do not wait for each other.
        let (from, to) = (from.max(low * stretch), rows.min((low + 1) * stretch));
        let mut at = from + (from..to).map(|at| usize::from(self.word(at) < word)).sum::<usize>();
        while at < to && less(at, self.word(at)) {
            at += 1;
        }
        at
    }

    pub fn write(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(self.size() + 24);
        let width = match self.ends {
            Ends::Every(width) => width,
            Ends::Near(_) => NEAR,
            Ends::Far(_) => FAR,
        };
        [self.rows, self.diffs.width() as u32, width].iter().for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
        match &self.ends {
            Ends::Every(_) => {}
            Ends::Near(ends) => ends.iter().for_each(|end| to.extend_from_slice(&end.to_le_bytes())),
            Ends::Far(ends) => ends.iter().for_each(|end| to.extend_from_slice(&end.to_le_bytes())),
        }
        match &self.diffs {
            Diffs::Ones => {}
            Diffs::Small(diffs) => diffs.iter().for_each(|diff| to.extend_from_slice(&diff.to_le_bytes())),
            Diffs::Wide(diffs) => diffs.iter().for_each(|diff| to.extend_from_slice(&diff.to_le_bytes())),
        }
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
        let (rows, diff, width) = (number()?, number()?, number()?);
        let ends = match width {
            NEAR => {
                let ends = take(rows as usize * 2)?.chunks_exact(2);
                Ends::Near(ends.map(|b| u16::from_le_bytes(b.try_into().expect("chunks of 2"))).collect())
            }
            FAR => {
                let ends = take(rows as usize * 4)?.chunks_exact(4);
                Ends::Far(ends.map(|b| u32::from_le_bytes(b.try_into().expect("chunks of 4"))).collect())
            }
            width => Ends::Every(width),
        };
        let diffs = match diff {
            0 => Diffs::Ones,
            1 => Diffs::Small(take(rows as usize)?.iter().map(|b| *b as i8).collect()),
            _ => {
                let diffs = take(rows as usize * 8)?.chunks_exact(8);
                Diffs::Wide(diffs.map(|b| Diff::from_le_bytes(b.try_into().expect("chunks of 8"))).collect())
            }
        };
        Ok(Block::new(rest.into(), ends, diffs, rows))
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

    /// These rows of another block.
    pub fn extend(&mut self, block: &Block, rows: Range<usize>) {
        let (from, to) = (block.ends.start(rows.start), block.ends.start(rows.end));
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&block.bytes[from..to]);
        let end = |end: u32| end - from as u32 + offset;
        match &block.ends {
            Ends::Every(width) => self.ends.extend((1..=rows.len() as u32).map(|row| offset + row * width)),
            Ends::Near(ends) => self.ends.extend(ends[rows.clone()].iter().map(|near| end((*near).into()))),
            Ends::Far(ends) => self.ends.extend(ends[rows.clone()].iter().map(|far| end(*far))),
        }
        match &block.diffs {
            Diffs::Ones => self.diffs.resize(self.diffs.len() + rows.len(), 1),
            Diffs::Small(diffs) => self.diffs.extend(diffs[rows].iter().map(|diff| Diff::from(*diff))),
            Diffs::Wide(diffs) => self.diffs.extend_from_slice(&diffs[rows]),
        }
    }

    /// A block of the rows that begin within the first `bytes` bytes; the others stay. There is one at least.
    pub fn cut(&mut self, bytes: usize) -> Block {
        let count = 1 + self.ends[..self.ends.len() - 1].partition_point(|end| (*end as usize) < bytes);
        let size = self.ends[count - 1];
        let ends = Ends::of(&self.ends[..count]);
        let diffs = Diffs::of(&self.diffs[..count]);
        let block = Block::new(self.bytes[..size as usize].into(), ends, diffs, count as u32);
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
            block(&[(b"a", 128), (b"b", -1)]),
            block(&[(b"a", 127), (b"b", -128)]),
            block(&[(b"a", 1), (&[b'b'; 70_000], 1)]),
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

    #[test]
    fn seeking_looks_past_words_that_are_the_same() {
        // Shared bytes, a word of few values, then what tells rows apart; some rows end within the word.
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for (number, word) in (0..300u16).map(|number| (number, (number / 70) as u8)) {
            rows.push([&[5, 5, 5, 0, 0, 0, 0, 0, 0, 0, word][..], &number.to_be_bytes(), &[7; 9]].concat());
        }
        let keys: Vec<Vec<u8>> = (0..=15).flat_map(|cut| rows.iter().map(move |row| row[..cut].to_vec())).collect();
        for shorter in [false, true] {
            if shorter {
                let first = rows[0].clone();
                rows.extend((1..=12).map(|cut| first[..cut].to_vec()));
                rows.sort();
            }
            let block = block(&rows.iter().map(|row| (row.as_slice(), 1)).collect::<Vec<_>>());
            for (from, key) in keys.iter().enumerate().map(|(number, key)| (number * 7 % (rows.len() + 1), key)) {
                for key in [key.clone(), [key.as_slice(), &[0]].concat(), [key.as_slice(), &[255]].concat()] {
                    let expected = (from..rows.len()).find(|at| rows[*at] >= key).unwrap_or(rows.len());
                    assert_eq!(block.seek(from, &key), expected, "from {from}, key {key:?}");
                }
            }
        }
    }

    #[test]
    fn rows_of_another_block_come_over_whole() {
        let every = block(&[(b"aa", 1), (b"bb", 1), (b"cc", 1)]);
        let each = block(&[(b"d", 1), (b"eee", -2), (b"ff", 1)]);
        let mut builder = Builder::default();
        builder.extend(&every, 1..3);
        builder.extend(&each, 0..0);
        builder.extend(&each, 1..3);
        assert_eq!(builder.cut(usize::MAX), block(&[(b"bb", 1), (b"cc", 1), (b"eee", -2), (b"ff", 1)]));
    }
}
