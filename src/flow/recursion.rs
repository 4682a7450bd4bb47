//! Where the rows of a recursion go round: caught at the end of their way, and fed back when their turn comes.
//!
//! There is no loop in the dataflow itself. A Moment closes in rounds: in each the workers feed back what waits of one
//! iteration, the lowest first, and let it go all the way. What an iteration changes lies in later ones only, so the
//! rows of the lowest are as they will stay, and each iteration has one turn. (Were all fed back at once, a row of a
//! cycle and its retraction would go round behind each other without end.)
//!
//! When a Moment has closed nothing waits, unless there was too much: where every iteration has more ways than the one
//! before (cycles under `union all`), the recursion is stopped, what waits is kept, and that is a fault. It goes on
//! with the next Moment: what was too much may meet then what takes it back.

use super::stream::{RowStream, Time, WholeRows, by_key};
use super::{Fault, Faults};
use crate::plan::{ITERATIONS_MAX, endless};
use crate::row::{Codec, Datum, Diff, Rows, append};
use crate::state::{Batch, Spine, Walk};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::generic::Operator;

/// More than this of one iteration is not fed back on a worker: bytes, or copies of one row. A Moment's own rows are
/// far fewer; and what is made of as many copies can still be counted.
const BYTES_MAX: usize = 256 << 20;
const COPIES_MAX: Diff = 1 << 31;
const TOO_MUCH: &str = "the recursion grows without end, and was stopped";

/// What is fed back in a round. The least comes first: a recursion that another reads has the lower number, and so
/// comes to its end before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub recursion: usize,
    iteration: i64,
    /// Not if any worker has too much.
    fits: bool,
}

/// A recursion's rows that wait on this worker, by iteration.
#[derive(Clone, Default)]
pub(super) struct Waiting(Rc<RefCell<BTreeMap<i64, Rows>>>);

/// Takes rows in at the end of their way. Each goes to one worker, whatever its iteration, so that it meets there what
/// takes it back.
pub(super) fn catch<'scope>(rows: RowStream<'scope>, codec: Codec, waiting: Waiting) -> RowStream<'scope> {
    let own = codec.schema().fields().len() - 1;
    rows.unary::<WholeRows, _, _, _>(by_key(codec.clone(), own), "Catch", move |_, _| {
        move |input, _| input.for_each(|_, rows| rows.iter().for_each(|(row, diff)| waiting.take(row, diff, &codec)))
    })
}

impl Waiting {
    fn take(&self, row: &[u8], diff: Diff, codec: &Codec) {
        let own = codec.schema().fields().len() - 1;
        let iteration = codec.integer(&row[codec.prefix(row, own)..], own);
        let iteration = iteration.expect("rows of a recursion have an iteration") as i64;
        self.0.borrow_mut().entry(iteration).or_default().push(row, diff);
    }

    /// The lowest iteration of which rows wait that do not come to nothing, and whether they are not too much.
    fn lowest(&self) -> Option<(i64, bool)> {
        let mut waiting = self.0.borrow_mut();
        while let Some(mut first) = waiting.first_entry() {
            let rows = first.get().consolidate();
            if !rows.is_empty() {
                let few = rows.iter().all(|(_, diff)| (-COPIES_MAX..=COPIES_MAX).contains(&diff));
                let fits = few && rows.size() <= BYTES_MAX;
                first.insert(rows);
                return Some((*first.key(), fits));
            }
            first.remove();
        }
        None
    }
}

/// The way back of a recursion's rows, on one worker.
pub(super) struct Loop {
    pub back: InputHandle<Time, WholeRows>,
    waiting: Waiting,
    /// Of rows with the iteration at their end, which is never NULL.
    codec: Codec,
    faults: Faults,
    /// What was left waiting when a Moment had closed.
    kept: Rc<RefCell<Spine>>,
    stopped: bool,
}

impl Loop {
    pub fn new(
        back: InputHandle<Time, WholeRows>,
        waiting: Waiting,
        codec: Codec,
        faults: Faults,
        kept: Rc<RefCell<Spine>>,
    ) -> Loop {
        let of = Loop { back, waiting, codec, faults, kept, stopped: false };
        of.kept().iter().for_each(|(row, diff)| of.waiting.take(row, diff, &of.codec));
        of
    }

    fn kept(&self) -> Rows {
        let batches = self.kept.borrow().batches();
        let (mut walk, mut rows) = (Walk::over(&batches), Rows::default());
        while let Some((row, diff)) = walk.advance() {
            rows.push(row, diff);
        }
        rows
    }

    /// At the beginning of a Moment's first round.
    pub fn go_on(&mut self) {
        self.stopped = false;
        let mut kept = self.kept();
        kept.negate();
        self.keep(&kept, -1);
    }

    /// Leaves all that waits for the next Moment.
    fn stop(&mut self) {
        self.stopped = true;
        let mut kept = Rows::default();
        for rows in self.waiting.0.borrow_mut().values_mut() {
            *rows = rows.consolidate();
            kept.append(rows);
        }
        self.keep(&kept, 1);
    }

