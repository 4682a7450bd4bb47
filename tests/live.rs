//! The daemon on real servers: what it publishes against what the servers themselves answer, under traffic,
//! through pauses, kills and stops. Tests that hold a promise of the design name it.

mod support;

use std::time::{Duration, Instant};

use driftless::daemon::status::Status;
use driftless::row::{Gtid, Position};
use driftless::state::Store;
use serde_json::Value;
use support::compare::{assert_same, pg_rows};
use support::driftless::{Daemon, Project};
use support::mariadb::{self, MariaDb};
use support::postgres::{self, Postgres};
use support::readers::{BOTH, Readers};
use support::shop;
use support::traffic::{Dice, Traffic};

/// The example project, its two servers, and how to ask each of the three.
struct Shop {
    postgres: Postgres,
    mariadb: MariaDb,
    project: Project,
    /// Every published model: its table in the catalog, its relation in SQL.
    models: Vec<(String, String)>,
    oracle: postgres::Session,
    billing: mariadb::Session,
}

impl Shop {
    fn open() -> Shop {
        let (postgres, mariadb, project) = (Postgres::start(), MariaDb::start(), Project::example());
        let config = std::fs::read_to_string(project.path().join("driftless.yml")).expect("the example has one");
        project.write("driftless.yml", &config.replace("commit_every: 1s", "commit_every: 200ms"));
        let mut oracle = postgres.create_database("shop", shop::SHOP);
        let mut billing = mariadb.create_database("billing", shop::BILLING);
        shop::mirror_billing(&mut billing, &mut oracle);
        oracle.execute("set time zone 'UTC'");
        let compiled = project.driftless().args(["compile", "--json"]).finish().expect_code(0);
        let mut models = Vec::new();
        for line in compiled.stdout.lines() {
            let model: Value = serde_json::from_str(line).expect("a model a line");
            let text = |name: &str| model[name].as_str().expect("text").to_string();
            // A view for each model: the same SQL, run by Postgres.
            let relation = text("relation");
            oracle.execute(&format!("create view {relation} as {}", text("compiled_sql")));
            if text("materialized") != "ephemeral" {
                models.push((text("table"), relation));
            }
        }
        Shop { postgres, mariadb, project, models, oracle, billing }
    }

    fn start(&self, args: &[&str]) -> Daemon {
        let run = self.project.driftless().arg("run").args(args.iter().copied());
        run.env("SHOP_URL", self.postgres.url("shop")).env("BILLING_URL", self.mariadb.url("billing")).start()
    }

    fn status(&self) -> Option<Status> {
        let status = self.project.driftless().args(["status", "--json"]).finish().expect_code(0);
        serde_json::from_str(&status.stdout).ok()
    }

    fn traffic(&self, seed: u64, transactions: u64) -> [Traffic; 2] {
        [
            Traffic::start(&self.postgres.url("shop"), seed, 4, transactions),
            Traffic::start(&self.mariadb.url("billing"), seed, 2, transactions / 10),
        ]
    }

    /// Both servers stand still: what they hold now must become what the tables show.
    fn assert_published(&mut self, daemon: &mut Daemon, readers: &mut Readers, what: &str) {
        let shop = Position::lsn(&self.oracle.value("select pg_current_wal_insert_lsn()::text").expect("an lsn"));
        let billing = Gtid::parse(&self.billing.value("select @@gtid_binlog_pos").expect("a position"));
        let wanted = [("shop", shop.expect("an lsn")), ("billing", Position::Gtid(billing.expect("a gtid")))];
        daemon.wait_for(what, Duration::from_secs(60), || {
            let cut = self.status()?.durable_cut.0;
            wanted.iter().all(|(source, wanted)| cut.get(*source).is_some_and(|p| p.reaches(wanted))).then_some(())
        });
        shop::mirror_billing(&mut self.billing, &mut self.oracle);
        let tables = readers.tables(&self.project.catalog());
        for (table, relation) in &self.models {
            let expected = pg_rows(&mut self.oracle, &format!("select * from {relation}"));
            for reader in BOTH {
                let found = readers.read(reader, &tables[table]);
                assert_same(&format!("{what}: `{table}` as {reader:?} reads it"), &expected, &found.rows);
            }
        }
    }
}

