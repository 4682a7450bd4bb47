//! Does one huge transaction keep other models waiting?
//!
//! One database commits a transaction of millions of rows into a model of maxima and one of latest rows; another
//! commits a row fifty times a second. How stale does the other's model become meanwhile, in the maintained view and
//! in Iceberg? One worker, both databases in one private server. Printed as a table and as JSON.
//!
//! `cargo test --release --bench huge_transaction -- [--rows 3000000] [--keys 100000] [--commit-every 1s] [--trace]`

#[path = "in_process.rs"]
mod in_process;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use driftless::daemon::Observed;
use driftless::row::Position;
use in_process::{InProcess, setting};

const FILES: &[(&str, &str)] = &[
    ("highest.sql", "select key, max(value) as highest from {{ source('huge', 'events') }} group by key"),
    (
        "latest.sql",
        "select id, key, value from (select *, row_number() over (partition by key order by id desc) as n
         from {{ source('huge', 'events') }}) e where n = 1",
    ),
    ("tick_count.sql", "select count(*) as n, sum(id) as ids from {{ source('steady', 'ticks') }}"),
    (
        "_sources.yml",
        "version: 2\nsources:\n  - name: huge\n    schema: public\n    tables: [{name: events}]\n  - name: steady\n    \
         schema: public\n    tables: [{name: ticks}]\n",
    ),
];

fn main() {
    let rows: u64 = setting("--rows", "3000000").parse().expect("a number");
    let keys: u64 = setting("--keys", "100000").parse().expect("a number");
    let commit_every = setting("--commit-every", "1s");

    let postgres = support::postgres::Postgres::with(&[("max_wal_size", "8GB"), ("logical_decoding_work_mem", "2GB")]);
    let events = "create table events (id bigint primary key, key bigint not null, value bigint not null)";
    let mut huge = postgres.create_database("huge", events);
    let mut steady = postgres.create_database("steady", "create table ticks (id bigint primary key)");
    let files = support::driftless::Project::with(FILES);
    let source = |name: &str| format!("  {name}:\n    postgres: \"{}\"\n", postgres.url(name));
    let config = format!("sources:\n{}{}commit_every: {commit_every}\n", source("huge"), source("steady"));
    files.write("driftless.yml", &config);

    let daemon = InProcess::start(files.path(), &["highest", "latest", "tick_count"]);

    let done = std::sync::Arc::new(AtomicBool::new(false));
    let ticker = {
        let done = done.clone();
        std::thread::spawn(move || {
            let mut sent = Vec::new();
            while !done.load(Relaxed) {
                let id = sent.len();
                steady.execute(&format!("insert into ticks values ({id})"));
                let at = Instant::now();
                let lsn = steady.value("select pg_current_wal_insert_lsn()::text").expect("an lsn");
                sent.push((Position::lsn(&lsn).expect("an lsn"), at));
                std::thread::sleep(Duration::from_millis(20));
            }
            steady.execute("select pg_logical_emit_message(true, 'bench', 'end')");
            sent
        })
    };
    std::thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    huge.execute(&format!("insert into events select i, i % {keys}, i from generate_series(1, {rows}) i"));
    let committed = Instant::now();
    let end = huge.value("select pg_current_wal_insert_lsn()::text").expect("an lsn");
    let end = Position::lsn(&end).expect("an lsn");
    huge.execute("insert into events values (0, 0, 0)");

    // Until the huge transaction is in Iceberg, and two seconds more.
    let (mut seen, mut whole, mut shown) = (Vec::new(), None, None);
    let mut reached = None;
    while shown.is_none_or(|at: Instant| at.elapsed() < Duration::from_secs(2)) {
        let observed = daemon.observed.recv_timeout(Duration::from_secs(300)).expect("the daemon goes on");
        match &observed {
            Observed::Maintained { cut, behind, at, .. } => {
                if cut.0["huge"].reaches(&end) {
                    reached.get_or_insert(*at);
                    if behind.is_empty() {
                        whole.get_or_insert(*at);
                    }
                }
            }
            Observed::Published { at, .. } if whole.is_some_and(|whole| whole < *at) => {
                shown.get_or_insert(*at);
            }
            Observed::Published { .. } => {}
        }
        seen.push(observed);
    }
    done.store(true, Relaxed);
    let sent = ticker.join().expect("the ticker ticks");
    daemon.finish();

    let since = |at: Instant| (at - committed).as_secs_f64();
    if std::env::args().any(|arg| arg == "--trace") {
        let seconds = |at: &Instant| at.duration_since(begun).as_secs_f64();
        let mut next = 0;
        for observed in &seen {
            match observed {
                Observed::Maintained { moment, behind, cut, at } => {
                    let oldest = sent.get(next).filter(|(lsn, _)| cut.0["steady"].reaches(lsn));
                    let oldest = oldest.map_or(Duration::ZERO, |(_, sent)| at.saturating_duration_since(*sent));
                    next += sent[next..].iter().take_while(|(lsn, _)| cut.0["steady"].reaches(lsn)).count();
                    let (behind, ms) = (behind.len(), oldest.as_millis());
                    println!("{:>8.2} maintained {moment}, {behind} behind, oldest tick {ms} ms", seconds(at));
                }
                Observed::Published { moment, at, .. } => println!("{:>8.2} published {moment}", seconds(at)),
            }
        }
    }
    println!("{rows} rows in one transaction of {:.1} s, {keys} keys", (committed - begun).as_secs_f64());
    let (reached, whole, shown) = (reached.expect("seen"), whole.expect("seen"), shown.expect("seen"));
    let (reached, whole, shown) = (since(reached), since(whole), since(shown));
    println!("taken in after {reached:.1} s, maintained after {whole:.1} s, in Iceberg after {shown:.1} s");
    println!("{:<24} {:>10} {:>10}", "the other model", "p50 ms", "stalest ms");
    let mut json = serde_json::Map::new();
    for (name, published) in [("the maintained view", false), ("Iceberg", true)] {
        let mut next = 0;
        let mut stale: Vec<Duration> = Vec::new();
        for observed in &seen {
            let (cut, at) = match observed {
                Observed::Maintained { cut, at, .. } if !published => (cut, at),
                Observed::Published { cut, at, .. } if published => (cut, at),
                _ => continue,
            };
            while let Some((_, sent)) = sent.get(next).filter(|(lsn, _)| cut.0["steady"].reaches(lsn)) {
                stale.push(at.saturating_duration_since(*sent));
                next += 1;
            }
        }
        stale.sort();
        let ms = |at: usize| stale[at].as_secs_f64() * 1000.0;
        let (p50, max) = (ms(stale.len() / 2), ms(stale.len() - 1));
        println!("{name:<24} {p50:>10.0} {max:>10.0}");
        json.insert(name.into(), serde_json::json!({"p50_ms": p50, "stalest_ms": max, "seen": stale.len()}));
    }
    let other = serde_json::Value::Object(json);
    let line = serde_json::json!({"bench": "huge_transaction", "rows": rows, "maintained_s": whole, "published_s": shown, "other": other});
    println!("{line}");
}
