//! SIGINT and SIGTERM: the last changes are in before the process goes, and the next one goes on from there.

use std::time::Duration;

use crate::ORDERS;
use crate::support::driftless::{Driftless, Project};
use crate::support::postgres::Postgres;
use crate::support::shop::SHOP;

#[test]
fn a_signal_stops_cleanly_with_a_last_checkpoint() {
    let postgres = Postgres::start();
    let mut session = postgres.create_database("shop", SHOP);
    let project = Project::with(&[ORDERS]);
    // Nothing is published between the first Moment and the stop unless the stop does it.
    project.write("driftless.yml", "sources:\n  shop: {postgres: \"{{ env_var('SHOP_URL') }}\"}\ncommit_every: 1h\n");
    let call = |args: &[&str]| project.driftless().args(args.iter().copied()).env("SHOP_URL", postgres.url("shop"));
    let mut expected = 300;
    for signal in ["INT", "TERM"] {
        let mut daemon = call(&["run"]).start();
        daemon.wait_for("its first Moment", Duration::from_secs(60), || {
            (maintained(call(&["status", "--json"])) == expected).then_some(())
        });
        session.execute(&format!(
            "insert into orders select {expected} + n, 1, 'new', now() from generate_series(1, 50) n"
        ));
        expected += 50;
        daemon.wait_for("the change", Duration::from_secs(60), || {
            (maintained(call(&["status", "--json"])) == expected).then_some(())
        });
        // This one may or may not have been heard of when the signal comes.
        session.execute(&format!("insert into orders values ({expected} + 1, 1, 'late', now())"));
        let status = daemon.signal(signal, Duration::from_secs(30));
        assert_eq!(status.code(), Some(0), "{signal}\n{}", daemon.stderr());
        assert!(daemon.stderr().contains("stopped"), "{}", daemon.stderr());
        let published = maintained(call(&["status", "--json"]));
        assert!(published == expected || published == expected + 1, "{signal}: {published} of {expected}");
        expected += 1;
        let verified = call(&["verify"]).finish().expect_code(0);
        assert!(verified.stdout.contains("1 of 1 models equal"), "{}", verified.stdout);
    }
    call(&["run", "--once"]).finish().expect_code(0);
    assert_eq!(maintained(call(&["status", "--json"])), expected);
    call(&["verify"]).finish().expect_code(0);
    let slots = session.query("select slot_name, active::text from pg_replication_slots");
    assert_eq!(slots, [[Some("driftless_shop_shop".to_string()), Some("false".to_string())]]);
}

/// Rows of the one model: of the running daemon, or of the last one's table.
fn maintained(status: Driftless) -> i64 {
    let status = status.finish().expect_code(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("one document");
    status["models"][0]["rows"].as_i64().expect("a number")
}
