//! SQL through the dataflow, against a recompute at every Moment: seeded random changes in seeded slices,
//! with retractions and duplicates; checkpoints and kills in between, after which it goes on with another number of
//! workers, and with another budget of memory, down to none.
//!
//! `SEED=7 cargo test --release --test sql` repeats a failure.

#[path = "sql/clock.rs"]
mod clock;
#[path = "support/life.rs"]
mod life;
#[path = "sql/stamps.rs"]
mod stamps;
#[path = "sql/whole.rs"]
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use driftless::flow::Flow;
use driftless::plan::recompute::Recompute;
use driftless::plan::{Planner, explain};
use driftless::row::{Clock, Codec, Datum, Delta, Moment, Row, RowWriter, Table, TableName};
use driftless::state::Bodies;
use life::{Counted, Dice, Life, Place, Tick, add, counted, decoded, equal_but_for, relation, show};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sql");
const MOMENTS: u64 = 25;
/// Some days before the first timestamp of a row.
const BEGIN: Clock = Clock(1_699_500_000_000_000);

/// Name and SQL of each query of all files of the folder, file by file.
fn queries() -> Vec<(String, String)> {
    let files = std::fs::read_dir(FOLDER).expect("the folder is there").map(|file| file.expect("it is read").path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|kind| kind == "slt")).collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("it is text").trim().to_string());
    let text = texts.collect::<Vec<_>>().join("\n\n");
    let blocks = text.split("\n\n").filter(|block| block.lines().any(|line| !line.starts_with('#')));
    let query = |block: &str| {
        let (name, sql) = block.trim().split_once('\n').expect("a name and its SQL");
        (name.trim_start_matches("# ").to_string(), sql.to_string())
    };
    blocks.map(query).collect()
}

fn table(name: &str) -> Table {
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("a", DataType::Int32, true),
        Field::new("c", DataType::Utf8, true),
        Field::new("d", DataType::Decimal128(12, 2), true),
        Field::new("s", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ];
    Table { name: TableName::new("public", name), schema: Arc::new(Schema::new(fields)), key: vec![0] }
}

fn or_null(dice: &mut Dice, datum: Datum) -> Datum {
    if dice.one_in(5) { Datum::Null } else { datum }
}

fn row(dice: &mut Dice, id: u64) -> Row {
    let a = Datum::Int32(dice.below(8) as i32);
    let c = Datum::Text(dice.pick(&["x", "y", " z ", "ü", ""]).to_string());
    let d = Datum::Decimal(dice.below(2_000) as i128 - 1_000);
    let s = Datum::Timestamp(1_700_000_000_000_000 + dice.below(90) as i64 * 86_400_000_000);
    let mut writer = RowWriter::default();
    writer.push(&Datum::Int64(id as i64));
    [a, c, d, s].into_iter().for_each(|datum| writer.push(&or_null(dice, datum)));
    writer.finish()
}

/// Inserts, updates and deletes of rows by key, some of them within one Moment.
fn changes(dice: &mut Dice, rows: &mut BTreeMap<u64, Row>) -> Vec<Delta> {
    let mut deltas = Vec::new();
    for _ in 0..dice.below(12) {
        let id = dice.below(30);
        let new = (dice.below(3) > 0).then(|| row(dice, id));
        deltas.extend(rows.remove(&id).map(|old| (old, -1)));
        if let Some(new) = new {
            deltas.push((new.clone(), 1));
            rows.insert(id, new);
        }
    }
    deltas
}

#[test]
fn every_query_equals_its_recompute_at_every_moment() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut lively = vec![false; queries().len()];
    for (round, workers) in [1, 2, 3].into_iter().enumerate() {
        run(seed + round as u64, workers, &mut lively);
    }
    let silent = |name: &str| name.ends_with("nothing");
    let never = |name: &str| name.ends_with("nothing at all");
    let wrong = queries().into_iter().zip(lively);
    let wrong = wrong.filter(|((name, _), lively)| if *lively { never(name) } else { !silent(name) && !never(name) });
    let wrong = wrong.map(|((name, _), _)| name);
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new(), "queries give rows at times, or never, as they say");
}

