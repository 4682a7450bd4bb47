//! `driftless demo`: private databases, writes, fresh models before your eyes, and the proof at the end.
//!
//! ```text
//!  servers (each in a keeper) ◄──psql, mariadb── writers ◄── traffic
//!     │ replication                                               screen ◄──status── control.sock
//!     ▼                                                                                  │
//!  daemon, on a thread of this process, its state below `state/demo` ────────────────────┘
//! ```
//!
//! The daemon is the one of `driftless run` and is asked through the same door as by anybody else. Without
//! servers to be had, both sources are recorded logs that grow while the demo runs. Whatever ends the demo
//! (its end, an error, Ctrl-C, kill -9), no process is left; the Iceberg tables stay.

pub mod keeper;
mod screen;
mod servers;
mod traffic;
mod writers;

use super::{Outcome, Shared, report, verify};
use crate::daemon::control::{Answer, Request, ask};
use crate::daemon::status::{self, Status};
use crate::daemon::{self, Assembly, Config, MEMORY_BYTES, SourceConfig, Verdict};
use crate::error::{Doing, Error, Result};
use crate::project::{Model, Project};
use crate::row::Cut;
use crate::world;
use clap::{Args, ValueEnum};
use keeper::Afterwards;
use screen::{Progress, Screen};
use servers::{Programs, Servers};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use writers::Writers;

const SHOP: &str = "shop";
const BILLING: &str = "billing";

/// How long the last writes may take to come through.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
const DRAW_EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub struct Demo {
    /// How long to write
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Leave the databases' directories, with their logs, where they are
    #[arg(long)]
    keep: bool,
    /// Whether to start databases or to do with recorded logs
    #[arg(long, value_enum, env = "DRIFTLESS_DEMO_SERVERS", default_value_t = Wanted::Auto)]
    servers: Wanted,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Wanted {
    /// Databases if their programs are installed
    Auto,
    /// Recorded logs
    None,
}

impl Demo {
    pub fn run(&self, shared: &Shared) -> Result<Outcome> {
        let project = shared.project()?;
        is_the_shop(&project)?;
        let selected = shared.selected(&project)?;
        if selected.is_empty() {
            return Ok(Outcome::Good);
        }
        let runtime = super::runtime()?;
        let stop = Stop::listen(&runtime)?;
        let stage = Stage::set(&project.dir)?;
        match self.play(&Play {
            shared,
            project: &project,
            selected: &selected,
            runtime: &runtime,
            stage,
            stop: stop.clone(),
        }) {
            Err(_) if stop.asked() => {
                eprintln!("interrupted; nothing is left running");
                Ok(Outcome::Failed)
            }
            end => end,
        }
    }

    /// Acts in their order; what an act has started ends with this function, the last first.
    fn play(&self, play: &Play) -> Result<Outcome> {
        let servers = self.servers(play)?;
        let config = play.config(servers.as_ref());
        let mut daemon = play.daemon(&config)?;
        let mut screen = Screen::new(play.shared.json);

        let writers = match &servers {
            Some(servers) => Writers::to_servers(servers)?,
            None => Writers::to_logs(&play.stage.logs())?,
        };
        let begun = world::instant();
        while begun.elapsed() < Duration::from_secs(self.seconds) && !writers.failed() {
            let progress = Progress { elapsed: begun.elapsed(), written: writers.written() };
            screen.draw(&daemon.status()?, &progress);
            play.stop.sleep(DRAW_EVERY.min(Duration::from_secs(self.seconds).saturating_sub(begun.elapsed())))?;
        }
        let written = writers.finish()?;

        let goal = play.present(&config)?;
        let caught_up = world::instant();
        loop {
            let status = daemon.status()?;
            screen.draw(&status, &Progress { elapsed: begun.elapsed(), written });
            if reached(&status.durable_cut, &goal) {
                break;
            }
            if caught_up.elapsed() > CATCH_UP_MAX {
                let what = format!("the last writes have not come through in {} s", CATCH_UP_MAX.as_secs());
                return Err(Error::operator(what).hint("look at the daemon's words with `--log-level info`"));
            }
            play.stop.sleep(DRAW_EVERY / 5)?;
        }
        screen.leave();
        let verdict = daemon.verify(play.names())?;
        daemon.end()?;
        drop(servers);
        if !play.shared.json {
            println!("\n{written} transactions written, and caught up with.\n");
        }
        verify::show(&verdict, play.shared.json)?;
        play.farewell(&config)?;
        Ok(if verdict.holds() { Outcome::Good } else { Outcome::Failed })
    }

    /// `None` where recorded logs take the place of servers.
    fn servers(&self, play: &Play) -> Result<Option<Servers>> {
        let afterwards = if self.keep { Afterwards::Keep } else { Afterwards::Remove };
        let why = match (self.servers, Programs::find()) {
            (Wanted::None, _) => "no database servers are wanted".to_string(),
            (Wanted::Auto, Err(missing)) => format!("no database servers are to be had (`{missing}` is not installed)"),
            (Wanted::Auto, Ok(programs)) => {
                eprintln!("starting a private Postgres and a private MariaDB below {}", play.stage.dir.display());
                return Servers::start(&programs, &play.stage.dir, afterwards, &play.stop).map(Some);
            }
        };
        eprintln!("{why}: the sources are recorded logs of changes, in {}", play.stage.logs().display());
        writers::record(&play.stage.logs())?;
        Ok(None)
    }
}

/// What all acts need.
struct Play<'a> {
    shared: &'a Shared,
    project: &'a Project,
    selected: &'a [&'a Model],
    runtime: &'a Runtime,
    stage: Stage,
    stop: Stop,
}

