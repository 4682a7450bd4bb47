//! Writes at a steady pace, from several connections at once: into servers, or into recorded logs.

use super::servers::Servers;
use super::traffic::{Application, CONNECTIONS, Database, as_lines, as_sql};
use crate::error::{Doing, Error, Result};
use crate::world;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Over all connections.
const TRANSACTIONS_PER_S: u64 = 200;

pub struct Writers {
    threads: Vec<JoinHandle<Result<()>>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    written: AtomicU64,
}

impl Writers {
    /// Through the servers' own client programs.
    pub fn to_servers(servers: &Servers) -> Result<Writers> {
        Writers::start(|database| {
            let server = if database == Database::Shop { &servers.shop } else { &servers.billing };
            let mut command = server.client();
            let child = command.spawn().map_err(|e| Error::operator("cannot start a connection").because(e))?;
            Ok(Line::Client(child))
        })
    }

    /// To the ends of the recorded logs that [`record`] has begun.
    pub fn to_logs(dir: &Path) -> Result<Writers> {
        Writers::start(|database| {
            let path = dir.join(log_name(database));
            let opened = File::options().append(true).open(&path);
            opened.map(Line::Log).map_err(|e| unwritable(&path, e))
        })
    }

    fn start(open: impl Fn(Database) -> Result<Line>) -> Result<Writers> {
        let mut writers = Writers { threads: Vec::new(), shared: Arc::default() };
        for database in [Database::Shop, Database::Billing] {
            for number in 0..CONNECTIONS {
                let (line, shared) = (open(database)?, writers.shared.clone());
                let application = Application::new(database, number);
                writers.threads.push(std::thread::spawn(move || drive(application, line, &shared)));
            }
        }
        Ok(writers)
    }

    /// Transactions sent so far.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Relaxed)
    }

    /// Whether one has left, which it does not do by itself.
    pub fn failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Returns when all that was sent is committed.
    pub fn finish(mut self) -> Result<u64> {
        self.shared.stop.store(true, Relaxed);
        let threads = std::mem::take(&mut self.threads);
        // All are waited for, whatever becomes of the first.
        let ends: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
        for end in ends {
            end.map_err(|_| Error::bug("a writer died"))?.doing("write to the sources")?;
        }
        Ok(self.written())
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Begins both logs: what their tables are, and the rows of the first copy.
pub fn record(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|e| unwritable(dir, e))?;
    for database in [Database::Shop, Database::Billing] {
        let path = dir.join(log_name(database));
        std::fs::write(&path, database.head()).map_err(|e| unwritable(&path, e))?;
    }
    Ok(())
}

fn log_name(database: Database) -> &'static str {
    match database {
        Database::Shop => "shop.jsonl",
        Database::Billing => "billing.jsonl",
    }
}

fn drive(mut application: Application, mut line: Line, shared: &Shared) -> Result<()> {
    let pause = Duration::from_micros(1_000_000 * 2 * CONNECTIONS / TRANSACTIONS_PER_S);
    let mut next = world::instant();
    while !shared.stop.load(Relaxed) {
        let transaction = application.transaction();
        // Counted first: its count is its number in the log.
        let number = shared.written.fetch_add(1, Relaxed);
        let sent = match &mut line {
            Line::Client(child) => {
                child.stdin.as_mut().expect("piped, and open until it ends").write_all(as_sql(&transaction).as_bytes())
            }
            // In one write, so that no reader takes a part of it for the whole.
            Line::Log(log) => log.write_all(as_lines(&transaction, number, world::now_us() / 1000).as_bytes()),
        };
        if let Err(error) = sent {
            // A client that left says why better than its broken pipe.
            line.end()?;
            return Err(Error::operator("cannot write to a source").because(error));
        }
        // Late is late: what a slow server held up is not sent in one burst afterwards.
        next = (next + pause).max(world::instant());
        std::thread::sleep(next.saturating_duration_since(world::instant()));
    }
    line.end()
}

/// Where one connection's transactions go.
enum Line {
    /// Ends with its input, also when nobody waits for it.
    Client(Child),
    Log(File),
}

impl Line {
    /// Returns when all that was sent has been done.
    fn end(self) -> Result<()> {
        let Line::Client(mut child) = self else { return Ok(()) };
        drop(child.stdin.take());
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        let status = child.wait().map_err(|e| Error::operator("cannot wait for a connection").because(e))?;
        match status.success() {
            true => Ok(()),
            false => {
                Err(Error::operator(format!("a connection ended early, {status}")).because(said.trim().to_string()))
            }
        }
    }
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::operator(format!("cannot write `{}`", path.display())).because(error)
}
