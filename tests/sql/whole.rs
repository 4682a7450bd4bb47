//! A model that is computed as a whole: when it is, what it says until then, and what a fault of it is.

use super::life::{Counted, Life, Place, add, relation, show};
use driftless::flow::Settle;
use driftless::plan::Planner;
use driftless::row::{Clock, Codec, Datum, Moment, Row, RowWriter, Rows};

fn row(id: i64) -> Row {
    let mut writer = RowWriter::default();
    writer.push(&Datum::Int64(id));
    writer.finish()
}

/// What a Moment told: unsettled models, how many were computed, their faults in all, and what the two models hold.
type Told = (Vec<usize>, usize, i64, [String; 2]);

fn told(unsettled: &[usize], computed: usize, faults: i64, holds: [&str; 2]) -> Told {
    (unsettled.to_vec(), computed, faults, holds.map(String::from))
}

#[test]
fn what_is_computed_as_a_whole_waits_until_it_is_asked_for_and_says_so() {
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), super::table("t"));
    let whole =
        "with recursive found(id) as (select id from t union all select max(id) + 1 from found having max(id) < 3)
        select count(*) as rows, sum(12 / (id - 7)) as parts from found";
    planner.compile(relation("whole"), whole).expect("the oracle can");
    assert!(planner.model(0).recomputed().is_some_and(|why| why.contains("an aggregate over `found`")));
    planner.compile(relation("below"), "select rows * 10 as rows from whole").expect("it is maintained");
    assert_eq!(planner.model(1).recomputed(), None);
    let (tables, models) = planner.finish();

    let place = Place::memory();
    let mut life = Life::start(&place, &models, &tables, 2, usize::MAX);
    let mut kept = [Counted::new(), Counted::new()];
    let (mut faults, mut moment) = (0, 0);
    let mut pass = |life: &Life, settle: Settle, changes: &[(i64, i64)]| -> Told {
        moment += 1;
        let rows: Rows = changes.iter().map(|(id, diff)| (row(*id), *diff)).collect();
        life.flow.feed(Moment(moment), 0, rows);
        let output = life.flow.pass(Moment(moment), Clock::default(), settle).expect("it closes");
        kept.iter_mut().zip(&output.models).for_each(|(kept, deltas)| add(kept, deltas));
        faults += output.faults[0].iter().map(|(_, diff)| *diff).sum::<i64>();
        let shown = |number: usize| {
            let codec = Codec::new(models[number].schema().clone());
            show(&codec, &kept[number]).replace("  1 × ", "").trim_end().to_string()
        };
        (output.unsettled, output.reruns.len(), faults, [shown(0), shown(1)])
    };

    assert_eq!(pass(&life, Settle::Not, &[]), told(&[0], 0, 0, ["", ""]), "it was never computed");
    let empty = ["rows=0 parts=NULL", "rows=0"];
    assert_eq!(pass(&life, Settle::IfRested, &[]), told(&[], 1, 0, empty), "it has not worked yet");
    assert_eq!(pass(&life, Settle::Now, &[]), told(&[], 0, 0, empty), "nothing has changed");
    assert_eq!(pass(&life, Settle::Not, &[(1, 1)]), told(&[0], 0, 0, empty));
    assert_eq!(pass(&life, Settle::Not, &[]), told(&[0], 0, 0, empty), "it says so again");
    let three = ["rows=3 parts=-7", "rows=30"];
    assert_eq!(pass(&life, Settle::Now, &[]), told(&[], 1, 0, three), "1, 2 and 3: -2, -2 and -3");
    assert_eq!(pass(&life, Settle::Not, &[(5, 1)]), told(&[0], 0, 0, three));

    // What it has not done is not forgotten by who goes on from a checkpoint.
    life.checkpoint(Moment(7), Clock::default());
    life.end();
    life = Life::start(&place, &models, &tables, 3, 0);
    assert_eq!(pass(&life, Settle::Not, &[]), told(&[0], 0, 0, three));
    assert_eq!(pass(&life, Settle::Now, &[]), told(&[], 1, 0, ["rows=2 parts=-8", "rows=20"]), "-2 and -6");
    life.checkpoint(Moment(9), Clock::default());
    life.end();
    life = Life::start(&place, &models, &tables, 1, usize::MAX);
    assert_eq!(pass(&life, Settle::Now, &[]), told(&[], 0, 0, ["rows=2 parts=-8", "rows=20"]), "no restart computes");

    assert_eq!(pass(&life, Settle::Now, &[(7, 1)]), told(&[], 1, 1, ["", ""]), "12 / 0 is a fault of the model");
    assert_eq!(pass(&life, Settle::Now, &[(7, -1)]), told(&[], 1, 0, ["rows=2 parts=-8", "rows=20"]), "it heals");
    assert_eq!(pass(&life, Settle::Not, &[(9, 1)]).0, [0]);
    assert_eq!(pass(&life, Settle::Now, &[(9, -1)]).3[1], "rows=20", "as if nothing had been");
}
