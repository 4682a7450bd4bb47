//! What is measured, and how: a bulk load, then changes in batches of each size for some seconds.
//!
//! A measurement begins with a batch in the engine's own input form and ends when the engine has given the
//! delta of its answer. Making batches is not measured: its wall time lies between measurements, and its
//! CPU time, which this thread's clock knows, is taken off the process's. So work that an engine does in
//! threads of its own counts as CPU time whenever it is done; threads that end before the process are not seen.

use crate::workload::{Change, Checksum, Query, Row, Workload};
use std::path::Path;
use std::time::{Duration, Instant};

/// The options of [`Plan::parse`].
pub const OPTIONS: &str = "  --rows     facts in the tables while changes are measured (10000000)
  --load     how many rows of all tables the measured bulk load takes, in batches of 100000 (5000000)
  --seconds  of each batch size (5)
  --batch    sizes, with commas between them (1,100,10000)
  --batches  this many of each batch size, however long they take: two runs then end with equal answers
  --seed     of rows and changes (1)";

pub struct Plan {
    pub query: Query,
    pub rows: usize,
    pub load: usize,
    pub seconds: f64,
    pub batches: Option<usize>,
    pub batch_sizes: Vec<usize>,
    pub seed: u64,
    rss_before: u64,
}

impl Plan {
    pub fn new(query: Query) -> Plan {
        let batch_sizes = vec![1, 100, 10_000];
        let (rows, load) = (10_000_000, 5_000_000);
        Plan { query, rows, load, seconds: 5.0, batches: None, batch_sizes, seed: 1, rss_before: rss_bytes() }
    }

    /// `--rows N --load N --seconds S --batch 1,100 --batches N --seed N`, each as it is wanted.
    pub fn parse(query: Query, arguments: &[String]) -> Result<Plan, String> {
        let mut plan = Plan::new(query);
        for pair in arguments.chunks(2) {
            let [flag, value] = pair else { return Err(format!("`{}` has no value", pair[0])) };
            let number = || value.parse::<usize>().map_err(|_| format!("`{flag} {value}` is no number"));
            match flag.as_str() {
                "--rows" => plan.rows = number()?,
                "--load" => plan.load = number()?,
                "--seconds" => plan.seconds = value.parse().map_err(|_| format!("`{flag} {value}` is no number"))?,
                "--batches" => plan.batches = Some(number()?),
                "--seed" => plan.seed = number()? as u64,
                "--batch" => {
                    let sizes = value.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
                    plan.batch_sizes = sizes.ok().filter(|sizes| !sizes.contains(&0)).ok_or("`--batch` is a list")?;
                }
                _ => return Err(format!("no option `{flag}`")),
            }
        }
        Ok(plan)
    }

    pub fn workload(&self) -> Workload {
        Workload::new(self.query, self.rows, self.seed)
    }
}

pub trait Peer {
    const NAME: &'static str;
    /// Changes as this engine takes them.
    type Batch;

    fn prepare(&self, changes: &[Change]) -> Self::Batch;

    /// Returns when the answer is that of the input with these changes, and its delta was read.
    fn apply(&mut self, batch: Self::Batch);

    fn answer(&self) -> Checksum;
}

const LOAD_BATCH: usize = 100_000;
/// Batches are made so many changes and batches ahead, so that making them does not cool the caches each time.
const CHANGES_AHEAD: usize = 20_000;
const BATCHES_AHEAD: usize = 1_000;
/// Before changes are measured, an engine that still merges what was loaded in the background may finish.
const SETTLE_MAX: Duration = Duration::from_secs(60);

pub fn run<P: Peer>(peer: &mut P, plan: &Plan) {
    let mut workload = plan.workload();
    let load = plan.load.min(workload.len());
    eprintln!(
        "{:<13} {:<9} {:<7} {:>6} {:>9} {:>9} {:>12} {:>12} {:>10} {:>10} {:>8} {:>7}",
        "peer",
        "query",
        "phase",
        "batch",
        "changes",
        "wall_s",
        "changes/s",
        "changes/cpu",
        "p50_us",
        "p99_us",
        "rss_mb",
        "b/row"
    );
    let mut loaded = 0;
    for (phase, end) in [("load", load), ("fill", workload.len())] {
        let mut phase = Phase::new(phase, LOAD_BATCH);
        while loaded < end {
            let to = end.min(loaded + LOAD_BATCH);
            let batches = phase.prepare(|| {
                let insert = |row: Row| Change { row, diff: 1 };
                vec![peer.prepare(&workload.rows(loaded..to).map(insert).collect::<Vec<_>>())]
            });
            phase.apply(peer, batches, to - loaded);
            loaded = to;
        }
        if phase.changes > 0 {
            phase.report::<P>(plan, &workload, loaded, peer.answer());
        }
    }
    settle();
    let mut changes = Vec::new();
    for &size in &plan.batch_sizes {
        let mut phase = Phase::new("steady", size);
        let unfinished = |phase: &Phase| match plan.batches {
            Some(batches) => phase.walls.len() < batches,
            None => phase.wall.as_secs_f64() < plan.seconds,
        };
        while unfinished(&phase) {
            let ahead = (CHANGES_AHEAD / size).clamp(1, BATCHES_AHEAD);
            let ahead = plan.batches.map_or(ahead, |batches| ahead.min(batches - phase.walls.len()));
            let batches = phase.prepare(|| {
                let batch = |_| {
                    workload.changes(size, &mut changes);
                    peer.prepare(&changes)
                };
                (0..ahead).map(batch).collect::<Vec<_>>()
            });
            phase.apply(peer, batches, size);
        }
        phase.report::<P>(plan, &workload, loaded, peer.answer());
    }
}

