//! Where the rows of a recursion go round: caught at the end of their way, and fed back when their turn comes.
//!
//! There is no loop in the dataflow itself. A Moment closes in rounds: in each the workers feed back what waits of one
//! iteration, the lowest first, and let it go all the way. What an iteration changes lies in later ones only, so the
//! rows of the lowest are as they will stay, and each iteration has one turn. (Were all fed back at once, a row of a
//! cycle and its retraction would go round behind each other without end.) When the Moment has closed nothing waits.

use super::stream::{RowStream, Time, WholeRows, by_key};
use super::{Fault, Faults};
use crate::plan::{ITERATIONS_MAX, endless};
use crate::row::{Codec, Datum, Rows, append};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::generic::Operator;

/// Which rows are fed back in a round: of which recursion, and of which iteration. The lowest comes first; a recursion
/// that another reads has the lower number, and so comes to its end before.
pub(super) type Turn = (usize, i64);

/// At a row's end: the iteration, which is never NULL.
const ITERATION_BYTES: usize = 9;

/// A recursion's rows that wait on this worker, by iteration.
#[derive(Clone, Default)]
pub(super) struct Waiting(Rc<RefCell<BTreeMap<i64, Rows>>>);

/// Takes rows in at the end of their way. Each goes to one worker, whatever its iteration, so that it meets there what
/// takes it back.
pub(super) fn catch<'scope>(rows: RowStream<'scope>, codec: Codec, waiting: Waiting) -> RowStream<'scope> {
    let own = codec.schema().fields().len() - 1;
    rows.unary::<WholeRows, _, _, _>(by_key(codec.clone(), own), "Catch", move |_, _| {
        move |input, _| input.for_each(|_, rows| waiting.take(rows, &codec))
    })
}

impl Waiting {
    fn take(&self, rows: &Rows, codec: &Codec) {
        let mut waiting = self.0.borrow_mut();
        let column = codec.schema().fields().len() - 1;
        for (row, diff) in rows.iter() {
            let iteration = codec.integer(&row[row.len() - ITERATION_BYTES..], column);
            let iteration = iteration.expect("rows of a recursion have an iteration") as i64;
            waiting.entry(iteration).or_default().push(row, diff);
        }
    }

    /// The lowest iteration of which rows wait that do not come to nothing.
    fn lowest(&self) -> Option<i64> {
        let mut waiting = self.0.borrow_mut();
        while let Some(mut first) = waiting.first_entry() {
            let rows = first.get().consolidate();
            if !rows.is_empty() {
                first.insert(rows);
                return Some(*first.key());
            }
            first.remove();
        }
        None
    }
}

/// The way back of a recursion's rows, on one worker.
pub(super) struct Loop {
    pub back: InputHandle<Time, WholeRows>,
    pub waiting: Waiting,
    pub codec: Codec,
    pub faults: Faults,
}

impl Loop {
    /// Feeds back what waits of an iteration, as rows of the next; what is too far becomes faults.
    fn feed(&mut self, iteration: i64) {
        let Some(rows) = self.waiting.0.borrow_mut().remove(&iteration) else { return };
        if iteration >= ITERATIONS_MAX {
            let own = self.codec.schema().fields().len() - 1;
            for (row, diff) in rows.iter() {
                let sample = self.codec.show_prefix(row, own);
                self.faults.push(Fault { message: endless(), sample }, diff);
            }
            return;
        }
        let mut next = Rows::with_capacity(rows.len(), rows.size());
        for (row, diff) in rows.iter() {
            next.extend(&row[..row.len() - ITERATION_BYTES]);
            append(next.open(), &Datum::Int64(iteration + 1));
            next.end(diff);
        }
        self.back.send_batch(&mut next);
    }
}

/// The turn that a worker asks for.
pub(super) fn next(loops: &[Loop]) -> Option<Turn> {
    loops.iter().enumerate().find_map(|(number, of)| Some((number, of.waiting.lowest()?)))
}

pub(super) fn feed(loops: &mut [Loop], (number, iteration): Turn) {
    loops[number].feed(iteration);
}
