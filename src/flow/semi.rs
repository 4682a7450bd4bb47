//! Rows of one side by whether their key is on the other side: semi, anti and mark joins, and the rows of an
//! outer join that are left alone.
//!
//! What a Moment changes on the left is looked up on the right. What it changes on the right matters only where
//! a key comes or goes: then all left rows of that key change. Either way the work is a seek for each touched
//! key, and no side is ever scanned for the other.

use super::arrange::{Arranged, Outlet};
use super::shape::{Shape, Side};
use super::stream::{Pairing, RowStream, Step, WholeRows};
use crate::row::{Codec, Diff};
use crate::state::{Batch, Cursor};
use std::sync::Arc;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Gives left rows whose key is on the right in the shape `met`, the others in the shape `alone`, and neither
/// where it has none.
pub(super) fn semi<'scope>(
    left: Arranged<'scope>,
    right: Arranged<'scope>,
    met: Option<Shape>,
    alone: Option<Shape>,
) -> RowStream<'scope> {
    let (left_codec, right_codec, key) = (left.codec, right.codec, left.key);
    left.steps.binary_frontier::<_, WholeRows, _, _, _, _>(right.steps, Pipeline, Pipeline, "Semi", move |_, _| {
        let mut pairing = Pairing::default();
        let mut ends = Vec::new();
        move |(left, left_frontier), (right, right_frontier), output| {
            left.for_each(|time, steps| steps.drain(..).for_each(|step| pairing.left(time.retain(0), step)));
            right.for_each(|time, steps| steps.drain(..).for_each(|step| pairing.right(time.retain(0), step)));
            while let Some((time, left, right)) = pairing.next(left_frontier, right_frontier) {
                let mut session = output.session_with_builder(&time);
                let mut out = Outlet::new(|rows| session.give_container(rows));
                meet((&left, &left_codec), (&right, &right_codec), key, |row, has_met, diff| {
                    if let Some(shape) = if has_met { &met } else { &alone } {
                        left_codec.ends(row, &mut ends);
                        shape.write_one(Side { row, ends: &ends }, out.rows());
                        out.end(diff);
                    }
                });
                out.flush();
            }
        }
    })
}

/// Hears what changes of the left rows: each with whether its key is on the right.
fn meet(
    (left, left_codec): (&Step, &Codec),
    (right, right_codec): (&Step, &Codec),
    key: usize,
    mut hear: impl FnMut(&[u8], bool, Diff),
) {
    let (mut lefts, mut rights) = (left.delta.cursor(), right.delta.cursor());
    let mut left_before = cursors(&left.before);
    let mut right_before = cursors(&right.before);
    let mut touched = Vec::new();
    loop {
        let one = lefts.row().map(|(row, _)| &row[..left_codec.prefix(row, key)]);
        let other = rights.row().map(|(row, _)| &row[..right_codec.prefix(row, key)]);
        let Some(least) = one.into_iter().chain(other).min() else { return };
        touched.clear();
        touched.extend_from_slice(least);
        let (was, is) = presence(&mut right_before, &mut rights, &touched);
        rows_of(&mut lefts, &touched, |row, diff| hear(row, is, diff));
        if was != is {
            for batch in &mut left_before {
                batch.seek(&touched);
                rows_of(batch, &touched, |row, diff| {
                    hear(row, was, -diff);
                    hear(row, is, diff);
                });
            }
        }
        rows_of(&mut rights, &touched, |_, _| {});
    }
}

/// Whether a key has rows before a change and after it. It looks no further than to the first that is there
/// both before and after, so that a key of many rows costs no more than one of few.
fn presence(before: &mut [Cursor], delta: &mut Cursor, key: &[u8]) -> (bool, bool) {
    before.iter_mut().for_each(|batch| batch.seek(key));
    let (mut was, mut is) = (false, false);
    let mut row = Vec::new();
    while !(was && is) {
        let rows = before.iter().chain([&*delta]).filter_map(|batch| batch.row());
        let Some(least) = rows.map(|(row, _)| row).filter(|row| row.starts_with(key)).min() else { break };
        row.clear();
        row.extend_from_slice(least);
        let copies: Diff = before.iter_mut().map(|batch| take(batch, &row)).sum();
        was |= copies > 0;
        is |= copies + take(delta, &row) > 0;
    }
    (was, is)
}

/// How many copies of a row a cursor that stands at it or behind it passes.
fn take(batch: &mut Cursor, row: &[u8]) -> Diff {
    let copies = batch.row().filter(|(found, _)| *found == row).map_or(0, |(_, diff)| diff);
    if copies != 0 {
        batch.step();
    }
    copies
}

