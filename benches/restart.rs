//! How long a daemon takes to be fresh again after kill -9, with so many rows of state; what memory it takes.
//!
//! A private Postgres is filled, the daemon copies it and publishes; it is killed, one row is changed, it is started
//! again. The clock runs from the start of the process until the table that everybody reads shows the change.
//! Printed as a table and as JSON.
//!
//! `cargo test --release --bench restart -- [--rows 1000000,10000000,50000000] [--memory 2GiB] [--kills 3] [--verify]`
//!
//! `--verify` proves in between that what is published equals a recompute, which takes memory of its own; the peak
//! is taken before.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use driftless::daemon::status::Status;
use driftless::row::Position;
use support::driftless::{Daemon, Project};
use support::postgres::{Postgres, Session};

const MODELS: &[(&str, &str)] = &[
    (
        "revenue_by_region.sql",
        "select c.region, count(*) as orders, sum(o.amount) as amount
         from {{ source('app', 'orders') }} o join {{ source('app', 'customers') }} c on o.customer_id = c.id
         group by c.region",
    ),
    (
        "revenue_by_customer.sql",
        "select customer_id, count(*) as orders, sum(amount) as amount from {{ source('app', 'orders') }} group by 1
         having sum(amount) > 1000000",
    ),
    (
        "_app.yml",
        "version: 2\nsources:\n  - name: app\n    schema: public\n    tables: [{name: orders}, {name: customers}]\n",
    ),
];

fn main() {
    let setting = |name: &str, default: &str| {
        let mut args = std::env::args().skip_while(|arg| arg != name);
        args.nth(1).unwrap_or_else(|| default.to_string())
    };
    let sizes = setting("--rows", "1000000,10000000");
    let memory = setting("--memory", "2GiB");
    let kills: usize = setting("--kills", "3").parse().expect("a number");
    let verify = std::env::args().any(|arg| arg == "--verify");
    println!(
        "{:>12} {:>10} {:>12} {:>12} {:>12} {:>10}",
        "rows", "copy s", "fresh s", "after s", "peak MiB", "state MiB"
    );
    for rows in sizes.split(',').map(|rows| rows.parse::<u64>().expect("numbers")) {
        measure(rows, &memory, kills, verify);
    }
}

fn measure(rows: u64, memory: &str, kills: usize, verify: bool) {
    let postgres = Postgres::with(&[("max_wal_size", "8GB")]);
    let mut session = postgres.create_database(
        "app",
        &format!(
            "create table customers (id bigint primary key, name text, region text not null);
             create table orders (id bigint primary key, customer_id bigint not null, status text not null,
                amount numeric(12, 2) not null);
             insert into customers select i, 'customer ' || i, 'region ' || i % 50 from generate_series(1, {0}) i;
             insert into orders select i, 1 + (i::bigint * 7919) % {0}, (array['new','paid','sent'])[1 + i % 3], i % 10000
                from generate_series(1, {rows}) i;",
            rows / 10,
        ),
    );
    let project = Project::with(MODELS);
    let url = postgres.url("app");
    let config = format!("sources:\n  app:\n    postgres: \"{url}\"\ncommit_every: 1s\nmemory: {memory}\n");
    project.write("driftless.yml", &config);

    let begun = Instant::now();
    let mut daemon = project.driftless().arg("run").start();
    fresh(&project, &mut daemon, &mut session);
    let copy = begun.elapsed();
    let mut peak = peak_bytes(daemon.pid());
    let mut taken = Vec::new();
    for kill in 0..kills {
        daemon.kill();
        session.execute(&format!("update orders set amount = amount + 1 where id = {}", 1 + kill));
        let begun = Instant::now();
        daemon = project.driftless().arg("run").start();
        fresh(&project, &mut daemon, &mut session);
        taken.push(begun.elapsed());
        assert!(daemon.stderr().contains("goes on from its checkpoint"), "{}", daemon.stderr());
        peak = peak.max(peak_bytes(daemon.pid()));
    }
    if verify {
        let verdict = project.driftless().arg("verify").finish();
        assert_eq!(verdict.code, Some(0), "{}{}", verdict.stdout, verdict.stderr);
    }
    // One change more, to a state that is on disk but for what the first has touched.
    session.execute("update customers set region = 'elsewhere' where id = 5");
    let begun = Instant::now();
    fresh(&project, &mut daemon, &mut session);
    let after = begun.elapsed();
    let state = directory_bytes(&project.state().join("rocks"));
    taken.sort();
    let (median, mib) = (taken[taken.len() / 2], |bytes: u64| bytes >> 20);
    println!(
        "{rows:>12} {:>10.1} {:>12.3} {:>12.3} {:>12} {:>10}",
        copy.as_secs_f64(),
        median.as_secs_f64(),
        after.as_secs_f64(),
        mib(peak),
        mib(state)
    );
    println!(
        "{{\"bench\":\"restart\",\"rows\":{rows},\"copy_s\":{:.3},\"fresh_s\":{:?},\"peak_rss_bytes\":{peak},\"state_bytes\":{state}}}",
        copy.as_secs_f64(),
        taken.iter().map(|taken| taken.as_secs_f64()).collect::<Vec<_>>(),
    );
}

/// Waits until what the server holds now is what the tables show.
fn fresh(project: &Project, daemon: &mut Daemon, session: &mut Session) {
    let wanted = session.value("select pg_current_wal_insert_lsn()::text").expect("an lsn");
    let wanted = Position::lsn(&wanted).expect("an lsn");
    daemon.wait_for("the tables to show it", Duration::from_secs(3600), || {
        let status = project.driftless().args(["status", "--json"]).finish();
        let status: Status = serde_json::from_str(&status.stdout).ok()?;
        status.durable_cut.0.get("app").is_some_and(|position| position.reaches(&wanted)).then_some(())
    });
}

fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn directory_bytes(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
