//! [`Node`]s → one dataflow, a line for each node.

use super::arrange::{Arranged, Nulls, arrange, pick, turn};
use super::distinct::distinct;
use super::join::{Shape, join};
use super::map::map;
use super::reduce::reduce;
use super::regroup::regroup;
use super::stream::{RowStream, Time, WholeRows};
use super::top::top;
use super::{Faults, Output};
use crate::plan::{Compiled, Node, Op};
use crate::row::{Codec, Direction, Row, Rows, Sorted, Table};
use crate::state::{Bodies, Spine};
use arrow::datatypes::{Schema, SchemaRef};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::operators::{Concatenate, Input, InspectCore, Probe, probe};
use timely::dataflow::{InputHandle as Handle, Scope};

type Session = Handle<Time, WholeRows>;

/// Where a worker puts rows in, and how it knows that they have gone all the way.
pub(super) struct Inputs {
    pub tables: Vec<Session>,
    pub constants: Vec<Session>,
    pub probe: probe::Handle<Time>,
}

/// What a worker has put out since it was last asked.
pub(super) type Share = Rc<RefCell<Output>>;

pub(super) fn build<'scope>(
    scope: Scope<'scope, Time>,
    plans: &[Compiled],
    tables: &[Table],
    bodies: Arc<Bodies>,
    share: Share,
) -> Inputs {
    let mut sessions = Vec::new();
    let tables = tables.iter().map(|table| {
        let (session, rows) = scope.new_input_with_builder();
        sessions.push(session);
        (rows, Codec::new(table.schema.clone()))
    });
    let tables = tables.collect();
    let mut build = Build {
        scope,
        tables,
        models: Vec::new(),
        constants: Vec::new(),
        arranged: HashMap::new(),
        given: Vec::new(),
        faults: Faults::new(0, share.clone()),
        bodies,
    };
    let probe = probe::Handle::new();
    for (model, plan) in plans.iter().enumerate() {
        build.faults = Faults::new(model, share.clone());
        let rows = build.node(&plan.node);
        let out = share.clone();
        rows.clone()
            .inspect_container(move |event| {
                if let Ok((_, rows)) = event {
                    out.borrow_mut().models[model].append(rows);
                }
            })
            .probe_with(&probe);
        build.models.push((rows, Codec::new(plan.schema().clone())));
    }
    // Not before: what is sent into a stream that nobody reads yet is lost, and waited for.
    let constants = build.constants.into_iter().map(|(mut session, mut rows)| {
        session.send_batch(&mut rows);
        session
    });
    Inputs { tables: sessions, constants: constants.collect(), probe }
}

