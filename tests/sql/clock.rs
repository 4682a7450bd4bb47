//! What enters and leaves by the clock: for each comparison with each form of the clock, what the models hold an instant
//! before something is due, then, and an instant after, against a recompute at that clock.

use super::BEGIN;
use super::life::{Counted, Life, Place, add, counted, relation, show};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use driftless::flow::Flow;
use driftless::plan::Planner;
use driftless::plan::recompute::Recompute;
use driftless::row::{Clock, Codec, Datum, Moment, Row, RowWriter, Table, TableName};
use driftless::state::Bodies;
use std::sync::Arc;

const DAY: i64 = 86_400_000_000;

const CLOCKS: [&str; 22] = [
    "now()",
    "now() - interval '90 minutes'",
    "now() + interval '5 days' or id % 3 = 0",
    "localtimestamp + interval '1 day 1 microsecond'",
    "current_date",
    "current_date - 30",
    "current_date + interval '1 month'",
    "current_date - interval '1 month'",
    "current_date - interval '2 months 3 days'",
    "cast(now() - interval '12 hours' as date)",
    "date_trunc('second', now())",
    "date_trunc('minute', current_timestamp)",
    "date_trunc('hour', now()) - interval '30 minutes'",
    "date_trunc('day', now()) - interval '1 month'",
    "date_trunc('week', now())",
    "date_trunc('week', current_date) + interval '7 days'",
    "date_trunc('month', current_date)",
    "date_trunc('month', now()) - interval '1 month'",
    "date_trunc('quarter', now())",
    "date_trunc('quarter', now()) + interval '3 months' - interval '1 second'",
    "date_trunc('year', now())",
    "cast(date_trunc('year', now()) - interval '1 day' as date)",
];

/// On both sides of the ends of days, weeks, months, quarters and years, of a leap day too.
fn instants() -> Vec<i64> {
    let days = [19_692, 19_695, 19_723, 19_753, 19_754, 19_782, 19_783, 19_813, 19_814];
    days.into_iter().flat_map(|day| [day * DAY - 1, day * DAY, day * DAY + 45_296_789_012]).collect()
}

fn table() -> Table {
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("s", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ];
    Table { name: TableName::new("public", "t"), schema: Arc::new(Schema::new(fields)), key: vec![0] }
}

fn row(id: i64, at: Datum) -> Row {
    let mut writer = RowWriter::default();
    writer.push(&Datum::Int64(id));
    writer.push(&at);
    writer.finish()
}

#[test]
fn rows_enter_and_leave_to_the_microsecond() {
    let table = table();
    let mut rows: Vec<Row> = (0..).zip(instants()).map(|(id, at)| row(id, Datum::Timestamp(at))).collect();
    rows.extend([row(90, Datum::Null), row(91, Datum::Timestamp(84_006 * DAY)), row(92, Datum::Timestamp(-DAY))]);
    let mut moments = 0;
    for (number, clock) in CLOCKS.into_iter().enumerate() {
        for (turn, op) in ["<", "<=", ">", ">=", "="].into_iter().enumerate() {
            let value = ["s", "cast(s as date)"][(number + turn) % 2];
            moments += follow(&format!("select id, s from t where {value} {op} {clock}"), &table, &rows);
        }
    }
    assert!(moments > 3_000, "only {moments} Moments were looked at");
}

/// From one instant at which something is due to the next; gives how many Moments that were.
fn follow(sql: &str, table: &Table, rows: &[Row]) -> u64 {
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table.clone());
    planner.compile(relation("q"), sql).unwrap_or_else(|refusal| panic!("{sql}: {}", refusal.reason));
    let (tables, models) = planner.finish();
    let flow = Flow::start(&models, &tables, 1, &Bodies::resident_only(), None).expect("it starts");
    flow.feed(Moment(1), 0, rows.iter().map(|row| (row.clone(), 1)).collect());
    let whole = Codec::new(table.schema.clone()).decode(rows);
    let (mut kept, mut moment) = (Counted::new(), 0);
    let mut look = |clock: Clock, changes: Option<bool>| {
        moment += 1;
        let output = flow.close(Moment(moment), clock).expect("it closes");
        let rows = &output.models[0];
        assert!(
            changes.is_none_or(|changes| changes != rows.is_empty()),
            "{sql}: at {clock} {} rows change",
            rows.len()
        );
        assert!(output.faults[0].is_empty(), "{sql}: {:?}", output.faults);
        add(&mut kept, rows);
        let mut recompute = Recompute::new("db", "public", clock);
        recompute.table(&relation("t"), &table.schema, &whole).expect("it registers");
        let batch = recompute.model(&relation("q"), sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let expected = counted(&batch);
        let shown = |rows: &Counted| show(&Codec::new(batch.schema()), rows);
        assert!(expected == kept, "{sql}, at {clock}\nrecompute\n{}maintained\n{}", shown(&expected), shown(&kept));
        output.due
    };
    let mut due = look(BEGIN, None);
    while let Some(at) = due {
        look(Clock(at.0 - 1), Some(false));
        look(at, Some(true));
        due = look(Clock(at.0 + 1), None);
    }
    moment
}

#[test]
fn only_what_the_day_changes_is_put_out_and_after_a_restart_too() {
    let table = table();
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table.clone());
    planner.compile(relation("q"), "select id, s < current_date as is_over from t").expect("it is maintained");
    let (tables, models) = planner.finish();
    let codec = Codec::new(models[0].schema().clone());
    let close = |life: &Life, moment: u64, clock: i64| {
        let output = life.flow.close(Moment(moment), Clock(clock)).expect("it closes");
        let rows = output.models[0].iter().map(|(row, diff)| format!("{diff} {}", codec.show(row)));
        (rows.collect::<Vec<_>>(), output.due)
    };
    let (begin, place) = (19_700 * DAY, Place::memory());
    let mut life = Life::start(&place, &models, &tables, 2, usize::MAX);
    assert_eq!(close(&life, 1, begin - DAY), (vec![], None), "nothing is due of no rows");
    let at = [DAY / 2, DAY * 3 / 2, DAY * 5 / 2].map(|at| Datum::Timestamp(begin + at));
    let rows = (1..).zip(at.into_iter().chain([Datum::Null])).map(|(id, at)| (row(id, at), 1));
    life.flow.feed(Moment(2), 0, rows.collect());
    let (shown, due) = close(&life, 2, begin + 1);
    assert_eq!(
        shown,
        [1, 2, 3]
            .map(|id| format!("1 id={id} is_over=false"))
            .into_iter()
            .chain(["1 id=4 is_over=NULL".into()])
            .collect::<Vec<_>>()
    );
    assert_eq!(due, Some(Clock(begin + DAY)));
    life.checkpoint(Moment(2), Clock(begin + 1));
    life.end();
    life = Life::start(&place, &models, &tables, 3, 0);
    assert_eq!(close(&life, 3, begin + DAY - 1), (vec![], Some(Clock(begin + DAY))), "it is the same day still");
    // Two midnights at once.
    let over = [1, 2].map(|id| [format!("-1 id={id} is_over=false"), format!("1 id={id} is_over=true")]);
    assert_eq!(close(&life, 4, begin + 2 * DAY), (over.concat(), Some(Clock(begin + 3 * DAY))));
    assert_eq!(close(&life, 5, begin + 2 * DAY), (vec![], Some(Clock(begin + 3 * DAY))));
}
