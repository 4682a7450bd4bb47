//! Filters and expressions: rows in, rows or faults out, no state.
//!
//! A retraction runs through the same program as the row it retracts and so finds the same result, row or
//! fault. NULLs and errors are the expressions' own (`plan::Program`).

use super::stream::{RowStream, WholeRows};
use super::{Fault, Faults};
use crate::plan::Program;
use crate::row::{Codec, Rows};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

pub(super) fn map<'scope>(
    rows: RowStream<'scope>,
    codec: Codec,
    program: &Program,
    faults: Faults,
) -> RowStream<'scope> {
    let program = program.clone();
    rows.unary::<WholeRows, _, _, _>(Pipeline, "Map", move |_, _| {
        move |input, output| {
            input.for_each(|time, rows| {
                let mut results = Rows::with_capacity(rows.len(), rows.size());
                program.run(rows, &mut results, |at, message| {
                    let fault = Fault { message, sample: codec.show(rows.row(at)) };
                    faults.push(fault, rows.diff(at));
                });
                if !results.is_empty() {
                    output.session_with_builder(&time).give_container(&mut results);
                }
            });
        }
    })
}
