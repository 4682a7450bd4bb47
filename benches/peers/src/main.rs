//! Other engines on the workload of Driftless' own bench: `peers <dbsp|differential> <query>`.
//!
//! Measurements leave as JSON lines on stdout, for people as a table on stderr. `peers rows` writes the
//! tables that a run with the same arguments ends with, for engines that are not Rust; `peers sql` the query.

#[path = "../../workload.rs"]
mod workload;

#[path = "../../measure.rs"]
mod measure;

mod dbsp_peer;
mod differential_peer;
mod rows;

use measure::{OPTIONS, Plan};
use std::process::ExitCode;
use workload::Query;

/// Both engines here allocate all the time; this is the allocator that dbsp's own benches take.
#[global_allocator]
static ALLOCATOR: dbsp::mimalloc::MiMalloc = dbsp::mimalloc::MiMalloc;

const USAGE: &str = "usage: peers <dbsp|differential> <query> [options]
       peers rows <query> <folder> [options]
       peers sql <query>
queries: q1 q2 q3 top1 nexmark3 nexmark4 nexmark5 nexmark7 nexmark8";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("peers: {problem}\n{USAGE}\n{OPTIONS}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let (peer, rest) = arguments.split_first().ok_or("no peer")?;
    let (query, rest) = rest.split_first().ok_or("no query")?;
    let query = Query::named(query).ok_or_else(|| format!("no query `{query}`"))?;
    match peer.as_str() {
        "dbsp" => dbsp_peer::run(&Plan::parse(query, rest)?),
        "differential" => differential_peer::run(Plan::parse(query, rest)?),
        "rows" => {
            let (folder, rest) = rest.split_first().ok_or("no folder")?;
            rows::write(&Plan::parse(query, rest)?, folder.as_ref())
                .map_err(|e| format!("cannot write to `{folder}`: {e}"))?;
        }
        "sql" => println!("{}", query.sql()),
        _ => return Err(format!("no peer `{peer}`")),
    }
    Ok(())
}
