//! The loop: hears sources, people and the publisher, asks `step` what is due, and does it.
//!
//! It decides nothing that `step` could, and holds the only hands on the base and the dataflow.

use super::assembly::Assembly;
use super::config::Config;
use super::control::{Door, StateReport, Wanted};
use super::intake::{Intake, PIECE_ROWS, Told};
use super::pending::Pending;
use super::publisher::{Done, Job, Publisher};
use super::start::{Begun, begin};
use super::status::{ModelStatus, Phase, Status};
use super::step::{Due, Heard, MOMENT_ROWS_MAX, Step};
use crate::error::{Error, Result};
use crate::flow::{Flow, Settle};
use crate::row::{Clock, Cut, Moment, Position};
use crate::source::{EVENTS_WAITING_MAX, Event, Outlet, Source, Tail};
use crate::state::{Arrangements, Bodies, Store};
use crate::world;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How the daemon is to run.
#[derive(Default)]
pub struct Run {
    /// Catch up to where the sources are at the start, publish, and return.
    pub once: bool,
    /// Hears of every Moment; benches measure with it.
    pub observer: Option<std::sync::mpsc::Sender<Observed>>,
}

/// Something became visible.
#[derive(Clone, Debug)]
pub enum Observed {
    /// In the maintained models; but those that wait for the rest of a huge transaction are `behind`.
    Maintained { moment: Moment, cut: Cut, behind: Vec<usize>, at: Instant },
    /// In Iceberg.
    Published { moment: Moment, cut: Cut, at: Instant },
}

/// Runs until `stop` says so, or an error ends it. What was published before stays, and the next start
/// goes on from there.
pub async fn run(
    assembly: Assembly,
    sources: Vec<(String, Box<dyn Source>)>,
    config: &Config,
    run: Run,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let store = Arc::new(Store::open(&config.state)?);
    let mut engine = Engine::prepare(assembly, sources, config, run, store).await?;
    let result = engine.work(stop).await;
    engine.finish().await;
    result
}

struct Engine {
    step: Step,
    started: Instant,
    run: Run,
    moment: Moment,
    /// What was read last.
    clock: Clock,
    /// When the models may change by themselves.
    due: Option<Clock>,
    /// Models that are computed as a whole, and were not since something changed.
    unsettled: Vec<usize>,
    cut: Cut,
    sources: Vec<SourceState>,
    /// How many source tables there are.
    tables: usize,
    intake: Intake,
    flow: Flow,
    pending: Pending,
    /// Rows of first copies since the last close.
    copied: usize,
    store: Arc<Store>,
    bodies: Arc<Bodies>,
    memory_bytes: usize,
    publisher: Option<Publisher>,
    done: mpsc::Receiver<Result<Done>>,
    events: mpsc::Receiver<(usize, Event)>,
    wanted: mpsc::Receiver<Wanted>,
    status: Arc<Mutex<Status>>,
    /// Commit time of the last transaction in the open Moment.
    committed_us: Option<i64>,
    counted: (Instant, Vec<u64>),
    /// Models whose table shows no snapshot of their present definition: they are published even if no row
    /// changes, so that readers find a table and its Cut.
    unsaid: Vec<usize>,
    _door: Door,
}

struct SourceState {
    name: String,
    tail: Option<Tail>,
    /// Where `--once` ends.
    target: Option<Position>,
}