impl Play<'_> {
    fn config(&self, servers: Option<&Servers>) -> Config {
        let sources = match servers {
            Some(servers) => [
                (SHOP.to_string(), SourceConfig::Postgres(servers.shop.url.clone())),
                (BILLING.to_string(), SourceConfig::MySql(servers.billing.url.clone())),
            ],
            None => [SHOP, BILLING].map(|name| (name.to_string(), SourceConfig::Replay(self.stage.logs()))),
        };
        let state = self.stage.dir.join("state");
        let warehouse = state.join("warehouse");
        let commit_every = Duration::from_secs(1);
        let (sources, pipeline) = (sources.into(), "demo".into());
        Config { sources, state, warehouse, commit_every, workers: 1, memory_bytes: MEMORY_BYTES, pipeline }
    }

    fn daemon(&self, config: &Config) -> Result<Daemon> {
        let live = Assembly::live(self.project, config, self.selected);
        let (assembly, planned, sources) = self.runtime.block_on(live)?;
        if let Some(refused) = planned.into_iter().find_map(|planned| planned.outcome.err()) {
            return Err(refused);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let (handle, owned) = (self.runtime.handle().clone(), config.clone());
        let thread = std::thread::spawn(move || {
            let stopped = async move { drop(stopped.await) };
            handle.block_on(daemon::run(assembly, sources, &owned, daemon::Run::default(), stopped))
        });
        let mut daemon = Daemon { state: config.state.clone(), thread: Some(thread), stop: Some(stop) };
        let begun = world::instant();
        while !daemon.answers()? {
            if begun.elapsed() > CATCH_UP_MAX {
                return Err(Error::operator("the daemon does not answer"));
            }
            self.stop.sleep(Duration::from_millis(50))?;
        }
        Ok(daemon)
    }

    /// Where the sources are now.
    fn present(&self, config: &Config) -> Result<Cut> {
        self.runtime.block_on(async {
            let (_, _, sources) = Assembly::live(self.project, config, self.selected).await?;
            let mut cut = Cut::default();
            for (name, mut source) in sources {
                cut.0.insert(name, source.present().await?);
            }
            Ok(cut)
        })
    }

    /// The models to verify, as `verify` names them: none means all.
    fn names(&self) -> Vec<String> {
        match self.selected.len() == self.project.models.len() {
            true => Vec::new(),
            false => self.selected.iter().map(|model| model.name.clone()).collect(),
        }
    }

    fn farewell(&self, config: &Config) -> Result<()> {
        if self.shared.json {
            return Ok(());
        }
        println!("\nThe tables are Iceberg tables, for every engine to read: {}", config.warehouse.display());
        let tables = self.selected.iter().rev().filter(|model| model.config.materialized() == "table");
        for model in tables.chain(self.selected.iter().rev()) {
            if let Some(location) = status::metadata(config, model)? {
                let location = location.strip_prefix("file://").unwrap_or(&location);
                println!("Read `{}` with DuckDB:\n", model.name);
                println!(
                    "  duckdb -c \"INSTALL iceberg; LOAD iceberg; SELECT * FROM iceberg_scan('{location}') LIMIT 10\""
                );
                break;
            }
        }
        Ok(())
    }
}

