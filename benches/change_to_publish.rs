//! How long a committed row takes to be seen: in the maintained models, and in Iceberg.
//!
//! 10,000 single-row transactions are sent to a private Postgres at a steady rate, while the daemon runs
//! in this process. Each is seen in the first Moment whose Cut holds its commit; the clock starts when the
//! server has answered COMMIT. Printed as a table and as JSON.
//!
//! `cargo test --release --bench change_to_publish -- [--transactions N] [--rate PER_SECOND] [--commit-every 1s]`

#[path = "in_process.rs"]
mod in_process;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use driftless::daemon::Observed;
use driftless::row::Position;
use in_process::{InProcess, setting};

const TABLE: &str = "create table events (id bigint primary key, kind int not null, amount numeric(12, 2) not null);
    insert into events select i, i % 100, i from generate_series(1, 100000) i;";
const MODEL: &str =
    "select kind, count(*) as events, sum(amount) as amount from {{ source('app', 'events') }} group by kind";

/// A commit, and when it was seen.
struct Sent {
    lsn: Position,
    at: Instant,
}

fn main() {
    let transactions: usize = setting("--transactions", "10000").parse().expect("a number");
    let rate: u64 = setting("--rate", "500").parse().expect("a number");
    let commit_every = setting("--commit-every", "1s");

    let postgres = support::postgres::Postgres::start();
    let mut session = postgres.create_database("app", TABLE);
    let files = support::driftless::Project::with(&[
        ("by_kind.sql", MODEL),
        ("_app.yml", "version: 2\nsources:\n  - name: app\n    schema: public\n    tables: [{name: events}]\n"),
    ]);
    let url = postgres.url("app");
    files.write("driftless.yml", &format!("sources:\n  app:\n    postgres: \"{url}\"\ncommit_every: {commit_every}\n"));

    let daemon = InProcess::start(files.path(), &[]);

    let mut sent = Vec::with_capacity(transactions);
    let begun = Instant::now();
    for number in 0..transactions {
        let due = begun + Duration::from_nanos(number as u64 * 1_000_000_000 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let id = 200_000 + number;
        session.execute(&format!("insert into events values ({id}, {}, 1.25)", number % 100));
        let at = Instant::now();
        // Asked after the clock has started: the answer costs a round trip that is not the daemon's.
        let lsn = session.value("select pg_current_wal_insert_lsn()::text").expect("an lsn");
        sent.push(Sent { lsn: Position::lsn(&lsn).expect("an lsn"), at });
    }
    let wall = begun.elapsed();
    // One more, so that the last of the measured ones is passed by a position.
    session.execute("select pg_logical_emit_message(true, 'bench', 'end')");

    let (mut maintained, mut published) = (Vec::new(), Vec::new());
    let deadline = Duration::from_secs(60);
    while published.len() < sent.len() {
        match daemon.observed.recv_timeout(deadline).expect("the daemon goes on publishing") {
            Observed::Maintained { cut, at, .. } => see(&sent, &mut maintained, &cut.0["app"], at),
            Observed::Published { cut, at, .. } => see(&sent, &mut published, &cut.0["app"], at),
        }
    }
    daemon.finish();
    report(transactions, rate, wall, &commit_every, &mut maintained, &mut published);
}

/// Commits come in order, and so do positions: everything from the first unseen up to `position` is seen.
fn see(sent: &[Sent], seen: &mut Vec<Duration>, position: &Position, at: Instant) {
    while let Some(next) = sent.get(seen.len()).filter(|next| position.reaches(&next.lsn)) {
        seen.push(at.saturating_duration_since(next.at));
    }
}

fn report(
    transactions: usize,
    rate: u64,
    wall: Duration,
    commit_every: &str,
    maintained: &mut [Duration],
    published: &mut [Duration],
) {
    let mut json = serde_json::Map::new();
    println!(
        "{transactions} single-row transactions at {rate}/s in {:.1} s, commit_every {commit_every}",
        wall.as_secs_f64()
    );
    println!("{:<24} {:>10} {:>10} {:>10}", "visible in", "p50 ms", "p99 ms", "max ms");
    for (name, seen) in [("the maintained view", maintained), ("Iceberg", published)] {
        seen.sort();
        let at = |share: f64| seen[((seen.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
        println!("{name:<24} {p50:>10.1} {p99:>10.1} {max:>10.1}");
        json.insert(name.into(), serde_json::json!({"p50_ms": p50, "p99_ms": p99, "max_ms": max}));
    }
    println!(
        "{}",
        serde_json::json!({"transactions": transactions, "rate": rate, "commit_every": commit_every, "visible_in": json})
    );
}
