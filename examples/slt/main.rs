//! Runs sqllogictest files through the planner and the dataflow of the daemon, with no server.
//!
//! `cargo run --release --example slt -- [--workers N] [--seed S] PATH…`
//!
//! Tables are sources, views are models: a change of a table is a Moment, or several; after each statement every view
//! must equal its recompute, and a query reads what is maintained. A seed cuts changes into slices, and ends the
//! dataflow at times, so that it goes on from a checkpoint with another number of workers.

mod answer;
mod database;
#[path = "../../tests/support/life.rs"]
mod life;
mod script;

use database::{Database, Outcome};
use script::{Expected, Record};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: slt [--workers N] [--seed S] PATH...
  PATH       a file, or a folder: all *.slt and *.test files in it and below
  --workers  threads of the dataflow (1)
  --seed     cut changes into random slices, and restart from checkpoints at random times";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(sum) => {
            println!("{sum}");
            if sum.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(problem) => {
            eprintln!("slt: {problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

pub fn run(mut arguments: impl Iterator<Item = String>) -> Result<Sum, String> {
    let (mut workers, mut seed, mut paths) = (1, None, Vec::new());
    while let Some(argument) = arguments.next() {
        let mut number = |name: &str| {
            let given = arguments.next().ok_or(format!("`{name}` needs a number"))?;
            given.parse::<u64>().map_err(|_| format!("`{name} {given}` is no number"))
        };
        match argument.as_str() {
            "--workers" => workers = number("--workers")?.max(1) as usize,
            "--seed" => seed = Some(number("--seed")?),
            flag if flag.starts_with("--") => return Err(format!("no option `{flag}`")),
            path => paths.push(PathBuf::from(path)),
        }
    }
    if paths.is_empty() {
        return Err("no PATH".into());
    }
    let mut files = Vec::new();
    for path in &paths {
        collect(path, &mut files).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    }
    if files.is_empty() {
        return Err("no *.slt or *.test file there".into());
    }
    let mut sum = Sum { files: files.len(), ..Sum::default() };
    for file in &files {
        let records = script::read(file)?;
        let mut database = Database::new(workers, seed);
        for record in &records {
            sum.add(record, perform(&mut database, record));
        }
    }
    Ok(sum)
}

/// Of a folder all that is below it, in the order of names.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let mut entries = path.read_dir()?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    let wanted = |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|of| of == "slt" || of == "test");
    entries.iter().filter(|path| wanted(path)).try_for_each(|path| collect(path, files))
}

/// How one record went.
enum Verdict {
    Passed,
    Failed(String),
    Unsupported(String),
}

fn perform(database: &mut Database, record: &Record) -> Verdict {
    let sql = match &record.what {
        script::What::Unsupported(why) => return Verdict::Unsupported(why.clone()),
        script::What::Sql(sql) => sql,
    };
    if record.is_hashed() {
        return Verdict::Unsupported("answers given as a hash".into());
    }
    let outcome = database.execute(sql);
    // A question changes nothing.
    if !matches!(outcome, Outcome::Rows(_))
        && let Err(wrong) = database.check()
    {
        return Verdict::Failed(wrong);
    }
    match (&record.expected, outcome) {
        (Expected::Error, Outcome::Failed(_) | Outcome::Unsupported(_)) => Verdict::Passed,
        (Expected::Error, _) => Verdict::Failed("it succeeds, and should not".into()),
        (_, Outcome::Unsupported(why)) => Verdict::Unsupported(why),
        (Expected::Ok, Outcome::Failed(error)) => Verdict::Failed(error),
        (Expected::Ok, _) => Verdict::Passed,
        (Expected::Count(count), Outcome::Changed(changed)) if *count == changed => Verdict::Passed,
        (Expected::Count(count), Outcome::Changed(changed)) => {
            Verdict::Failed(format!("{changed} rows were changed, not {count}"))
        }
        (Expected::Count(_), Outcome::Rows(_) | Outcome::Done) => Verdict::Passed,
        (Expected::Count(_) | Expected::Rows { .. }, Outcome::Failed(error)) => Verdict::Failed(error),
        (Expected::Rows { sort, lines, .. }, Outcome::Rows(rows)) => match answer::difference(&rows, *sort, lines) {
            None => Verdict::Passed,
            Some(difference) => Verdict::Failed(difference),
        },
        (Expected::Rows { .. }, Outcome::Changed(_) | Outcome::Done) => Verdict::Failed("it gives no rows".into()),
    }
}

#[derive(Default)]
pub struct Sum {
    files: usize,
    pub passed: usize,
    /// Each with its place.
    pub failures: Vec<String>,
    /// How often, by reason.
    pub unsupported: BTreeMap<String, usize>,
}

impl Sum {
    fn add(&mut self, record: &Record, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Unsupported(why) => *self.unsupported.entry(why).or_default() += 1,
            Verdict::Failed(why) => {
                let why = why.trim_end().replace('\n', "\n    ");
                self.failures.push(format!("{}:{}: {}\n    {why}\n", record.file, record.line, record.first_line()));
            }
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.failures.iter().try_for_each(|failure| writeln!(f, "{failure}"))?;
        let unsupported: usize = self.unsupported.values().sum();
        let (files, passed, failed) = (self.files, self.passed, self.failures.len());
        write!(f, "{files} files: {passed} passed, {failed} failed, {unsupported} unsupported")?;
        let mut reasons: Vec<(&String, &usize)> = self.unsupported.iter().collect();
        reasons.sort_by_key(|(why, count)| (std::cmp::Reverse(**count), (*why).clone()));
        reasons.iter().try_for_each(|(why, count)| write!(f, "\n  {count:>5} × {why}"))
    }
}
