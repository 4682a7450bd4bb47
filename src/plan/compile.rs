//! From a model's SQL to what maintains it.
//!
//! Models are compiled one after another in the order of their graph: each sees the source tables and the
//! models before it, by the full names that dbt printed into its SQL.

use super::caught::caught;
use super::clock;
use super::deep::with_room;
use super::definite::definite;
use super::draws;
use super::lower::Lowering;
use super::recursion::{Recursion, cut};
use super::refusal::Refusal;
use super::rerun::{Read, Rerun};
use super::session::{register, row_schema, session};
use super::stamps::{self, Stamped};
use super::step::refuse_strays;
use super::unsound::refuse_unsound;
use super::with::{bind, refuse_passed_over};
use super::{Node, Op, Relation};
use crate::row::{Rows, Table};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, Volatility};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A model that can be maintained.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub relation: Relation,
    pub sql: String,
    pub node: Node,
    stamped: Stamped,
}

impl Compiled {
    pub fn schema(&self) -> &SchemaRef {
        &self.node.schema
    }

    /// Why it is computed as a whole again and again, if it is.
    pub fn recomputed(&self) -> Option<&str> {
        match &self.node.op {
            Op::Rerun { work, .. } => Some(work.why()),
            _ => None,
        }
    }

    /// The columns that say when their row came, each time it is computed something else.
    pub fn stamps(&self) -> Vec<usize> {
        self.stamped.columns()
    }

    /// Numbers of the source tables that it reads itself.
    pub fn tables(&self) -> BTreeSet<usize> {
        fn note(node: &Node, tables: &mut BTreeSet<usize>) {
            if let Op::Table { table, .. } = &node.op {
                tables.insert(*table);
            }
            node.inputs().into_iter().for_each(|input| note(input, tables));
        }
        let mut tables = BTreeSet::new();
        note(&self.node, &mut tables);
        tables
    }
}

/// What SQL may name, as compiled so far.
pub struct Planner {
    state: SessionState,
    home: Relation,
    numbers: HashMap<Relation, Input>,
    tables: Vec<Table>,
    models: Vec<Compiled>,
    /// Models whose rows nobody sees but models that read them.
    hidden: BTreeSet<usize>,
}

/// What a relation's name stands for.
#[derive(Clone, Copy)]
pub(super) enum Input {
    Table(usize),
    Model(usize),
}

impl Planner {
    /// Names without a database or schema are looked for in these.
    pub fn new(database: &str, schema: &str) -> Planner {
        let home = Relation { database: database.into(), schema: schema.into(), name: String::new() };
        let (numbers, tables, models, hidden) = (HashMap::new(), Vec::new(), Vec::new(), BTreeSet::new());
        Planner { state: session(&home), home, numbers, tables, models, hidden }
    }

    /// Makes a source table known; returns its number.
    pub fn add_table(&mut self, relation: Relation, table: Table) -> usize {
        register(&self.state, &relation, Arc::new(EmptyTable::new(nullable(&table.schema))));
        self.numbers.insert(relation, Input::Table(self.tables.len()));
        self.tables.push(table);
        self.tables.len() - 1
    }

    /// Compiles a model and makes it known to those that follow; returns its number.
    pub fn compile(&mut self, relation: Relation, sql: &str) -> Result<usize, Refusal> {
        if let Some(other) = self.numbers.get(&relation) {
            let what = if matches!(other, Input::Table(_)) { "a source table" } else { "another model" };
            let hint = "give the model an alias or a schema of its own";
            return Err(Refusal::new(format!("{relation} is {what} already"), hint));
        }
        let node = caught(|| with_room(|| self.node(&relation, sql)));
        let (node, stamped) = node.unwrap_or_else(|panic| Err(Refusal::new(panic, "report this model")))?;
        register(&self.state, &relation, Arc::new(EmptyTable::new(node.schema.clone())));
        self.numbers.insert(relation.clone(), Input::Model(self.models.len()));
        self.models.push(Compiled { relation, sql: sql.to_string(), node, stamped });
        Ok(self.models.len() - 1)
    }

    /// Nobody sees the rows of this model but models that read it: what it stamps on them these stamp on theirs.
    pub fn hide(&mut self, model: usize) {
        self.hidden.insert(model);
    }

