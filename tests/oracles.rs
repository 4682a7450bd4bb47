//! Random queries against Postgres and DuckDB: what binder and recompute take for the meaning of SQL is not asked of
//! them alone, as `tests/operators.rs` does, but of systems that share nothing with us.
//!
//! A case is a seed: three random tables whose rows come and go, and a query. Its answer over the last rows must be the
//! same in the recompute, in the dataflow, in Postgres and in DuckDB; where Postgres gives an error, ours must too. Where
//! DuckDB means something else than Postgres, Postgres is right: `oracles/differences`.
//!
//! `CASES=5000` looks longer; `SEED=7` runs that one, and with `CASES=100` so many from there on.

#[path = "oracles/answer.rs"]
mod answer;
#[path = "oracles/case.rs"]
mod case;
#[path = "oracles/choices.rs"]
mod choices;
#[path = "oracles/expression.rs"]
mod expression;
#[path = "oracles/grammar.rs"]
mod grammar;
#[path = "support/life.rs"]
mod life;
#[path = "oracles/oracles.rs"]
mod oracles;
#[path = "support/python.rs"]
mod python;
#[path = "oracles/seen.rs"]
mod seen;
mod support;

use case::Case;
use life::{RUNNING, tell_of_panics};
use oracles::Oracles;
use seen::Seen;

/// So many cases `make test` runs.
const SAMPLE: u64 = 300;
/// After so many failures enough is known.
const FAILURES_MAX: usize = 3;

#[test]
fn random_queries_mean_what_postgres_and_duckdb_take_them_for() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (seed, cases) = (number("SEED"), number("CASES"));
    let failures_max = number("FAILURES").map_or(FAILURES_MAX, |max| max as usize);
    let first = seed.unwrap_or(1);
    let cases = cases.unwrap_or(if seed.is_some() { 1 } else { SAMPLE });
    tell_of_panics();
    let mut oracles = Oracles::start();
    let mut seen = Seen::default();
    let mut failures = Vec::new();
    for seed in first..first + cases {
        let case = Case::of(seed);
        *RUNNING.lock().expect("nobody dies holding it") = format!("SEED={seed}\n{case}");
        if let Err(wrong) = case.run(&mut oracles, &mut seen) {
            let (case, wrong) = case.shrunk(wrong, &mut oracles);
            let failure = format!("SEED={seed} cargo test --release --test oracles\n{case}\n{wrong}");
            eprintln!("{failure}");
            failures.push(failure);
        }
        if failures.len() == failures_max {
            break;
        }
    }
    eprintln!("{seen}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if cases >= SAMPLE {
        seen.assert_enough();
    }
}
