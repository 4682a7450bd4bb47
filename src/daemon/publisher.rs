//! The one thread that writes outward, in the one order that a crash cannot break:
//!
//! 1. stage: the files of the Moment, durable and invisible;
//! 2. checkpoint: every arrangement, the Cut and what was staged, in one synced write;
//! 3. publish: one catalog transaction over all tables.
//!
//! A crash before 2 leaves files that nobody names, and the Moment is made again from the former checkpoint.
//! A crash after 2 is finished at the next start, from the checkpoint. Audits run here too, between two jobs:
//! then the store and the tables stand at the same Moment.

use super::audit::{Loaded, Oracle, Verdict};
use crate::commit::{Publication, Published, Sink, StagedTable};
use crate::error::{Doing, Error, Result};
use crate::row::{Clock, Cut, Delta, Moment, Row};
use crate::state::{
    Arrangements, Batches, Bodies, Checkpoint, Content, FORMAT, Kept, KeptModel, Maintained, Store, Walk,
};
use crate::world::{self, crash_point};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

pub struct Job {
    pub moment: Moment,
    pub clock: Clock,
    pub cut: Cut,
    /// By number of the model; they may come to nothing.
    pub changes: Vec<(usize, Batches)>,
    /// Models that are published even if no row of theirs changes.
    pub unsaid: Vec<usize>,
    /// Everything as the Moment has left it.
    pub arrangements: Arrangements,
    /// The source tables among it.
    pub tables: Vec<Content>,
    /// How many rows each model has.
    pub rows: Vec<i64>,
    /// Models that have faults, or read one that has.
    pub withheld: Vec<usize>,
}

/// A job that is done: what each model's table shows now.
pub struct Done {
    pub moment: Moment,
    pub cut: Cut,
    pub published: Vec<Option<Published>>,
    pub changes: usize,
    pub took: Duration,
}

enum Work {
    Publish(Job),
    Audit { only: Vec<String>, reply: oneshot::Sender<Result<Verdict>> },
}

/// What every checkpoint says alike.
pub struct Keeping {
    pub store: Arc<Store>,
    pub bodies: Arc<Bodies>,
    pub tables: Vec<Kept>,
    /// The same if and only if the dataflow is.
    pub dataflow: String,
}

/// The source tables at the last checkpoint, and which models had faults.
pub struct Last {
    pub moment: Moment,
    pub clock: Clock,
    pub cut: Cut,
    pub tables: Vec<Content>,
    pub withheld: Vec<usize>,
}

pub struct Publisher {
    work: Sender<Work>,
    thread: std::thread::JoinHandle<()>,
}

impl Publisher {
    /// `last` is what stands at the start; `done` hears of every job, the last of a failure.
    pub fn start(
        mut sink: Box<dyn Sink>,
        keeping: Keeping,
        mut last: Option<Last>,
        oracle: Arc<Oracle>,
        done: mpsc::Sender<Result<Done>>,
    ) -> Result<Publisher> {
        let (work, inbox) = channel();
        let body = move || {
            for work in inbox {
                match work {
                    Work::Publish(job) => {
                        last = Some(Last {
                            moment: job.moment,
                            clock: job.clock,
                            cut: job.cut.clone(),
                            tables: job.tables.clone(),
                            withheld: job.withheld.clone(),
                        });
                        let result = perform(sink.as_mut(), &keeping, &oracle, job);
                        let failed = result.is_err();
                        if done.blocking_send(result).is_err() || failed {
                            return;
                        }
                    }
                    Work::Audit { only, reply } => match load(&oracle, last.as_ref(), only) {
                        Err(error) => drop(reply.send(Err(error))),
                        // Comparing needs no lock on anything: publishing goes on beside it.
                        Ok(loaded) => {
                            let oracle = oracle.clone();
                            std::thread::spawn(move || drop(reply.send(loaded.compare(&oracle))));
                        }
                    },
                }
            }
        };
        let thread = std::thread::Builder::new().name("publisher".into()).spawn(body);
        let thread = thread.map_err(|e| Error::operator("no thread for the publisher").because(e))?;
        Ok(Publisher { work, thread })
    }