    /// What maintains it; where nothing does and the oracle can compute it, that it is computed again.
    fn node(&self, relation: &Relation, sql: &str) -> Result<(Node, Stamped), Refusal> {
        let bound = |e| Refusal::from_datafusion(&e, sql);
        refuse_passed_over(&self.state, sql)?;
        let logical = futures::executor::block_on(bind(&self.state, sql)).map_err(bound)?;
        only_queries(&logical)?;
        let (logical, reads_clock) = clock::left_open(logical).map_err(bound)?;
        let (logical, draws) = draws::left_open(logical, &relation.to_string()).map_err(bound)?;
        let reads_clock = reads_clock || draws || self.reads_stamps(&logical).map_err(bound)?;
        refuse_chance(&logical, sql)?;
        refuse_unsound(&logical, sql)?;
        let (logical, recursions) = cut(logical).map_err(bound)?;
        let parts: Vec<LogicalPlan> =
            recursions.iter().flat_map(|of| [&of.base, &of.step]).chain([&logical]).cloned().collect();
        refuse_strays(&parts, sql)?;
        self.maintained(logical, recursions, reads_clock, sql).or_else(|refusal| match reads_clock {
            true => Err(refusal),
            false => {
                let whole = self.rerun(relation, sql, &parts, &refusal).ok_or(refusal)?;
                Ok((whole, Stamped::default()))
            }
        })
    }

    fn maintained(
        &self,
        logical: LogicalPlan,
        recursions: Vec<Recursion>,
        reads_clock: bool,
        sql: &str,
    ) -> Result<(Node, Stamped), Refusal> {
        let bound = |e| Refusal::from_datafusion(&e, sql);
        let optimised = |plan| -> Result<LogicalPlan, Refusal> {
            let optimised = match reads_clock {
                true => clock::optimise(&self.state, plan),
                false => self.state.optimize(&plan),
            };
            optimised.and_then(definite).map_err(bound)
        };
        let planned = |recursion: Recursion| -> Result<Recursion, Refusal> {
            let numbered = recursion.numbered(sql)?;
            Ok(Recursion { base: optimised(numbered.base)?, step: optimised(numbered.step)?, ..numbered })
        };
        let recursions = recursions.into_iter().map(planned).collect::<Result<Vec<_>, _>>()?;
        let lowering = Lowering { home: &self.home, numbers: &self.numbers, recursions: &recursions, sql };
        if !reads_clock {
            return Ok((lowering.lower_model(&optimised(logical)?)?, Stamped::default()));
        }
        let draws = |scan: &TableScan| {
            let width = scan.projected_schema.fields().len();
            (0..width).any(|column| self.stamp_of(scan, column).is_some_and(|e| draws::reads(&e)))
        };
        if draws::read_aside(&logical, &draws) {
            return Err(draws::aside());
        }
        let schema = logical.schema().clone();
        let (rest, stamped) = stamps::taken_off(logical, &|scan, column| self.stamp_of(scan, column)).map_err(bound)?;
        let rest = optimised(rest)?;
        if draws::stay(&rest) {
            return Err(draws::elsewhere(sql));
        }
        if stamped.columns().is_empty() {
            return Ok((lowering.lower_model(&rest)?, stamped));
        }
        let LogicalPlan::Projection(computed) = optimised(stamps::computed(&stamped).map_err(bound)?)? else {
            return Err(clock::elsewhere(sql));
        };
        let node = lowering.lower(&rest)?;
        let node = lowering.stamped(node, rest.schema(), &stamped, computed.expr, &schema)?;
        lowering.refuse_columns(&node.schema, &schema)?;
        Ok((node, stamped))
    }

    fn reads_stamps(&self, plan: &LogicalPlan) -> DfResult<bool> {
        let stamped = |node: &LogicalPlan| match node {
            LogicalPlan::TableScan(scan) => {
                (0..node.schema().fields().len()).any(|column| self.stamp_of(scan, column).is_some())
            }
            _ => false,
        };
        plan.exists(|node| Ok(stamped(node)))
    }

    /// What a column reads of the clock, where it is a stamp of a hidden model.
    fn stamp_of(&self, scan: &TableScan, column: usize) -> Option<Expr> {
        let Some(Input::Model(model)) = self.numbers.get(&self.home.resolve(&scan.table_name)) else { return None };
        let column = scan.projection.as_ref().map_or(column, |columns| columns[column]);
        self.models[*model].stamped.of(column).filter(|_| self.hidden.contains(model))
    }