fn run(seed: u64, workers: usize, lively: &mut [bool]) {
    let tables = [table("t"), table("u")];
    let mut planner = Planner::new("db", "public");
    for table in &tables {
        planner.add_table(relation(&table.name.name), table.clone());
    }
    let queries = queries();
    let refused = queries.iter().enumerate().filter_map(|(number, (name, sql))| {
        let refusal = planner.compile(relation(&format!("q{number}")), sql).err()?;
        Some(format!("`{name}`: {}", refusal.reason))
    });
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<String>::new(), "refused");
    for (number, (name, _)) in queries.iter().enumerate() {
        let said = name.starts_with("Computed as a whole");
        assert_eq!(planner.model(number).recomputed().is_some(), said, "`{name}` is computed as a whole, or not");
    }
    let (pruned, models) = planner.finish();
    assert_eq!(pruned, tables, "the queries use every column, so that rows go in as they are");
    let mut dice = Dice(seed);
    let place = Place::disk();
    let mut life = Life::start(&place, &models, &pruned, workers, dice.budget());
    let mut rows = [BTreeMap::new(), BTreeMap::new()];
    let mut kept = vec![Counted::new(); models.len()];
    let (mut ticks, mut clock, mut due) = (Dice(seed), BEGIN, None);
    for moment in 1..=MOMENTS {
        clock = Tick::of(&mut ticks).from(clock, due);
        for (number, rows) in rows.iter_mut().enumerate() {
            // In two slices, which must not matter.
            life.flow.feed(Moment(moment), number, changes(&mut dice, rows).into_iter().collect());
            life.flow.feed(Moment(moment), number, changes(&mut dice, rows).into_iter().collect());
        }
        let output = life.flow.close(Moment(moment), clock).expect("it closes");
        due = output.due;
        assert!(due.is_none_or(|due| due > clock), "what is due at a Moment has been done");
        kept.iter_mut().zip(&output.models).for_each(|(kept, deltas)| add(kept, deltas));
        if dice.below(4) == 0 {
            life.checkpoint(Moment(moment), clock);
            // What is fed afterwards, and not closed, is as if it had never been.
            life.flow.feed(Moment(moment + 1), 0, [(row(&mut dice, 99), 1)].into_iter().collect());
            life.end();
            let workers = 1 + dice.below(3) as usize;
            life = Life::start(&place, &models, &pruned, workers, dice.budget());
        }
        let mut recompute = Recompute::new("db", "public", clock);
        for (table, rows) in tables.iter().zip(&rows) {
            let batch = Codec::new(table.schema.clone()).decode(rows.values());
            recompute.table(&relation(&table.name.name), &table.schema, &batch).expect("it registers");
        }
        let mut wrong = Vec::new();
        for (number, (name, sql)) in queries.iter().enumerate() {
            let batch = match recompute.model(&relation(&format!("q{number}")), sql) {
                Ok(batch) => batch,
                Err(error) => {
                    wrong.push(format!("`{name}` cannot be recomputed: {error}"));
                    continue;
                }
            };
            let (codec, expected) = (Codec::new(batch.schema()), counted(&batch));
            let faults: i64 = output.faults[number].iter().map(|(_, diff)| *diff).sum();
            if faults != 0 {
                wrong.push(format!("`{name}` has faults: {:?}", output.faults[number]));
            }
            if !equal_but_for(&models[number].stamps(), &codec, &expected, &kept[number]) {
                let name_of =
                    |number: usize| tables.get(number).map_or_else(String::new, |table| table.name.to_string());
                let (expected, kept) = (show(&codec, &expected), show(&codec, &kept[number]));
                let plan = explain(&models[number].node, &name_of, &name_of);
                wrong.push(format!("`{name}`\nrecompute\n{expected}maintained\n{kept}plan\n{plan}"));
            }
            lively[number] |= !expected.is_empty();
            if !models[number].stamps().is_empty() {
                let stamped = decoded(&batch.schema(), &kept[number]);
                recompute.table(&models[number].relation, &batch.schema(), &stamped).expect("it registers");
            }
        }
        let wrong = wrong.join("\n\n");
        assert!(wrong.is_empty(), "at Moment {moment}, clock {clock}, {workers} workers, SEED={seed}:\n{wrong}");
    }
}

