//! One case: tables, models over them, and what happens; run, and made smaller where it fails.

use super::grammar::{Column, Grammar, Kind, Relation};
use super::life::{Counted, Dice, Life, Place, TYPES, Tick, add, counted, relation, show};
use super::seen::Seen;
use arrow::datatypes::{DataType, Field, Schema};
use driftless::flow::{Fault, Output};
use driftless::plan::recompute::Recompute;
use driftless::plan::{Compiled, Planner, Refusal, explain};
use driftless::row::{Clock, Codec, Datum, Diff, Moment, Row, RowWriter, Rows, Table, TableName};
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::sync::Arc;

#[derive(Clone)]
pub struct Case {
    tables: Vec<Table>,
    /// Name and SQL.
    models: Vec<(String, String)>,
    events: Vec<Event>,
    workers: usize,
    budget: usize,
    disk: bool,
}

#[derive(Clone)]
enum Event {
    /// The row with this key is now so, or gone.
    Change {
        table: usize,
        id: u64,
        row: Option<Row>,
    },
    /// What has changed so far goes in: a slice of the open Moment.
    Feed,
    Close(Tick),
    /// Of the last Moment that closed, even while another is open.
    Checkpoint,
    Kill {
        workers: usize,
        budget: usize,
    },
}

impl Case {
    pub fn of(seed: u64, seen: &mut Seen) -> Case {
        let mut dice = Dice(seed);
        let tables: Vec<Table> = ["t", "u", "v"].into_iter().map(|name| table(&mut dice, name)).collect();
        let mut planner = planner(&tables);
        let mut relations: Vec<Relation> = tables.iter().map(as_relation).collect();
        let mut models = Vec::new();
        for number in 1..=1 + dice.below(4) {
            let query = Grammar::new(&mut dice, relations.clone()).model();
            let name = format!("m{number}");
            seen.models += 1;
            match planner.compile(relation(&name), &query.sql) {
                Ok(_) => {
                    relations.push(Relation { name: name.clone(), columns: query.columns, rows: query.rows });
                    models.push((name, query.sql));
                }
                Err(refusal) => *seen.refused.entry(format!("{}: {}", refusal.reason, query.sql)).or_default() += 1,
            }
        }
        planner.finish().1.iter().for_each(|model| seen.note(&model.node));
        let (workers, budget) = (*dice.pick(&WORKERS), dice.budget());
        let disk = dice.one_in(10);
        seen.cases += 1;
        Case { events: events(&mut dice, &tables), tables, models, workers, budget, disk }
    }

    /// What is wrong, if anything is.
    pub fn run(&self, seen: &mut Seen) -> Result<(), String> {
        let compiled = self.compile().map_err(|refusal| format!("refused: {}", refusal.reason))?;
        let mut run = Run::start(self, compiled);
        for (at, event) in self.events.iter().enumerate() {
            run.perform(at, event, seen)?;
        }
        run.life.take().expect("it lives").end();
        let count = |models: &[bool]| models.iter().filter(|yes| **yes).count();
        seen.filled += count(&run.filled);
        seen.retracted += count(&run.retracted);
        Ok(())
    }

    fn compile(&self) -> Result<(Vec<Table>, Vec<Compiled>), Refusal> {
        let mut planner = planner(&self.tables);
        for (name, sql) in &self.models {
            planner.compile(relation(name), sql)?;
        }
        Ok(planner.finish())
    }

    /// The same failure, or another, with less.
    pub fn shrunk(mut self, mut wrong: String) -> (Case, String) {
        let mut attempts = 300;
        let mut try_it = |smaller: Case, case: &mut Case| {
            attempts -= 1;
            let fails = attempts > 0 && smaller.compile().is_ok();
            let failed = if fails { smaller.run(&mut Seen::default()).err() } else { None };
            let Some(failed) = failed else { return false };
            (*case, wrong) = (smaller, failed);
            true
        };
        for number in (0..self.models.len()).rev() {
            let mut smaller = self.clone();
            smaller.models.remove(number);
            try_it(smaller, &mut self);
        }
        let mut size = self.events.len() / 2;
        while size > 0 {
            let mut from = self.events.len().saturating_sub(size);
            loop {
                let mut smaller = self.clone();
                smaller.events.drain(from..(from + size).min(self.events.len()));
                try_it(smaller, &mut self);
                if from == 0 {
                    break;
                }
                from = from.saturating_sub(size);
            }
            size /= 2;
        }
        try_it(Case { disk: false, budget: usize::MAX, ..self.clone() }, &mut self);
        try_it(Case { workers: 1, ..self.clone() }, &mut self);
        (self, wrong)
    }
}

const WORKERS: [usize; 3] = [1, 2, 4];

