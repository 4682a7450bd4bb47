//! An order-free hash of a multiset of rows, kept incrementally.
//!
//! Each row hashes to 128 bits (XXH3 with seed 0 over its bytes in the form of `codec`); the fingerprint is
//! the sum of `hash × diff` modulo 2^128. Adding a row and taking it away again leaves no trace, and two
//! fingerprints add up to that of both multisets. It guards against faults, not against an adversary.

use super::{Diff, Row};
use std::fmt;
use xxhash_rust::xxh3::xxh3_128;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    /// What one row weighs; also the row's identity where a whole row must be named in 16 bytes.
    pub fn of(row: &Row) -> u128 {
        xxh3_128(row.bytes())
    }

    pub fn add(&mut self, row: &Row, diff: Diff) {
        self.0 = self.0.wrapping_add(Self::of(row).wrapping_mul(diff as i128 as u128));
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_retraction_leaves_no_trace() {
        let (a, b) = (Row::from(b"a".as_slice()), Row::from(b"b".as_slice()));
        let mut one = Fingerprint::default();
        one.add(&a, 1);
        one.add(&b, 2);
        let mut other = Fingerprint::default();
        other.add(&b, 3);
        other.add(&a, 1);
        assert_ne!(one, other);
        other.add(&b, -1);
        assert_eq!(one, other);
    }
}