#[test]
fn a_model_named_as_what_is_there_already_is_refused() {
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table("t"));
    let refused = |planner: &mut Planner, name: &str| {
        planner.compile(relation(name), "select id from t").expect_err("the name is taken").reason
    };
    assert_eq!(refused(&mut planner, "t"), r#""db"."public"."t" is a source table already"#);
    planner.compile(relation("m"), "select id from t").expect("it is maintained");
    assert_eq!(refused(&mut planner, "m"), r#""db"."public"."m" is another model already"#);
}

#[test]
fn a_part_that_occurs_twice_is_computed_once() {
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table("t"));
    let twice = "with q as (select id, 10 / a as q from t) select x.q, y.q as z from q as x join q as y on x.q = y.q";
    for model in ["one", "two"] {
        planner.compile(relation(model), twice).unwrap_or_else(|refusal| panic!("refused: {}", refusal.reason));
    }
    let (pruned, models) = planner.finish();
    let flow = Flow::start(&models, &pruned, 2, &Bodies::resident_only(), None).expect("it starts");
    let row = |id: i64, a: i32| {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int64(id));
        writer.push(&Datum::Int32(a));
        (writer.finish(), 1)
    };
    flow.feed(Moment(1), 0, [row(1, 0), row(2, 5)].into_iter().collect());
    let output = flow.close(Moment(1), BEGIN).expect("it closes");
    for model in 0..2 {
        assert_eq!(output.faults[model].len(), 1, "the guilty row is named once, by each model");
        assert_eq!(output.models[model].len(), 1);
    }
}

#[test]
fn a_recursion_without_end_is_a_fault_until_it_has_one() {
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table("t"));
    let sql = "with recursive way as (select id, cast(a as bigint) as a from t
        union all select way.id, t.a from way join t on t.id = way.a) select id, a from way";
    planner.compile(relation("way"), sql).expect("it is maintained");
    planner.compile(relation("ends"), "select id, max(a) as a from way group by id").expect("it is maintained");
    let (tables, models) = planner.finish();
    let place = Place::memory();
    let mut life = Life::start(&place, &models, &tables, 2, usize::MAX);
    let edge = |(from, to): (i64, i32), diff: i64| {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int64(from));
        writer.push(&Datum::Int32(to));
        (writer.finish(), diff)
    };
    let (mut kept, mut faults) = (vec![Counted::new(); 2], BTreeMap::new());
    let mut moment = 0;
    let mut step = |life: &Life, edges: &[(i64, i32)], diff: i64| {
        moment += 1;
        life.flow.feed(Moment(moment), 0, edges.iter().map(|of| edge(*of, diff)).collect());
        let output = life.flow.close(Moment(moment), BEGIN).expect("it closes");
        kept.iter_mut().zip(&output.models).for_each(|(kept, deltas)| add(kept, deltas));
        output.faults.into_iter().flatten().for_each(|(fault, diff)| *faults.entry(fault).or_default() += diff);
        faults.retain(|_, diff: &mut i64| *diff != 0);
        let text = faults.iter().map(|(fault, diff)| format!("{diff} {} {}", fault.message, fault.sample));
        (kept.clone(), text.collect::<Vec<_>>())
    };
    let path = [(1, 2), (2, 3)];
    let (shown, none) = step(&life, &path, 1);
    assert_eq!((shown[0].len(), none.len()), (3, 0));

    // One way round: as many rows in every iteration.
    let (_, endless) = step(&life, &[(3, 1)], 1);
    let message = "1 the recursion goes on after 10000 iterations";
    assert_eq!(endless, ["id=1 a=3", "id=2 a=1", "id=3 a=2"].map(|row| format!("{message} {row}")));
    life.checkpoint(Moment(2), BEGIN);
    life.end();
    life = Life::start(&place, &models, &tables, 3, usize::MAX);
    assert_eq!(step(&life, &[(3, 1)], -1), (shown.clone(), Vec::new()));

    // Ever more ways round: three times as many copies in every iteration.
    let many = [(1, 1), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)];
    let (_, stopped) = step(&life, &many, 1);
    assert_eq!(stopped.len(), 1);
    assert!(stopped[0].contains("grows without end"), "{stopped:?}");
    assert_eq!(step(&life, &[(9, 1)], 1).1.len(), 1);
    life.checkpoint(Moment(5), BEGIN);
    life.end();
    life = Life::start(&place, &models, &tables, 1, usize::MAX);
    assert_eq!(step(&life, &[(8, 1)], 1).1.len(), 1);
    let (_, fewer) = step(&life, &many, -1);
    assert_eq!(fewer, Vec::<String>::new());
    assert_eq!(step(&life, &[(8, 1), (9, 1)], -1), (shown, Vec::new()));
}