fn table(dice: &mut Dice, name: &str) -> Table {
    let mut fields = vec![Field::new("id", DataType::Int64, true)];
    for name in ["a", "b", "c", "d", "e"].into_iter().take(3 + dice.below(3) as usize) {
        fields.push(Field::new(name, dice.pick(&TYPES).clone(), true));
    }
    Table { name: TableName::new("public", name), schema: Arc::new(Schema::new(fields)), key: vec![0] }
}

fn planner(tables: &[Table]) -> Planner {
    let mut planner = Planner::new("db", "public");
    for table in tables {
        planner.add_table(relation(&table.name.name), table.clone());
    }
    planner
}

fn as_relation(table: &Table) -> Relation {
    let kind = |field: &Field| match field.data_type() {
        DataType::Int32 | DataType::Int64 => Kind::Int,
        DataType::Utf8 => Kind::Text,
        DataType::Decimal128(_, _) => Kind::Numeric,
        DataType::Float64 => Kind::Double,
        DataType::Timestamp(_, _) => Kind::Timestamp,
        DataType::Date32 => Kind::Date,
        DataType::Boolean => Kind::Bool,
        other => unreachable!("no table has {other}"),
    };
    let column = |field: &Arc<Field>| Column { name: field.name().clone(), kind: kind(field) };
    let rows = ids(&table.name.name) as f64 * 0.7;
    Relation { name: table.name.name.clone(), columns: table.schema.fields().iter().map(column).collect(), rows }
}

/// Keys are below this.
fn ids(table: &str) -> u64 {
    if table == "v" { 4 } else { 14 }
}

fn row(dice: &mut Dice, table: &Table, id: u64) -> Row {
    let mut writer = RowWriter::default();
    writer.push(&Datum::Int64(id as i64));
    for field in table.schema.fields().iter().skip(1) {
        // A seven is what divisions fail for.
        let number = if dice.one_in(25) { 7 } else { dice.below(6) as i64 };
        let datum = match field.data_type() {
            _ if dice.one_in(8) => Datum::Null,
            DataType::Int32 => Datum::Int32(number as i32),
            DataType::Int64 => Datum::Int64(number),
            DataType::Utf8 => Datum::Text(dice.pick(&["x", "y", " z ", "ü", ""]).to_string()),
            DataType::Decimal128(_, _) => Datum::Decimal(i128::from(number) * 75 - 150),
            DataType::Float64 => {
                Datum::Float64(*dice.pick(&[0.0, 0.1, 0.5, 2.25, -3.0, 1e10, f64::NAN, f64::INFINITY]))
            }
            DataType::Timestamp(_, _) => Datum::Timestamp(1_700_000_000_000_000 + number * 20 * 86_400_000_000),
            DataType::Date32 => Datum::Date(19_700 + number as i32 * 20),
            DataType::Boolean => Datum::Bool(number > 2),
            other => unreachable!("no table has {other}"),
        };
        writer.push(&datum);
    }
    writer.finish()
}

fn events(dice: &mut Dice, tables: &[Table]) -> Vec<Event> {
    let mut events = Vec::new();
    for moment in 0..6 + dice.below(5) {
        for (table, of) in tables.iter().enumerate() {
            let ids = ids(&of.name.name);
            let changes = match moment {
                0 => ids,
                _ if dice.one_in(3) => 0,
                _ => 1 + dice.below(5),
            };
            let all_go = dice.one_in(40);
            events.extend((0..ids).filter(|_| all_go).map(|id| Event::Change { table, id, row: None }));
            for change in 0..changes {
                let id = if moment == 0 { change } else { dice.below(ids) };
                let row = (dice.below(4) > 0).then(|| row(dice, of, id));
                events.push(Event::Change { table, id, row });
                if dice.one_in(8) {
                    events.push(Event::Feed);
                }
                if dice.one_in(60) {
                    events.push(Event::Checkpoint);
                }
                if dice.one_in(60) {
                    events.push(Event::Kill { workers: *dice.pick(&WORKERS), budget: dice.budget() });
                }
            }
        }
        events.push(Event::Close(Tick::of(dice)));
        if dice.one_in(4) {
            events.push(Event::Checkpoint);
        }
        if dice.one_in(6) {
            events.push(Event::Kill { workers: *dice.pick(&WORKERS), budget: dice.budget() });
        }
    }
    events
}

/// The tables, and what the models are known to hold.
#[derive(Clone)]
struct World {
    moment: u64,
    clock: Clock,
    due: Option<Clock>,
    rows: Vec<BTreeMap<u64, Row>>,
    shown: Vec<Counted>,
    faults: Vec<BTreeMap<Fault, Diff>>,
    /// How many events have led here.
    at: usize,
}

