//! Pairs of rows with equal keys: what a Moment changes on one side probes the other side as it stands.
//!
//! With `l` and `r` the changes, L and R what was before: l ⋈ (R + r) + L ⋈ r. Each batch of the other side
//! is walked by itself, since pairs add up whatever batch they come from. A change to one side never scans
//! the other: the cursor seeks from key to key.

use super::arrange::{Arranged, Outlet};
use super::shape::{Shape, Side};
use super::stream::{Pairing, RowStream, WholeRows};
use crate::row::{Codec, Rows, begins};
use crate::state::Batch;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

pub(super) fn join<'scope>(left: Arranged<'scope>, right: Arranged<'scope>, shape: Shape) -> RowStream<'scope> {
    let (left_codec, right_codec, key) = (left.codec, right.codec, left.key);
    left.steps.binary_frontier::<_, WholeRows, _, _, _, _>(right.steps, Pipeline, Pipeline, "Join", move |_, _| {
        let mut pairing = Pairing::default();
        move |(left, left_frontier), (right, right_frontier), output| {
            left.for_each(|time, steps| steps.drain(..).for_each(|step| pairing.left(time.retain(0), step)));
            right.for_each(|time, steps| steps.drain(..).for_each(|step| pairing.right(time.retain(0), step)));
            while let Some((time, left, right)) = pairing.next(left_frontier, right_frontier) {
                let mut session = output.session_with_builder(&time);
                let mut out = Outlet::new(|rows| session.give_container(rows));
                for batch in right.before.iter().chain([&right.delta]) {
                    probe(&left.delta, &left_codec, batch, &right_codec, key, |one, other, diff| {
                        shape.write(one, other, out.rows());
                        out.end(diff);
                    });
                }
                for batch in left.before.iter() {
                    probe(&right.delta, &right_codec, batch, &left_codec, key, |one, other, diff| {
                        shape.write(other, one, out.rows());
                        out.end(diff);
                    });
                }
                out.flush();
            }
        }
    })
}

/// Every pair of a row of `delta` and a row of `other` that begin with the same key.
fn probe(
    delta: &Batch,
    delta_codec: &Codec,
    other: &Batch,
    other_codec: &Codec,
    key: usize,
    mut pair: impl FnMut(Side, Side, i64),
) {
    if delta.is_empty() || other.is_empty() {
        return;
    }
    let (mut walk, mut found) = (delta.cursor(), other.cursor());
    // The rows of one key, and where the columns of each end.
    let mut group = Rows::default();
    let (mut group_ends, mut ends) = (Vec::new(), Vec::new());
    let width = delta_codec.schema().fields().len();
    while let Some((row, diff)) = walk.row() {
        group.clear();
        group_ends.clear();
        group.push(row, diff);
        let length = delta_codec.prefix(row, key);
        walk.step();
        while let Some((row, diff)) = walk.row().filter(|(row, _)| begins(row, &group.row(0)[..length])) {
            group.push(row, diff);
            walk.step();
        }
        let key = &group.row(0)[..length];
        found.seek(key);
        while let Some((row, diff)) = found.row().filter(|(row, _)| begins(row, key)) {
            if group_ends.is_empty() {
                group.iter().for_each(|(row, _)| {
                    delta_codec.ends(row, &mut ends);
                    group_ends.extend_from_slice(&ends);
                });
            }
            other_codec.ends(row, &mut ends);
            let other = Side { row, ends: &ends };
            for (at, (row, times)) in group.iter().enumerate() {
                pair(Side { row, ends: &group_ends[at * width..(at + 1) * width] }, other, times * diff);
            }
            found.step();
        }
        if found.row().is_none() {
            return;
        }
    }
}