    /// The fault counts rows, so that it comes to nothing with whatever number of workers.
    fn keep(&self, rows: &Rows, sign: Diff) {
        if !rows.is_empty() {
            let fault = Fault { message: TOO_MUCH.into(), sample: "the iteration it has come to".into() };
            self.faults.push(fault, sign * rows.len() as Diff);
            let mut spine = self.kept.borrow_mut();
            let bodies = spine.bodies().clone();
            spine.insert(Arc::new(Batch::of(rows, &bodies)));
        }
    }

    /// Feeds back what waits of an iteration, as rows of the next; what is too far becomes faults.
    fn feed(&mut self, iteration: i64) {
        let Some(rows) = self.waiting.0.borrow_mut().remove(&iteration) else { return };
        let own = self.codec.schema().fields().len() - 1;
        if iteration >= ITERATIONS_MAX {
            for (row, diff) in rows.iter() {
                let sample = self.codec.show_prefix(row, own);
                self.faults.push(Fault { message: endless(), sample }, diff);
            }
            return;
        }
        let mut next = Rows::with_capacity(rows.len(), rows.size() + rows.len());
        for (row, diff) in rows.iter() {
            next.extend(&row[..self.codec.prefix(row, own)]);
            append(next.open(), &Datum::Int64(iteration + 1));
            next.end(diff);
        }
        self.back.send_batch(&mut next);
    }
}

/// The turn that a worker asks for.
pub(super) fn next(loops: &[Loop]) -> Option<Turn> {
    let going = loops.iter().enumerate().filter(|(_, of)| !of.stopped);
    going.into_iter().find_map(|(recursion, of)| {
        let (iteration, fits) = of.waiting.lowest()?;
        Some(Turn { recursion, iteration, fits })
    })
}

pub(super) fn take_turn(loops: &mut [Loop], turn: Turn) {
    let of = &mut loops[turn.recursion];
    if turn.fits { of.feed(turn.iteration) } else { of.stop() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Output;
    use crate::row::RowWriter;
    use crate::state::Bodies;
    use arrow::datatypes::{DataType, Field, Schema};

    fn row(value: i64, iteration: i64) -> Vec<u8> {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int64(value));
        writer.push(&Datum::Int64(iteration));
        writer.finish().bytes().to_vec()
    }

    fn a_loop() -> Loop {
        let fields = ["value", "iteration"].map(|name| Field::new(name, DataType::Int64, true));
        let codec = Codec::new(Arc::new(Schema::new(fields.to_vec())));
        let faults = Faults::new(0, Rc::new(RefCell::new(Output::of(1))));
        let kept = Rc::new(RefCell::new(Spine::new(Bodies::resident_only())));
        Loop::new(InputHandle::new_with_builder(), Waiting::default(), codec, faults, kept)
    }

    fn turns(loops: &[Loop]) -> Option<(usize, i64, bool)> {
        next(loops).map(|turn| (turn.recursion, turn.iteration, turn.fits))
    }

    #[test]
    fn the_lowest_iteration_of_the_first_recursion_has_its_turn() {
        let mut loops = [a_loop(), a_loop()];
        assert_eq!(turns(&loops), None);
        for (number, value, iteration, diff) in
            [(1, 7, 0, 1), (0, 7, 4, 1), (0, 8, 2, -1), (0, 9, 1, 1), (0, 9, 1, -1), (0, 8, 3, 1)]
        {
            loops[number].waiting.take(&row(value, iteration), diff, &loops[number].codec);
        }
        for expected in [(0, 2, true), (0, 3, true), (0, 4, true), (1, 0, true)] {
            assert_eq!(turns(&loops), Some(expected));
            let waits = |loops: &[Loop]| loops[expected.0].waiting.0.borrow().len();
            let before = waits(&loops);
            let turn = next(&loops).expect("it was seen");
            take_turn(&mut loops, turn);
            assert_eq!(waits(&loops), before - 1, "only one iteration is fed back");
        }
        assert_eq!(turns(&loops), None);
    }

    #[test]
    fn what_is_too_much_is_kept_and_meets_what_takes_it_back() {
        let mut loops = [a_loop(), a_loop()];
        let take = |loops: &[Loop; 2], diff| loops[0].waiting.take(&row(7, 3), diff, &loops[0].codec);
        take(&loops, COPIES_MAX + 1);
        assert_eq!(turns(&loops), Some((0, 3, false)));
        let too_much = next(&loops).expect("it was seen");
        assert!(too_much < Turn { fits: true, ..too_much }, "one worker with too much stops all");
        take_turn(&mut loops, too_much);
        assert_eq!(turns(&loops), None, "others have their turns");
        let faults = |of: &Loop| of.faults.share.borrow().faults[0].iter().map(|(_, diff)| *diff).sum::<Diff>();
        assert_eq!((loops[0].kept().len(), faults(&loops[0])), (1, 1));
        // Another life, from what was kept.
        let Loop { codec, faults: of_model, kept, .. } = a_loop();
        kept.borrow_mut().insert(Arc::new(Batch::of(&loops[0].kept(), &Bodies::resident_only())));
        let mut again =
            [Loop::new(InputHandle::new_with_builder(), Waiting::default(), codec, of_model, kept), a_loop()];
        again[0].go_on();
        assert_eq!((again[0].kept().len(), faults(&again[0])), (0, -1));
        assert_eq!(turns(&again), Some((0, 3, false)));
        take(&again, -COPIES_MAX);
        assert_eq!(turns(&again), Some((0, 3, true)));
    }
}
