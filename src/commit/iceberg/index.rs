//! Where each row lies: row identity → (file, position).
//!
//! In memory, about 40 bytes a row, and made only for a table that something is deleted from. Identities
//! are hashes already, so they are not hashed again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A row's place: the number we gave its file, and its position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: u32,
    pub position: u32,
}

/// Two halves, since a u128 would align every entry to 16 bytes.
type Key = [u64; 2];

#[derive(Default)]
pub struct Index {
    first: HashMap<Key, Place, BuildHasherDefault<Identity>>,
    /// The other places of rows that are there more than once.
    more: HashMap<u128, Vec<Place>>,
}

impl Index {
    pub fn insert(&mut self, identity: u128, place: Place) {
        if let Some(before) = self.first.insert(key(identity), place) {
            self.more.entry(identity).or_default().push(before);
        }
    }

    /// Every place of a row, in an order that only its history decides.
    pub fn places(&self, identity: u128) -> impl Iterator<Item = Place> {
        let first = self.first.get(&key(identity)).copied();
        first.into_iter().chain(self.more.get(&identity).into_iter().flatten().rev().copied())
    }

    pub fn remove(&mut self, identity: u128, place: Place) {
        let more = self.more.get_mut(&identity);
        if self.first.get(&key(identity)) == Some(&place) {
            match more.and_then(Vec::pop) {
                Some(next) => self.first.insert(key(identity), next),
                None => self.first.remove(&key(identity)),
            };
        } else {
            let more = more.expect("a place that is removed was found by `places`");
            let at = more.iter().rposition(|p| *p == place).expect("a place that is removed was found by `places`");
            more.remove(at);
        }
        if self.more.get(&identity).is_some_and(Vec::is_empty) {
            self.more.remove(&identity);
        }
    }
}

fn key(identity: u128) -> Key {
    [(identity >> 64) as u64, identity as u64]
}

/// Takes the last word of what is hashed for its hash.
#[derive(Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        let last = bytes.last_chunk().expect("two words are hashed");
        self.0 = u64::from_ne_bytes(*last);
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_equal_rows_come_and_go_one_by_one() {
        let place = |position| Place { file: 0, position };
        let mut index = Index::default();
        (0..4).for_each(|p| index.insert(9, place(p)));
        index.insert(8, place(9));
        index.remove(9, place(3));
        index.remove(9, place(0));
        let mut left: Vec<Place> = index.places(9).collect();
        left.sort();
        assert_eq!(left, [place(1), place(2)]);
        left.into_iter().for_each(|p| index.remove(9, p));
        assert_eq!(index.places(9).count(), 0);
        assert_eq!(index.places(8).count(), 1);
        assert!(index.more.is_empty());
    }
}