/// Promise 1, no drift; promise 10, any reader.
#[test]
fn every_model_equals_what_postgres_answers_at_fifty_random_pauses() {
    const TRANSACTIONS: u64 = 20_000;
    const PAUSES: u64 = 50;
    let mut shop = Shop::open();
    let mut readers = Readers::start();
    let mut daemon = shop.start(&[]);
    shop.assert_published(&mut daemon, &mut readers, "the first copy");
    let traffic = shop.traffic(7, TRANSACTIONS);
    let mut dice = Dice(7);
    for pause in 1..=PAUSES {
        let until = TRANSACTIONS * pause / PAUSES - dice.below(TRANSACTIONS / PAUSES / 2);
        daemon.wait_for("more traffic", Duration::from_secs(120), || {
            (traffic[0].done() >= until || traffic[0].finished()).then_some(())
        });
        traffic.iter().for_each(Traffic::pause);
        shop.assert_published(&mut daemon, &mut readers, &format!("pause {pause} after {until} transactions"));
        traffic.iter().for_each(Traffic::resume);
    }
    traffic.into_iter().for_each(Traffic::join);
    // Promise 9, sources are not harmed: nobody's replica identity was touched, and there is one slot.
    let harm = "select (select count(*) from pg_class where relkind = 'r' and relreplident <> 'd'
          and relnamespace = 'public'::regnamespace)
        || ' ' || (select count(*) from pg_replication_slots)";
    assert_eq!(shop.oracle.value(harm).as_deref(), Some("0 1"));
    shop.assert_published(&mut daemon, &mut readers, "the end of the traffic");
    let verdict = shop.project.driftless().arg("verify").finish().expect_code(0);
    assert!(verdict.stdout.contains(&format!("{0} of {0} models equal", shop.models.len())), "{}", verdict.stdout);
    assert_eq!(daemon.signal("TERM", Duration::from_secs(30)).code(), Some(0), "{}", daemon.stderr());
}

/// Promise 3, exactly once; promise 4, a source is acknowledged only behind durable state.
#[test]
fn thirty_kills_lose_nothing_double_nothing_and_acknowledge_nothing_too_early() {
    const KILLS: u64 = 30;
    let mut shop = Shop::open();
    let mut readers = Readers::start();
    let traffic = shop.traffic(11, 200_000);
    let mut dice = Dice(11);
    for kill in 1..=KILLS {
        let mut daemon = shop.start(&[]);
        // Some die in their first copy, some while they resume, some at work.
        std::thread::sleep(Duration::from_millis(50 + dice.below(1_500)));
        assert!(daemon.status().is_none(), "kill {kill}: the daemon ended by itself: {}", daemon.stderr());
        daemon.kill();
        let told = shop.oracle.value("select confirmed_flush_lsn::text from pg_replication_slots");
        let durable = Store::open(&shop.project.state()).ok().and_then(|store| store.checkpoint().expect("readable"));
        let durable = durable.and_then(|checkpoint| checkpoint.cut.0.get("shop").cloned());
        if let (Some(told), Some(durable)) = (told.and_then(|lsn| Position::lsn(&lsn)), durable) {
            assert!(durable.reaches(&told), "kill {kill}: Postgres was told of {told}, and {durable} is durable");
        }
        if kill % 10 == 0 {
            traffic.iter().for_each(Traffic::pause);
            let mut daemon = shop.start(&[]);
            shop.assert_published(&mut daemon, &mut readers, &format!("after kill {kill}"));
            daemon.kill();
            traffic.iter().for_each(Traffic::resume);
        }
    }
    assert!(!traffic[0].finished(), "the kills must fall into traffic");
    traffic.iter().for_each(Traffic::pause);
    let mut daemon = shop.start(&[]);
    shop.assert_published(&mut daemon, &mut readers, "after the last kill");
}