    /// A model that is computed as a whole, if the oracle can and tables hold what comes out; its plan in parts, of which
    /// the last gives the rows.
    fn rerun(&self, relation: &Relation, sql: &str, parts: &[LogicalPlan], why: &Refusal) -> Option<Node> {
        let inputs = self.read(parts).ok()?.into_iter().map(|(relation, input, columns)| {
            let described = match input {
                Input::Table(table) => nullable(&self.tables[table].schema),
                Input::Model(model) => self.models[model].schema().clone(),
            };
            let columns: Vec<usize> = columns.into_iter().collect();
            let schema = row_schema(&described.project(&columns).ok()?).ok()?;
            let op = match input {
                Input::Table(table) => Op::Table { table, columns },
                Input::Model(model) => Op::Model { model, columns },
            };
            Some((Read { relation, described, columns: schema.clone() }, Node { op, schema }))
        });
        let (reads, inputs): (Vec<Read>, Vec<Node>) = inputs.collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let (relation, home, sql_kept) = (relation.clone(), self.home.clone(), sql.into());
        let work = Rerun { relation, home, sql: sql_kept, reads, why: why.reason.clone() };
        let nothing = vec![Rows::default(); inputs.len()];
        let schema = work.batch(&nothing).ok()?.schema();
        let lowering = Lowering { home: &self.home, numbers: &self.numbers, recursions: &[], sql };
        lowering.refuse_columns(&schema, parts.last()?.schema()).ok()?;
        Some(Node { op: Op::Rerun { inputs, work }, schema })
    }

    /// The relations that plans read, and which of their columns.
    fn read(&self, parts: &[LogicalPlan]) -> DfResult<Vec<(Relation, Input, BTreeSet<usize>)>> {
        let mut read: Vec<(Relation, Input, BTreeSet<usize>)> = Vec::new();
        let mut visit = |node: &LogicalPlan| {
            if let LogicalPlan::TableScan(scan) = node {
                let relation = self.home.resolve(&scan.table_name);
                // What a recursion has found is no relation.
                if let Some(input) = self.numbers.get(&relation) {
                    let all = || (0..scan.source.schema().fields().len()).collect();
                    let columns = scan.projection.clone().unwrap_or_else(all);
                    match read.iter_mut().find(|(other, ..)| *other == relation) {
                        Some((.., known)) => known.extend(columns),
                        None => read.push((relation, *input, columns.into_iter().collect())),
                    }
                }
            }
            Ok(TreeNodeRecursion::Continue)
        };
        for part in parts {
            // Only an optimised plan says which columns it needs.
            let optimised = self.state.optimize(part);
            optimised.as_ref().unwrap_or(part).apply_with_subqueries(&mut visit)?;
        }
        Ok(read)
    }

    pub fn model(&self, number: usize) -> &Compiled {
        &self.models[number]
    }

    /// The tables with only the columns that the models use (and their keys), and the models.
    pub fn finish(self) -> (Vec<Table>, Vec<Compiled>) {
        let mut used: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.tables.len()];
        for model in &self.models {
            note_columns(&model.node, &mut used);
        }
        let pruned = self.tables.iter().zip(&used);
        let pruned: Vec<Table> = pruned
            .map(|(table, used)| table.pruned(|name| used.iter().any(|c| table.schema.field(*c).name() == name)))
            .collect();
        let mut models = self.models;
        for model in &mut models {
            renumber_columns(&mut model.node, &self.tables, &pruned);
        }
        (pruned, models)
    }
}

/// The planner must not conclude from NOT NULL: a table's constraint says nothing of what comes later.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>()))
}

fn only_queries(plan: &LogicalPlan) -> Result<(), Refusal> {
    match plan {
        LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_) => {
            Err(Refusal::new("a model must be one select", "move statements that write out of the model"))
        }
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_) => {
            Err(Refusal::new("a model must be one select", "remove the word before `select`"))
        }
        _ => Ok(()),
    }
}

