//! The Iceberg sink against a plain multiset, read back by itself, by DuckDB and by pyiceberg.

#[path = "iceberg/sandbox.rs"]
mod sandbox;

use arrow::datatypes::DataType;
use driftless::commit::{Sink, Staged};
use driftless::error::{Error, Who};
use driftless::row::{Clock, Datum, Moment, Row, list_of, struct_of};
use sandbox::{Dice, Readers, Sandbox, every_type, row, sink, target};
use serde_json::json;
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

#[test]
fn every_reader_sees_what_a_multiset_holds() {
    let readers = Readers::start();
    for seed in 0..3 {
        let mut dice = Dice(seed);
        let mut sandbox = Sandbox::new(&[every_type("orders"), every_type("Größe & co")]);
        for moment in 1..=40 {
            for t in 0..2 {
                churn(&mut sandbox, &mut dice, t, 12);
            }
            sandbox.publish(moment).unwrap_or_else(|e| panic!("seed {seed} Moment {moment}: {e}"));
            sandbox.check();
            if moment % 10 == 1 {
                sandbox.check_readers(&readers);
            }
            if moment % 7 == 0 {
                sandbox.reopen(None).expect("opens again");
                sandbox.check();
            }
        }
    }
}

/// Some insertions, duplicates, deletions and updates of table `t`, or none.
fn churn(sandbox: &mut Sandbox, dice: &mut Dice, t: usize, most: u64) {
    for _ in 0..dice.below(most) {
        let there: Vec<Row> = sandbox.shown[t].keys().cloned().collect();
        let old = (!there.is_empty()).then(|| there[dice.below(there.len() as u64) as usize].clone());
        match (dice.below(4), old) {
            (0, Some(old)) => sandbox.change(t, old, 1),
            (1 | 2, Some(old)) if sandbox.count(t, &old) > 0 => {
                sandbox.change(t, old, -1);
                if dice.below(2) == 0 {
                    sandbox.change(t, dice.row(), 1);
                }
            }
            _ => sandbox.change(t, dice.row(), 1 + dice.below(2) as i64),
        }
    }
}

fn numbers(name: &str) -> sandbox::Target {
    target(name, &[("id", DataType::Int64), ("text", DataType::Utf8)])
}

fn number(id: i64, text: &str) -> Row {
    row(&[Datum::Int64(id), Datum::Text(text.into())])
}

#[test]
fn a_large_table_has_one_delete_file_and_few_data_files() {
    let readers = Readers::start();
    let mut sandbox = Sandbox::new(&[numbers("events")]);
    for id in 0..60_000 {
        sandbox.change(0, number(id, "first"), 1);
    }
    sandbox.publish(1).expect("publishes");
    let mut delete_files = Vec::new();
    for moment in 2..=40 {
        for id in 0..20 {
            sandbox.change(0, number(moment * 100 + id, "first"), -1);
            sandbox.change(0, number(moment * 100 + id, "second"), 1);
        }
        sandbox.publish(moment as u64).expect("publishes");
        if moment % 13 == 0 {
            sandbox.reopen(None).expect("opens again");
        }
        let summary = &sandbox.describe(0, &readers)["summary"];
        let total = |name: &str| summary[name].as_str().expect(name).parse::<u64>().expect("a number");
        delete_files.push(total("total-delete-files"));
        assert!(total("total-data-files") <= 17, "{summary}");
        assert_eq!(total("total-position-deletes") + 60_000, total("total-records"));
    }
    // None right after small files were merged, else one.
    assert!(delete_files.iter().all(|n| *n <= 1) && delete_files.iter().sum::<u64>() > 30, "{delete_files:?}");
    sandbox.check();
    sandbox.check_readers(&readers);
    assert_eq!(sandbox.describe(0, &readers)["manifests"], 2);
    for id in 10_000..55_000 {
        sandbox.change(0, number(id, "first"), -1);
    }
    sandbox.publish(41).expect("publishes");
    sandbox.check();
    sandbox.check_readers(&readers);
    assert_eq!(sandbox.describe(0, &readers)["summary"]["total-delete-files"], "0");
}

