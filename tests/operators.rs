//! The maintained operators against a recompute: random trees of them, as SQL over random tables and over each other;
//! random changes with retractions; on 1, 2 or 4 workers, with checkpoints and kills anywhere, and with memory for
//! everything, for something or for nothing. At every Moment each model must hold what a recompute gives; and have
//! faults if and only if the recompute fails.
//!
//! A case is a seed. `make soak` runs many more than the sample; `SEED=7` runs that one, and with `CASES=100` so many
//! from there on.

#[path = "operators/case.rs"]
mod case;
#[path = "operators/grammar.rs"]
mod grammar;
#[path = "support/life.rs"]
mod life;
#[path = "operators/seen.rs"]
mod seen;

use case::Case;
use life::{RUNNING, tell_of_panics};
use seen::Seen;

/// So many cases `make test` runs.
const SAMPLE: u64 = 150;
/// After so many failures enough is known.
const FAILURES_MAX: usize = 3;

#[test]
fn random_queries_equal_their_recompute_at_every_moment() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (seed, cases) = (number("SEED"), number("CASES"));
    let first = seed.unwrap_or(1);
    let cases = cases.unwrap_or(if seed.is_some() { 1 } else { SAMPLE });
    tell_of_panics();
    let mut seen = Seen::default();
    let mut failures = Vec::new();
    for seed in first..first + cases {
        let case = Case::of(seed, &mut seen);
        *RUNNING.lock().expect("nobody dies holding it") = format!("SEED={seed}\n{case}");
        if let Err(wrong) = case.run(&mut seen) {
            let (case, wrong) = case.shrunk(wrong);
            let repeat = format!("SEED={seed} cargo test --release --test operators");
            failures.push(format!("{repeat}\n{case}\n{wrong}"));
            eprintln!("{}", failures[failures.len() - 1]);
        }
        if failures.len() == FAILURES_MAX {
            break;
        }
    }
    eprintln!("{seen}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if cases >= SAMPLE {
        seen.assert_enough();
    }
}
