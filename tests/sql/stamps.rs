//! Stamps: each row says what the clock said when it came, for as long as it stays.

use super::life::{Life, Place, relation};
use arrow::datatypes::{DataType, Field, Schema};
use driftless::plan::{Planner, Refusal};
use driftless::row::{Clock, Codec, Datum, Moment, Row, RowWriter, Table, TableName};
use std::sync::Arc;

fn table() -> Table {
    let fields = ["id", "a", "b"].map(|name| Field::new(name, DataType::Int64, true));
    Table { name: TableName::new("public", "t"), schema: Arc::new(Schema::new(fields.to_vec())), key: vec![0] }
}

fn row(id: i64, a: i64) -> Row {
    let mut writer = RowWriter::default();
    [id, a].iter().for_each(|value| writer.push(&Datum::Int64(*value)));
    writer.finish()
}

fn planned(models: &[&str]) -> Result<Planner, Refusal> {
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table());
    for (number, sql) in models.iter().enumerate() {
        planner.compile(relation(&format!("m{number}")), sql)?;
    }
    Ok(planner)
}

#[test]
fn a_row_keeps_its_stamp_until_something_else_of_it_changes() {
    let models = [
        "select id, a, extract(epoch from now())::bigint as at from t",
        "select a, extract(epoch from now())::bigint as at from t",
        "select a, count(*) as n, extract(epoch from now())::bigint as at from t group by a",
        "select id, at from m0 where at >= 5",
    ];
    let (tables, models) = planned(&models).expect("they are maintained").finish();
    assert_eq!(models.iter().map(|model| model.stamps()).collect::<Vec<_>>(), [vec![2], vec![1], vec![2], vec![]]);
    let place = Place::memory();
    let mut life = Life::start(&place, &models, &tables, 2, usize::MAX);
    let close = |life: &Life, second: u64, rows: &[(Row, i64)]| {
        life.flow.feed(Moment(second), 0, rows.iter().cloned().collect());
        let output = life.flow.close(Moment(second), Clock(second as i64 * 1_000_000)).expect("it closes");
        assert_eq!(output.due, None, "it does not change by itself");
        let shown = output.models.iter().zip(&models).map(|(rows, model)| {
            let codec = Codec::new(model.schema().clone());
            let shown = rows.iter().map(|(row, diff)| format!("{diff} {}", codec.show(row)));
            shown.collect::<Vec<_>>().join(", ")
        });
        shown.collect::<Vec<_>>()
    };
    let nothing = [""; 4];
    assert_eq!(
        close(&life, 1, &[(row(1, 7), 1), (row(2, 7), 1)]),
        ["1 id=1 a=7 at=1, 1 id=2 a=7 at=1", "2 a=7 at=1", "1 a=7 n=2 at=1", ""]
    );
    assert_eq!(close(&life, 2, &[]), nothing);
    assert_eq!(close(&life, 3, &[(row(1, 7), -1), (row(1, 7), 1)]), nothing, "what comes as it went has not changed");
    assert_eq!(
        close(&life, 4, &[(row(3, 7), 1)]),
        ["1 id=3 a=7 at=4", "1 a=7 at=4", "-1 a=7 n=2 at=1, 1 a=7 n=3 at=4", ""]
    );
    life.checkpoint(Moment(4), Clock(4_000_000));
    life.end();
    life = Life::start(&place, &models, &tables, 3, 0);
    assert_eq!(close(&life, 5, &[]), nothing, "a restart changes nothing");
    assert_eq!(
        close(&life, 6, &[(row(1, 7), -1), (row(1, 8), 1)]),
        [
            "-1 id=1 a=7 at=1, 1 id=1 a=8 at=6",
            // Of equal rows the last goes first.
            "-1 a=7 at=4, 1 a=8 at=6",
            "1 a=7 n=2 at=6, -1 a=7 n=3 at=4, 1 a=8 n=1 at=6",
            "1 id=1 at=6"
        ]
    );
}

/// As if it stood in the models that read it: their rows say when they came themselves.
#[test]
fn what_nobody_sees_stamps_the_rows_of_those_that_read_it() {
    let mut planner = planned(&["select id, now() as loaded_at from t where a > 1"]).expect("it is maintained");
    planner.hide(0);
    let sql = "select m0.*, t.b from m0 join t on t.id = m0.id";
    let reader = planner.compile(relation("reader"), sql).expect("it is maintained");
    assert_eq!(planner.model(reader).stamps(), [1]);
}

/// Its draws cannot be told to an audit, where they do not go right to the result.
#[test]
fn what_nobody_sees_draws_only_for_what_selects_from_it() {
    let mut planner = planned(&["select id, a, random() as r from t"]).expect("it is maintained");
    planner.hide(0);
    let reader = planner.compile(relation("reader"), "select r, id from m0 where a > 1").expect("it is maintained");
    assert_eq!(planner.model(reader).stamps(), [0]);
    let refusal = planner.compile(relation("joined"), "select m0.r, t.b from m0 join t on t.id = m0.id").err();
    assert!(refusal.is_some_and(|refusal| refusal.reason.contains("not published")));
}

#[test]
fn what_is_no_stamp_and_changes_with_each_microsecond_is_refused() {
    for sql in [
        "select id, now() > timestamp '2024-01-01' as is_over from t",
        "select id, case when a > 1 then now() end as at from t",
        "select max(now()) as at from t",
        "select now() as at, count(*) as n from t group by 1",
        "select t.id, q.at from t left join (select id, now() as at from t) as q on q.id = t.a",
        "select id, now() as at from t union all select id, null from t",
    ] {
        let refusal = planned(&[sql]).err().unwrap_or_else(|| panic!("{sql}: it is maintained"));
        assert!(refusal.reason.contains("now"), "{sql}: {}", refusal.reason);
        assert_eq!(refusal.line, 1, "{sql}");
    }
}