/// Every step between staging and publishing is a place to die at.
#[test]
fn a_crash_at_every_named_point_is_finished_or_made_again() {
    let mut shop = Shop::open();
    let mut readers = Readers::start();
    let points =
        ["stage.files", "stage.done", "checkpoint.before", "checkpoint.after", "publish.before", "publish.after"];
    for (round, point) in points.iter().cycle().take(points.len() * 2).enumerate() {
        shop.oracle
            .execute("update products set price = price + 1; update orders set status = 'paid' where id % 3 = 1");
        let run = shop.project.driftless().args(["run", "--once"]).env("DRIFTLESS_CRASH_AT", *point);
        let run = run.env("SHOP_URL", shop.postgres.url("shop")).env("BILLING_URL", shop.mariadb.url("billing"));
        let crashed = run.finish();
        assert_eq!(crashed.code, None, "round {round}: it dies at {point}: {}", crashed.stderr);
        shop.oracle
            .execute(&format!("insert into orders select 900000 + {round}, min(id), 'paid', now() from customers"));
        let mut daemon = shop.start(&[]);
        shop.assert_published(&mut daemon, &mut readers, &format!("after a crash at {point}"));
        assert_eq!(daemon.signal("INT", Duration::from_secs(30)).code(), Some(0), "{}", daemon.stderr());
    }
}

