//! [`Node`]s → one dataflow, a line for each node.

use super::{Fault, join, map, reduce};
use crate::plan::{Compiled, Node, Op, Program};
use crate::row::{Codec, Diff, Row, Table};
use differential_dataflow::VecCollection;
use differential_dataflow::input::{Input, InputSession};
use std::cell::RefCell;
use std::rc::Rc;
use timely::dataflow::Scope;
use timely::dataflow::operators::{Inspect, Probe, probe};

pub(super) type Time = u64;
pub(super) type Rows<'scope> = VecCollection<'scope, Time, Row, Diff>;
pub(super) type Faults<'scope> = VecCollection<'scope, Time, Fault, Diff>;
type Session = InputSession<Time, Row, Diff>;

/// What a worker has put out since it was last asked: rows and faults with the number of their model.
pub(super) type Share = (Vec<(usize, Row, Diff)>, Vec<(usize, Fault, Diff)>);

/// Where a worker puts rows in, and how it knows that they have gone all the way.
pub(super) struct Inputs {
    pub tables: Vec<Session>,
    pub constants: Vec<Session>,
    pub probe: probe::Handle<Time>,
}

/// `first`: constants enter at one worker only, or each worker would add its own.
pub(super) fn build<'scope>(
    scope: Scope<'scope, Time>,
    plans: &[Compiled],
    tables: &[Table],
    first: bool,
    share: Rc<RefCell<Share>>,
) -> Inputs {
    let mut sessions = Vec::new();
    let tables = tables.iter().map(|table| {
        let (session, rows) = scope.new_collection();
        sessions.push(session);
        (rows, Codec::new(table.schema.clone()))
    });
    let tables = tables.collect();
    let mut build = Build { scope, tables, models: Vec::new(), constants: Vec::new(), faults: Vec::new(), first };
    let probe = probe::Handle::new();
    for (model, plan) in plans.iter().enumerate() {
        let rows = build.node(&plan.node);
        let out = share.clone();
        rows.clone()
            .inner
            .inspect(move |(row, _, diff)| out.borrow_mut().0.push((model, row.clone(), *diff)))
            .probe_with(&probe);
        for faults in build.faults.drain(..) {
            let out = share.clone();
            faults
                .inner
                .inspect(move |(fault, _, diff)| out.borrow_mut().1.push((model, fault.clone(), *diff)))
                .probe_with(&probe);
        }
        build.models.push((rows, Codec::new(plan.schema().clone())));
    }
    Inputs { tables: sessions, constants: build.constants, probe }
}

struct Build<'scope> {
    scope: Scope<'scope, Time>,
    tables: Vec<(Rows<'scope>, Codec)>,
    models: Vec<(Rows<'scope>, Codec)>,
    constants: Vec<Session>,
    /// Of the model that is being built.
    faults: Vec<Faults<'scope>>,
    first: bool,
}

impl<'scope> Build<'scope> {
    fn node(&mut self, node: &Node) -> Rows<'scope> {
        match &node.op {
            Op::Table { table, columns } => pick(&self.tables[*table], columns),
            Op::Model { model, columns } => pick(&self.models[*model], columns),
            Op::Constant { rows } => self.constant(rows),
            Op::Map { input, program } => {
                let rows = self.node(input);
                self.map(rows, input, program)
            }
            Op::Join { left, right, left_key, right_key } => {
                let (left_rows, right_rows) = (self.node(left), self.node(right));
                join::join(
                    join::arrange(left_rows, &left.schema, left_key),
                    join::arrange(right_rows, &right.schema, right_key),
                )
            }
            Op::Reduce { input, key, aggregates } => {
                let rows = self.node(input);
                let ghost = (*key == 0).then(|| self.constant(&[Row::empty()]));
                let (rows, faults) = reduce::reduce(rows, &input.schema, *key, aggregates, ghost);
                self.faults.extend(faults);
                rows
            }
            Op::Union { inputs } => {
                let inputs: Vec<_> = inputs.iter().map(|input| self.node(input)).collect();
                differential_dataflow::collection::concatenate(self.scope, inputs)
            }
        }
    }

    fn map(&mut self, rows: Rows<'scope>, input: &Node, program: &Program) -> Rows<'scope> {
        let (rows, faults) = map::map(rows, &input.schema, program);
        self.faults.push(faults);
        rows
    }

    fn constant(&mut self, rows: &[Row]) -> Rows<'scope> {
        let (mut session, collection) = self.scope.new_collection();
        if self.first {
            rows.iter().for_each(|row| session.update(row.clone(), 1));
        }
        self.constants.push(session);
        collection
    }
}

fn pick<'scope>((rows, codec): &(Rows<'scope>, Codec), columns: &[usize]) -> Rows<'scope> {
    if columns.iter().copied().eq(0..codec.schema().fields().len()) {
        return rows.clone();
    }
    let (codec, columns) = (codec.clone(), columns.to_vec());
    rows.clone().map(move |row| codec.project(&row, &columns))
}