fn reached(cut: &Cut, goal: &Cut) -> bool {
    goal.0.iter().all(|(source, position)| cut.0.get(source).is_some_and(|at| at.reaches(position)))
}

/// The demo writes what the example's sources hold.
fn is_the_shop(project: &Project) -> Result<()> {
    for name in [SHOP, BILLING] {
        if !project.sources.iter().any(|table| table.source_name == name) {
            let what = format!("the demo plays a shop, and project `{}` has no source `{name}`", project.name);
            return Err(Error::operator(what).hint(
                "start it in the example at the top of driftless's own repository, or name that with `--project-dir`",
            ));
        }
    }
    Ok(())
}

/// The demo's directory, held by one demo at a time and empty at its start.
struct Stage {
    dir: PathBuf,
    _lock: File,
}

impl Stage {
    fn set(project: &Path) -> Result<Stage> {
        let dir = project.join("state/demo");
        let unusable = |e: std::io::Error| {
            Error::operator(format!("the demo's directory `{}` cannot be written", dir.display()))
                .because(e)
                .hint("give the user who runs the demo the right to write there")
        };
        std::fs::create_dir_all(&dir).map_err(unusable)?;
        let lock = File::create(dir.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::operator(format!("another demo runs in `{}`", dir.display()))
                    .hint("wait for its end, or stop it with Ctrl-C"));
            }
            Err(TryLockError::Error(e)) => return Err(unusable(e)),
        }
        // What an earlier demo left: its tables, and whatever it kept.
        for name in ["state", "logs", "postgres", "mariadb"] {
            let old = dir.join(name);
            if old.exists() {
                std::fs::remove_dir_all(&old).map_err(unusable)?;
            }
        }
        Ok(Stage { dir, _lock: lock })
    }

    fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }
}

/// The daemon at work on its thread; it stops when this is dropped.
struct Daemon {
    state: PathBuf,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Daemon {
    fn status(&mut self) -> Result<Status> {
        match ask(&self.state, &Request::Status) {
            Ok(Some(Answer::Status(status))) => Ok(status),
            _ => Err(self.gone()),
        }
    }

    fn verify(&mut self, models: Vec<String>) -> Result<Verdict> {
        match ask(&self.state, &Request::Verify(models)) {
            Ok(Some(Answer::Verdict(verdict))) => Ok(verdict),
            Ok(Some(Answer::Failed(why))) => Err(Error::operator(why).doing("verify")),
            _ => Err(self.gone()),
        }
    }

    /// Whether it answers yet; its own error if it never will.
    fn answers(&mut self) -> Result<bool> {
        if self.thread.as_ref().is_some_and(std::thread::JoinHandle::is_finished) {
            return Err(self.gone());
        }
        Ok(ask(&self.state, &Request::Status)?.is_some())
    }

    /// Why it no longer answers: its own error, where it has one.
    fn gone(&mut self) -> Error {
        self.wait().err().unwrap_or_else(|| Error::bug("the daemon stopped before it was told to"))
    }

    fn end(mut self) -> Result<()> {
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        drop(self.stop.take());
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| Error::bug("the daemon died"))?.doing("keep the models fresh"),
            None => Ok(()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            report::error(&error, false);
        }
    }
}

/// SIGINT or SIGTERM has come: every act looks here before it goes on.
#[derive(Clone)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn listen(runtime: &Runtime) -> Result<Stop> {
        let _inside = runtime.enter();
        let (asked, signal) = (Arc::new(AtomicBool::new(false)), super::run::stop_signal()?);
        let heard = asked.clone();
        runtime.spawn(async move {
            signal.await;
            heard.store(true, Relaxed);
        });
        Ok(Stop(asked))
    }

    fn asked(&self) -> bool {
        self.0.load(Relaxed)
    }

    fn check(&self) -> Result<()> {
        if self.asked() { Err(Error::operator("interrupted")) } else { Ok(()) }
    }

    fn sleep(&self, time: Duration) -> Result<()> {
        let begun = world::instant();
        while begun.elapsed() < time {
            self.check()?;
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
        self.check()
    }
}
