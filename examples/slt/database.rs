//! Tables and views of one file: what statements do to them, and the dataflow that maintains the views.
//!
//! A statement is evaluated by the oracle over what there is: `insert`, `update` and `delete` become rows with their
//! diffs, which go into the dataflow as a source's changes would. Each view that is made or dropped begins a new
//! dataflow, filled with what the tables hold.

use super::answer;
use super::life::{Counted, Dice, Life, Place, add, counted, decoded, equal_but_for, relation, show};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, ColumnDef, ColumnOption, CreateTable, CreateView, Delete, Expr, FromTable, Ident, Insert,
    ObjectName, ObjectType, Statement, TableFactor, TableObject, TableWithJoins, Update,
};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use driftless::plan::recompute::Recompute;
use driftless::plan::{Compiled, Planner, Postgres, Refusal, tokens};
use driftless::row::{Clock, Codec, Diff, JSON, Moment, Row, Table, TableName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the clock says first; each Moment is a second.
const BEGIN: Clock = Clock(1_704_067_200_000_000);
const SECOND: i64 = 1_000_000;

/// What came of a statement.
pub enum Outcome {
    Done,
    Changed(usize),
    Rows(Vec<Vec<String>>),
    Failed(String),
    /// What we do not have; no fault of what we have.
    Unsupported(String),
}

pub struct Database {
    workers: usize,
    dice: Option<Dice>,
    tables: Vec<Held>,
    views: Vec<View>,
    /// What could not be made, and why: what reads it cannot be either.
    missing: Vec<(String, String)>,
    running: Option<Running>,
    moment: u64,
}

struct Held {
    name: String,
    schema: SchemaRef,
    /// The default of each column, as SQL.
    defaults: Vec<String>,
    rows: Counted,
}

struct View {
    name: String,
    sql: String,
    refused: Option<String>,
}

/// The dataflow over all tables and all views that were not refused.
struct Running {
    place: Place,
    life: Option<Life>,
    /// With the columns that views use, and where these stand in the whole tables.
    tables: Vec<(Table, Vec<usize>)>,
    models: Vec<Compiled>,
    kept: Vec<Counted>,
    /// Of each view: what cannot be computed.
    faults: Vec<BTreeMap<String, Diff>>,
    clock: Clock,
}

/// Ends a statement early.
type Stop = Outcome;

fn failed(error: impl ToString) -> Stop {
    const LACKS: [&str; 4] = ["not implemented", "Invalid function", "there is no function", "Unsupported"];
    let error = error.to_string();
    match LACKS.iter().any(|lack| error.contains(lack)) {
        true => Outcome::Unsupported(error.lines().next().unwrap_or_default().to_string()),
        false => Outcome::Failed(error),
    }
}

fn unsupported(what: impl Into<String>) -> Stop {
    Outcome::Unsupported(what.into())
}

impl Database {
    pub fn new(workers: usize, seed: Option<u64>) -> Database {
        let (tables, views, missing) = (Vec::new(), Vec::new(), Vec::new());
        Database { workers, dice: seed.map(Dice), tables, views, missing, running: None, moment: 0 }
    }

    pub fn execute(&mut self, sql: &str) -> Outcome {
        let first = sql.split_whitespace().next().unwrap_or_default().to_lowercase();
        if ["flush", "set", "begin", "start", "commit", "end", "analyze", "vacuum", "pragma"]
            .contains(&first.trim_end_matches(';'))
        {
            return Outcome::Done;
        }
        let parsed = tokens(sql)
            .map_err(ParserError::from)
            .and_then(|tokens| Parser::new(&Postgres).with_tokens_with_locations(tokens).parse_statements());
        let statements = match parsed {
            Ok(statements) => statements,
            Err(error) => return failed(error),
        };
        let mut outcome = Outcome::Done;
        for statement in statements {
            let makes = match &statement {
                Statement::CreateTable(create) => Some(bare(&create.name)),
                Statement::CreateView(create) => Some(bare(&create.name)),
                _ => None,
            };
            match self.statement(statement) {
                Ok(done) => outcome = done,
                Err(Outcome::Failed(error)) => {
                    let missing = self.missing.iter().find(|(name, _)| names(sql, name));
                    return missing.map_or(Outcome::Failed(error), |(_, why)| Outcome::Unsupported(why.clone()));
                }
                Err(stop) => {
                    if let (Some(name), Outcome::Unsupported(why)) = (makes, &stop) {
                        self.missing.push((name, why.clone()));
                    }
                    return stop;
                }
            }
        }
        outcome
    }

    fn statement(&mut self, statement: Statement) -> Result<Outcome, Stop> {
        match statement {
            Statement::CreateTable(create) => self.create_table(create),
            Statement::CreateView(create) => self.create_view(create),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Truncate(truncate) => {
                let mut changed = 0;
                for target in truncate.table_names {
                    let table = self.table(&target.name)?;
                    let all = self.tables[table].rows.iter().map(|(row, count)| (row.clone(), -count)).collect();
                    changed += self.change(table, all)?;
                }
                Ok(Outcome::Changed(changed))
            }
            Statement::Drop { object_type, if_exists, names, cascade, .. } => {
                names.iter().try_for_each(|name| self.drop(object_type, &bare(name), if_exists, cascade))?;
                Ok(Outcome::Done)
            }
            // An index says nothing of what there is.
            Statement::CreateIndex(_) => Ok(Outcome::Done),
            Statement::Query(query) => {
                let batch = self.evaluate(&query.to_string())?;
                Ok(Outcome::Rows(answer::rows(&batch)))
            }
            other => {
                let text = other.to_string();
                let words: Vec<&str> = text.split_whitespace().take(2).collect();
                Err(unsupported(format!("`{}`", words.join(" ").to_lowercase())))
            }
        }
    }

    fn create_table(&mut self, create: CreateTable) -> Result<Outcome, Stop> {
        let name = bare(&create.name);
        if self.is_taken(&name) {
            return match create.if_not_exists {
                true => Ok(Outcome::Done),
                false => Err(failed(format!("`{name}` is there already"))),
            };
        }
        let rows = create.query.map(|query| self.evaluate(&query.to_string())).transpose()?;
        let (schema, defaults) = match &rows {
            Some(batch) => (nullable(&batch.schema()), vec!["null".into(); batch.num_columns()]),
            None => self.described(&create.columns)?,
        };
        let rows = rows.map(|batch| counted(&batch)).unwrap_or_default();
        self.tables.push(Held { name, schema, defaults, rows });
        self.running = None;
        Ok(Outcome::Done)
    }

    /// The columns as rows hold them.
    fn described(&self, columns: &[ColumnDef]) -> Result<(SchemaRef, Vec<String>), Stop> {
        let select = |column: &ColumnDef| format!("cast(null as {}) as {}", column.data_type, column.name);
        let selects: Vec<String> = columns.iter().map(select).collect();
        let batch = self.evaluate(&format!("select {}", selects.join(", "))).map_err(|stop| match stop {
            Outcome::Failed(error) => unsupported(format!("a table with a type that is not there: {error}")),
            other => other,
        })?;
        let default = |column: &ColumnDef| {
            let default = column.options.iter().find_map(|option| match &option.option {
                ColumnOption::Default(value) => Some(value.to_string()),
                _ => None,
            });
            default.unwrap_or_else(|| "null".into())
        };
        Ok((nullable(&batch.schema()), columns.iter().map(default).collect()))
    }

    fn create_view(&mut self, create: CreateView) -> Result<Outcome, Stop> {
        let name = bare(&create.name);
        let there = self.views.iter().position(|view| view.name == name);
        match there {
            Some(there) if create.or_replace => drop(self.views.remove(there)),
            Some(_) if create.if_not_exists => return Ok(Outcome::Done),
            _ if self.is_taken(&name) => return Err(failed(format!("`{name}` is there already"))),
            _ => {}
        }
        let query = create.query.to_string();
        let sql = match create.columns.is_empty() {
            true => query,
            false => {
                let names: Vec<String> = create.columns.iter().map(|column| column.name.to_string()).collect();
                format!("select * from ({query}) as named({})", names.join(", "))
            }
        };
        self.views.push(View { name, sql, refused: None });
        self.running = None;
        self.start();
        let refused = self.views.last().and_then(|view| view.refused.clone());
        match refused {
            None => Ok(Outcome::Done),
            Some(reason) => {
                let evaluates = self.evaluate(&self.views[self.views.len() - 1].sql);
                self.views.pop();
                // What the oracle cannot run either is wrong.
                match evaluates {
                    Ok(_) => Err(unsupported(format!("a view that is not maintained: {reason}"))),
                    Err(_) => Err(failed(reason)),
                }
            }
        }
    }

    fn drop(&mut self, what: ObjectType, name: &str, if_exists: bool, cascade: bool) -> Result<(), Stop> {
        let place = match what {
            ObjectType::Table => self.tables.iter().position(|table| table.name == name),
            ObjectType::View | ObjectType::MaterializedView => self.views.iter().position(|view| view.name == name),
            ObjectType::Index => return Ok(()),
            other => return Err(unsupported(format!("`drop {other}`").to_lowercase())),
        };
        let Some(place) = place else {
            return if if_exists { Ok(()) } else { Err(failed(format!("there is no `{name}`"))) };
        };
        let is_table = what == ObjectType::Table;
        let table = is_table.then(|| self.tables.remove(place));
        let view = (!is_table).then(|| self.views.remove(place));
        // What cannot be planned any more has read it.
        self.running = None;
        self.start();
        let orphans = self.views.iter().filter(|view| view.refused.is_some()).map(|view| view.name.clone());
        let orphans: Vec<String> = orphans.collect();
        self.running = None;
        if orphans.is_empty() || cascade {
            self.views.retain(|view| view.refused.is_none());
            return Ok(());
        }
        table.into_iter().for_each(|table| self.tables.insert(place, table));
        view.into_iter().for_each(|view| self.views.insert(place, view));
        Err(failed(format!("`{name}` is read by {}", orphans.join(", "))))
    }

    fn insert(&mut self, insert: Insert) -> Result<Outcome, Stop> {
        let TableObject::TableName(name) = &insert.table else { return Err(unsupported("`insert` into a function")) };
        if insert.on.is_some() || insert.replace_into || insert.returning.is_some() {
            return Err(unsupported("`insert` with `on conflict` or `returning`"));
        }
        let table = self.table(name)?;
        let held = &self.tables[table];
        let names: Vec<&str> = held.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let given: Vec<String> = match insert.columns.is_empty() {
            true => names.iter().map(|name| name.to_string()).collect(),
            false => insert.columns.iter().map(unquoted).collect(),
        };
        if let Some(unknown) = given.iter().find(|name| !names.contains(&name.as_str())) {
            return Err(failed(format!("table `{}` has no column `{unknown}`", held.name)));
        }
        let Some(source) = insert.source else { return Err(unsupported("`insert` of defaults")) };
        let batch = self.evaluate(&source.to_string())?;
        if batch.num_columns() > given.len() {
            return Err(failed(format!("{} values for {} columns", batch.num_columns(), given.len())));
        }
        let value = |(name, default): (&&str, &String)| {
            let place = given.iter().position(|given| given == name).filter(|place| *place < batch.num_columns());
            place.map_or_else(|| default.clone(), |place| format!("c{place}"))
        };
        let values: Vec<String> = names.iter().zip(&held.defaults).map(value).collect();
        let columns: Vec<String> = (0..batch.num_columns()).map(|place| format!("c{place}")).collect();
        let sql =
            format!("select {} from ({source}) as given({})", self.cast(table, &values).join(", "), columns.join(", "));
        let rows = counted(&self.evaluate(&sql)?);
        Ok(Outcome::Changed(self.change(table, rows)?))
    }

    fn update(&mut self, update: Update) -> Result<Outcome, Stop> {
        if update.from.is_some() || update.returning.is_some() || !update.table.joins.is_empty() {
            return Err(unsupported("`update` with `from` or `returning`"));
        }
        let (table, from) = self.target(&update.table)?;
        let names: Vec<String> = self.tables[table].schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut values: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        for assignment in &update.assignments {
            let AssignmentTarget::ColumnName(column) = &assignment.target else {
                return Err(unsupported("`update` of several columns at once"));
            };
            let column = bare(column);
            let Some(place) = names.iter().position(|name| *name == column) else {
                return Err(failed(format!("there is no column `{column}`")));
            };
            values[place] = assignment.value.to_string();
        }
        let (condition, old) = (condition(update.selection.as_ref()), names.iter().map(|name| quoted(name)));
        let old =
            counted(&self.evaluate(&format!("select {} from {from}{condition}", old.collect::<Vec<_>>().join(", ")))?);
        let new = self.cast(table, &values).join(", ");
        let mut changes = counted(&self.evaluate(&format!("select {new} from {from}{condition}"))?);
        let changed: Diff = old.values().sum();
        old.into_iter().for_each(|(row, count)| *changes.entry(row).or_default() -= count);
        self.change(table, changes)?;
        Ok(Outcome::Changed(changed as usize))
    }

    fn delete(&mut self, delete: Delete) -> Result<Outcome, Stop> {
        if delete.using.is_some() || delete.returning.is_some() {
            return Err(unsupported("`delete` with `using` or `returning`"));
        }
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let [from] = from.as_slice() else { return Err(unsupported("`delete` from several tables")) };
        let (table, from) = self.target(from)?;
        let names = self.tables[table].schema.fields().iter().map(|field| quoted(field.name())).collect::<Vec<_>>();
        let condition = condition(delete.selection.as_ref());
        let gone = counted(&self.evaluate(&format!("select {} from {from}{condition}", names.join(", ")))?);
        Ok(Outcome::Changed(self.change(table, gone.into_iter().map(|(row, count)| (row, -count)).collect())?))
    }

    /// Each value as its column has it.
    fn cast(&self, table: usize, values: &[String]) -> Vec<String> {
        let fields = self.tables[table].schema.fields().iter();
        let cast = |(field, value): (&Arc<Field>, &String)| {
            let value = match field.data_type() {
                &JSON => format!("cast({value} as jsonb)"),
                // Read as SQL reads a text: Arrow wants seconds.
                DataType::Timestamp(_, None) => {
                    format!("arrow_cast(cast({value} as timestamp), '{}')", field.data_type())
                }
                DataType::Timestamp(..) => format!("arrow_cast(cast({value} as timestamptz), '{}')", field.data_type()),
                of => format!("arrow_cast({value}, '{of}')"),
            };
            format!("{value} as {}", quoted(field.name()))
        };
        fields.zip(values).map(cast).collect()
    }

    /// The table that a statement changes, and how its `from` names it.
    fn target(&self, from: &TableWithJoins) -> Result<(usize, String), Stop> {
        match &from.relation {
            TableFactor::Table { name, .. } if from.joins.is_empty() => Ok((self.table(name)?, from.to_string())),
            _ => Err(unsupported("a change of something other than a table")),
        }
    }

    fn table(&self, name: &ObjectName) -> Result<usize, Stop> {
        let name = bare(name);
        let found = self.tables.iter().position(|table| table.name == name);
        found.ok_or_else(|| failed(format!("there is no table `{name}`")))
    }

    fn is_taken(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table.name == name) || self.views.iter().any(|view| view.name == name)
    }

    /// A query over the tables and over what is maintained of the views.
    fn evaluate(&self, sql: &str) -> Result<arrow::array::RecordBatch, Stop> {
        let mut oracle = self.oracle();
        if let Some(running) = &self.running {
            for (model, (kept, faults)) in running.models.iter().zip(running.kept.iter().zip(&running.faults)) {
                // What cannot be computed is not there, and who asks for it is told.
                if let Some((fault, _)) = faults.first_key_value() {
                    if names(sql, &model.relation.name) {
                        return Err(failed(format!("view `{}`: {fault}", model.relation.name)));
                    }
                    continue;
                }
                let batch = decoded(model.schema(), kept);
                oracle.table(&model.relation, model.schema(), &batch).map_err(failed)?;
            }
        }
        oracle.model(&relation("the answer"), sql).map_err(failed)
    }

    fn oracle(&self) -> Recompute {
        let clock = self.running.as_ref().map_or(BEGIN, |running| running.clock);
        let mut oracle = Recompute::new("db", "public", clock);
        for held in &self.tables {
            let batch = decoded(&held.schema, &held.rows);
            oracle.table(&relation(&held.name), &held.schema, &batch).expect("a name is given once");
        }
        oracle
    }

    /// Changes a table, and what is maintained with it; returns of how many rows.
    fn change(&mut self, table: usize, changes: Counted) -> Result<usize, Stop> {
        self.start();
        let held = &mut self.tables[table];
        for (row, diff) in &changes {
            *held.rows.entry(row.clone()).or_default() += diff;
        }
        held.rows.retain(|_, count| *count != 0);
        let changed = changes.values().map(|diff| diff.unsigned_abs() as usize).sum();
        let (mut running, mut dice) = (self.running.take().expect("it was started"), self.dice.take());
        let slices = dice.as_mut().map_or(1, |dice| 1 + dice.below(3));
        let mut rest: Vec<(Row, Diff)> = changes.into_iter().collect();
        for slice in (0..slices).rev() {
            let part = if slice == 0 {
                rest.len()
            } else {
                dice.as_mut().map_or(0, |dice| dice.below(1 + rest.len() as u64)) as usize
            };
            running.feed(self.moment + 1, table, rest.drain(..part), &Codec::new(self.tables[table].schema.clone()));
            self.moment += 1;
            running.close(self.moment)?;
        }
        if let Some(dice) = &mut dice
            && dice.one_in(6)
        {
            running.restart(self.moment, 1 + dice.below(self.workers as u64) as usize, dice.budget());
        }
        (self.running, self.dice) = (Some(running), dice);
        Ok(changed)
    }

    /// Begins the dataflow over what there is now, if it does not run.
    fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        let mut planner = Planner::new("db", "public");
        for held in &self.tables {
            let table =
                Table { name: TableName::new("public", &held.name), schema: held.schema.clone(), key: Vec::new() };
            planner.add_table(relation(&held.name), table);
        }
        for view in &mut self.views {
            let told = |refusal: Refusal| format!("{}; {}", refusal.reason, refusal.hint);
            view.refused = planner.compile(relation(&view.name), &view.sql).err().map(told);
        }
        let (pruned, models) = planner.finish();
        let place = Place::memory();
        let life = Life::start(&place, &models, &pruned, self.workers, usize::MAX);
        let columns = |(table, held): (Table, &Held)| {
            let place = |field: &Arc<Field>| held.schema.index_of(field.name()).expect("a column of the table");
            let columns = table.schema.fields().iter().map(place).collect();
            (table, columns)
        };
        let tables = pruned.into_iter().zip(&self.tables).map(columns).collect();
        let (kept, faults) = (vec![Counted::new(); models.len()], vec![BTreeMap::new(); models.len()]);
        let mut running = Running { place, life: Some(life), tables, models, kept, faults, clock: BEGIN };
        self.moment = 1;
        for (number, held) in self.tables.iter().enumerate() {
            let rows = held.rows.iter().map(|(row, count)| (row.clone(), *count));
            running.feed(1, number, rows, &Codec::new(held.schema.clone()));
        }
        running.close(1).unwrap_or_else(|_| panic!("the workers live"));
        self.running = Some(running);
    }

    /// Whether each view is what it should be.
    pub fn check(&self) -> Result<(), String> {
        let Some(running) = &self.running else { return Ok(()) };
        let mut oracle = self.oracle();
        // What reads a view that cannot be computed cannot be either.
        let mut unknown: Vec<&str> = Vec::new();
        for (number, model) in running.models.iter().enumerate() {
            if unknown.iter().any(|unknown| names(&model.sql, unknown)) {
                unknown.push(&model.relation.name);
                continue;
            }
            let (name, kept, faults) = (&model.relation.name, &running.kept[number], &running.faults[number]);
            match oracle.model(&model.relation, &model.sql) {
                Err(_) if !faults.is_empty() => unknown.push(name),
                Err(error) => return Err(format!("view `{name}` is maintained, and cannot be recomputed: {error}")),
                Ok(_) if !faults.is_empty() => return Err(format!("view `{name}` has faults: {faults:?}")),
                Ok(batch) => {
                    let (codec, expected) = (Codec::new(batch.schema()), counted(&batch));
                    if !equal_but_for(&model.stamps(), &codec, &expected, kept) {
                        let (expected, kept) = (show(&codec, &expected), show(&codec, kept));
                        return Err(format!("view `{name}` has drifted\nrecompute\n{expected}maintained\n{kept}"));
                    }
                    if !model.stamps().is_empty() {
                        let stamped = decoded(model.schema(), kept);
                        oracle.table(&model.relation, model.schema(), &stamped).map_err(|error| error.to_string())?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Running {
    fn life(&self) -> &Life {
        self.life.as_ref().expect("it lives between two restarts")
    }

    fn feed(&self, moment: u64, table: usize, rows: impl Iterator<Item = (Row, Diff)>, whole: &Codec) {
        let columns = &self.tables[table].1;
        let rows = rows.map(|(row, diff)| (whole.project(&row, columns), diff));
        self.life().flow.feed(Moment(moment), table, rows.collect());
    }

    fn close(&mut self, moment: u64) -> Result<(), Stop> {
        self.clock = Clock(BEGIN.0 + moment as i64 * SECOND);
        let output = self.life().flow.close(Moment(moment), self.clock).map_err(failed)?;
        self.kept.iter_mut().zip(&output.models).for_each(|(kept, rows)| add(kept, rows));
        for (faults, changes) in self.faults.iter_mut().zip(output.faults) {
            for (fault, diff) in changes {
                *faults.entry(format!("{} ({})", fault.message, fault.sample)).or_default() += diff;
            }
            faults.retain(|_, count| *count != 0);
        }
        Ok(())
    }

    /// Ends, and goes on from a checkpoint.
    fn restart(&mut self, moment: u64, workers: usize, budget: usize) {
        let life = self.life.take().expect("it lives between two restarts");
        life.checkpoint(Moment(moment), self.clock);
        life.end();
        let tables: Vec<Table> = self.tables.iter().map(|(table, _)| table.clone()).collect();
        self.life = Some(Life::start(&self.place, &self.models, &tables, workers, budget));
    }
}

fn nullable(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    ))
}

/// Whether SQL has this word.
fn names(sql: &str, word: &str) -> bool {
    sql.split(|c: char| !c.is_alphanumeric() && c != '_').any(|of| of.eq_ignore_ascii_case(word))
}

fn condition(selection: Option<&Expr>) -> String {
    selection.map_or(String::new(), |selection| format!(" where {selection}"))
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

fn unquoted(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// The last part of a name.
fn bare(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map_or_else(|| name.to_string(), unquoted)
}
