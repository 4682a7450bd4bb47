//! The harness holds: what every other test stands on is tested first.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::compare::{assert_same, difference, multiset, pg_rows};
use support::driftless::Project;
use support::keeper::{Leash, alive, run};
use support::mariadb::MariaDb;
use support::postgres::{GUARDED_PASSWORD, GUARDED_ROLE, Postgres, Session};
use support::readers::{BOTH, Readers};
use support::shop::{BILLING, SHOP, mirror_billing};
use support::traffic::{CUSTOMERS, ORDERS, PAYMENTS, PRODUCTS, Traffic};
use support::{cache, repository, wait_for};

#[test]
fn postgres_is_ready_for_logical_replication_and_leaves_nothing() {
    let postgres = Postgres::start();
    let mut session = postgres.create_database("shop", SHOP);
    assert_eq!(session.value("show wal_level").as_deref(), Some("logical"));
    for (table, rows) in [("customers", CUSTOMERS), ("products", PRODUCTS), ("orders", ORDERS)] {
        assert_eq!(session.value(&format!("select count(*) from {table}")), Some(rows.to_string()), "{table}");
    }
    let open = |role, password| Session::open(&postgres.url_as(role, password, "shop"));
    assert!(open(GUARDED_ROLE, GUARDED_PASSWORD).is_ok());
    assert!(open(GUARDED_ROLE, "wrong").is_err());

    let (pid, dir) = (postgres.pid(), postgres.dir().to_path_buf());
    assert!(alive(pid) && dir.exists());
    drop(postgres);
    assert!(!alive(pid) && !dir.exists());
}

#[test]
fn a_second_postgres_starts_within_a_second_from_the_cached_template() {
    drop(Postgres::start());
    let template = std::fs::read_dir(cache()).unwrap().flatten().any(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.starts_with("pgtemplate-")
    });
    assert!(template);
    let start = Instant::now();
    let _postgres = Postgres::start();
    let took = start.elapsed();
    println!("postgres started in {took:?}");
    // Measured 0.3 s; the bound allows for a machine that is building something else meanwhile.
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn servers_keep_their_data_over_a_crash() {
    let mut postgres = Postgres::with(&[("fsync", "on")]);
    postgres.create_database("shop", "create table t (n int); insert into t values (1)");
    postgres.crash();
    postgres.start_again();
    assert_eq!(postgres.session("shop").value("select n from t").as_deref(), Some("1"));

    let mut mariadb = MariaDb::start();
    mariadb.create_database("billing", "create table t (n int); insert into t values (1)");
    mariadb.stop();
    mariadb.start_again();
    assert_eq!(mariadb.session("billing").value("select n from t").as_deref(), Some("1"));
}

#[test]
fn mariadb_writes_a_row_binlog_with_names() {
    let mariadb = MariaDb::start();
    // A server that starts clears away what others have in a temporary directory that they share.
    let own = mariadb.dir().display().to_string();
    assert_eq!(mariadb.session("").value("select @@tmpdir"), Some(own));
    let mut session = mariadb.create_database("billing", BILLING);
    assert_eq!(session.value("select count(*) from payments"), Some(PAYMENTS.to_string()));
    let settings = "select @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@gtid_strict_mode, @@log_bin";
    let settings: Vec<String> = session.query(settings).remove(0).into_iter().flatten().collect();
    assert_eq!(settings, ["ROW", "FULL", "FULL", "1", "1"]);
    assert_ne!(session.value("select @@gtid_current_pos").as_deref(), Some(""));

    let (pid, dir) = (mariadb.pid(), mariadb.dir().to_path_buf());
    drop(session);
    drop(mariadb);
    assert!(!alive(pid) && !dir.exists());
}