    pub fn publish(&self, job: Job) {
        // A publisher that has failed said so through `done`; the engine hears it there.
        let _ = self.work.send(Work::Publish(job));
    }

    /// Compares what is published with a recompute, for these models or, where none is named, for all.
    pub fn audit(&self, only: Vec<String>, reply: oneshot::Sender<Result<Verdict>>) {
        let _ = self.work.send(Work::Audit { only, reply });
    }

    pub fn stop(self) {
        drop(self.work);
        let _ = self.thread.join();
    }
}

fn load(oracle: &Oracle, last: Option<&Last>, only: Vec<String>) -> Result<Loaded> {
    let Some(last) = last else {
        return Err(Error::operator("nothing was published since the start, so there is nothing to verify yet")
            .hint("ask again in a moment"));
    };
    let at = (last.moment, last.clock, last.cut.clone());
    Loaded::load(oracle, at, &last.tables, &last.withheld, only)
}

fn perform(sink: &mut dyn Sink, keeping: &Keeping, oracle: &Oracle, job: Job) -> Result<Done> {
    let begun = world::instant();
    let number = |model: usize| oracle.target_of(model).expect("only published models have changes");
    let net = |batches: &Batches| {
        let (mut rows, mut deltas) = (Walk::over(batches), Vec::new());
        while let Some((row, diff)) = rows.advance() {
            deltas.push((Row::from(row), diff));
        }
        deltas
    };
    let changes = job.changes.iter().map(|(model, batches)| (*model, net(batches)));
    let mut changes: Vec<(usize, Vec<Delta>)> = changes.filter(|(_, deltas)| !deltas.is_empty()).collect();
    for model in job.unsaid {
        if changes.iter().all(|(changed, _)| *changed != model) {
            changes.push((model, Vec::new()));
        }
    }
    let changes: Vec<_> = changes.into_iter().map(|(model, deltas)| (number(model), deltas)).collect();
    let count = changes.iter().map(|(_, deltas)| deltas.len()).sum();
    let publication = Publication { moment: job.moment, clock: job.clock, cut: &job.cut, changes };
    let staged = match publication.changes.is_empty() {
        true => None,
        false => Some(sink.stage(&publication).doing(format!("stage Moment {}", job.moment))?),
    };
    let shown = |model: usize| {
        let target = oracle.target(model);
        let same = |t: &StagedTable| t.namespace == target.namespace && t.table == target.table;
        match staged.as_ref().is_some_and(|staged| staged.tables.iter().any(same)) {
            true => Some(job.moment),
            false => sink.published(oracle.target_of(model)?).map(|published| published.moment),
        }
    };
    let models = job.rows.iter().enumerate().map(|(model, rows)| KeptModel { rows: *rows, shown: shown(model) });
    let maintained = Maintained { dataflow: keeping.dataflow.clone(), models: models.collect() };
    let in_words = staged.as_ref().map(serde_json::to_value).transpose();
    let checkpoint = Checkpoint {
        format: FORMAT,
        moment: job.moment,
        clock: job.clock,
        cut: job.cut.clone(),
        tables: keeping.tables.clone(),
        maintained: Some(maintained),
        staged: in_words.map_err(|e| Error::bug("what was staged is plain data").because(e))?,
    };
    crash_point("checkpoint.before");
    keeping.store.write(&checkpoint, &job.arrangements, &keeping.bodies)?;
    drop(job.arrangements);
    crash_point("checkpoint.after");
    if let Some(staged) = &staged {
        sink.publish(staged).doing(format!("publish Moment {}", job.moment))?;
    }
    let published = (0..oracle.models()).map(|m| sink.published(oracle.target_of(m)?).cloned()).collect();
    Ok(Done { moment: job.moment, cut: job.cut, published, changes: count, took: begun.elapsed() })
}
