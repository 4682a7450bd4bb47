//! The workers: threads that each run a share of the dataflow, and the handle that feeds them.
//!
//! All workers hear every command in the same order. A `Round` is a short barrier: a worker steps until
//! nothing is in flight anywhere, then gives what its share has put out. A Moment closes in one round, or in as
//! many as its recursions need (`recursion`): each worker says with its share which rows of its own should be fed
//! back next, and the lowest of all is the next round's turn.
//!
//! The dataflow's time counts Moments and, in the lower bits, their rounds. Tables go from Moment to Moment at once, so
//! that only what is behind a recursion has more than one round.

use super::build::{Inputs, build};
use super::recursion::{self, Loop, Turn};
use super::spines::{Kept, Spines};
use super::{Output, Settle};
use crate::error::{Error, Result};
use crate::plan::Compiled;
use crate::row::{Clock, Moment, Rows, Table};
use crate::state::{Arrangements, Batches, Bodies};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use timely::WorkerConfig;

/// For the rounds of one Moment: each iteration of each recursion has one at most.
const ROUND_BITS: u32 = 24;

enum Command {
    Feed { table: usize, rows: Rows },
    Round { turn: Option<Turn>, clock: Clock, settle: Settle },
    Pin,
}

/// What a worker answers.
enum Share {
    /// What a round has put out, and the turn that it asks for.
    Round(Output, Option<Turn>),
    Pinned(usize, Vec<(String, Batches)>),
    /// It has panicked; the others would wait for it for ever.
    Died,
}

/// Tells of the death of the worker that holds it.
struct Alarm(Sender<Share>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Share::Died);
        }
    }
}

/// A dataflow at work. Dropping it stops its threads.
pub struct Flow {
    commands: Vec<Sender<Command>>,
    shares: Receiver<Share>,
    models: usize,
    closed: Cell<Moment>,
    died: Cell<bool>,
    threads: Option<timely::communication::WorkerGuards<()>>,
}

impl Flow {
    /// Maintains `models`, compiled in this order over `tables`, with so many threads. It goes on `from` what the same
    /// dataflow was when it was pinned, and what the clock had said, with whatever number of workers; or begins anew,
    /// with empty tables.
    pub fn start(
        models: &[Compiled],
        tables: &[Table],
        workers: usize,
        bodies: &Arc<Bodies>,
        from: Option<(Arrangements, Clock)>,
    ) -> Result<Flow> {
        let from = from.map(|(from, clock)| (Arc::new(from), clock));
        Flow::begin(models, tables, workers, Kept { bodies: bodies.clone(), from, before: Arc::default() })
    }

    /// The same anew, after another dataflow of which these arrangements are ([`super::outlives`]).
    pub fn after(
        models: &[Compiled],
        tables: &[Table],
        workers: usize,
        bodies: &Arc<Bodies>,
        before: Arrangements,
    ) -> Result<Flow> {
        Flow::begin(models, tables, workers, Kept { bodies: bodies.clone(), from: None, before: Arc::new(before) })
    }

    fn begin(models: &[Compiled], tables: &[Table], workers: usize, kept: Kept) -> Result<Flow> {
        let (share_sender, shares) = channel();
        let (commands, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel()).unzip();
        // Each worker takes its own, so that nobody holds what was kept once all have begun.
        let starts: Vec<_> = receivers.into_iter().map(|r| Mutex::new(Some((r, kept.clone())))).collect();
        drop(kept);
        let (plans, tables): (Arc<[Compiled]>, Arc<[Table]>) = (models.into(), tables.into());
        let config = timely::Config { communication: communication(workers), worker: WorkerConfig::default() };
        let threads = timely::execute(config, move |worker| {
            let start = starts[worker.index()].lock().ok().and_then(|mut start| start.take());
            let (commands, kept) = start.expect("each worker starts once and takes its own");
            let spines = Spines::new(kept, worker.index(), worker.peers());
            work(worker, &plans, &tables, spines, commands, share_sender.clone());
        });
        let threads = threads.map_err(|e| Error::bug("the dataflow's workers cannot start").because(e))?;
        let (closed, died) = (Cell::new(Moment(0)), Cell::new(false));
        Ok(Flow { commands, shares, models: models.len(), closed, died, threads: Some(threads) })
    }

