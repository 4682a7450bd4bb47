//! The workers: threads that each run a share of the dataflow, and the handle that feeds them.
//!
//! All workers hear every command in the same order. `Close` is a short barrier: a worker steps until
//! nothing at or before the Moment is in flight anywhere, then gives what its share has put out.

use super::Output;
use super::build::{Inputs, Kept, build};
use crate::error::{Error, Result};
use crate::plan::Compiled;
use crate::row::{Clock, Moment, Rows, Table};
use crate::state::{Arrangements, Batches, Bodies};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use timely::WorkerConfig;

enum Command {
    Feed { moment: Moment, table: usize, rows: Rows },
    Close { moment: Moment, clock: Clock },
    Pin,
}

/// What a worker answers.
enum Share {
    Closed(Output),
    Pinned(usize, Vec<(String, Batches)>),
}

/// A dataflow at work. Dropping it stops its threads.
pub struct Flow {
    commands: Vec<Sender<Command>>,
    shares: Receiver<Share>,
    models: usize,
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
        let (share_sender, shares) = channel();
        let (commands, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel()).unzip();
        // Each worker takes its own, so that nobody holds what was kept once all have begun.
        let (from, clock) = from.map_or((None, Clock::UNREAD), |(from, clock)| (Some(Arc::new(from)), clock));
        let starts: Vec<_> = receivers.into_iter().map(|r| Mutex::new(Some((r, from.clone())))).collect();
        drop(from);
        let (plans, tables): (Arc<[Compiled]>, Arc<[Table]>) = (models.into(), tables.into());
        let config = timely::Config { communication: communication(workers), worker: WorkerConfig::default() };
        let bodies = bodies.clone();
        let threads = timely::execute(config, move |worker| {
            let start = starts[worker.index()].lock().ok().and_then(|mut start| start.take());
            let (commands, from) = start.expect("each worker starts once and takes its own");
            let kept = Kept::new(bodies.clone(), from, clock);
            work(worker, &plans, &tables, kept, commands, share_sender.clone());
        });
        let threads = threads.map_err(|e| Error::bug("the dataflow's workers cannot start").because(e))?;
        Ok(Flow { commands, shares, models: models.len(), threads: Some(threads) })
    }

    /// Adds changes of a table to a Moment that is not closed yet.
    pub fn feed(&self, moment: Moment, table: usize, rows: Rows) {
        // One worker takes the rows in; operators pass them on to the worker that holds their key.
        let worker = &self.commands[table % self.commands.len()];
        worker.send(Command::Feed { moment, table, rows }).expect("workers live as long as their handle");
    }

    /// Closes a Moment, at which the clock says this, and waits for its whole effect. Moments close in their order.
    pub fn close(&self, moment: Moment, clock: Clock) -> Result<Output> {
        for worker in &self.commands {
            worker.send(Command::Close { moment, clock }).expect("workers live as long as their handle");
        }
        let mut output = Output::of(self.models);
        for _ in &self.commands {
            let Share::Closed(share) = self.share()? else { unreachable!("shares come in the order of commands") };
            output.models.iter_mut().zip(&share.models).for_each(|(all, rows)| all.append(rows));
            output.due = [output.due, share.due].into_iter().flatten().min();
            output.faults.iter_mut().zip(share.faults).for_each(|(all, faults)| all.extend(faults));
        }
        output.models.iter_mut().for_each(|rows| *rows = rows.consolidate());
        Ok(output)
    }

    /// All that must be kept to go on from the last Moment that closed.
    pub fn pin(&self, to: &mut Arrangements) -> Result<()> {
        for worker in &self.commands {
            worker.send(Command::Pin).expect("workers live as long as their handle");
        }
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

    fn share(&self) -> Result<Share> {
        self.shares.recv().map_err(|_| Error::bug("a worker of the dataflow has died"))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.commands.clear();
        drop(self.threads.take());
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
    kept: Kept,
    commands: Receiver<Command>,
    shares: Sender<Share>,
) {
    let share = Rc::new(RefCell::new(Output::of(plans.len())));
    let Inputs { mut tables, mut constants, probe, spines, readings } =
        worker.dataflow(|scope| build(scope, plans, tables, kept, share.clone()));
    while let Ok(command) = commands.recv() {
        match command {
            Command::Feed { moment, table, mut rows } => {
                if tables[table].time() < &moment.0 {
                    tables[table].advance_to(moment.0);
                }
                tables[table].send_batch(&mut rows);
                // Sorted while the Moment comes in, not all at its end.
                worker.step();
            }
            Command::Close { moment, clock } => {
                readings.read(clock);
                // What was due before, as far as feeding has found it out, is done now.
                share.borrow_mut().due = None;
                let next = moment.next().0;
                for input in tables.iter_mut().chain(&mut constants) {
                    input.advance_to(next);
                }
                while probe.less_than(&next) {
                    worker.step_or_park(Some(std::time::Duration::from_millis(1)));
                }
                if shares.send(Share::Closed(share.replace(Output::of(plans.len())))).is_err() {
                    return;
                }
            }
            Command::Pin => {
                let batches = spines.iter().map(|(name, spine)| (name.clone(), spine.borrow().batches()));
                if shares.send(Share::Pinned(worker.index(), batches.collect())).is_err() {
                    return;
                }
            }
        }
    }
}