/// A function of chance would be frozen at planning time: refuse it instead. So with the time of day, which comes again
/// every day.
fn refuse_chance(plan: &LogicalPlan, sql: &str) -> Result<(), Refusal> {
    let (mut found, mut is_drawn): (Option<String>, bool) = (None, false);
    let visit = |node: &LogicalPlan| {
        node.apply_expressions(|expression| {
            expression.apply(|e| {
                if let Expr::ScalarFunction(call) = e
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    is_drawn |= draws::is_call(call);
                    found.get_or_insert(call.func.name().to_string());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    };
    plan.apply_with_subqueries(visit).map_err(|e| Refusal::from_datafusion(&e, sql))?;
    match found {
        None => Ok(()),
        Some(_) if is_drawn => Err(draws::elsewhere(sql)),
        Some(name) => {
            let hint = "compare with a column or a constant instead, or leave the model out with --exclude";
            let written = match name.as_str() {
                "current_time" => ["current_time", "localtime"].as_slice(),
                name => &[name],
            };
            let refusal = |name: &&str| {
                let reason = format!("`{name}` depends on the clock or on chance, and its result would be frozen");
                Refusal::new(reason, hint).at_words(sql, &[name])
            };
            let mut placed = written.iter().map(refusal).filter(|refusal| refusal.line > 0);
            Err(placed.next().unwrap_or_else(|| refusal(&name.as_str())))
        }
    }
}

fn note_columns(node: &Node, used: &mut [BTreeSet<usize>]) {
    if let Op::Table { table, columns } = &node.op {
        used[*table].extend(columns);
    }
    node.inputs().into_iter().for_each(|input| note_columns(input, used));
}

fn renumber_columns(node: &mut Node, tables: &[Table], pruned: &[Table]) {
    if let Op::Table { table, columns } = &mut node.op {
        for column in columns {
            let name = tables[*table].schema.field(*column).name();
            *column = pruned[*table].schema.index_of(name).expect("used columns are kept");
        }
    }
    node.inputs_mut().into_iter().for_each(|input| renumber_columns(input, tables, pruned));
}

impl Node {
    /// How many columns its rows have.
    pub fn width(&self) -> usize {
        self.schema.fields().len()
    }

    /// Whether there can be rows that it cannot compute.
    pub fn may_fail(&self) -> bool {
        let here = match &self.op {
            Op::Map { program, .. } => program.may_fail(),
            Op::Join(join) => join.residual.is_some(),
            Op::Reduce { aggregates, .. } => !aggregates.is_empty(),
            Op::Table { .. } | Op::Model { .. } | Op::Constant { .. } | Op::Union { .. } => false,
            Op::Top { .. } | Op::Temporal { .. } | Op::Ticks { .. } | Op::Stamp { .. } | Op::Beside { .. } => false,
            Op::Unnest { .. } => false,
            Op::Regroup { .. } | Op::Rerun { .. } => true,
            // Of its input nothing is known here.
            Op::Given | Op::Recurring { .. } => true,
            // It may not end.
            Op::Recursion { .. } => true,
        };
        here || self.inputs().into_iter().any(Node::may_fail)
    }

    pub fn inputs(&self) -> Vec<&Node> {
        match &self.op {
            Op::Table { .. } | Op::Model { .. } | Op::Constant { .. } => Vec::new(),
            Op::Given | Op::Recurring { .. } => Vec::new(),
            Op::Map { input, .. } | Op::Reduce { input, .. } | Op::Recursion { input } => vec![input],
            Op::Top { input, .. } | Op::Regroup { input, .. } => vec![input],
            Op::Temporal { input, .. } | Op::Ticks { input, .. } | Op::Stamp { input, .. } => vec![input],
            Op::Unnest { input, .. } => vec![input],
            Op::Join(join) => vec![&join.left, &join.right],
            Op::Beside { input, parts, .. } => parts.iter().chain([input.as_ref()]).collect(),
            Op::Union { inputs } | Op::Rerun { inputs, .. } => inputs.iter().collect(),
        }
    }

    fn inputs_mut(&mut self) -> Vec<&mut Node> {
        match &mut self.op {
            Op::Table { .. } | Op::Model { .. } | Op::Constant { .. } => Vec::new(),
            Op::Given | Op::Recurring { .. } => Vec::new(),
            Op::Map { input, .. } | Op::Reduce { input, .. } | Op::Recursion { input } => vec![input],
            Op::Top { input, .. } | Op::Regroup { input, .. } => vec![input],
            Op::Temporal { input, .. } | Op::Ticks { input, .. } | Op::Stamp { input, .. } => vec![input],
            Op::Unnest { input, .. } => vec![input],
            Op::Join(join) => vec![&mut join.left, &mut join.right],
            Op::Beside { input, parts, .. } => parts.iter_mut().chain([input.as_mut()]).collect(),
            Op::Union { inputs } | Op::Rerun { inputs, .. } => inputs.iter_mut().collect(),
        }
    }
}