    /// Adds changes of a table to the Moment that closes next.
    pub fn feed(&self, moment: Moment, table: usize, rows: Rows) {
        assert!(moment > self.closed.get(), "nothing is fed to a Moment that has closed");
        // One worker takes the rows in; operators pass them on to the worker that holds their key.
        self.tell(table % self.commands.len(), Command::Feed { table, rows });
    }

    /// Closes a Moment, at which the clock says this, and waits for its whole effect. Moments close in their order.
    pub fn close(&self, moment: Moment, clock: Clock) -> Result<Output> {
        self.pass(moment, clock, Settle::Now)
    }

    /// The same, where models that are computed as a whole may be left unsettled.
    pub fn pass(&self, moment: Moment, clock: Clock, settle: Settle) -> Result<Output> {
        assert!(moment > self.closed.replace(moment), "Moments close in their order");
        let mut output = Output::of(self.models);
        let mut turn = self.round(None, clock, settle, &mut output)?;
        while turn.is_some() {
            turn = self.round(turn, clock, settle, &mut output)?;
        }
        output.models.iter_mut().for_each(|rows| *rows = rows.consolidate());
        output.unsettled.sort_unstable();
        output.unsettled.dedup();
        Ok(output)
    }

    /// Lets everything go all the way, with what a turn feeds back; returns the turn that is next.
    fn round(&self, turn: Option<Turn>, clock: Clock, settle: Settle, output: &mut Output) -> Result<Option<Turn>> {
        (0..self.commands.len()).for_each(|worker| self.tell(worker, Command::Round { turn, clock, settle }));
        let mut next: Option<Turn> = None;
        for _ in &self.commands {
            let Share::Round(share, asked) = self.share()? else {
                unreachable!("shares come in the order of commands")
            };
            output.models.iter_mut().zip(&share.models).for_each(|(all, rows)| all.append(rows));
            output.unsettled.extend(share.unsettled);
            output.reruns.extend(share.reruns);
            output.due = [output.due, share.due].into_iter().flatten().min();
            output.faults.iter_mut().zip(share.faults).for_each(|(all, faults)| all.extend(faults));
            next = next.into_iter().chain(asked).min();
        }
        Ok(next)
    }

    /// All that must be kept to go on from the last Moment that closed.
    pub fn pin(&self, to: &mut Arrangements) -> Result<()> {
        (0..self.commands.len()).for_each(|worker| self.tell(worker, Command::Pin));
        for _ in &self.commands {
            let Share::Pinned(worker, spines) = self.share()? else { unreachable!("shares come in their order") };
            for (name, batches) in spines {
                let workers = to.by_name.entry(name).or_default();
                workers.resize(self.commands.len(), Batches::default());
                workers[worker] = batches;
            }
        }
        Ok(())
    }

    /// One that has died hears nothing, and has said so among the shares.
    fn tell(&self, worker: usize, command: Command) {
        let _ = self.commands[worker].send(command);
    }

    /// What a worker says next. It is told once that one has died: no other answers for sure after that.
    fn share(&self) -> Result<Share> {
        if !self.died.get() {
            match self.shares.recv() {
                Ok(Share::Died) | Err(_) => self.died.set(true),
                Ok(share) => return Ok(share),
            }
        }
        Err(Error::bug("a worker of the dataflow has died"))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.commands.clear();
        let threads = self.threads.take();
        // Who waits for the dead is not waited for.
        if self.died.get() {
            std::mem::forget(threads);
        }
    }
}