/// Passes the rows of a key, from the first on.
fn rows_of(batch: &mut Cursor, key: &[u8], mut hear: impl FnMut(&[u8], Diff)) {
    while let Some((row, diff)) = batch.row().filter(|(row, _)| row.starts_with(key)) {
        hear(row, diff);
        batch.step();
    }
}

fn cursors(batches: &[Arc<Batch>]) -> Vec<Cursor<'_>> {
    batches.iter().map(|batch| batch.cursor()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Datum, RowWriter, Rows};
    use crate::state::{Bodies, Spine};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::collections::BTreeMap;

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (self.0 >> 33) % bound
        }
    }

    /// A key of one or two columns, then a value.
    fn codec() -> Codec {
        let fields = ["key", "more", "value"].map(|name| Field::new(name, DataType::Utf8, true));
        Codec::new(Arc::new(Schema::new(fields.to_vec())))
    }

    fn row(columns: [u64; 3]) -> Vec<u8> {
        let mut writer = RowWriter::default();
        for number in columns {
            // Some are beginnings of others, some are empty, some are NULL.
            let datum = if number == 3 { Datum::Null } else { Datum::Text("ab".repeat(number as usize)) };
            writer.push(&datum);
        }
        writer.finish().bytes().to_vec()
    }

    /// One side: an arrangement, and what it holds.
    struct Arrangement {
        spine: Spine,
        rows: BTreeMap<Vec<u8>, Diff>,
    }

    impl Arrangement {
        fn new(bodies: &Arc<Bodies>) -> Arrangement {
            Arrangement { spine: Spine::new(bodies.clone()), rows: BTreeMap::new() }
        }

        /// Rows come and go; none goes that is not there.
        fn step(&mut self, dice: &mut Dice, changes: u64) -> Step {
            let mut delta = Rows::default();
            for _ in 0..dice.below(changes) {
                let row = row([dice.below(4), dice.below(4), dice.below(3)]);
                let copies = self.rows.entry(row.clone()).or_default();
                let diff = if *copies > 0 && dice.below(2) == 0 { -1 } else { 1 };
                *copies += diff;
                delta.push(&row, diff);
            }
            self.rows.retain(|_, copies| *copies != 0);
            let delta = Arc::new(Batch::of(&delta, self.spine.bodies()));
            let step = Step { before: self.spine.batches(), delta: delta.clone() };
            self.spine.insert(delta);
            step
        }
    }

    #[test]
    fn rows_follow_their_key_on_the_other_side() {
        let (codec, bodies) = (codec(), Bodies::resident_only());
        for seed in 0..60 {
            let (mut dice, key) = (Dice(seed), seed as usize % 4);
            let (mut left, mut right) = (Arrangement::new(&bodies), Arrangement::new(&bodies));
            let mut heard: BTreeMap<(Vec<u8>, bool), Diff> = BTreeMap::new();
            for moment in 0..40 {
                let (one, other) = (left.step(&mut dice, 9), right.step(&mut dice, 1 + seed % 7));
                meet((&one, &codec), (&other, &codec), key, |row, met, diff| {
                    *heard.entry((row.to_vec(), met)).or_default() += diff;
                });
                heard.retain(|_, diff| *diff != 0);
                let key_of = |row: &Vec<u8>| row[..codec.prefix(row, key)].to_vec();
                let met = |row: &Vec<u8>| right.rows.keys().any(|other| key_of(other) == key_of(row));
                let expected = left.rows.iter().map(|(row, copies)| ((row.clone(), met(row)), *copies)).collect();
                assert_eq!(heard, expected, "seed {seed}, moment {moment}");
            }
        }
    }

    #[test]
    fn a_key_of_many_rows_is_not_read_to_its_end() {
        let bodies = Bodies::resident_only();
        let value = |number: u64| [row([1, 1, 0]), number.to_be_bytes().to_vec()].concat();
        let mut many = Rows::default();
        (0..10_000).for_each(|number| many.push(&value(number), 1));
        let many = Batch::of(&many, &bodies);
        let mut gone = Rows::default();
        gone.push(&value(0), -1);
        gone.push(&value(1), -1);
        let gone = Batch::of(&gone, &bodies);
        let (mut before, mut delta) = ([many.cursor()], gone.cursor());
        assert_eq!(presence(&mut before, &mut delta, &row([1, 1, 0])), (true, true));
        assert_eq!(before[0].row().map(|(row, _)| row.to_vec()), Some(value(3)), "the third row said enough");
    }
}
