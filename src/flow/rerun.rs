//! A model that is computed as a whole: what it reads is arranged here, all of it, and so is what it gave last.
//!
//! The rows of all inputs are one arrangement, each behind the number of its input. When some have changed and it is
//! asked to settle, everything goes through the oracle (`plan::Rerun`), and what differs from the last result is put
//! out. Until then the model is unsettled, and says so at each Moment: what it shows is of an earlier one.
//!
//! It is one worker's affair, which the whole of it goes to.

use super::arrange::{Arranged, Outlet};
use super::stream::{RowStream, Step, WholeRows};
use super::{Fault, Faults, Settle};
use crate::plan::Rerun;
use crate::row::{Diff, Rows};
use crate::state::{Batch, Batches, Spine, Walk};
use crate::world;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Rest after each run, in runs: so others on the worker have most of its time.
const REST: u32 = 4;

/// An input's number before its rows.
pub(super) const NUMBER_BYTES: usize = size_of::<u32>();

/// What stands before what is shown: a row, a fault, or that something has changed since.
const ROW: u8 = 0;
const FAULT: u8 = 1;
const UNSETTLED: u8 = 2;

/// Rows behind the number of their input.
pub(super) fn numbered<'scope>(rows: RowStream<'scope>, input: usize) -> RowStream<'scope> {
    let number = (input as u32).to_be_bytes();
    rows.unary::<WholeRows, _, _, _>(Pipeline, "Number", move |_, _| {
        move |input, output| {
            input.for_each(|time, rows| {
                let mut numbered = Rows::with_capacity(rows.len(), rows.size() + rows.len() * number.len());
                for (row, diff) in rows.iter() {
                    numbered.extend(&number);
                    numbered.extend(row);
                    numbered.end(diff);
                }
                output.session_with_builder(&time).give_container(&mut numbered);
            });
        }
    })
}

/// `unborn` on the worker whose affair it is, if nothing was kept: the model may have rows where its inputs have none.
pub(super) fn rerun<'scope>(
    rows: Arranged<'scope>,
    work: &Rerun,
    shown: Rc<RefCell<Spine>>,
    unborn: bool,
    settle: Rc<Cell<Settle>>,
    faults: Faults,
) -> RowStream<'scope> {
    let mut model = Model { work: work.clone(), inputs: work.inputs(), shown, settle, faults, last: None };
    if unborn {
        model.note_unsettled();
    }
    rows.steps.unary::<WholeRows, _, _, _>(Pipeline, "Rerun", move |_, _| {
        move |input, output| {
            input.for_each(|time, steps| {
                let mut session = output.session_with_builder(&time);
                let mut out = Outlet::new(|rows| session.give_container(rows));
                for step in steps.drain(..) {
                    model.take(step, &mut out);
                }
                out.flush();
            });
        }
    })
}

struct Model {
    work: Rerun,
    inputs: usize,
    shown: Rc<RefCell<Spine>>,
    settle: Rc<Cell<Settle>>,
    faults: Faults,
    /// When the last run ended, and what it took.
    last: Option<(Instant, Duration)>,
}

impl Model {
    fn take(&mut self, step: Step, out: &mut Outlet<impl FnMut(&mut Rows)>) {
        if !step.delta.is_empty() {
            self.note_unsettled();
        }
        if !self.unsettled() {
            return;
        }
        let rested = self.last.is_none_or(|(ended, took)| ended.elapsed() >= took * REST);
        match self.settle.get() {
            Settle::Now => self.run(step, out),
            Settle::IfRested if rested => self.run(step, out),
            _ => self.faults.share.borrow_mut().unsettled.push(self.faults.model),
        }
    }

    fn batches(&self) -> Batches {
        self.shown.borrow().batches()
    }

    fn unsettled(&self) -> bool {
        let batches = self.batches();
        let count = |batch: &Arc<Batch>| batch.seek(&[UNSETTLED]).row().map_or(0, |(_, diff)| diff);
        batches.iter().map(count).sum::<Diff>() != 0
    }

    fn note_unsettled(&mut self) {
        if !self.unsettled() {
            let mut mark = Rows::default();
            mark.push(&[UNSETTLED], 1);
            self.insert(&mark);
        }
    }

    fn insert(&self, rows: &Rows) {
        let mut shown = self.shown.borrow_mut();
        let batch = Batch::of(rows, shown.bodies());
        shown.insert(Arc::new(batch));
    }

    fn run(&mut self, step: Step, out: &mut Outlet<impl FnMut(&mut Rows)>) {
        let begun = world::instant();
        let mut inputs = vec![Rows::default(); self.inputs];
        let batches: Vec<_> = step.before.iter().chain([&step.delta]).cloned().collect();
        let mut walk = Walk::over(&batches);
        while let Some((row, diff)) = walk.advance() {
            let (number, row) = row.split_first_chunk().expect("rows come behind a number");
            let input = &mut inputs[u32::from_be_bytes(*number) as usize];
            (0..diff).for_each(|_| input.push(row, 1));
        }
        let mut changes = Rows::default();
        let mut say = |what: u8, row: &[u8], diff: Diff| {
            changes.extend(&[what]);
            changes.extend(row);
            changes.end(diff);
        };
        match self.work.run(&inputs) {
            Ok(rows) => rows.iter().for_each(|row| say(ROW, row.bytes(), 1)),
            Err(message) => say(FAULT, message.as_bytes(), 1),
        }
        let batches = self.batches();
        let mut walk = Walk::over(&batches);
        while let Some((shown, diff)) = walk.advance() {
            say(shown[0], &shown[1..], -diff);
        }
        let changes = changes.consolidate();
        for (shown, diff) in changes.iter() {
            match shown[0] {
                ROW => {
                    out.rows().extend(&shown[1..]);
                    out.end(diff);
                }
                FAULT => {
                    let message = String::from_utf8_lossy(&shown[1..]).into_owned();
                    self.faults.push(Fault { message, sample: "the model as a whole".to_string() }, diff);
                }
                _ => {}
            }
        }
        self.insert(&changes);
        let took = begun.elapsed();
        self.last = Some((world::instant(), took));
        self.faults.share.borrow_mut().reruns.push((self.faults.model, took));
    }
}
