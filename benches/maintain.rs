//! What it costs to keep a query up to date: a bulk load, then changes in batches of each size, through the
//! planner and the dataflow, on the workload and by the measure that `peers` has too.
//!
//! `cargo test --release --bench maintain -- <query>... [options]` measures Driftless alone. With
//! `--beside PEERS`, the binary of `benches/peers`, it runs itself and the peers in turns and prints ratios:
//! on a machine that others use, only those count.

#[path = "workload.rs"]
mod workload;

#[path = "measure.rs"]
mod measure;

use driftless::flow::Flow;
use driftless::plan::{Planner, Relation};
use driftless::row::{Clock, Codec, Cut, Datum, Moment, Rows, TableName, append};
use driftless::state::{Arrangements, Bodies, Checkpoint, FORMAT, Store};
use measure::{OPTIONS, Peer, Plan};
use serde_json::Value;
use std::cell::Cell;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use workload::{Change, Checksum, Query, Type};

use arrow::datatypes::{DataType, Field, Schema};

const USAGE: &str = "usage: maintain <query>... [own options] [options]
       maintain <query>... --beside PEERS [--peer dbsp,differential,duckdb] [--turns N] [own options] [options]
queries: q1 q2 q3 top1 nexmark3 nexmark4 nexmark5 nexmark7 nexmark8
  --workers     threads of the dataflow (1)
  --checkpoint  keep the state in RocksDB, with a checkpoint every so many milliseconds
  --memory      MiB that the process may take; needs --checkpoint
  --beside   the peers' binary: run them and Driftless in turns, and print ratios
  --peer     which of them (dbsp); duckdb needs $PYTHON, one that has it (python3)
  --turns    how often each runs; the best of each figure counts (2)";