#[test]
fn a_commit_describes_itself() {
    let readers = Readers::start();
    let mut sandbox = Sandbox::new(&[every_type("orders")]);
    assert!(sandbox.sink().published(0).is_none());
    sandbox.change(0, Dice(1).row(), 3);
    sandbox.publish(5).expect("publishes");
    let told = sandbox.describe(0, &readers);
    assert_eq!(told["comment"], "all about orders");
    assert_eq!(told["columns"][1], json!([2, "int", "int", "the int"]));
    assert_eq!(told["columns"][14], json!([15, "uuid", "uuid", "the uuid"]));
    assert_eq!(told["operation"], "append");
    let summary = &told["summary"];
    assert_eq!(summary["driftless.pipeline"], "shop");
    assert_eq!(summary["driftless.model"], "orders");
    assert_eq!(summary["driftless.definition"], "1");
    assert_eq!(summary["driftless.moment"], "5");
    assert_eq!(summary["driftless.clock"], "7");
    assert_eq!(summary["driftless.cut"], r#"{"shop":{"offset":"50"}}"#);
    assert_eq!(summary["driftless.rows"], "3");
    assert_eq!(summary["total-records"], "3");

    sandbox.change(0, Dice(1).row(), -1);
    sandbox.publish(6).expect("publishes");
    assert_eq!(sandbox.describe(0, &readers)["operation"], "overwrite");
    sandbox.change(0, Dice(1).row(), -2);
    sandbox.publish(7).expect("publishes");
    let told = sandbox.describe(0, &readers);
    assert_eq!((&told["operation"], &told["summary"]["total-data-files"]), (&json!("delete"), &json!("0")));
    sandbox.check();
    sandbox.check_readers(&readers);
}

#[test]
fn a_model_without_rows_is_published_once() {
    let readers = Readers::start();
    let mut sandbox = Sandbox::new(&[numbers("events")]);
    sandbox.pending.insert(0, Default::default());
    assert_eq!(sandbox.publish(1).expect("publishes").tables.len(), 1);
    assert_eq!(sandbox.sink().published(0).map(|p| (p.moment, p.rows)), Some((Moment(1), 0)));
    sandbox.check_readers(&readers);
    sandbox.pending.insert(0, Default::default());
    assert!(sandbox.publish(2).expect("publishes").tables.is_empty());
    sandbox.targets[0].definition = "2".into();
    sandbox.reopen(None).expect("opens again");
    sandbox.pending.insert(0, Default::default());
    assert_eq!(sandbox.publish(3).expect("publishes").tables.len(), 1);
    sandbox.check();
}

#[test]
fn other_columns_replace_the_content() {
    let readers = Readers::start();
    let mut sandbox = Sandbox::new(&[numbers("events")]);
    sandbox.change(0, number(1, "one"), 1);
    sandbox.publish(1).expect("publishes");
    let columns = [("text", DataType::Utf8), ("id", DataType::Int32), ("new", DataType::Boolean)];
    sandbox.targets[0] = target("events", &columns);
    sandbox.reopen(None).expect("opens again");
    assert_eq!(sandbox.sink().content(0).expect("reads"), []);
    assert_eq!(sandbox.sink().published(0).map(|p| p.moment), Some(Moment(1)));
    sandbox.shown[0].clear();
    sandbox.change(0, row(&[Datum::Text("one".into()), Datum::Int32(1), Datum::Null]), 2);
    sandbox.publish(2).expect("publishes");
    sandbox.check();
    sandbox.check_readers(&readers);
    let columns = &sandbox.describe(0, &readers)["columns"];
    assert_eq!(
        *columns,
        json!([[2, "text", "string", "the text"], [3, "id", "int", "the id"], [4, "new", "boolean", "the new"]])
    );
    sandbox.change(0, row(&[Datum::Text("one".into()), Datum::Int32(1), Datum::Null]), -1);
    sandbox.publish(3).expect("publishes");
    sandbox.reopen(None).expect("opens again");
    sandbox.check();
}

#[test]
fn nested_columns_keep_their_ids_and_are_uuids_within_too() {
    let readers = Readers::start();
    let uuids = || list_of(DataType::FixedSizeBinary(16));
    let columns = [("id", DataType::Int64), ("pair", struct_of([("a", DataType::Utf8), ("b", uuids())]))];
    let mut sandbox = Sandbox::new(&[target("events", &columns)]);
    let told = "struct<3: a: optional string, 4: b: optional list<uuid>>";
    let pair = Datum::Struct(vec![Datum::Null, Datum::List(vec![Datum::Uuid([7; 16]), Datum::Null])]);
    for (moment, pair) in [(1, pair), (2, Datum::Null)] {
        sandbox.change(0, row(&[Datum::Int64(moment as i64), pair]), 1);
        sandbox.publish(moment).expect("publishes");
        assert_eq!(sandbox.describe(0, &readers)["columns"][1], json!([2, "pair", told, "the pair"]));
        sandbox.reopen(None).expect("opens again");
        sandbox.check();
    }
    let request = json!({ "do": "duckdb", "location": sandbox.location(0), "kinds": ["long", "nested"] });
    let pair = r#"[null,["07070707-0707-0707-0707-070707070707",null]]"#;
    assert_eq!(readers.ask(request).expect("duckdb"), json!([format!("1|{pair}"), "2|-"]));
    let columns = [("id", DataType::Int64), ("pair", struct_of([("a", DataType::Utf8), ("c", uuids())]))];
    sandbox.targets[0] = target("events", &columns);
    sandbox.reopen(None).expect("opens again");
    assert_eq!(sandbox.sink().content(0).expect("reads"), [], "another field is another column");
    sandbox.shown[0].clear();
    sandbox.change(0, row(&[Datum::Int64(1), Datum::Null]), 1);
    sandbox.publish(3).expect("publishes");
    let told = "struct<7: a: optional string, 8: c: optional list<uuid>>";
    assert_eq!(sandbox.describe(0, &readers)["columns"][1], json!([6, "pair", told, "the pair"]));
    sandbox.check();
}

#[test]
fn a_crash_loses_nothing_and_doubles_nothing() {
    for (point, finished) in
        [("stage.files", false), ("stage.done", false), ("publish.before", true), ("publish.after", true)]
    {
        let mut sandbox = Sandbox::new(&[numbers("a"), numbers("b")]);
        let change = |sandbox: &mut Sandbox| {
            for t in 0..2 {
                sandbox.change(t, number(1, "one"), -1);
                sandbox.change(t, number(2, "two"), 2);
            }
        };
        (0..2).for_each(|t| sandbox.change(t, number(1, "one"), 3));
        sandbox.publish(1).expect("publishes");
        sandbox.sink = None;
        let before = sandbox.files(0);
        let child = Command::new(std::env::current_exe().expect("a test binary"))
            .args(["--exact", "the_one_that_crashes", "--ignored", "--nocapture"])
            .env("DRIFTLESS_CRASH_AT", point)
            .env("SANDBOX", sandbox.folder.path())
            .output()
            .expect("runs");
        assert!(
            String::from_utf8_lossy(&child.stderr).contains(&format!("crash point `{point}` reached")),
            "{child:?}"
        );
        let checkpoint = std::fs::read(sandbox.folder.path().join("checkpoint")).ok();
        let staged: Option<Staged> = checkpoint.map(|json| serde_json::from_slice(&json).expect("a Staged"));
        assert_eq!(staged.is_some(), finished, "{point}");
        sandbox.reopen(staged.as_ref()).expect("opens after a crash");
        assert_eq!(sandbox.sink().newest(), Some(Moment(if finished { 2 } else { 1 })));
        if finished {
            change(&mut sandbox);
            sandbox.settle();
        }
        sandbox.check();
        if !finished {
            assert_eq!(sandbox.files(0), before, "{point} leaves nothing behind");
        }
        sandbox.reopen(staged.as_ref()).expect("opens the same way again");
        sandbox.check();
        change(&mut sandbox);
        sandbox.publish(if finished { 3 } else { 2 }).expect("goes on");
        sandbox.check();
    }
}

#[test]
#[ignore = "runs as a child of the crash test"]
fn the_one_that_crashes() {
    let Some(folder) = std::env::var_os("SANDBOX") else { return };
    let targets = [numbers("a"), numbers("b")];
    let mut sink = sink(Path::new(&folder)).expect("a sink");
    sink.open(&targets, None).expect("opens");
    let cut = sandbox::cut(2);
    let changes = (0..2).map(|t| (t, vec![(number(1, "one"), -1), (number(2, "two"), 2)])).collect();
    let staged = sink
        .stage(&driftless::commit::Publication { moment: Moment(2), clock: Clock(7), cut: &cut, changes })
        .expect("stages");
    let checkpoint = serde_json::to_vec(&staged).expect("JSON");
    std::fs::write(Path::new(&folder).join("checkpoint"), checkpoint).expect("writes");
    sink.publish(&staged).expect("publishes");
}

#[test]
fn a_foreign_commit_is_refused_and_nothing_changes() {
    let readers = Readers::start();
    let mut sandbox = Sandbox::new(&[numbers("a"), numbers("b")]);
    (0..2).for_each(|t| sandbox.change(t, number(1, "one"), 1));
    sandbox.publish(1).expect("publishes");
    (0..2).for_each(|t| sandbox.change(t, number(2, "two"), 1));
    let staged = sandbox.stage(2).expect("stages");
    let (a, ours) = (sandbox.location(0), sandbox.location(1));
    let request = json!({ "do": "append", "catalog": sandbox.catalog(), "namespace": "analytics", "table": "b" });
    let theirs = readers.ask(request).expect("pyiceberg appends");
    let refused = |e: Error| {
        assert_eq!(e.who(), Who::Operator, "{e}");
        let text = e.to_string();
        assert!(text.contains("`analytics.b`") && text.contains(theirs.as_str().expect("text")), "{text}");
        assert!(text.contains(&ours), "{text}");
    };
    refused(sandbox.sink().publish(&staged).expect_err("a foreign commit"));
    assert_eq!(sandbox.location(0), a);
    assert_eq!(sandbox.describe(1, &readers)["location"], theirs);
    refused(sandbox.reopen(Some(&staged)).expect_err("still a foreign commit"));
    let unnamed = sandbox.reopen(None).expect_err("still a foreign commit");
    assert_eq!(unnamed.who(), Who::Operator, "{unnamed}");
}

#[test]
fn old_snapshots_go_and_their_files_after_them() {
    let readers = Readers::start();
    let mut sandbox = Sandbox::new(&[numbers("events")]);
    for id in 0..60 {
        sandbox.change(0, number(id, "here"), 1);
        sandbox.change(0, number(id - 1, "here"), if id > 0 { -1 } else { 0 });
        sandbox.publish(id as u64 + 1).expect("publishes");
    }
    let told = sandbox.describe(0, &readers);
    assert_eq!((told["snapshots"].as_array().map(Vec::len), &told["previous"]), (Some(20), &json!(20)));
    let before = sandbox.files(0).len();
    sandbox.reopen(None).expect("opens again");
    assert_eq!(sandbox.files(0).len(), before, "readers have their time of grace");

    let db = rusqlite::Connection::open(sandbox.catalog()).expect("a catalog");
    db.execute("UPDATE driftless_superseded SET expired_ms = 1 WHERE expired_ms > 0", []).expect("time passes");
    drop(db);
    sandbox.reopen(None).expect("opens again");
    // For each of 20 snapshots a data file, a list, a manifest and a metadata file; the metadata before them.
    assert_eq!(sandbox.files(0).len(), 20 * 4 + 1, "{:#?}", sandbox.files(0));
    for id in told["snapshots"].as_array().expect("a list") {
        let options = format!(", snapshot_from_id={id}");
        let request =
            json!({ "do": "duckdb", "location": sandbox.location(0), "kinds": ["long", "text"], "options": options });
        assert_eq!(readers.ask(request).expect("reads").as_array().map(Vec::len), Some(1));
    }
    sandbox.check();
}

#[test]
fn files_of_another_catalog_are_left_alone() {
    let mut sandbox = Sandbox::new(&[numbers("events")]);
    sandbox.change(0, number(1, "one"), 1);
    sandbox.publish(1).expect("publishes");
    let before: HashSet<String> = sandbox.files(0).into_iter().collect();
    sandbox.sink = None;
    std::fs::rename(sandbox.catalog(), sandbox.folder.path().join("other.db")).expect("moves");
    sandbox.reopen(None).expect("opens a new catalog");
    assert_eq!(sandbox.files(0).into_iter().collect::<HashSet<_>>(), before);
}

#[test]
fn what_cannot_be_done_says_who_must_act() {
    let mut sandbox = Sandbox::new(&[numbers("events")]);
    sandbox.change(0, number(1, "one"), 1);
    sandbox.publish(1).expect("publishes");

    let second = sink(sandbox.folder.path()).err().expect("one daemon holds the lock");
    assert_eq!(second.who(), Who::Operator, "{second}");

    sandbox.change(0, number(9, "never there"), -1);
    let absent = sandbox.publish(2).expect_err("the row is not there");
    assert_eq!(absent.who(), Who::Corrupt);
    assert!(absent.to_string().contains("model `events`"), "{absent}");
    sandbox.pending.clear();

    let db = rusqlite::Connection::open(sandbox.catalog()).expect("a catalog");
    sandbox.change(0, number(2, "two"), 1);
    let staged = sandbox.stage(2).expect("stages again");
    db.execute_batch("BEGIN IMMEDIATE").expect("locks");
    assert_eq!(sandbox.sink().publish(&staged).expect_err("locked").who(), Who::Retry);
    db.execute_batch("ROLLBACK").expect("unlocks");
    sandbox.sink().publish(&staged).expect("publishes after all");
    sandbox.settle();
    sandbox.check();

    let folder = sandbox.folder.path().join("warehouse/analytics/events/data");
    let aside = folder.with_extension("aside");
    std::fs::rename(&folder, &aside).and_then(|()| std::fs::write(&folder, "")).expect("blocks the folder");
    sandbox.change(0, number(3, "three"), 1);
    let unwritable = sandbox.publish(3).expect_err("no folder to write to");
    assert_eq!(unwritable.who(), Who::Operator, "{unwritable}");
    std::fs::remove_file(&folder).and_then(|()| std::fs::rename(&aside, &folder)).expect("unblocks the folder");
    sandbox.publish(3).expect("publishes after all");
    sandbox.check();

    let data = sandbox.files(0).into_iter().find(|f| f.ends_with(".parquet")).expect("a data file");
    std::fs::write(&data, b"PAR1 no more").expect("damages");
    let damaged = sandbox.sink().content(0).expect_err("damaged");
    assert_eq!(damaged.who(), Who::Corrupt, "{damaged}");
    assert!(damaged.to_string().contains(&data), "{damaged}");
}