struct Build<'scope> {
    scope: Scope<'scope, Time>,
    tables: Vec<(RowStream<'scope>, Codec)>,
    models: Vec<(RowStream<'scope>, Codec)>,
    constants: Vec<(Session, Rows)>,
    /// What is arranged already, by what it is: two that need the same rows by the same key have one.
    arranged: HashMap<String, Arranged<'scope>>,
    /// The inputs of the nodes around that share theirs between parts, the innermost last.
    given: Vec<RowStream<'scope>>,
    /// Of the model that is being built.
    faults: Faults,
    bodies: Arc<Bodies>,
}

impl<'scope> Build<'scope> {
    fn node(&mut self, node: &Node) -> RowStream<'scope> {
        match &node.op {
            Op::Table { table, columns } => picked(&self.tables[*table], columns),
            Op::Model { model, columns } => picked(&self.models[*model], columns),
            Op::Constant { rows } => self.constant(rows),
            Op::Map { input, program } => match (&input.op, program.columns()) {
                (Op::Join { .. }, Some(columns)) => self.join(input, columns),
                _ => {
                    let rows = self.node(input);
                    map(rows, Codec::new(input.schema.clone()), program, self.faults.clone())
                }
            },
            Op::Join { .. } => self.join(node, (0..node.schema.fields().len()).collect()),
            Op::Reduce { input, key, aggregates } if aggregates.is_empty() => {
                let columns: Vec<usize> = (0..*key).collect();
                distinct(self.arrange(input, &columns, Nulls::Kept))
            }
            Op::Reduce { input, key, aggregates } => {
                let rows = self.node(input);
                let codec = Codec::new(input.schema.clone());
                reduce(rows, codec, *key, aggregates, self.spine(), self.faults.clone())
            }
            Op::Top { input, key, order, places, numbered } => {
                let (rows, sorted, columns) = self.arrange_sorted(input, key, order);
                let rows = top(rows, sorted, places.clone(), *numbered, self.spine());
                // As the input has them, and the number behind them.
                let all: Vec<usize> =
                    places_of(&columns).into_iter().chain(numbered.then_some(columns.len())).collect();
                let schema = node.schema.project(&key_first(all.len(), &columns)).expect("an order of its own columns");
                pick(rows, &Codec::new(Arc::new(schema)), &all, 0, Nulls::Kept)
            }
            Op::Regroup { input, key, order, work } => {
                let (rows, sorted, columns) = self.arrange_sorted(input, key, order);
                regroup(rows, sorted, work, places_of(&columns), self.faults.clone())
            }
            Op::Beside { input, parts, key } => {
                let rows = self.node(input);
                self.given.push(rows);
                let beside = self.beside(parts, *key);
                self.given.pop();
                beside
            }
            Op::Given => self.given.last().expect("a part stands in the node that gives its input").clone(),
            Op::Union { inputs } => {
                let inputs: Vec<_> = inputs.iter().map(|input| self.node(input)).collect();
                self.scope.concatenate(inputs)
            }
        }
    }

    /// A join of which only these columns are asked for.
    fn join(&mut self, node: &Node, columns: Vec<usize>) -> RowStream<'scope> {
        let Op::Join { left, right, left_key, right_key } = &node.op else { unreachable!("asked for joins only") };
        let width = left.schema.fields().len();
        let (left_order, right_order) = (key_first(width, left_key), key_first(right.schema.fields().len(), right_key));
        let place = |column: usize| match column.checked_sub(width) {
            None => left_order.iter().position(|at| *at == column).expect("every column is arranged"),
            Some(column) => width + right_order.iter().position(|at| *at == column).expect("every column is arranged"),
        };
        let shape = Shape::new(columns.into_iter().map(place), width);
        let left = self.arrange(left, left_key, Nulls::Dropped);
        let right = self.arrange(right, right_key, Nulls::Dropped);
        join(left, right, shape)
    }

    /// Rows of equal keys, NULLs included, glued together: each part has one row for each key.
    fn beside(&mut self, parts: &[Node], key: usize) -> RowStream<'scope> {
        let columns: Vec<usize> = (0..key).collect();
        let mut parts = parts.iter();
        let mut node = parts.next().expect("there are parts").clone();
        let mut rows = self.node(&node);
        for part in parts {
            let left = arrange(rows, Codec::new(node.schema.clone()), key, self.spine());
            let right = self.arrange(part, &columns, Nulls::Kept);
            let width = node.schema.fields().len();
            let own = part.schema.fields().len() - key;
            rows = join(left, right, Shape::new((0..width).chain(width + key..width + key + own), width));
            let fields: Vec<_> = node.schema.fields().iter().chain(&part.schema.fields()[key..]).cloned().collect();
            node.schema = Arc::new(Schema::new(fields));
        }
        rows
    }

    /// The rows of a node by group and, within it, in an order; and which column stands where.
    fn arrange_sorted(
        &mut self,
        node: &Node,
        key: &[usize],
        order: &[(usize, Direction)],
    ) -> (Arranged<'scope>, Sorted, Vec<usize>) {
        let mut leading = key.to_vec();
        let mut directions = Vec::new();
        for (column, direction) in order {
            if !leading.contains(column) {
                leading.push(*column);
                directions.push(*direction);
            }
        }
        let columns = key_first(node.schema.fields().len(), &leading);
        let schema: SchemaRef = node.schema.project(&columns).expect("an order of its own columns").into();
        let sorted = Sorted::new(schema, key.len(), &directions);
        let rows = self.node(node);
        let rows = pick(rows, &Codec::new(node.schema.clone()), &columns, key.len(), Nulls::Kept);
        let rows = turn(rows, &sorted);
        (arrange(rows, sorted.codec().clone(), key.len(), self.spine()), sorted, columns)
    }

    /// The rows of a node by these columns, which then lead.
    fn arrange(&mut self, node: &Node, key: &[usize], nulls: Nulls) -> Arranged<'scope> {
        let name = match &node.op {
            Op::Table { table, columns } => Some(format!("table {table} {columns:?} by {key:?} {nulls:?}")),
            Op::Model { model, columns } => Some(format!("model {model} {columns:?} by {key:?} {nulls:?}")),
            _ => None,
        };
        if let Some(arranged) = name.as_ref().and_then(|name| self.arranged.get(name)) {
            return arranged.clone();
        }
        let rows = self.node(node);
        let order = key_first(node.schema.fields().len(), key);
        let rows = pick(rows, &Codec::new(node.schema.clone()), &order, key.len(), nulls);
        let schema = node.schema.project(&order).expect("an order of its own columns");
        let arranged = arrange(rows, Codec::new(Arc::new(schema)), key.len(), self.spine());
        if let Some(name) = name {
            self.arranged.insert(name, arranged.clone());
        }
        arranged
    }

    fn spine(&self) -> Rc<RefCell<Spine>> {
        Rc::new(RefCell::new(Spine::new(self.bodies.clone())))
    }

    /// Constants enter at one worker only, or each worker would add its own.
    fn constant(&mut self, rows: &[Row]) -> RowStream<'scope> {
        let (session, stream) = self.scope.new_input_with_builder();
        let here = self.scope.index() == 0;
        let rows = rows.iter().filter(|_| here).map(|row| (row.clone(), 1)).collect();
        self.constants.push((session, rows));
        stream
    }
}

/// All columns, those of the key first.
fn key_first(width: usize, key: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(width);
    for column in key.iter().copied().chain(0..width) {
        if !order.contains(&column) {
            order.push(column);
        }
    }
    order
}

/// Where each column stands in an order of all columns.
fn places_of(order: &[usize]) -> Vec<usize> {
    let place = |column| order.iter().position(|at| *at == column).expect("every column is arranged");
    (0..order.len()).map(place).collect()
}

fn picked<'scope>((rows, codec): &(RowStream<'scope>, Codec), columns: &[usize]) -> RowStream<'scope> {
    pick(rows.clone(), codec, columns, 0, Nulls::Kept)
}