fn main() -> ExitCode {
    driftless::world::one_heap();
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match run(arguments.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("maintain: {problem}\n{USAGE}\n{OPTIONS}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: Vec<String>) -> Result<(), String> {
    let mut own = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        (at + 1 < arguments.len()).then(|| arguments.drain(at..at + 2).nth(1))?
    };
    let (workers, beside, peers, turns) = (own("--workers"), own("--beside"), own("--peer"), own("--turns"));
    let (checkpoint, memory) = (own("--checkpoint"), own("--memory"));
    let number = |given: Option<String>, default: usize| given.map_or(Ok(default), |n| n.parse().map_err(|_| n));
    let workers = number(workers, 1).map_err(|n| format!("`--workers {n}` is no number"))?;
    let turns = number(turns, 2).map_err(|n| format!("`--turns {n}` is no number"))?;
    let checkpoint_ms = number(checkpoint, 0).map_err(|n| format!("`--checkpoint {n}` is no number"))?;
    let memory_mib = number(memory, 1 << 20).map_err(|n| format!("`--memory {n}` is no number"))?;
    let keeping = Keeping { workers, checkpoint_ms, memory_mib, aside: 0 };
    let named = arguments.iter().take_while(|argument| !argument.starts_with("--")).count();
    let options = arguments.split_off(named);
    let query = |name: &String| Query::named(name).ok_or_else(|| format!("no query `{name}`"));
    let queries = arguments.iter().map(query).collect::<Result<Vec<Query>, String>>()?;
    if queries.is_empty() {
        return Err("no query".into());
    }
    for query in queries {
        let plan = Plan::parse(query, &options)?;
        match &beside {
            Some(binary) => {
                let peers = peers.as_deref().unwrap_or("dbsp").split(',');
                compare(query, &Beside { binary, peers: peers.collect(), turns, keeping, options: &options })?;
            }
            None => match Driftless::start(query, Keeping { aside: plan.workload().size() as usize, ..keeping }) {
                Ok(mut driftless) => measure::run(&mut driftless, &plan),
                Err(reason) => eprintln!("{:<13} {:<9} refused: {reason}", "driftless", query.name()),
            },
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Keeping {
    workers: usize,
    /// 0 for none: all in memory.
    checkpoint_ms: usize,
    memory_mib: usize,
    /// What the workload takes, which is not the dataflow's.
    aside: usize,
}

struct Driftless {
    flow: Flow,
    keeper: Option<Keeper>,
    inputs: Vec<Input>,
    answer_codec: Codec,
    moment: Cell<u64>,
    gave_back: Instant,
    answer: Checksum,
}

/// A table of the query with the columns that it needs, as the workload has them.
struct Input {
    table: workload::Table,
    columns: Vec<(usize, Type)>,
}

impl Driftless {
    /// The reason, where the query is refused.
    fn start(query: Query, keeping: Keeping) -> Result<Driftless, String> {
        let mut planner = Planner::new("db", "public");
        let relation = |name: &str| Relation { database: "db".into(), schema: "public".into(), name: name.into() };
        for table in query.tables() {
            planner.add_table(relation(table.name()), described(*table));
        }
        planner.compile(relation("answer"), query.sql()).map_err(|refusal| refusal.reason)?;
        let (tables, models) = planner.finish();
        let inputs = query.tables().iter().zip(&tables).map(|(table, pruned)| {
            let column = |field: &Arc<Field>| {
                let at = table.columns().iter().position(|(name, _)| name == field.name()).expect("a column of it");
                (at, table.columns()[at].1)
            };
            Input { table: *table, columns: pruned.schema.fields().iter().map(column).collect() }
        });
        let inputs = inputs.collect();
        let answer_codec = Codec::new(models[0].schema().clone());
        let keeper = (keeping.checkpoint_ms > 0).then(|| Keeper::start(keeping));
        let bodies = keeper.as_ref().map_or_else(Bodies::resident_only, |keeper| keeper.bodies.clone());
        let flow = Flow::start(&models, &tables, keeping.workers, &bodies, None).map_err(|e| e.to_string())?;
        let (moment, gave_back) = (Cell::new(0), Instant::now());
        Ok(Driftless { flow, keeper, inputs, answer_codec, moment, gave_back, answer: Checksum::default() })
    }
}

fn described(table: workload::Table) -> driftless::row::Table {
    let field = |(name, of): &(&str, Type)| {
        let data_type = if *of == Type::Int { DataType::Int32 } else { DataType::Int64 };
        Field::new(*name, data_type, false)
    };
    let schema = Arc::new(Schema::new(table.columns().iter().map(field).collect::<Vec<_>>()));
    let key = table.primary_key().iter().map(|name| schema.index_of(name).expect("a key of its columns")).collect();
    driftless::row::Table { name: TableName::new("public", table.name()), schema, key }
}

impl Peer for Driftless {
    const NAME: &'static str = "driftless";
    /// Rows by table.
    type Batch = Vec<Rows>;

    fn prepare(&self, changes: &[Change]) -> Vec<Rows> {
        let mut batch = vec![Rows::default(); self.inputs.len()];
        for Change { row, diff } in changes {
            let number = self.inputs.iter().position(|input| input.table == row.table()).expect("a row of the query's");
            let (values, rows) = (row.values().0, &mut batch[number]);
            for (column, of) in &self.inputs[number].columns {
                let value = values[*column];
                let datum = if *of == Type::Int { Datum::Int32(value as i32) } else { Datum::Int64(value) };
                append(rows.open(), &datum);
            }
            rows.end(*diff);
        }
        batch
    }

    fn apply(&mut self, batch: Vec<Rows>) {
        let moment = Moment(self.moment.get() + 1);
        self.moment.set(moment.0);
        for (table, rows) in batch.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            self.flow.feed(moment, table, rows);
        }
        let output = self.flow.close(moment, Clock::default()).expect("the workers live");
        // As the daemon does.
        if self.gave_back.elapsed() >= Duration::from_secs(1) {
            self.gave_back = Instant::now();
            driftless::world::give_back_memory();
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(&self.flow, moment);
        }
        assert!(output.faults[0].is_empty(), "every row of the workload can be computed");
        let mut ends = Vec::new();
        for (row, diff) in output.models[0].iter() {
            self.answer_codec.ends(row, &mut ends);
            let mut from = 0;
            let value = |(column, end): (usize, &u32)| {
                let cell = &row[std::mem::replace(&mut from, *end as usize)..*end as usize];
                self.answer_codec.integer(cell, column).expect("no answer has a NULL") as i64
            };
            let values: Vec<i64> = ends.iter().enumerate().map(value).collect();
            self.answer.add(&values, diff);
        }
    }

    fn answer(&self) -> Checksum {
        self.answer
    }
}

/// Writes checkpoints as the daemon does: by a thread of its own, one at a time.
struct Keeper {
    bodies: Arc<Bodies>,
    keeping: Keeping,
    last: Instant,
    writer: SyncSender<(Moment, Arrangements)>,
    _dir: tempfile::TempDir,
}

impl Keeper {
    fn start(keeping: Keeping) -> Keeper {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Arc::new(Store::open(dir.path()).expect("it opens"));
        let bodies = Bodies::new(Some(store.clone()), keeping.memory_mib << 20);
        // One waits while one is written: who finds no room goes on without.
        let (writer, work) = sync_channel::<(Moment, Arrangements)>(0);
        let written = bodies.clone();
        std::thread::spawn(move || {
            for (moment, arrangements) in work {
                let (format, cut, tables) = (FORMAT, Cut::default(), Vec::new());
                let checkpoint =
                    Checkpoint { format, moment, clock: Clock::default(), cut, tables, maintained: None, staged: None };
                store.write(&checkpoint, &arrangements, &written).expect("it is written");
            }
        });
        Keeper { bodies, keeping, last: Instant::now(), writer, _dir: dir }
    }

    fn keep(&mut self, flow: &Flow, moment: Moment) {
        if self.last.elapsed() < Duration::from_millis(self.keeping.checkpoint_ms as u64) {
            return;
        }
        self.last = Instant::now();
        let mut arrangements = Arrangements::default();
        flow.pin(&mut arrangements).expect("the workers live");
        let _ = self.writer.try_send((moment, arrangements));
        let (memory, resident) = (self.keeping.memory_mib << 20, self.bodies.resident());
        let others = driftless::world::memory_bytes().saturating_sub(resident + self.keeping.aside);
        self.bodies.allow(memory.saturating_sub(others).max(memory / 8));
    }
}

struct Beside<'a> {
    binary: &'a str,
    peers: Vec<&'a str>,
    turns: usize,
    keeping: Keeping,
    options: &'a [String],
}

/// Runs Driftless and each peer in turns, and prints what ours is of theirs.
fn compare(query: Query, beside: &Beside) -> Result<(), String> {
    let myself = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut ours = Figures::default();
    let mut theirs = vec![Figures::default(); beside.peers.len()];
    for turn in 0..beside.turns {
        let mut command = Command::new(&myself);
        let Keeping { workers, checkpoint_ms, memory_mib, .. } = beside.keeping;
        let own = [("--workers", workers), ("--checkpoint", checkpoint_ms), ("--memory", memory_mib)];
        command.arg(query.name());
        command.args(own.iter().flat_map(|(flag, value)| [flag.to_string(), value.to_string()]));
        ours.take(command.args(beside.options))?;
        if ours.0.is_empty() {
            return Ok(());
        }
        for (peer, figures) in beside.peers.iter().zip(&mut theirs) {
            let mut command = match *peer {
                "duckdb" if turn > 0 => continue,
                "duckdb" => duckdb(beside),
                _ => {
                    let mut command = Command::new(beside.binary);
                    command.arg(peer);
                    command
                }
            };
            let known = |pair: &&[String]| *peer != "duckdb" || pair[0] != "--load";
            let options = beside.options.chunks(2).filter(known).flatten();
            figures.take(command.arg(query.name()).args(options))?;
        }
    }
    println!(
        "{:<9} {:<7} {:>6} {:>12} {:>12} {:>10} {:>7}  ours of theirs",
        "query", "phase", "batch", "changes/s", "changes/cpu", "p50_us", "b/row"
    );
    for (peer, theirs) in beside.peers.iter().zip(&theirs) {
        for (phase, batch) in ours.phases() {
            let Some(other) = theirs.phases().find(|other| *other == (phase, batch) || *other == ("recompute", batch))
            else {
                continue;
            };
            let ratio = |figure: &str| ours.best(phase, batch, figure) / theirs.best(other.0, batch, figure);
            println!(
                "{:<9} {phase:<7} {batch:>6} {:>12.2} {:>12.2} {:>10.2} {:>7.2}  {peer}",
                query.name(),
                ratio("changes_per_s"),
                ratio("changes_per_cpu_s"),
                ratio("p50_us"),
                ratio("bytes_per_row"),
            );
        }
    }
    Ok(())
}

fn duckdb(beside: &Beside) -> Command {
    let mut command = Command::new(std::env::var("PYTHON").unwrap_or_else(|_| "python3".into()));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/duckdb_recompute.py"));
    command.args(["--peers", beside.binary]);
    command
}

/// The JSON lines of all runs of one engine.
#[derive(Clone, Default)]
struct Figures(Vec<Value>);

impl Figures {
    /// Runs a command and takes up its lines.
    fn take(&mut self, command: &mut Command) -> Result<(), String> {
        let output = command.stderr(Stdio::inherit()).output().map_err(|e| format!("{command:?}: {e}"))?;
        if !output.status.success() {
            return Err(format!("{command:?} has failed"));
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            println!("{line}");
            self.0.push(serde_json::from_str(line).map_err(|e| format!("`{line}`: {e}"))?);
        }
        Ok(())
    }

    /// Each phase and batch size once.
    fn phases(&self) -> impl Iterator<Item = (&str, u64)> {
        let of = |line: &Value| (line["phase"].as_str().map(String::from), line["batch"].as_u64());
        let first = move |at: &usize| self.0[..*at].iter().all(|line| of(line) != of(&self.0[*at]));
        let phase = |at: usize| Some((self.0[at]["phase"].as_str()?, self.0[at]["batch"].as_u64()?));
        (0..self.0.len()).filter(first).filter_map(phase)
    }

    /// The most of what is per second, the least of the others.
    fn best(&self, phase: &str, batch: u64, figure: &str) -> f64 {
        let lines = self.0.iter().filter(|line| line["phase"] == phase && line["batch"] == batch);
        let figures = lines.filter_map(|line| line[figure].as_f64());
        if figure.starts_with("changes") { figures.fold(0.0, f64::max) } else { figures.fold(f64::INFINITY, f64::min) }
    }
}
