//! [`Node`]s → one dataflow, a line for each node.

mod join;

use super::arrange::{Arranged, Nulls, arrange, pick};
use super::distinct::distinct;
use super::map::map;
use super::reduce::reduce;
use super::shape::Shape;
use super::stream::{RowStream, Time, WholeRows};
use super::{Faults, Output};
use crate::plan::{Compiled, Node, Op};
use crate::row::{Codec, Row, Rows, Table};
use crate::state::{Bodies, Spine};
use arrow::datatypes::Schema;
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
        built: HashMap::new(),
        arranged: HashMap::new(),
        model: 0,
        faults: Faults::new(0, share.clone()),
        bodies,
    };
    let probe = probe::Handle::new();
    for (model, plan) in plans.iter().enumerate() {
        build.model = model;
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
    /// What is there already, by what it is.
    built: HashMap<Identity, RowStream<'scope>>,
    /// Two that need the same rows by the same key have one arrangement.
    arranged: HashMap<(Identity, Vec<usize>, Nulls), Arranged<'scope>>,
    /// That is being built.
    model: usize,
    /// Of this model.
    faults: Faults,
    bodies: Arc<Bodies>,
}

/// A node's fingerprint, and its model where it has faults, which belong to one model.
type Identity = (u128, Option<usize>);

impl<'scope> Build<'scope> {
    fn node(&mut self, node: &Node) -> RowStream<'scope> {
        let identity = self.identity(node);
        if let Some(rows) = self.built.get(&identity) {
            return rows.clone();
        }
        let rows = self.fresh(node);
        self.built.insert(identity, rows.clone());
        rows
    }

    fn fresh(&mut self, node: &Node) -> RowStream<'scope> {
        match &node.op {
            Op::Table { table, columns } => picked(&self.tables[*table], columns),
            Op::Model { model, columns } => picked(&self.models[*model], columns),
            Op::Constant { rows } => self.constant(rows),
            Op::Map { input, program } => match (&input.op, program.columns()) {
                // What may fail is built once, whichever columns of it are asked for.
                (Op::Join(join), Some(columns)) if join.residual.is_none() => self.join(join, &columns),
                _ => {
                    let rows = self.node(input);
                    map(rows, Codec::new(input.schema.clone()), program, self.faults.clone())
                }
            },
            Op::Join(join) => self.join(join, &all(node.width())),
            Op::Reduce { input, key, aggregates } if aggregates.is_empty() => {
                distinct(self.arrange(input, &all(*key), Nulls::Kept))
            }
            Op::Reduce { input, key, aggregates } => {
                let rows = self.node(input);
                let codec = Codec::new(input.schema.clone());
                reduce(rows, codec, *key, aggregates, self.spine(), self.faults.clone())
            }
            Op::Union { inputs } => {
                let inputs: Vec<_> = inputs.iter().map(|input| self.node(input)).collect();
                self.scope.concatenate(inputs)
            }
        }
    }

    fn identity(&self, node: &Node) -> Identity {
        let number = |number: usize| number.to_string();
        (node.fingerprint(&number, &number), node.may_fail().then_some(self.model))
    }

    /// The rows of a node by these columns, which then lead.
    fn arrange(&mut self, node: &Node, key: &[usize], nulls: Nulls) -> Arranged<'scope> {
        let name = (self.identity(node), key.to_vec(), nulls);
        if let Some(arranged) = self.arranged.get(&name) {
            return arranged.clone();
        }
        let rows = self.node(node);
        let mut order = key.to_vec();
        order.extend((0..node.width()).filter(|column| !key.contains(column)));
        let rows = pick(rows, &Codec::new(node.schema.clone()), Shape::of(&order), key, nulls);
        let arranged = self.arrange_rows(rows, &node.schema, order, key.len());
        self.arranged.insert(name, arranged.clone());
        arranged
    }

    /// Rows of these columns of a schema, by the first `key` of them.
    fn arrange_rows(
        &self,
        rows: RowStream<'scope>,
        schema: &Schema,
        order: Vec<usize>,
        key: usize,
    ) -> Arranged<'scope> {
        let schema = schema.project(&order).expect("an order of its own columns");
        arrange(rows, Codec::new(Arc::new(schema)), order.into(), key, self.spine())
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

/// The first `width` columns, in order.
fn all(width: usize) -> Vec<usize> {
    (0..width).collect()
}

fn picked<'scope>((rows, codec): &(RowStream<'scope>, Codec), columns: &[usize]) -> RowStream<'scope> {
    pick(rows.clone(), codec, Shape::of(columns), &[], Nulls::Kept)
}