/// What a recompute says of a model.
enum Expected {
    Rows(Codec, Counted),
    Fails(String),
    /// A model that it reads fails.
    Unknown,
}

struct Run<'a> {
    case: &'a Case,
    place: Place,
    /// `None` between two lives.
    life: Option<Life>,
    workers: usize,
    tables: Vec<Table>,
    models: Vec<Compiled>,
    /// What has changed and is not fed yet, for each table.
    open: Vec<Rows>,
    now: World,
    /// As the last Moment that closed has left it, and as the last checkpoint has it.
    closed: World,
    kept: World,
    /// By how many events have led there, and what the clock said.
    expected: HashMap<(usize, Clock), Vec<Expected>>,
    filled: Vec<bool>,
    retracted: Vec<bool>,
}

impl Run<'_> {
    fn start(case: &Case, (tables, models): (Vec<Table>, Vec<Compiled>)) -> Run<'_> {
        let place = if case.disk { Place::disk() } else { Place::memory() };
        let life = Life::start(&place, &models, &tables, case.workers, case.budget);
        let world = World {
            moment: 0,
            clock: Clock(1_699_500_000_000_000),
            due: None,
            rows: vec![BTreeMap::new(); tables.len()],
            shown: vec![Counted::new(); models.len()],
            faults: vec![BTreeMap::new(); models.len()],
            at: 0,
        };
        Run {
            case,
            place,
            life: Some(life),
            workers: case.workers,
            open: vec![Rows::default(); tables.len()],
            now: world.clone(),
            closed: world.clone(),
            kept: world,
            expected: HashMap::new(),
            filled: vec![false; models.len()],
            retracted: vec![false; models.len()],
            tables,
            models,
        }
    }

    fn perform(&mut self, at: usize, event: &Event, seen: &mut Seen) -> Result<(), String> {
        match event {
            Event::Change { table, id, row } => self.change(*table, *id, row),
            Event::Feed => self.feed(),
            Event::Close(tick) => return self.close(at, *tick, seen),
            // There is nothing to go on from before.
            Event::Checkpoint if self.closed.moment == 0 => {}
            Event::Checkpoint => {
                self.life().checkpoint(Moment(self.closed.moment), self.closed.clock);
                self.kept = self.closed.clone();
                seen.checkpoints += 1;
            }
            Event::Kill { workers, budget } => {
                self.life.take().expect("it lives").end();
                self.life = Some(Life::start(&self.place, &self.models, &self.tables, *workers, *budget));
                seen.restarts += 1;
                seen.resized += usize::from(self.workers != *workers);
                seen.replayed += (self.closed.moment - self.kept.moment) as usize;
                self.workers = *workers;
                self.open.iter_mut().for_each(Rows::clear);
                self.now = self.kept.clone();
                self.closed = self.kept.clone();
                for again in self.kept.at..at {
                    if let event @ (Event::Change { .. } | Event::Feed | Event::Close(_)) = &self.case.events[again] {
                        self.perform(again, event, seen)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Rows go in with the columns that the models use.
    fn change(&mut self, table: usize, id: u64, row: &Option<Row>) {
        let whole = &self.case.tables[table].schema;
        let columns = self.tables[table].schema.fields().iter().map(|field| whole.index_of(field.name()));
        let columns: Vec<usize> = columns.collect::<Result<_, _>>().expect("they are of the table");
        let codec = Codec::new(whole.clone());
        let rows = &mut self.now.rows[table];
        let old = match row {
            Some(row) => rows.insert(id, row.clone()),
            None => rows.remove(&id),
        };
        for (row, diff) in [(&old, -1), (row, 1)] {
            row.iter().for_each(|row| self.open[table].push(codec.project(row, &columns).bytes(), diff));
        }
    }

    fn feed(&mut self) {
        for (table, rows) in std::mem::take(&mut self.open).into_iter().enumerate() {
            self.life().flow.feed(Moment(self.now.moment + 1), table, rows);
            self.open.push(Rows::default());
        }
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("it lives")
    }

    fn close(&mut self, at: usize, tick: Tick, seen: &mut Seen) -> Result<(), String> {
        self.feed();
        self.now.moment += 1;
        self.now.at = at + 1;
        self.now.clock = tick.from(self.now.clock, self.now.due);
        let output = self.life().flow.close(Moment(self.now.moment), self.now.clock);
        let Output { models, faults, due, unsettled: _, reruns: _ } = output.map_err(|e| e.to_string())?;
        seen.due += usize::from(self.now.due.is_some_and(|due| due <= self.now.clock));
        self.now.due = due;
        for (number, (rows, faults)) in models.iter().zip(faults).enumerate() {
            add(&mut self.now.shown[number], rows);
            self.retracted[number] |= rows.iter().any(|(_, diff)| diff < 0);
            self.filled[number] |= !self.now.shown[number].is_empty();
            let of_model = &mut self.now.faults[number];
            let before = of_model.len();
            faults.into_iter().for_each(|(fault, diff)| *of_model.entry(fault).or_default() += diff);
            of_model.retain(|_, diff| *diff != 0);
            seen.faults += usize::from(!of_model.is_empty());
            seen.mended += usize::from(of_model.is_empty() && before > 0);
        }
        seen.moments += 1;
        let there = (at, self.now.clock);
        let expected = || recompute(self.case, &self.models, &self.now.rows, there.1);
        self.expected.entry(there).or_insert_with(expected);
        let both = self.models.iter().zip(&self.expected[&there]).enumerate();
        let differences = both.filter_map(|(number, (model, expected))| {
            let difference = difference(expected, &self.now.shown[number], &self.now.faults[number])?;
            Some(format!("{}: {difference}{}", model.relation.name, self.plan(model)))
        });
        let wrong: String = differences.collect();
        self.closed = self.now.clone();
        if wrong.is_empty() {
            return Ok(());
        }
        let (moment, workers) = (self.now.moment, self.workers);
        Err(format!("at Moment {moment} with {workers} workers (after {} of the events):\n{wrong}", at + 1))
    }

    fn plan(&self, model: &Compiled) -> String {
        let table = |number: usize| self.tables[number].name.to_string();
        let other = |number: usize| self.models[number].relation.name.clone();
        format!("plan\n{}", explain(&model.node, &table, &other))
    }
}

fn recompute(case: &Case, models: &[Compiled], rows: &[BTreeMap<u64, Row>], clock: Clock) -> Vec<Expected> {
    let mut recompute = Recompute::new("db", "public", clock);
    for (table, rows) in case.tables.iter().zip(rows) {
        let batch = Codec::new(table.schema.clone()).decode(rows.values());
        recompute.table(&relation(&table.name.name), &table.schema, &batch).expect("it registers");
    }
    let mut all: Vec<Expected> = Vec::new();
    for model in models {
        // Also one that it names, and that the planner has found not to matter.
        let names = |other: &Compiled| model.sql.contains(&format!(" {} as ", other.relation.name));
        let unknown =
            models.iter().zip(&all).any(|(other, rows)| names(other) && !matches!(rows, Expected::Rows(_, _)));
        all.push(match unknown {
            true => Expected::Unknown,
            false => match recompute.model(&model.relation, &model.sql) {
                Ok(batch) => Expected::Rows(Codec::new(batch.schema()), counted(&batch)),
                Err(error) => Expected::Fails(error.to_string()),
            },
        });
    }
    all
}

fn difference(expected: &Expected, shown: &Counted, faults: &BTreeMap<Fault, Diff>) -> Option<String> {
    match expected {
        Expected::Unknown => None,
        Expected::Fails(_) if faults.values().any(|diff| *diff > 0) => None,
        Expected::Fails(error) => Some(format!("only the recompute fails: {error}\n")),
        Expected::Rows(_, _) if !faults.is_empty() => Some(format!("only the dataflow fails: {faults:?}\n")),
        Expected::Rows(_, rows) if rows == shown => None,
        Expected::Rows(codec, rows) => {
            Some(format!("recompute\n{}maintained\n{}", show(codec, rows), show(codec, shown)))
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            let column = |field: &Arc<Field>| format!("{} {}", field.name(), field.data_type());
            let columns: Vec<String> = table.schema.fields().iter().map(column).collect();
            writeln!(f, "{} ({})", table.name.name, columns.join(", "))?;
        }
        self.models.iter().try_for_each(|(name, sql)| writeln!(f, "{name}: {sql}"))?;
        writeln!(
            f,
            "{} workers, {} bytes of memory, on {}",
            self.workers,
            self.budget,
            if self.disk { "disk" } else { "memory" }
        )?;
        let mut text = String::new();
        for event in &self.events {
            match event {
                Event::Change { table, id, row } => {
                    let table = &self.tables[*table];
                    let row = row.as_ref().map(|row| Codec::new(table.schema.clone()).show(row));
                    writeln!(text, "  {} {}", table.name.name, row.unwrap_or_else(|| format!("id={id} goes")))?;
                }
                Event::Feed => text += "  feed\n",
                Event::Close(tick) => writeln!(text, "  close, the clock goes on {tick:?}")?,
                Event::Checkpoint => text += "  checkpoint\n",
                Event::Kill { workers, budget } => {
                    writeln!(text, "  kill, go on with {workers} workers, {budget} bytes")?
                }
            }
        }
        write!(f, "{text}")
    }
}
