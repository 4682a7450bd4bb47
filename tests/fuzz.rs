//! SQL that nobody wrote: the queries of `tests/sql` and `tests/slt` with words swapped, doubled, lost, taken from one
//! another, and with literals at their extremes. Each becomes a plan or a refusal with its reason and a way out; it never
//! panics, not even where the panic is caught, and never hangs.
//!
//! A case is a seed. `make soak` runs many more than the sample; `SEED=7` runs that one, and with `CASES=100` so many
//! from there on.

#[path = "fuzz/deep.rs"]
mod deep;
#[path = "support/life.rs"]
mod life;
#[path = "fuzz/mutate.rs"]
mod mutate;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use driftless::plan::{Planner, Refusal};
use driftless::row::{Table, TableName};
use life::{Dice, relation};
use mutate::Corpus;

/// So many cases `make test` runs.
const SAMPLE: u64 = 2_000;
/// No case takes longer, however busy the machine is.
const CASE_MAX: Duration = Duration::from_secs(60);
/// After so many failures enough is known.
const FAILURES_MAX: usize = 5;
/// What threads of Rust have, and workers.
const STACK_BYTES: usize = 2 << 20;
const PLANNING: &str = "planning";
/// A planner forgets its models after so many cases.
const MODELS_MAX: u64 = 200;

/// Panics of DataFusion that we cannot cure: words of each, and why it stays.
const KNOWN_PANICS: [(&str, &str); 0] = [];

/// What has panicked since it was last asked, caught or not.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Threads without a name are the planner's own.
fn note_panics() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match std::thread::current().name() {
        None | Some(PLANNING) => PANICS.lock().expect("nobody dies holding it").push(panic.to_string()),
        Some(_) => told(panic),
    }));
}

fn panics() -> Vec<String> {
    let panics = std::mem::take(&mut *PANICS.lock().expect("nobody dies holding it"));
    panics.into_iter().filter(|panic| !KNOWN_PANICS.iter().any(|(words, _)| panic.contains(words))).collect()
}

/// A planner that knows the tables of the corpus.
fn planner() -> Planner {
    let mut planner = Planner::new("db", "public");
    let fields = [
        ("id", DataType::Int64),
        ("a", DataType::Int32),
        ("c", DataType::Utf8),
        ("d", DataType::Decimal128(12, 2)),
        ("s", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("z", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("f", DataType::Float64),
        ("j", DataType::new_list(DataType::Int32, true)),
    ];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec();
    let schema = Arc::new(Schema::new(fields));
    for name in ["t", "u"] {
        let table = Table { name: TableName::new("public", name), schema: schema.clone(), key: vec![0] };
        planner.add_table(relation(name), table);
    }
    planner
}

/// What is wrong with how this was planned, if something is.
fn wrong(sql: &str, outcome: &Result<usize, Refusal>) -> Option<String> {
    let panics = panics();
    if !panics.is_empty() {
        return Some(format!("a panic: {}", panics.join("\n")));
    }
    let Err(refusal) = outcome else { return None };
    if refusal.reason.trim().is_empty() || refusal.hint.trim().is_empty() {
        return Some(format!("refused without a reason or a way out: {refusal:?}"));
    }
    let lines: Vec<&str> = sql.lines().collect();
    if refusal.line > 0 && lines.get(refusal.line - 1).is_none_or(|line| refusal.column > line.chars().count() + 1) {
        return Some(format!("refused at a place that is not there: {refusal:?}"));
    }
    None
}

#[test]
fn no_sql_makes_the_planner_panic_or_hang() {
    let set = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (seed, cases) = (set("SEED"), set("CASES"));
    let first = seed.unwrap_or(1);
    let cases = cases.unwrap_or(if seed.is_some() { 1 } else { SAMPLE });
    note_panics();
    let (mut known, mut number) = (planner(), 0);
    let corpus = Corpus::read(|sql| {
        number += 1;
        known.compile(relation(&format!("q{number}")), sql).is_ok()
    });
    let (told, tidings) = channel();
    let planning = move || {
        let planner_now = RefCell::new(planner());
        for seed in first..first + cases {
            if (seed - first) % MODELS_MAX == MODELS_MAX - 1 {
                planner_now.replace(planner());
            }
            let sql = corpus.mutated(&mut Dice(seed));
            told.send((seed, sql.clone(), None)).expect("somebody listens");
            let outcome = planner_now.borrow_mut().compile(relation(&format!("m{seed}")), &sql);
            let wrong = wrong(&sql, &outcome);
            told.send((seed, sql, Some((outcome.err(), wrong)))).expect("somebody listens");
        }
    };
    let planning =
        std::thread::Builder::new().name(PLANNING.into()).stack_size(STACK_BYTES).spawn(planning).expect("a thread");
    let (mut failures, mut planned, mut refused) = (Vec::new(), 0, BTreeMap::<String, u64>::new());
    let mut running = (0, String::new());
    loop {
        match tidings.recv_timeout(CASE_MAX) {
            Ok((seed, sql, None)) => running = (seed, sql),
            Ok((seed, sql, Some((refusal, wrong)))) => {
                match refusal {
                    None => planned += 1,
                    Some(refusal) => *refused.entry(mutate::kind(&refusal.reason)).or_default() += 1,
                }
                let repeat = format!("SEED={seed} cargo test --release --test fuzz");
                failures.extend(wrong.map(|wrong| format!("{repeat}\n{sql}\n{wrong}")));
            }
            Err(RecvTimeoutError::Timeout) => {
                let (seed, sql) = running;
                panic!("SEED={seed}: not planned within {CASE_MAX:?}\n{sql}");
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if failures.len() >= FAILURES_MAX {
            break;
        }
    }
    let enough = failures.len() >= FAILURES_MAX;
    if !enough {
        assert!(planning.join().is_ok(), "a panic escaped: SEED={}\n{}\n{:?}", running.0, running.1, panics());
    }
    eprintln!("{planned} planned, of {cases}; refusals of {} kinds", refused.len());
    if std::env::var_os("SHOW").is_some() {
        refused.iter().for_each(|(kind, count)| eprintln!("{count:6} {kind}"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(cases < SAMPLE || planned * 10 > cases, "too few mutations are SQL: {planned} of {cases}");
}