#[test]
fn what_no_table_can_hold_is_refused_by_name() {
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table("t"));
    for (sql, reason) in [
        ("select id, interval '1 day' as due from t", "column `due` is a length of time, which no table can hold"),
        (
            "select id, make_array(interval '1 day') as dues from t",
            "column `dues` has type List(Interval(MonthDayNano)), which is not kept yet",
        ),
        (
            "select id, s - timestamp '2024-01-01' as gap from t",
            "column `gap` is a length of time, which no table can hold",
        ),
        (
            "select id, make_array(s - timestamp '2024-01-01') as gaps from t",
            "column `gaps` is a length of time, which no table can hold",
        ),
        (
            "select id, cast(d as numeric(60, 20)) as wide from t",
            "column `wide` has type Decimal256(60, 20), and no table holds more than 38 digits",
        ),
        (
            "select id, named_struct('w', cast(d as numeric(60, 20))) as wide from t",
            "column `wide` has type Struct(\"w\": Decimal256(60, 20)), and no table holds more than 38 digits",
        ),
    ] {
        let refusal = planner.compile(relation("m"), sql).expect_err(sql);
        assert_eq!(refusal.reason, reason);
        assert_eq!(refusal.line, 1, "{sql}");
    }
}

#[test]
fn a_group_that_cannot_be_computed_is_a_fault_until_it_can() {
    let table = table("t");
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table.clone());
    let sql = "select *, sum(100 / a) over (partition by c order by id) as n from t";
    planner.compile(relation("q"), sql).expect("it is maintained");
    let (_, models) = planner.finish();
    let flow =
        Flow::start(&models, std::slice::from_ref(&table), 2, &Bodies::resident_only(), None).expect("it starts");
    let row = |id: i64, a: i32, c: &str| {
        let mut writer = RowWriter::default();
        let nothing = [Datum::Null, Datum::Null];
        [Datum::Int64(id), Datum::Int32(a), Datum::Text(c.into())].iter().chain(&nothing).for_each(|d| writer.push(d));
        writer.finish()
    };
    let codec = Codec::new(models[0].schema().clone());
    let step = |moment: u64, deltas: &[Delta]| {
        flow.feed(Moment(moment), 0, deltas.iter().cloned().collect());
        let mut output = flow.close(Moment(moment), BEGIN).expect("it closes");
        let rows = output.models[0].iter().map(|(row, diff)| format!("{diff} {}", codec.show(row))).collect::<Vec<_>>();
        let faults = output.faults.swap_remove(0).into_iter();
        (rows, faults.map(|(fault, diff)| format!("{diff} {} {}", fault.sample, fault.message)).collect::<Vec<_>>())
    };
    let fault = |diff: i64| vec![format!("{diff} c=\"y\" Divide by zero")];
    let (rows, faults) = step(1, &[(row(1, 2, "x"), 1), (row(2, 0, "y"), 1), (row(3, 5, "y"), 1)]);
    assert_eq!(rows, ["1 id=1 a=2 c=\"x\" d=NULL s=NULL n=50"]);
    assert_eq!(faults, fault(1));
    assert_eq!(step(2, &[(row(4, 1, "x"), 1)]).1, Vec::<String>::new());
    let (rows, faults) = step(3, &[(row(2, 0, "y"), -1)]);
    assert_eq!(rows, ["1 id=3 a=5 c=\"y\" d=NULL s=NULL n=20"]);
    assert_eq!(faults, fault(-1));
}

