//! Whatever cannot forget: the groups that a change touches are computed again, before and after it.
//!
//! The rows of a touched group are gathered from the arrangement as it was and as it is, both go through the same
//! program (`plan::Regroup`), and only what differs is put out. So a change costs what its groups cost, whatever the
//! size of all others; the groups of a Moment go through the program together, some thousand rows at a time.
//!
//! A group that cannot be computed is a fault of that group.

use super::arrange::{Arranged, Outlet};
use super::stream::{RowStream, WholeRows};
use super::{Fault, Faults};
use crate::plan::Regroup;
use crate::row::{Codec, Diff, Rows, Sorted};
use crate::state::Cursor;
use std::ops::Range;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Rows that go through the program at once, unless a single group has more.
const ROWS_AT_ONCE: usize = 32 << 10;

/// `places` says which column of a row is each of the program's input.
pub(super) fn regroup<'scope>(
    rows: Arranged<'scope>,
    sorted: Sorted,
    program: &Regroup,
    places: Vec<usize>,
    faults: Faults,
) -> RowStream<'scope> {
    let work = Work { program: program.clone(), codec: sorted.codec().clone(), key: rows.key, places, faults };
    rows.steps.unary::<WholeRows, _, _, _>(Pipeline, "Regroup", move |_, _| {
        move |input, output| {
            input.for_each(|time, steps| {
                let mut session = output.session_with_builder(&time);
                let mut out = Outlet::new(|rows| session.give_container(rows));
                for step in steps.drain(..) {
                    let mut before: Vec<Cursor> = step.before.iter().map(|batch| batch.cursor()).collect();
                    let mut delta = step.delta.cursor();
                    let (mut old, mut new) = (Groups::default(), Groups::default());
                    let mut settle = |old: &mut Groups, new: &mut Groups| {
                        let mut changes = Rows::default();
                        for (groups, diff) in [(old, -1), (new, 1)] {
                            work.run(std::mem::take(groups), diff, &mut changes);
                        }
                        changes.consolidate_into(|row, diff| {
                            out.rows().extend(row);
                            out.end(diff);
                        });
                    };
                    while let Some((row, _)) = delta.row() {
                        let group = row[..work.codec.prefix(row, work.key)].to_vec();
                        let mut rows = Rows::default();
                        before.iter_mut().for_each(|batch| gather(batch, &group, &mut rows));
                        old.add(&rows, &sorted);
                        gather(&mut delta, &group, &mut rows);
                        new.add(&rows, &sorted);
                        if old.rows.len() + new.rows.len() > ROWS_AT_ONCE {
                            settle(&mut old, &mut new);
                        }
                    }
                    settle(&mut old, &mut new);
                }
                out.flush();
            });
        }
    })
}

/// The rows of a group in one batch.
fn gather(batch: &mut Cursor, group: &[u8], to: &mut Rows) {
    batch.seek(group);
    while let Some((row, diff)) = batch.row().filter(|(row, _)| row.starts_with(group)) {
        to.push(row, diff);
        batch.step();
    }
}

/// Whole groups, one after another, each row as often as it is there.
#[derive(Default)]
struct Groups {
    rows: Rows,
    groups: Vec<Range<usize>>,
}

impl Groups {
    fn add(&mut self, group: &Rows, sorted: &Sorted) {
        let from = self.rows.len();
        group.consolidate_into(|row, diff| {
            for _ in 0..diff {
                sorted.turn_back(row, self.rows.open());
                self.rows.end(1);
            }
        });
        if from < self.rows.len() {
            self.groups.push(from..self.rows.len());
        }
    }
}

/// How groups are computed.
struct Work {
    program: Regroup,
    codec: Codec,
    key: usize,
    places: Vec<usize>,
    faults: Faults,
}

impl Work {
    /// Adds what becomes of the groups, so many times. Where they cannot be computed together each goes by itself, and
    /// the guilty ones become faults.
    fn run(&self, Groups { rows, groups }: Groups, diff: Diff, to: &mut Rows) {
        let mut add = |rows: &Rows| -> Result<(), String> {
            let results = self.program.run(rows, &self.codec, &self.places)?;
            results.iter().for_each(|row| to.push(row.bytes(), diff));
            Ok(())
        };
        if add(&rows).is_ok() {
            return;
        }
        for group in groups {
            let mut own = Rows::default();
            group.clone().for_each(|at| own.push(rows.row(at), 1));
            if let Err(message) = add(&own) {
                let sample = self.codec.show_prefix(rows.row(group.start), self.key);
                self.faults.push(Fault { message, sample }, diff);
            }
        }
    }
}