impl Engine {
    async fn prepare(
        assembly: Assembly,
        sources: Vec<(String, Box<dyn Source>)>,
        config: &Config,
        run: Run,
        store: Arc<Store>,
    ) -> Result<Engine> {
        let names: Vec<String> = sources.iter().map(|(name, _)| name.clone()).collect();
        let begun = begin(&assembly, &names, config, store).await?;
        let Begun { moment, clock, cut, last, kept, intake, flow, pending, sink, oracle, keeping, standing } = begun;
        let shows = |number: usize| Some(sink.published(oracle.target_of(number)?)?.into());
        let models = assembly.models.iter().enumerate().map(|(number, model)| ModelStatus {
            name: model.name.clone(),
            table: model.published.then(|| format!("{}.{}", model.target.namespace, model.target.table)),
            rows: 0,
            changes: 0,
            changes_per_s: 0.0,
            published: shows(number),
            faults: Vec::new(),
            withheld: false,
            behind: false,
            recompute_ms: None,
            metadata: None,
        });
        let models: Vec<ModelStatus> = models.collect();
        let says = |number: usize, definition: &str| {
            let published = oracle.target_of(number).and_then(|target| sink.published(target));
            published.is_some_and(|published| published.definition == definition)
        };
        let numbered = assembly.models.iter().enumerate().filter(|(_, model)| model.published);
        let unsaid = numbered.filter(|(number, model)| !says(*number, &model.target.definition)).map(|(m, _)| m);
        let unsaid = unsaid.collect();
        let (done_sender, done) = mpsc::channel(4);
        let (store, bodies) = (keeping.store.clone(), keeping.bodies.clone());
        let publisher = Publisher::start(sink, keeping, standing, oracle.clone(), done_sender)?;
        let status = Arc::new(Mutex::new(Status {
            pipeline: config.pipeline.clone(),
            pid: std::process::id(),
            phase: Phase::Copying,
            moment,
            cut: cut.clone(),
            durable_moment: last,
            durable_cut: cut.clone(),
            lag_ms: None,
            rows_copied: 0,
            models,
        }));
        let (wanted_sender, wanted) = mpsc::channel(8);
        let door = Door::open(&config.state, status.clone(), wanted_sender)?;

        let (queue, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let mut states = Vec::new();
        for (number, (name, mut source)) in sources.into_iter().enumerate() {
            let of: Vec<usize> = (0..kept.len()).filter(|t| kept[*t].source == name).collect();
            let target = if run.once { Some(source.present().await?) } else { None };
            let resume = cut.0.get(&name).cloned();
            let copied = of.iter().map(|t| assembly.tables[*t].table.clone()).collect();
            let tail = source.start(copied, resume, Outlet::new(number, queue.clone()));
            let tail = tail.await.map_err(|e| e.doing(format!("follow source `{name}`")))?;
            states.push(SourceState { name, tail: Some(tail), target });
        }
        let counted = (world::instant(), vec![0; assembly.models.len()]);
        let mut engine = Engine {
            step: Step::new(config.commit_every),
            started: world::instant(),
            run,
            moment,
            clock,
            due: None,
            unsettled: Vec::new(),
            cut,
            sources: states,
            tables: kept.len(),
            intake,
            flow,
            pending,
            copied: 0,
            store,
            bodies,
            memory_bytes: config.memory_bytes,
            publisher: Some(publisher),
            done,
            events,
            wanted,
            status,
            committed_us: None,
            counted,
            unsaid,
            _door: door,
        };
        engine.positions_moved();
        Ok(engine)
    }

    async fn work(&mut self, stop: impl Future<Output = ()>) -> Result<()> {
        tokio::pin!(stop);
        let mut stopping = false;
        loop {
            // Where there is always something to do nobody waits below: whoever has spoken is heard here.
            while let Ok(done) = self.done.try_recv() {
                self.published(done?);
            }
            while let Ok(wanted) = self.wanted.try_recv() {
                self.answer(wanted)?;
            }
            // Between two pieces of a huge transaction nobody is heard at once, and who was heard need not wait for them.
            let waiting = !self.events.is_empty() && !self.intake.busy() && !stopping;
            match self.step.due(waiting, self.until_due(), self.now()) {
                Due::Close => {
                    // The next piece of a huge transaction takes along what others have told.
                    if !self.intake.all_fed() && !stopping {
                        self.hear();
                        self.take_in()?;
                    }
                    self.close()?;
                }
                Due::Publish => self.publish()?,
                Due::Exit => return Ok(()),
                Due::Wait(time) => {
                    let time = time.unwrap_or(Duration::from_secs(3600));
                    let busy = self.intake.busy() && !stopping;
                    tokio::select! {
                        biased;
                        () = &mut stop, if !stopping => {
                            stopping = true;
                            self.stop();
                        }
                        done = self.done.recv() => match done {
                            Some(done) => self.published(done?),
                            None => return Err(Error::bug("the publisher has died")),
                        },
                        Some(wanted) = self.wanted.recv() => self.answer(wanted)?,
                        event = self.events.recv(), if !stopping => match event {
                            Some((source, event)) => {
                                self.intake.hear(source, event);
                                // Each turn takes a piece of a huge transaction: all that wait go along.
                                if busy {
                                    self.hear();
                                }
                                self.take_in()?;
                            }
                            None => return Err(Error::bug("every source has gone without a word")),
                        },
                        () = std::future::ready(()), if busy => self.take_in()?,
                        () = tokio::time::sleep(time) => {}
                    }
                }
            }
            if self.run.once && !stopping && self.caught_up() && self.intake.all_fed() {
                stopping = true;
                self.stop();
            }
        }
    }

    /// Takes in what waits, as far as it goes without keeping anybody waiting.
    fn take_in(&mut self) -> Result<()> {
        for told in self.intake.turn()? {
            match told {
                Told::Copied { table, rows } => {
                    self.with_status(|status| status.rows_copied += rows.len() as u64);
                    self.copied += rows.len();
                    self.flow.feed(self.moment, table, rows);
                    if self.copied >= PIECE_ROWS {
                        self.maintain(Settle::Not)?;
                        self.fit();
                    }
                }
                Told::Moved { source, position, rows, committed_us } => {
                    self.committed_us = committed_us.or(self.committed_us);
                    self.moved(source, position, rows);
                }
                Told::Close => self.step.heard(Heard::Told { rows: MOMENT_ROWS_MAX }, self.now()),
                Told::Failed { source, error } => {
                    return Err(error.doing(format!("follow source `{}`", self.sources[source].name)));
                }
            }
        }
        Ok(())
    }

    /// Hears what sources have told meanwhile.
    fn hear(&mut self) {
        while self.intake.waiting() < EVENTS_WAITING_MAX
            && let Ok((source, event)) = self.events.try_recv()
        {
            self.intake.hear(source, event);
        }
    }

    fn moved(&mut self, source: usize, position: Position, rows: usize) {
        let name = self.sources[source].name.clone();
        if self.cut.0.get(&name) != Some(&position) || rows > 0 {
            self.cut.0.insert(name, position);
            self.step.heard(Heard::Told { rows }, self.now());
        }
        self.positions_moved();
    }

    fn positions_moved(&mut self) {
        if self.sources.iter().all(|source| self.cut.0.contains_key(&source.name)) {
            self.step.heard(Heard::Ready, self.now());
        }
    }

    fn close(&mut self) -> Result<()> {
        for (table, rows) in self.intake.step() {
            self.flow.feed(self.moment, table, rows);
        }
        let moment = self.moment;
        self.maintain(Settle::Not)?;
        let behind = self.behind();
        let lag_ms = self.committed_us.take().map(|committed| (world::now_us() - committed) / 1000);
        self.note_models(moment, lag_ms, &behind);
        if let Some(observer) = &self.run.observer {
            let (cut, behind) = (self.cut.clone(), numbers(&behind));
            let _ = observer.send(Observed::Maintained { moment, cut, behind, at: world::instant() });
        }
        let rest = !self.intake.all_fed();
        self.step.heard(Heard::Closed { rest }, self.now());
        Ok(())
    }

    fn behind(&self) -> Vec<bool> {
        self.pending.behind(&self.unsettled, |table| self.intake.unfed(table))
    }

    /// Brings the models up to what was fed. While sources are copied that is several times before the first
    /// Moment is whole, so that no step is larger than memory.
    fn maintain(&mut self, settle: Settle) -> Result<()> {
        self.copied = 0;
        self.clock = self.clock.max(Clock(world::now_us()));
        let mut output = self.flow.pass(self.moment, self.clock, settle)?;
        self.due = output.due;
        self.unsettled = std::mem::take(&mut output.unsettled);
        for (model, took) in &output.reruns {
            self.with_status(|status| status.models[*model].recompute_ms = Some(took.as_millis() as u64));
        }
        self.pending.absorb(output);
        self.moment = self.moment.next();
        Ok(())
    }

    /// Blocks may take what the rest of the process leaves of the memory that was granted.
    fn fit(&self) {
        world::give_back_memory();
        let resident = self.bodies.resident();
        let others = world::memory_bytes().saturating_sub(resident);
        // A sixteenth is left for what comes between two looks.
        let granted = self.memory_bytes - self.memory_bytes / 16;
        self.bodies.allow(granted.saturating_sub(others).max(self.memory_bytes / 8));
    }

    fn publish(&mut self) -> Result<()> {
        let settle = !self.unsettled.is_empty();
        if settle {
            self.maintain(if self.step.stopping() { Settle::Now } else { Settle::IfRested })?;
        }
        let moment = Moment(self.moment.0 - 1);
        let (withheld, behind) = (self.pending.withheld(), self.behind());
        if settle {
            self.note_models(moment, None, &behind);
        }
        let kept_back: Vec<bool> =
            withheld.iter().zip(&behind).map(|(withheld, behind)| *withheld || *behind).collect();
        let changes = self.pending.take(&kept_back);
        let (unsaid, left) = std::mem::take(&mut self.unsaid).into_iter().partition(|m| !kept_back[*m]);
        self.unsaid = left;
        let arrangements = self.arrangements()?;
        let job = Job {
            moment,
            clock: self.clock,
            cut: self.cut.clone(),
            changes,
            unsaid,
            arrangements,
            tables: (0..self.tables).map(|table| self.intake.base().content(table)).collect(),
            rows: (0..kept_back.len()).map(|model| self.pending.rows(model)).collect(),
            withheld: numbers(&kept_back),
        };
        self.publisher.as_ref().expect("it lives until finish").publish(job);
        self.step.heard(Heard::PublishBegun, self.now());
        if !self.unsettled.is_empty() {
            // They have their turn again, if nothing else happens.
            self.step.heard(Heard::Closed { rest: !self.intake.all_fed() }, self.now());
        }
        self.fit();
        Ok(())
    }

    fn published(&mut self, done: Done) {
        for source in &self.sources {
            if let (Some(tail), Some(position)) = (&source.tail, done.cut.0.get(&source.name)) {
                tail.acknowledge(position.clone());
            }
        }
        if done.changes > 0 {
            let took_ms = done.took.as_millis() as u64;
            tracing::info!(moment = done.moment.0, changes = done.changes, took_ms, cut = %done.cut, "published");
        }
        let published = done.published;
        self.with_status(|status| {
            (status.durable_moment, status.durable_cut) = (done.moment, done.cut.clone());
            for (model, published) in status.models.iter_mut().zip(&published) {
                model.published = published.as_ref().map(Into::into);
            }
        });
        if let Some(observer) = &self.run.observer {
            let _ = observer.send(Observed::Published { moment: done.moment, cut: done.cut, at: world::instant() });
        }
        self.step.heard(Heard::Published, self.now());
    }

    fn answer(&self, wanted: Wanted) -> Result<()> {
        match wanted {
            Wanted::Verdict { only, reply } => {
                let copying = self.status.lock().is_ok_and(|status| status.phase == Phase::Copying);
                if copying {
                    let error = Error::operator(
                        "a first copy is under way, and nothing stands at one Moment before it is done",
                    );
                    let _ = reply.send(Err(error.hint("ask again when `driftless status` says `live`")));
                } else {
                    self.publisher.as_ref().expect("it lives until finish").audit(only, reply);
                }
            }
            Wanted::State { reply } => {
                let files_bytes = self.store.disk_bytes();
                let _ = reply.send(StateReport { arrangements: self.arrangements()?.sizes(), files_bytes });
            }
        }
        Ok(())
    }

    /// Everything as the last Moment that closed has left it.
    fn arrangements(&self) -> Result<Arrangements> {
        let mut arrangements = Arrangements::default();
        self.intake.pin(&mut arrangements);
        self.pending.pin(&mut arrangements);
        self.flow.pin(&mut arrangements)?;
        Ok(arrangements)
    }

    fn caught_up(&self) -> bool {
        let reached = |source: &SourceState| match (&source.target, self.cut.0.get(&source.name)) {
            (Some(target), Some(position)) => position.reaches(target),
            _ => false,
        };
        self.sources.iter().all(reached)
    }

    fn stop(&mut self) {
        self.with_status(|status| status.phase = Phase::Stopping);
        self.step.heard(Heard::Stop, self.now());
    }

    async fn finish(&mut self) {
        self.events.close();
        if let Some(publisher) = self.publisher.take() {
            let stopped = tokio::task::spawn_blocking(move || publisher.stop());
            let _ = stopped.await;
        }
        for source in &mut self.sources {
            if let Some(tail) = source.tail.take() {
                tail.stop().await;
            }
        }
    }

    fn note_models(&mut self, moment: Moment, lag_ms: Option<i64>, behind: &[bool]) {
        let cut = self.cut.clone();
        let elapsed = self.counted.0.elapsed();
        let withheld = self.pending.withheld();
        let Ok(mut status) = self.status.lock() else { return };
        (status.moment, status.cut, status.phase) = (moment, cut, status.phase.max_live());
        status.lag_ms = lag_ms.or(status.lag_ms);
        for (number, model) in status.models.iter_mut().enumerate() {
            model.rows = self.pending.rows(number);
            model.changes = self.pending.changes(number);
            model.withheld = withheld[number];
            model.behind = behind[number];
            let faults = self.pending.faults(number).to_vec();
            if let (Some(fault), true) = (faults.first(), model.faults.is_empty()) {
                tracing::warn!(model = model.name, reason = fault.message, "withheld: rows cannot be computed");
            } else if faults.is_empty() && !model.faults.is_empty() {
                tracing::info!(model = model.name, "goes on: its rows can be computed again");
            }
            model.faults = faults;
            if elapsed >= Duration::from_secs(1) {
                let new = model.changes - self.counted.1[number];
                model.changes_per_s = new as f64 / elapsed.as_secs_f64();
                self.counted.1[number] = model.changes;
            }
        }
        if elapsed >= Duration::from_secs(1) {
            self.counted.0 = world::instant();
        }
    }

    fn with_status(&self, change: impl FnOnce(&mut Status)) {
        if let Ok(mut status) = self.status.lock() {
            change(&mut status);
        }
    }

    /// How long it is, by the clock as it is now, until the models may change by themselves.
    fn until_due(&self) -> Option<Duration> {
        let us = self.due?.0.saturating_sub(world::now_us());
        Some(Duration::from_micros(us.max(0) as u64))
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

pub(super) fn numbers(which: &[bool]) -> Vec<usize> {
    (0..which.len()).filter(|number| which[*number]).collect()
}

impl Phase {
    /// A Moment has closed: what was being copied is live.
    fn max_live(self) -> Phase {
        if self == Phase::Copying { Phase::Live } else { self }
    }
}
