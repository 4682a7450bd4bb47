//! Other engines on the workload of Driftless' own bench: `peers <dbsp|differential> <query>`.
//!
//! Measurements leave as JSON lines on stdout, for people as a table on stderr. `peers rows` writes the
//! tables that a run with the same arguments ends with, for engines that are not Rust; `peers sql` the query.

#[path = "../../workload.rs"]
mod workload;

mod dbsp_peer;
mod differential_peer;
mod measure;
mod rows;

use measure::Plan;
use std::process::ExitCode;
use workload::Query;

/// Both engines here allocate all the time; this is the allocator that dbsp's own benches take.
#[global_allocator]
static ALLOCATOR: dbsp::mimalloc::MiMalloc = dbsp::mimalloc::MiMalloc;

const USAGE: &str = "usage: peers <dbsp|differential> <query> [--rows N] [--load N] [--seconds S] [--batch 1,100,10000]
             [--batches N] [--seed N]
       peers rows <query> <folder> [--rows N] [--batch ...] [--batches N] [--seed N]
       peers sql <query>
queries: q1 q2 q3 top1 nexmark3 nexmark4 nexmark5 nexmark7 nexmark8
  --rows     facts in the tables while changes are measured (10000000)
  --load     how many rows of all tables the measured bulk load takes, in batches of 100000 (5000000)
  --seconds  of each batch size (5)
  --batches  this many of each batch size, however long they take: two runs then end with equal answers";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("peers: {problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let (peer, rest) = arguments.split_first().ok_or("no peer")?;
    let (query, rest) = rest.split_first().ok_or("no query")?;
    let query = Query::named(query).ok_or_else(|| format!("no query `{query}`"))?;
    match peer.as_str() {
        "dbsp" => dbsp_peer::run(&plan(query, rest)?),
        "differential" => differential_peer::run(plan(query, rest)?),
        "rows" => {
            let (folder, rest) = rest.split_first().ok_or("no folder")?;
            rows::write(&plan(query, rest)?, folder.as_ref())
                .map_err(|e| format!("cannot write to `{folder}`: {e}"))?;
        }
        "sql" => println!("{}", query.sql()),
        _ => return Err(format!("no peer `{peer}`")),
    }
    Ok(())
}

fn plan(query: Query, arguments: &[String]) -> Result<Plan, String> {
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
