//! One case: tables with rows that come and go, and a query; asked of all, and made smaller where they differ.

use std::fmt::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use driftless::plan::recompute::Recompute;
use driftless::plan::{Compiled, Planner};
use driftless::row::{Clock, Codec, Datum, Diff, Moment, Row, RowWriter, Table, TableName};

use super::answer::{Rows, difference, of_batch};
use super::choices::Choices;
use super::grammar::{self, Column, Kind, Relation};
use super::life::{Counted, Dice, Life, Place, TYPES, add, counted, relation};
use super::oracles::Oracles;
use super::seen::Seen;

/// At the first there are rows, at the others some come and some go. The oracles are asked at the end.
const MOMENTS: u64 = 3;
const CLOCK: Clock = Clock(1_800_000_000_000_000);

#[derive(Clone)]
pub struct Case {
    tables: Vec<Filled>,
    /// What the query is made from.
    made: Vec<u64>,
    sql: String,
    workers: usize,
}

#[derive(Clone)]
struct Filled {
    table: Table,
    lines: Vec<Line>,
}

/// A row that is there from one Moment to before another, or to the end.
#[derive(Clone)]
struct Line {
    cells: Vec<Datum>,
    from: u64,
    until: Option<u64>,
}

/// What is wrong: in a few words that stay the same while a case is made smaller, and whole.
pub struct Wrong {
    what: &'static str,
    whole: String,
}

impl Wrong {
    fn new(what: &'static str, whole: impl Into<String>) -> Wrong {
        Wrong { what, whole: whole.into() }
    }
}

impl Case {
    pub fn of(seed: u64) -> Case {
        let mut dice = Dice(seed);
        let tables: Vec<Filled> = ["t", "u", "v"].into_iter().map(|name| filled(&mut dice, name)).collect();
        let workers = 1 + dice.below(2) as usize;
        let case = Case { tables, made: Vec::new(), sql: String::new(), workers };
        case.asking(Choices::of(dice))
    }

    fn asking(mut self, mut choices: Choices) -> Case {
        let relations: Vec<Relation> = self.tables.iter().map(|filled| as_relation(&filled.table)).collect();
        self.sql = grammar::query(&mut choices, &relations);
        self.made = choices.made();
        self
    }

    pub fn run(&self, oracles: &mut Oracles, seen: &mut Seen) -> Result<(), Wrong> {
        seen.cases += 1;
        let postgres = oracles.postgres(&self.statements("temp table"), &self.sql);
        if let Err(error) = &postgres
            && ["(42", "(0A"].iter().any(|class| error.contains(class))
        {
            return Err(Wrong::new("Postgres does not take the query", error));
        }
        let mut planner = Planner::new("db", "public");
        for Filled { table, .. } in &self.tables {
            planner.add_table(relation(&table.name.name), table.clone());
        }
        if let Err(refusal) = planner.compile(relation("m"), &self.sql) {
            seen.refused.entry(refusal.reason).or_insert_with(|| (0, self.sql.clone())).0 += 1;
            return Ok(());
        }
        let (tables, models) = planner.finish();
        let recomputed = self.recomputed();
        let (maintained, faults) = self.maintained(&tables, &models);
        let (theirs, ours) = match (postgres, recomputed) {
            (Err(_), Err(_)) if !faults.is_empty() => {
                seen.failed += 1;
                return Ok(());
            }
            (Err(error), Err(_)) => return Err(Wrong::new("the dataflow does not fail, as the others do", error)),
            (Err(error), Ok(ours)) => {
                return Err(Wrong::new("only Postgres fails", format!("{error}\n{:?}", of_batch(&ours))));
            }
            (Ok(_), Err(error)) => return Err(Wrong::new("the recompute fails, Postgres does not", error)),
            (Ok(_), Ok(_)) if !faults.is_empty() => return Err(Wrong::new("only the dataflow fails", faults)),
            (Ok(theirs), Ok(ours)) => (theirs, ours),
        };
        if let Some(difference) = difference(&of_batch(&ours), &theirs) {
            return Err(Wrong::new("recompute (+) and Postgres (-) differ", difference));
        }
        if counted(&ours) != maintained {
            let codec = Codec::new(ours.schema());
            let copies = maintained.iter().flat_map(|(row, times)| std::iter::repeat_n(row, *times as usize));
            let difference = difference(&of_batch(&codec.decode(copies)), &theirs);
            let difference = difference.unwrap_or_else(|| "  in what is the same to Postgres".into());
            return Err(Wrong::new("the dataflow (+) and Postgres (-) differ", difference));
        }
        seen.compared += 1;
        seen.empty += usize::from(theirs.is_empty());
        self.against_duckdb(&theirs, oracles, seen)
    }

    fn against_duckdb(&self, postgres: &Rows, oracles: &mut Oracles, seen: &mut Seen) -> Result<(), Wrong> {
        let Some(answer) = oracles.duckdb(&self.statements("or replace table"), &self.sql) else { return Ok(()) };
        let answer = answer.map_err(|error| Wrong::new("only DuckDB fails", error))?;
        if let Some(difference) = difference(&answer, postgres) {
            return Err(Wrong::new("only DuckDB (+) differs from Postgres (-)", difference));
        }
        seen.by_duckdb += 1;
        Ok(())
    }