fn communication(workers: usize) -> timely::CommunicationConfig {
    match workers {
        0 | 1 => timely::CommunicationConfig::Thread,
        n => timely::CommunicationConfig::Process(n),
    }
}

fn work(
    worker: &mut timely::worker::Worker,
    plans: &[Compiled],
    tables: &[Table],
    spines: Spines,
    commands: Receiver<Command>,
    shares: Sender<Share>,
) {
    let _alarm = Alarm(shares.clone());
    let share = Rc::new(RefCell::new(Output::of(plans.len())));
    let Inputs { mut tables, mut constants, mut loops, probe, mut spines, readings, settle: settling, read: _ } =
        worker.dataflow(|scope| build(scope, plans, tables, spines, share.clone()));
    let moment = if loops.is_empty() { 1 } else { 1 << ROUND_BITS };
    let (mut time, mut end) = (0, 0);
    while let Ok(command) = commands.recv() {
        match command {
            Command::Feed { table, mut rows } => {
                tables[table].send_batch(&mut rows);
                // Sorted while the Moment comes in, not all at its end.
                worker.step();
            }
            Command::Round { turn, clock, settle } => {
                settling.set(settle);
                match turn {
                    Some(turn) => recursion::take_turn(&mut loops, turn),
                    None => {
                        readings.read(clock);
                        loops.iter_mut().for_each(Loop::go_on);
                        time = end;
                        end += moment;
                        tables.iter_mut().chain(&mut constants).for_each(|input| input.advance_to(end));
                    }
                }
                time += 1;
                for (number, of) in loops.iter_mut().enumerate() {
                    // Those before the one whose turn it is have come to their end.
                    let done = turn.is_some_and(|turn| number < turn.recursion);
                    of.back.advance_to(if done { end } else { time });
                }
                while probe.less_than(&time) {
                    worker.step_or_park(Some(std::time::Duration::from_millis(1)));
                }
                let share = share.replace(Output::of(plans.len()));
                if shares.send(Share::Round(share, recursion::next(&loops))).is_err() {
                    return;
                }
            }
            Command::Pin => {
                if shares.send(Share::Pinned(worker.index(), spines.pin())).is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Planner, Relation};
    use crate::row::{Datum, TableName, append};
    use crate::state::{BlockStore, Body};
    use arrow::datatypes::{DataType, Field, Schema};

    /// A disk that is full.
    struct Full;

    impl BlockStore for Full {
        fn put(&self, _: Vec<u8>) -> Result<u64> {
            Err(Error::operator("no room"))
        }

        fn get(&self, _: u64) -> Result<Body<'_>> {
            Err(Error::operator("nothing was put there"))
        }

        fn forget(&self, _: u64) {}
    }

    #[test]
    fn a_worker_that_dies_is_told_of_whatever_the_others_do() {
        for workers in [1, 2] {
            let relation = |name: &str| Relation { database: "d".into(), schema: "s".into(), name: name.into() };
            let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
            let table = Table { name: TableName::new("s", "t"), schema, key: vec![0] };
            let mut planner = Planner::new("d", "s");
            planner.add_table(relation("t"), table);
            planner.compile(relation("m"), "select distinct id from t").expect("it can be maintained");
            let (tables, models) = planner.finish();
            let bodies = Bodies::new(Some(Arc::new(Full)), 0);
            let flow = Flow::start(&models, &tables, workers, &bodies, None).expect("it starts");
            let mut rows = Rows::default();
            append(rows.open(), &Datum::Int64(1));
            rows.end(1);
            flow.feed(Moment(1), 0, rows.clone());
            for moment in [Moment(1), Moment(2)] {
                let error = flow.close(moment, Clock::default()).expect_err("its disk is full");
                assert!(error.what().contains("a worker of the dataflow has died"), "{error}");
                // Nobody hears it any more.
                flow.feed(moment.next(), 0, rows.clone());
            }
        }
    }
}