/// Waits until the process is idle.
fn settle() {
    let begin = Instant::now();
    while begin.elapsed() < SETTLE_MAX {
        let before = cpu();
        std::thread::sleep(Duration::from_millis(200));
        if cpu() - before < Duration::from_millis(10) {
            return;
        }
    }
}

struct Phase {
    name: &'static str,
    batch: usize,
    changes: usize,
    walls: Vec<Duration>,
    wall: Duration,
    cpu_begin: Duration,
    cpu_preparing: Duration,
}

impl Phase {
    fn new(name: &'static str, batch: usize) -> Phase {
        let cpu_begin = cpu();
        let (wall, cpu_preparing) = (Duration::ZERO, Duration::ZERO);
        Phase { name, batch, changes: 0, walls: Vec::new(), wall, cpu_begin, cpu_preparing }
    }

    fn prepare<T>(&mut self, make: impl FnOnce() -> T) -> T {
        let begin = cpu_of_thread();
        let made = make();
        self.cpu_preparing += cpu_of_thread() - begin;
        made
    }

    fn apply<P: Peer>(&mut self, peer: &mut P, batches: Vec<P::Batch>, changes_each: usize) {
        for batch in batches {
            let begin = Instant::now();
            peer.apply(batch);
            let wall = begin.elapsed();
            self.walls.push(wall);
            self.wall += wall;
            self.changes += changes_each;
        }
    }

    fn report<P: Peer>(mut self, plan: &Plan, workload: &Workload, rows: usize, answer: Checksum) {
        let cpu = (cpu() - self.cpu_begin).saturating_sub(self.cpu_preparing);
        let (wall_s, cpu_s) = (self.wall.as_secs_f64(), cpu.as_secs_f64());
        let (changes_per_s, changes_per_cpu_s) = (self.changes as f64 / wall_s, self.changes as f64 / cpu_s);
        self.walls.sort_unstable();
        let quantile = |q: usize| self.walls[(self.walls.len() - 1) * q / 100].as_secs_f64() * 1e6;
        let (p50_us, p99_us) = (quantile(50), quantile(99));
        let rss = rss_bytes() - workload.size();
        let bytes_per_row = rss.saturating_sub(plan.rss_before) as f64 / rows as f64;
        let (peer, query) = (P::NAME, plan.query.name());
        let (phase, batch, changes, batches) = (self.name, self.batch, self.changes, self.walls.len());
        eprintln!(
            "{peer:<13} {query:<9} {phase:<7} {batch:>6} {changes:>9} {wall_s:>9.3} {changes_per_s:>12.0} \
             {changes_per_cpu_s:>12.0} {p50_us:>10.1} {p99_us:>10.1} {:>8.0} {bytes_per_row:>7.1}",
            rss as f64 / 1e6,
        );
        println!(
            "{{\"peer\":\"{peer}\",\"query\":\"{query}\",\"phase\":\"{phase}\",\"batch\":{batch},\"batches\":{batches},\
             \"changes\":{changes},\"wall_s\":{wall_s:.6},\"cpu_s\":{cpu_s:.6},\"changes_per_s\":{changes_per_s:.1},\
             \"changes_per_cpu_s\":{changes_per_cpu_s:.1},\"p50_us\":{p50_us:.1},\"p99_us\":{p99_us:.1},\
             \"rows\":{rows},\"rss_bytes\":{rss},\"bytes_per_row\":{bytes_per_row:.1},\
             \"answer_rows\":{},\"checksum\":\"{:016x}\"}}",
            answer.rows, answer.sum,
        );
    }
}

/// What all threads have used, as the scheduler counts it, in nanoseconds.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has /proc");
    tasks.flatten().map(|task| on_cpu(&task.path())).sum()
}

fn cpu_of_thread() -> Duration {
    on_cpu("/proc/thread-self".as_ref())
}

fn on_cpu(task: &Path) -> Duration {
    // A thread that ends between the listing and this has used nothing worth counting.
    let Ok(schedstat) = std::fs::read_to_string(task.join("schedstat")) else { return Duration::ZERO };
    let nanoseconds = schedstat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.expect("schedstat begins with a number"))
}

fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has VmRSS");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("VmRSS is a number of kB");
    kilobytes * 1024
}