    fn recomputed(&self) -> Result<RecordBatch, String> {
        let mut recompute = Recompute::new("db", "public", CLOCK);
        for Filled { table, lines } in &self.tables {
            let rows = lines.iter().filter(|line| line.until.is_none()).map(Line::row);
            let batch = Codec::new(table.schema.clone()).decode(rows);
            recompute.table(&relation(&table.name.name), &table.schema, &batch).expect("it registers");
        }
        recompute.model(&relation("m"), &self.sql).map_err(|error| error.to_string())
    }

    /// The rows at the end, and the faults.
    fn maintained(&self, tables: &[Table], models: &[Compiled]) -> (Counted, String) {
        let life = Life::start(&Place::memory(), models, tables, self.workers, usize::MAX);
        let (mut rows, mut faults) = (Counted::new(), std::collections::BTreeMap::new());
        for moment in 1..=MOMENTS {
            for (number, (filled, kept)) in self.tables.iter().zip(tables).enumerate() {
                life.flow.feed(Moment(moment), number, filled.changes(moment, kept).into_iter().collect());
            }
            let output = life.flow.close(Moment(moment), CLOCK).expect("it closes");
            add(&mut rows, &output.models[0]);
            output.faults.into_iter().flatten().for_each(|(fault, diff)| *faults.entry(fault).or_default() += diff);
        }
        faults.retain(|_, diff: &mut Diff| *diff != 0);
        let faults = faults.keys().map(|fault| format!("{} {}\n", fault.message, fault.sample)).collect();
        (rows, faults)
    }

    /// The same failure with less.
    pub fn shrunk(mut self, mut wrong: Wrong, oracles: &mut Oracles) -> (Case, Wrong) {
        let mut attempts = 1500;
        let mut fails = |smaller: Case, case: &mut Case| {
            attempts -= 1;
            let failed = if attempts > 0 { smaller.run(oracles, &mut Seen::default()).err() } else { None };
            let Some(failed) = failed.filter(|failed| failed.what == wrong.what) else { return false };
            (*case, wrong) = (smaller, failed);
            true
        };
        let mut before = usize::MAX;
        while before > self.size() {
            before = self.size();
            let made = |case: &Case, made: &[u64]| case.clone().asking(Choices::again(made));
            for size in [16, 8, 4, 2, 1] {
                let mut at = 0;
                while at < self.made.len() {
                    let end = (at + size).min(self.made.len());
                    let without = made(&self, &[&self.made[..at], &self.made[end..]].concat());
                    let zeros = made(&self, &[&self.made[..at], &vec![0; end - at], &self.made[end..]].concat());
                    let smaller = |case: &Case, than: &Case| case.sql.len() < than.sql.len();
                    let mut less = smaller(&without, &self) && fails(without, &mut self);
                    less = less || smaller(&zeros, &self) && fails(zeros, &mut self);
                    if !less {
                        at += size;
                    }
                }
            }
            for table in 0..self.tables.len() {
                for line in (0..self.tables[table].lines.len()).rev() {
                    let mut smaller = self.clone();
                    smaller.tables[table].lines.remove(line);
                    if !fails(smaller, &mut self) && self.tables[table].lines[line].from > 1 {
                        let mut sooner = self.clone();
                        sooner.tables[table].lines[line].from = 1;
                        fails(sooner, &mut self);
                    }
                }
            }
        }
        fails(Case { workers: 1, ..self.clone() }, &mut self);
        (self, wrong)
    }

    fn size(&self) -> usize {
        self.sql.len() + self.tables.iter().map(|table| table.lines.len()).sum::<usize>()
    }

    /// The tables as SQL makes them, with their rows at the end.
    fn statements(&self, what: &str) -> String {
        let mut text = String::new();
        for Filled { table, lines } in &self.tables {
            let name = &table.name.name;
            let column = |field: &Arc<Field>| format!("{} {}", field.name(), sql_type(field.data_type()));
            let columns: Vec<String> = table.schema.fields().iter().map(column).collect();
            writeln!(text, "create {what} {name} ({});", columns.join(", ")).expect("writing to a string");
            let rows: Vec<String> = lines.iter().filter(|line| line.until.is_none()).map(Line::sql).collect();
            if !rows.is_empty() {
                writeln!(text, "insert into {name} values {};", rows.join(", ")).expect("writing to a string");
            }
        }
        text
    }
}

impl Filled {
    /// Of the columns that are kept.
    fn changes(&self, moment: u64, kept: &Table) -> Vec<(Row, Diff)> {
        let codec = Codec::new(self.table.schema.clone());
        let columns = kept.schema.fields().iter().map(|field| self.table.schema.index_of(field.name()));
        let columns: Vec<usize> = columns.collect::<Result<_, _>>().expect("they are of the table");
        let diff = |line: &Line| i64::from(line.from == moment) - i64::from(line.until == Some(moment));
        let changed = self.lines.iter().filter(|line| diff(line) != 0);
        changed.map(|line| (codec.project(&line.row(), &columns), diff(line))).collect()
    }
}

