//! What a source says happened, and what that means.

use super::{Datum, Row};
use std::collections::HashMap;

/// How often a row is there: +1 for one more, -1 for one less.
pub type Diff = i64;

/// A row of a table or model with its diff.
pub type Delta = (Row, Diff);

/// What a source says happened to one row. It may know less than the whole row: the base arrangement of
/// the table, kept by key, turns a Change into exact [`Delta`]s.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A row that is new, or that a first copy found.
    Insert(Row),
    /// `old_key` is there only where the key itself changed.
    Update { old_key: Option<Row>, new: NewRow },
    /// The key of the row that is gone.
    Delete { key: Row },
    /// All rows are gone.
    Truncate,
}

/// A row after an update.
#[derive(Clone, Debug, PartialEq)]
pub enum NewRow {
    Whole(Row),
    /// `None` stands for a value that did not change and was not sent (unchanged TOAST, a minimal image).
    Patch(Vec<Option<Datum>>),
}

/// Adds up the diffs of equal rows and drops those that come to nothing.
pub fn consolidate(deltas: &mut Vec<Delta>) {
    if deltas.len() < 2 {
        deltas.retain(|(_, diff)| *diff != 0);
        return;
    }
    let mut sums: HashMap<Row, Diff> = HashMap::with_capacity(deltas.len());
    for (row, diff) in deltas.drain(..) {
        *sums.entry(row).or_default() += diff;
    }
    deltas.extend(sums.into_iter().filter(|(_, diff)| *diff != 0));
    deltas.sort_unstable();
}