#[test]
fn a_subquery_of_many_rows_is_a_fault_until_it_has_one() {
    let table = table("t");
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table.clone());
    let sql = "select *, (select distinct a from t where c = 'x') as x from t where id > 1";
    planner.compile(relation("q"), sql).expect("it is maintained");
    let (_, models) = planner.finish();
    let flow =
        Flow::start(&models, std::slice::from_ref(&table), 2, &Bodies::resident_only(), None).expect("it starts");
    let row = |id: i64, a: i32| {
        let mut writer = RowWriter::default();
        let cells = [Datum::Int64(id), Datum::Int32(a), Datum::Text("x".into()), Datum::Null, Datum::Null];
        cells.iter().for_each(|datum| writer.push(datum));
        writer.finish()
    };
    let codec = Codec::new(models[0].schema().clone());
    let step = |moment: u64, deltas: &[Delta]| {
        flow.feed(Moment(moment), 0, deltas.iter().cloned().collect());
        let mut output = flow.close(Moment(moment), BEGIN).expect("it closes");
        let rows = output.models[0].iter().map(|(row, diff)| format!("{diff} {}", codec.show(row))).collect::<Vec<_>>();
        let faults = output.faults.swap_remove(0);
        for (fault, _) in &faults {
            assert_eq!(fault.message, "a subquery that stands for one value gives many rows");
        }
        (rows, faults.iter().map(|(_, diff)| diff).sum::<i64>())
    };
    let whole = "1 id=2 a=4 c=\"x\" d=NULL s=NULL x=4".to_string();
    assert_eq!(step(1, &[(row(1, 4), 1), (row(2, 4), 1)]), (vec![whole.clone()], 0));
    assert_eq!(step(2, &[(row(1, 4), -1), (row(1, 5), 1)]).1, 1);
    assert_eq!(step(3, &[(row(3, 6), 1)]).1, 0);
    let (rows, faults) = step(4, &[(row(1, 5), -1), (row(3, 6), -1)]);
    assert!(rows.contains(&whole), "{rows:?}");
    assert_eq!(faults, -1);
}

#[test]
fn a_series_without_a_step_is_a_fault_until_it_has_one() {
    let table = table("t");
    let mut planner = Planner::new("db", "public");
    planner.add_table(relation("t"), table.clone());
    planner.compile(relation("q"), "select id, n from t, generate_series(1, 5, a) as n").expect("it is maintained");
    let (tables, models) = planner.finish();
    let flow = Flow::start(&models, &tables, 2, &Bodies::resident_only(), None).expect("it starts");
    let row = |a: i32| {
        let mut writer = RowWriter::default();
        writer.push(&Datum::Int64(1));
        writer.push(&Datum::Int32(a));
        writer.finish()
    };
    let codec = Codec::new(models[0].schema().clone());
    let step = |moment: u64, deltas: &[Delta]| {
        flow.feed(Moment(moment), 0, deltas.iter().cloned().collect());
        let output = flow.close(Moment(moment), BEGIN).expect("it closes");
        let rows = output.models[0].iter().map(|(row, diff)| format!("{diff} {}", codec.show(row)));
        let faults = output.faults[0].iter().map(|(fault, diff)| format!("{diff} {}", fault.message));
        rows.chain(faults).collect::<Vec<_>>()
    };
    let zero = "the step of generate_series is zero";
    assert_eq!(step(1, &[(row(0), 1)]), [format!("1 {zero}")]);
    assert_eq!(step(2, &[(row(0), -1), (row(3), 1)]), ["1 id=1 n=1", "1 id=1 n=4", &format!("-1 {zero}")]);
    assert_eq!(step(3, &[(row(3), -1)]), ["-1 id=1 n=1", "-1 id=1 n=4"]);
}
