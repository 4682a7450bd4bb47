//! Filters and expressions: rows in, rows or faults out, no state.
//!
//! A retraction runs through the same program as the row it retracts and so finds the same result, row or
//! fault. NULLs and errors are the expressions' own (`plan::Program`).

use super::Fault;
use super::build::{Faults, Rows};
use crate::plan::Program;
use crate::row::{Codec, Diff, Row};
use arrow::datatypes::SchemaRef;
use differential_dataflow::AsCollection;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

pub(super) fn map<'scope>(rows: Rows<'scope>, input: &SchemaRef, program: &Program) -> (Rows<'scope>, Faults<'scope>) {
    let (program, codec) = (program.clone(), Codec::new(input.clone()));
    let results = rows.inner.unary(Pipeline, "Map", move |_, _| {
        move |input, output| {
            input.for_each(|time, updates| {
                let (rows, stamps): (Vec<Row>, Vec<(u64, Diff)>) =
                    updates.drain(..).map(|(row, time, diff)| (row, (time, diff))).unzip();
                let mut session = output.session(&time);
                for outcome in program.run(&rows) {
                    let (time, diff) = stamps[outcome.input];
                    let sample = || codec.show(&rows[outcome.input]);
                    let result = outcome.result.map_err(|message| Fault { message, sample: sample() });
                    session.give((result, time, diff));
                }
            });
        }
    });
    split(results.as_collection())
}

/// Rows one way, faults the other.
pub(super) fn split<'scope>(
    results: differential_dataflow::VecCollection<'scope, u64, Result<Row, Fault>, Diff>,
) -> (Rows<'scope>, Faults<'scope>) {
    let rows = results.clone().flat_map(|result| result.ok());
    let faults = results.flat_map(|result| result.err());
    (rows, faults)
}