/// Only by `a_killed_test_leaves_nothing_running`, which kills the process that runs this.
#[test]
#[ignore = "the victim of another test"]
fn victim() {
    let (postgres, mariadb) = (Postgres::start(), MariaDb::start());
    println!("victim {} {} {} {} .", postgres.pid(), mariadb.pid(), postgres.dir().display(), mariadb.dir().display());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_killed_test_leaves_nothing_running() {
    let output = tempfile::NamedTempFile::new().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["victim", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(output.reopen().unwrap())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let said = wait_for("the victim's servers", Duration::from_secs(60), || {
        let said = std::fs::read_to_string(output.path()).unwrap();
        said.find("victim ").and_then(|at| said[at..].contains(" .").then(|| said[at..].to_string()))
    });
    let mut words = said.split_whitespace().skip(1);
    let pids = [words.next().unwrap(), words.next().unwrap()].map(|pid| pid.parse::<u32>().unwrap());
    let dirs = [words.next().unwrap(), words.next().unwrap()].map(Path::new);
    assert!(pids.iter().all(|pid| alive(*pid)) && dirs.iter().all(|dir| dir.exists()));

    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_for("the end of the victim's servers", Duration::from_secs(10), || {
        let gone = pids.iter().all(|pid| !alive(*pid)) && dirs.iter().all(|dir| !dir.exists());
        gone.then_some(())
    });
}

#[test]
fn a_process_on_a_leash_goes_with_it_unless_released() {
    let sleep = || Command::new("sleep").arg("600").spawn().unwrap();
    let (mut held, mut released) = (sleep(), sleep());
    let mut leash = Leash::on(released.id());
    leash.release();
    drop((leash, Leash::on(held.id())));
    held.wait().unwrap();
    assert!(alive(released.id()));
    released.kill().unwrap();
    released.wait().unwrap();
}

#[test]
fn the_same_seed_gives_the_same_tables() {
    let (postgres, mariadb) = (Postgres::start(), MariaDb::start());
    let tables = ["customers", "products", "orders", "order_items", "billing.payments", "billing.refunds"];
    let outcome = |database: &str, seed: u64| {
        let mut shop = postgres.create_database(database, SHOP);
        Traffic::start(&postgres.url(database), seed, 1, 500).join();
        let mut billing = mariadb.create_database(database, BILLING);
        Traffic::start(&mariadb.url(database), seed, 1, 300).join();
        mirror_billing(&mut billing, &mut shop);
        tables.map(|table| pg_rows(&mut shop, &format!("select * from {table}")))
    };
    let (first, again, other) = (outcome("first", 1), outcome("again", 1), outcome("other", 2));
    for (i, table) in tables.iter().enumerate() {
        assert_same(table, &first[i], &again[i]);
        assert!(difference(&first[i], &other[i]).is_some(), "{table} does not depend on the seed");
    }
}

#[test]
fn traffic_does_all_that_a_careless_application_does() {
    let postgres = Postgres::start();
    postgres.create_database("shop", SHOP);
    let mut log = postgres.session("shop");
    log.execute("alter system set log_statement = 'all'");
    log.execute("select pg_reload_conf()");
    let traffic = Traffic::start(&postgres.url("shop"), 7, 4, 2_000);
    // While it is paused nothing is open and nothing changes.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(30));
        traffic.pause();
        let open = "select count(*) from pg_stat_activity where backend_type = 'client backend' \
                    and xact_start is not null and pid <> pg_backend_pid()";
        assert_eq!(log.value(open).as_deref(), Some("0"));
        let done = traffic.done();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(traffic.done(), done);
        traffic.resume();
    }
    traffic.join();
    let log_text = postgres.log();
    for statement in [
        "insert into customers",
        "insert into products",
        "insert into orders",
        "insert into order_items",
        "update customers set email",
        "update products set price",
        "update orders set status",
        "update order_items set quantity",
        "update customers set id",
        "update products set id",
        "update orders set id",
        "update order_items set order_id",
        "delete from customers",
        "delete from products",
        "delete from orders",
        "delete from order_items",
        "statement: rollback",
        "rollback to savepoint",
        "null",
        "北京市",
    ] {
        assert!(log_text.contains(statement), "{statement}");
    }
    // A name too large for its row is stored apart, so that later updates do not repeat it in the log.
    let large = log.value("select count(*) from customers where length(name) > 4000").unwrap();
    let apart = log.value("select pg_relation_size(reltoastrelid) from pg_class where relname = 'customers'").unwrap();
    assert!(large != "0" && apart != "0", "{large} large names, {apart} bytes apart");
}

#[test]
fn a_difference_is_told_row_by_row() {
    let set = |rows: &[&str]| multiset(rows.iter().map(|row| row.to_string()));
    let (expected, found) = (set(&["a", "b", "b", "b", "c"]), set(&["b", "c", "d"]));
    assert_eq!(
        difference(&expected, &found).as_deref(),
        Some("expected 5 rows, found 3: 3 missing, 1 unexpected\n- a\n- 2 × b\n+ d\n")
    );
    assert_eq!(difference(&expected, &expected), None);
    let many = multiset((0..100).map(|n| format!("{n:03}")));
    let told = difference(&many, &set(&[])).unwrap();
    assert!(told.ends_with("- 039\n… and 60 more\n"), "{told}");
}

#[test]
fn readers_and_postgres_write_rows_alike() {
    let home = tempfile::tempdir().unwrap();
    let sample = repository().join("tests/support/sample.py");
    run(Command::new(support::readers::python()).arg(sample).arg(home.path()));
    let catalog = home.path().join("catalog.db");

    let postgres = Postgres::start();
    let row = |id: u32, which: u32| match which {
        1 => format!(
            "({id}::bigint, -1, true, 12.5::numeric, 0.1::float8, 0.1::float4, E'Zoë \"quoted\"\\n', date '2024-02-29', \
             timestamptz '2024-02-29 12:00:00.125+00', timestamp '2024-02-29 12:00:00.125', '\\x00ff'::bytea)"
        ),
        2 => format!(
            "({id}, 0, false, -100.00, 1e16::float8, 1e16::float4, '', '0001-01-01', \
             '2024-02-29 12:00:00+00', '1969-12-31 23:59:59.999999', '')"
        ),
        _ => format!("({id}, null, null, null, 0, 'NaN', null, null, null, null, null)"),
    };
    let values = [row(1, 1), row(2, 2), row(3, 3), row(2, 2), row(7, 1)].join(", ");
    let columns = "id, small, flag, price, ratio, single, name, day, at, local, raw";
    let sql = format!("select * from (values {values}) as t ({columns})");
    let expected = pg_rows(&mut postgres.session("postgres"), &sql);
    assert_eq!(expected.len(), 4, "one row is there twice: {expected:#?}");

    let mut readers = Readers::start();
    let tables = readers.tables(&catalog);
    assert_eq!(tables.keys().collect::<Vec<_>>(), ["public.sample"]);
    for reader in BOTH {
        let table = readers.read(reader, &tables["public.sample"]);
        assert_same(&format!("{reader:?}"), &expected, &table.rows);
        assert_eq!(table.summary["moment"], "43");
        assert_eq!(table.columns[3], ("price".to_string(), "decimal(12, 2)".to_string()));
    }
    assert_same("the catalog", &expected, &readers.load(&catalog, "public.sample").rows);
}

#[test]
fn the_example_builds_under_dbt_itself() {
    let postgres = Postgres::start();
    let mariadb = MariaDb::start();
    let mut shop = postgres.create_database("shop", SHOP);
    mirror_billing(&mut mariadb.create_database("billing", BILLING), &mut shop);

    let project = Project::example();
    let said = run(Command::new(cache().join("dbt-venv/bin/dbt"))
        .args(["build", "--no-use-colors", "--warn-error"])
        .arg("--profiles-dir")
        .arg(repository().join("scripts/dbt"))
        .current_dir(project.path())
        .envs([("DBT_PORT", postgres.port().to_string()), ("DBT_SEND_ANONYMOUS_USAGE_STATS", "false".into())]));
    assert!(said.contains("Completed successfully"), "{said}");
    for mart in std::fs::read_dir(repository().join("models/marts")).unwrap().flatten() {
        let mart = mart.file_name().into_string().unwrap();
        let Some(mart) = mart.strip_suffix(".sql") else { continue };
        let rows = pg_rows(&mut shop, &format!("select * from {mart}"));
        println!("{mart}: {} rows", rows.len());
        assert!(!rows.is_empty(), "{mart} is empty: the seed data does not reach it");
    }
}
