//! Each row once, however often it is there: the arrangement of the rows is all the state.

use super::arrange::{Arranged, Outlet};
use super::stream::{RowStream, WholeRows};
use crate::state::Cursor;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

pub(super) fn distinct<'scope>(rows: Arranged<'scope>) -> RowStream<'scope> {
    rows.steps.unary::<WholeRows, _, _, _>(Pipeline, "Distinct", move |_, _| {
        move |input, output| {
            input.for_each(|time, steps| {
                let mut session = output.session_with_builder(&time);
                let mut out = Outlet::new(|rows| session.give_container(rows));
                for step in steps.drain(..) {
                    let mut before: Vec<Cursor> = step.before.iter().map(|batch| batch.cursor()).collect();
                    let mut delta = step.delta.cursor();
                    while let Some((row, diff)) = delta.row() {
                        let copies: i64 = before.iter_mut().map(|batch| copies(batch, row)).sum();
                        let change = (copies + diff > 0) as i64 - (copies > 0) as i64;
                        if change != 0 {
                            out.rows().extend(row);
                            out.end(change);
                        }
                        delta.step();
                    }
                }
                out.flush();
            });
        }
    })
}

fn copies(batch: &mut Cursor, row: &[u8]) -> i64 {
    batch.seek(row);
    batch.row().filter(|(found, _)| *found == row).map_or(0, |(_, diff)| diff)
}