impl Line {
    fn row(&self) -> Row {
        let mut writer = RowWriter::default();
        self.cells.iter().for_each(|cell| writer.push(cell));
        writer.finish()
    }

    fn sql(&self) -> String {
        let cell = |cell: &Datum| match cell {
            Datum::Text(text) => format!("'{text}'"),
            // Hundredths.
            Datum::Decimal(number) => format!("{number} / 100.0"),
            Datum::Date(days) => format!("date '1970-01-01' + {days}"),
            Datum::Timestamp(micros) => format!("timestamp '1970-01-01' + interval '{} hours'", micros / 3_600_000_000),
            other => other.to_string(),
        };
        format!("({})", self.cells.iter().map(cell).collect::<Vec<_>>().join(", "))
    }
}

fn sql_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Utf8 => "text",
        DataType::Decimal128(..) => "numeric(12, 2)",
        DataType::Float64 => "double precision",
        DataType::Timestamp(..) => "timestamp",
        DataType::Date32 => "date",
        DataType::Boolean => "boolean",
        other => unreachable!("no table has {other}"),
    }
}

fn as_relation(table: &Table) -> Relation {
    let kind = |field: &Field| match field.data_type() {
        DataType::Int32 | DataType::Int64 => Kind::Int,
        DataType::Utf8 => Kind::Text,
        DataType::Decimal128(..) => Kind::Numeric,
        DataType::Float64 => Kind::Double,
        DataType::Timestamp(..) => Kind::Timestamp,
        DataType::Date32 => Kind::Date,
        DataType::Boolean => Kind::Bool,
        other => unreachable!("no table has {other}"),
    };
    let column = |field: &Arc<Field>| Column { name: field.name().clone(), kind: kind(field) };
    let columns = table.schema.fields().iter().map(column).collect();
    Relation { name: table.name.name.clone(), columns, rows: 7.0 }
}

/// A table of columns of any types; with a key, or with some rows twice; now and then without a row.
fn filled(dice: &mut Dice, name: &str) -> Filled {
    let keyed = dice.one_in(2);
    let mut fields: Vec<Field> = if keyed { vec![Field::new("id", DataType::Int64, true)] } else { Vec::new() };
    for name in ["a", "b", "c", "d"].into_iter().take(2 + dice.below(3) as usize) {
        fields.push(Field::new(name, dice.pick(&TYPES).clone(), true));
    }
    let table = Table { name: TableName::new("public", name), schema: Arc::new(Schema::new(fields)), key: vec![0] };
    let size = if dice.one_in(12) { 0 } else { 4 + dice.below(10) };
    let mut lines: Vec<Line> = Vec::new();
    for number in 0..size {
        let from = 1 + dice.below(MOMENTS);
        let until = (from < MOMENTS && dice.one_in(4)).then(|| from + 1 + dice.below(MOMENTS - from));
        let mut cells: Vec<Datum> = table.schema.fields().iter().map(|field| cell(dice, field.data_type())).collect();
        if keyed {
            cells[0] = Datum::Int64(number as i64);
        } else if dice.one_in(4) && !lines.is_empty() {
            cells = dice.pick(&lines).cells.clone();
        }
        lines.push(Line { cells, from, until });
    }
    Filled { table, lines }
}

fn cell(dice: &mut Dice, data_type: &DataType) -> Datum {
    let number = dice.below(6) as i64;
    match data_type {
        _ if dice.one_in(7) => Datum::Null,
        DataType::Int32 => Datum::Int32(if dice.one_in(12) { -17 } else { number as i32 }),
        DataType::Int64 => Datum::Int64(if dice.one_in(12) { 5_000_000_000 } else { number }),
        DataType::Utf8 => {
            Datum::Text((*dice.pick(&["x", "y", " z ", "ü", "", "X", "x-y", "12", "Über xy"])).to_string())
        }
        DataType::Decimal128(..) => Datum::Decimal(i128::from(number) * 75 - 150),
        // Sums of these are exact.
        DataType::Float64 => Datum::Float64(*dice.pick(&[0.0, 0.25, 0.5, 1.5, 2.5, -3.25, 100.0, 7.0])),
        // The end of January, and months on.
        DataType::Timestamp(..) => Datum::Timestamp((474_024 + number * 36 * 13) * 3_600_000_000),
        DataType::Date32 => Datum::Date(19_753 + number as i32 * 20),
        DataType::Boolean => Datum::Bool(number > 2),
        other => unreachable!("no table has {other}"),
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.statements("table"))?;
        for Filled { table, lines } in &self.tables {
            for line in lines.iter().filter(|line| line.until.is_some() || line.from > 1) {
                let until = line.until.map_or(String::new(), |until| format!(" until {until}"));
                writeln!(f, "-- {} {} from Moment {}{until}", table.name.name, line.sql(), line.from)?;
            }
        }
        write!(f, "{};\n-- {} workers", self.sql, self.workers)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.whole)
    }
}