/// Promise 2, whole transactions: no snapshot ever shows a part of one, and all tables agree.
#[test]
fn every_snapshot_shows_whole_transactions() {
    let postgres = Postgres::start();
    let mut session = postgres.create_database(
        "shop",
        "create table accounts (id int primary key, balance bigint not null);
         insert into accounts select i, 100 from generate_series(1, 50) i;",
    );
    let project = Project::with(&[
        ("total.sql", "select sum(balance) as total, count(*) as accounts from {{ source('bank', 'accounts') }}"),
        ("rich.sql", "select id, balance from {{ source('bank', 'accounts') }}"),
        ("_bank.yml", "version: 2\nsources:\n  - name: bank\n    schema: public\n    tables: [{name: accounts}]\n"),
    ]);
    let url = postgres.url("shop");
    project.write("driftless.yml", &format!("sources:\n  bank:\n    postgres: \"{url}\"\ncommit_every: 50ms\n"));
    let mut daemon = project.driftless().arg("run").start();
    let mut readers = Readers::start();
    daemon.wait_for("the first snapshot", Duration::from_secs(30), || {
        let tables = project.catalog().exists().then(|| readers.tables(&project.catalog()))?;
        readers.read(BOTH[0], tables.get("public.total")?).snapshot
    });
    let mut dice = Dice(3);
    let begun = Instant::now();
    let mut looks = 0;
    while begun.elapsed() < Duration::from_secs(6) {
        for _ in 0..40 {
            let (from, to, much) = (1 + dice.below(50), 1 + dice.below(50), dice.below(30));
            session.execute(&format!(
                "begin; update accounts set balance = balance - {much} where id = {from};
                 update accounts set balance = balance + {much} where id = {to}; commit"
            ));
        }
        let tables = readers.tables(&project.catalog());
        let total = readers.read(BOTH[looks % 2], &tables["public.total"]).rows;
        assert_eq!(total.keys().collect::<Vec<_>>(), [r#"{"total":5000,"accounts":50}"#], "look {looks}");
        let rich = readers.read(BOTH[looks % 2], &tables["public.rich"]);
        let balance =
            |row: &String| serde_json::from_str::<Value>(row).expect("JSON")["balance"].as_i64().expect("set");
        let sum: i64 = rich.rows.iter().map(|(row, times)| balance(row) * times).sum();
        assert_eq!((sum, rich.rows.len()), (5000, 50), "look {looks}");
        looks += 1;
    }
    assert!(looks > 5, "looked {looks} times only");
}

/// Promise 7: bad rows stop a model, not the daemon, and never silently.
#[test]
fn a_row_that_cannot_be_computed_withholds_its_model_until_it_is_mended() {
    let postgres = Postgres::start();
    let mut session = postgres.create_database(
        "shop",
        "create table lines (id int primary key, amount int, parts int); insert into lines values (1, 10, 2), (2, 9, 3);",
    );
    let project = Project::with(&[
        ("share.sql", "select id, amount / parts as share from {{ source('s', 'lines') }}"),
        ("below.sql", "select count(*) as n, sum(share) as shares from {{ ref('share') }}"),
        ("beside.sql", "select count(*) as n from {{ source('s', 'lines') }}"),
        ("_s.yml", "version: 2\nsources:\n  - name: s\n    schema: public\n    tables: [{name: lines}]\n"),
    ]);
    let url = postgres.url("shop");
    project.write("driftless.yml", &format!("sources:\n  s:\n    postgres: \"{url}\"\ncommit_every: 100ms\n"));
    let mut daemon = project.driftless().arg("run").start();
    let mut readers = Readers::start();
    let mut shows = |daemon: &mut Daemon, table: &str, wanted: &[&str]| {
        daemon.wait_for(&format!("{table} to show {wanted:?}"), Duration::from_secs(30), || {
            let tables = project.catalog().exists().then(|| readers.tables(&project.catalog()))?;
            let rows = readers.read(BOTH[0], tables.get(table)?).rows;
            (rows.keys().map(String::as_str).collect::<Vec<_>>() == wanted).then_some(())
        });
    };
    shows(&mut daemon, "public.below", &[r#"{"n":2,"shares":8}"#]);
    session.execute("insert into lines values (3, 5, 0), (4, 4, 4)");
    shows(&mut daemon, "public.beside", &[r#"{"n":4}"#]);
    shows(&mut daemon, "public.share", &[r#"{"id":1,"share":5}"#, r#"{"id":2,"share":3}"#]);
    shows(&mut daemon, "public.below", &[r#"{"n":2,"shares":8}"#]);
    let status = project.driftless().arg("status").finish().expect_code(0).stdout;
    assert!(status.contains("share is withheld, its last good snapshot stays:\n  Divide by zero"), "{status}");
    assert!(status.contains("id=3 amount=5 parts=0"), "{status}");
    project.driftless().arg("verify").finish().expect_code(1);
    // A restart finds the same fault, and the same way out of it.
    daemon.kill();
    let mut daemon = project.driftless().arg("run").start();
    session.execute("update lines set parts = 5 where id = 3");
    shows(&mut daemon, "public.below", &[r#"{"n":4,"shares":10}"#]);
    project.driftless().arg("verify").finish().expect_code(0);
}

/// Promise 8, no model is left behind.
#[test]
fn a_model_that_cannot_be_maintained_is_computed_as_a_whole_and_says_so() {
    let postgres = Postgres::start();
    let table = "create table days (id int primary key, sold int); insert into days values (1, 10), (2, 30);";
    let mut session = postgres.create_database("shop", table);
    let project = Project::with(&[
        (
            "outlook.sql",
            "with recursive outlook(id, sold) as (
               select id, cast(sold as bigint) from {{ source('s', 'days') }}
               union all
               select max(id) + 1, max(sold) * 2 from outlook having max(id) < 4
             )
             select id, sold from outlook",
        ),
        ("best.sql", "select max(sold) as sold from {{ ref('outlook') }}"),
        ("_s.yml", "version: 2\nsources:\n  - name: s\n    schema: public\n    tables: [{name: days}]\n"),
    ]);
    let url = postgres.url("shop");
    project.write("driftless.yml", &format!("sources:\n  s:\n    postgres: \"{url}\"\ncommit_every: 100ms\n"));
    let plan = || project.driftless().arg("plan").finish().expect_code(0).stdout;
    let said = plan();
    assert!(said.contains("model outlook: recompute\n"), "{said}");
    assert!(said.contains("since an aggregate over `outlook` within its own recursive select"), "{said}");
    assert!(said.ends_with("2 models: 1 incremental, 1 recompute, 0 refused\n"), "{said}");

    let mut daemon = project.driftless().arg("run").start();
    let mut readers = Readers::start();
    let mut shows = |daemon: &mut Daemon, wanted: i64| {
        daemon.wait_for(&format!("the best to be {wanted}"), Duration::from_secs(30), || {
            let tables = project.catalog().exists().then(|| readers.tables(&project.catalog()))?;
            let rows = readers.read(BOTH[0], tables.get("public.best")?).rows;
            rows.keys().eq([&format!("{{\"sold\":{wanted}}}")]).then_some(())
        });
    };
    shows(&mut daemon, 120);
    session.execute("update days set sold = 50 where id = 1");
    shows(&mut daemon, 200);
    daemon.kill();
    session.execute("delete from days where id = 2");
    let mut daemon = project.driftless().arg("run").start();
    shows(&mut daemon, 400);
    let said = plan();
    assert!(said.contains("model outlook: recompute, ") && said.contains(" ms the last time\n"), "{said}");
    project.driftless().arg("verify").finish().expect_code(0);
    // What is open when it is told to stop is settled first.
    session.execute("insert into days values (3, 7)");
    session.execute("delete from days where id = 1");
    assert_eq!(daemon.signal("TERM", Duration::from_secs(30)).code(), Some(0), "{}", daemon.stderr());
    project.driftless().args(["run", "--once"]).finish().expect_code(0);
    project.driftless().arg("verify").finish().expect_code(0);
}

/// Promise 1 with stamps: a row says when it came, across kills too, and models that read it are proved by what it says.
#[test]
fn a_stamp_stays_as_long_as_its_row() {
    let postgres = Postgres::start();
    let table = "create table users (id int primary key, name text); insert into users values (1, 'a'), (2, 'b');";
    let mut session = postgres.create_database("shop", table);
    let project = Project::with(&[
        ("people.sql", "select id, name, current_timestamp as loaded_at from {{ source('s', 'users') }}"),
        ("latest.sql", "select id, name from {{ ref('people') }} order by loaded_at desc, id limit 1"),
        ("_s.yml", "version: 2\nsources:\n  - name: s\n    schema: public\n    tables: [{name: users}]\n"),
    ]);
    let url = postgres.url("shop");
    project.write("driftless.yml", &format!("sources:\n  s:\n    postgres: \"{url}\"\ncommit_every: 100ms\n"));
    let mut daemon = project.driftless().arg("run").start();
    let mut readers = Readers::start();
    let mut shown = |daemon: &mut Daemon, wanted: &str| -> std::collections::BTreeMap<i64, String> {
        daemon.wait_for(&format!("the latest to be {wanted}"), Duration::from_secs(30), || {
            let tables = project.catalog().exists().then(|| readers.tables(&project.catalog()))?;
            let latest = readers.read(BOTH[0], tables.get("public.latest")?).rows;
            latest.keys().eq([wanted]).then_some(())?;
            let people = readers.read(BOTH[1], tables.get("public.people")?).rows;
            let person = |row: &String| {
                let row: serde_json::Value = serde_json::from_str(row).expect("a row");
                (row["id"].as_i64().expect("a number"), row["loaded_at"].to_string())
            };
            Some(people.keys().map(person).collect())
        })
    };
    let first = shown(&mut daemon, r#"{"id":1,"name":"a"}"#);
    session.execute("update users set name = 'c' where id = 2");
    let second = shown(&mut daemon, r#"{"id":2,"name":"c"}"#);
    assert_eq!(first[&1], second[&1]);
    assert!(first[&2] < second[&2], "{first:?} {second:?}");
    daemon.kill();
    session.execute("insert into users values (3, 'd')");
    let mut daemon = project.driftless().arg("run").start();
    let third = shown(&mut daemon, r#"{"id":3,"name":"d"}"#);
    assert_eq!((&second[&1], &second[&2]), (&third[&1], &third[&2]));
    let verdict = project.driftless().arg("verify").finish().expect_code(0).stdout;
    assert!(verdict.contains("equal (but for when rows came: loaded_at)"), "{verdict}");
    assert!(verdict.contains("2 of 2 models equal"), "{verdict}");
    // Another model makes all of them anew, and what is as it was came when it came.
    daemon.kill();
    project.write("models/many.sql", "select count(*) as n from {{ ref('people') }}");
    session.execute("insert into users values (4, 'e')");
    let mut daemon = project.driftless().arg("run").start();
    let fourth = shown(&mut daemon, r#"{"id":4,"name":"e"}"#);
    assert!(daemon.stderr().contains("computes every model anew"), "{}", daemon.stderr());
    assert!(third.iter().all(|(id, at)| fourth[id] == *at), "{third:?} {fourth:?}");
    assert!(third[&3] < fourth[&4], "{third:?} {fourth:?}");
    project.driftless().arg("verify").finish().expect_code(0);
}

/// Promise 1 by the clock: rows enter and leave while no source says anything, also across a kill, and while nobody ran.
#[test]
fn rows_come_and_go_by_the_clock_alone() {
    let postgres = Postgres::start();
    let mut session = postgres.create_database("shop", "create table visits (id int primary key, at timestamptz)");
    let project = Project::with(&[
        ("recent.sql", "select id from {{ source('s', 'visits') }} where at > now() - interval '8 seconds'"),
        ("many.sql", "select count(*) as n from {{ ref('recent') }}"),
        ("begun.sql", "select id from {{ source('s', 'visits') }} where current_timestamp >= at"),
        ("_s.yml", "version: 2\nsources:\n  - name: s\n    schema: public\n    tables: [{name: visits}]\n"),
    ]);
    let url = postgres.url("shop");
    project.write("driftless.yml", &format!("sources:\n  s:\n    postgres: \"{url}\"\ncommit_every: 100ms\n"));
    let mut daemon = project.driftless().arg("run").start();
    let mut readers = Readers::start();
    let mut shows = |daemon: &mut Daemon, table: &str, wanted: &[&str]| {
        daemon.wait_for(&format!("{table} to show {wanted:?}"), Duration::from_secs(30), || {
            let tables = project.catalog().exists().then(|| readers.tables(&project.catalog()))?;
            let shown = readers.read(BOTH[0], tables.get(table)?);
            let same = shown.rows.keys().map(String::as_str).eq(wanted.iter().copied());
            same.then(|| shown.summary["driftless.clock"].parse::<i64>().expect("microseconds"))
        })
    };
    shows(&mut daemon, "public.many", &[r#"{"n":0}"#]);
    let begun = Instant::now();
    let told = driftless::world::now_us();
    session.execute(
        "insert into visits values (1, now()), (2, now() + interval '6 seconds'), (3, now() + interval '14 seconds')",
    );
    let first = shows(&mut daemon, "public.begun", &[r#"{"id":1}"#]);
    shows(&mut daemon, "public.many", &[r#"{"n":3}"#]);
    let second = shows(&mut daemon, "public.begun", &[r#"{"id":1}"#, r#"{"id":2}"#]);
    assert!(first >= told && second >= first + 5_000_000, "{told} {first} {second}");
    let left = shows(&mut daemon, "public.recent", &[r#"{"id":2}"#, r#"{"id":3}"#]);
    assert!((left - told - 8_000_000).abs() < 2_000_000, "it left {} us after it came", left - told);
    project.driftless().arg("verify").finish().expect_code(0);
    daemon.kill();
    // The second leaves and the third enters while nobody runs.
    std::thread::sleep(Duration::from_secs(15).saturating_sub(begun.elapsed()));
    project.driftless().arg("verify").finish().expect_code(0);
    let mut daemon = project.driftless().arg("run").start();
    shows(&mut daemon, "public.recent", &[r#"{"id":3}"#]);
    shows(&mut daemon, "public.begun", &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#]);
    assert!(daemon.stderr().contains("goes on from its checkpoint"), "{}", daemon.stderr());
    shows(&mut daemon, "public.many", &[r#"{"n":0}"#]);
    shows(&mut daemon, "public.recent", &[]);
    project.driftless().arg("verify").finish().expect_code(0);
}

/// Promise 5, restart does not recompute: after a kill the dataflow goes on from its checkpoint, with whatever number
/// of workers; only models that have changed are computed anew, from the rows that are kept.
#[test]
fn a_restart_goes_on_from_its_checkpoint_and_computes_nothing_again() {
    let mut shop = Shop::open();
    let mut readers = Readers::start();
    let mut daemon = shop.start(&[]);
    shop.assert_published(&mut daemon, &mut readers, "the first run");
    for workers in [1, 3, 2] {
        daemon.kill();
        shop.oracle.execute("update products set price = price + 1; delete from order_items where quantity = 2");
        let config = std::fs::read_to_string(shop.project.path().join("driftless.yml")).expect("it is there");
        let config = config.lines().filter(|line| !line.starts_with("workers:")).collect::<Vec<_>>().join("\n");
        shop.project.write("driftless.yml", &format!("{config}\nworkers: {workers}\n"));
        daemon = shop.start(&[]);
        shop.assert_published(&mut daemon, &mut readers, &format!("a restart with {workers} workers"));
        assert!(daemon.stderr().contains("goes on from its checkpoint"), "{}", daemon.stderr());
        let status = shop.status().expect("the daemon answers");
        assert_eq!(status.rows_copied, 0);
        assert!(status.models.iter().all(|m| m.published.as_ref().is_none_or(|shown| shown.rows as i64 == m.rows)));
        let verdict = shop.project.driftless().arg("verify").finish().expect_code(0);
        assert!(verdict.stdout.contains(&format!("{0} of {0} models equal", shop.models.len())), "{}", verdict.stdout);
    }
    daemon.kill();
    // Left as it is, the state shows what it holds; nothing of it is in memory.
    let left = shop.project.driftless().args(["state", "--json"]).finish().expect_code(0);
    let left: serde_json::Value = serde_json::from_str(&left.stdout).expect("one document");
    let sizes = left["arrangements"].as_array().expect("a list");
    assert!(sizes.iter().any(|size| size["rows"].as_u64() > Some(0)), "{left}");
    assert!(sizes.iter().all(|size| size["bytes_in_memory"] == 0 && size["bytes_on_disk"] == size["bytes"]), "{left}");
    // A model that is new is computed from the rows that are kept.
    shop.project.write("models/newcomer.sql", "select count(*) as n from {{ source('shop', 'orders') }}");
    let mut daemon = shop.start(&[]);
    shop.assert_published(&mut daemon, &mut readers, "a restart with another model");
    assert!(daemon.stderr().contains("computes every model anew"), "{}", daemon.stderr());
    assert_eq!(shop.status().expect("the daemon answers").rows_copied, 0);
}

/// A restart reads no source table again.
#[test]
fn a_restart_goes_on_from_its_checkpoint_and_copies_nothing() {
    let mut shop = Shop::open();
    let mut readers = Readers::start();
    let mut daemon = shop.start(&["--once"]);
    assert_eq!(daemon.wait("the first run", Duration::from_secs(60)).code(), Some(0), "{}", daemon.stderr());
    shop.oracle.execute("update products set price = price + 1; delete from order_items where line = 2");
    // Whoever reads a table whole from now on must wait for ever.
    let mut daemon = shop.start(&[]);
    shop.assert_published(&mut daemon, &mut readers, "the second run");
    assert_eq!(shop.status().expect("the daemon answers").rows_copied, 0);
}
