//! [`Node`]s → one dataflow, a line for each node.

use super::arrange::{Arranged, Nulls, arrange, pick};
use super::distinct::distinct;
use super::map::map;
use super::reduce::reduce;
use super::semi::semi;
use super::shape::{Cell, Shape};
use super::stream::{RowStream, Time, WholeRows};
use super::{Faults, Output, join};
use crate::plan::{Compiled, Join, JoinKind, Node, Op};
use crate::row::{Codec, Datum, Row, Rows, Table};
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
                (Op::Join(join), Some(columns)) => self.join(join, &columns),
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

    /// A join of which only these columns are asked for: pairs that meet, then what rows of one side give by
    /// whether they meet any of the other. Without a residual, keys meet. With one, rows meet that are in a pair
    /// which it lets through: they are arranged as a whole, and NULLs are equal.
    fn join(&mut self, join: &Join, columns: &[usize]) -> RowStream<'scope> {
        let nulls = if join.nulls_equal { Nulls::Kept } else { Nulls::Dropped };
        let left = self.arrange(&join.left, &join.left_key, nulls);
        let right = self.arrange(&join.right, &join.right_key, nulls);
        if join.kind == JoinKind::NotIn {
            return self.not_in(join, left, right, columns);
        }
        let width = join.left.width();
        let both = all(width + join.right.width());
        let pairs = |left: &Arranged<'scope>, right: &Arranged<'scope>, columns: &[usize]| {
            let cell = |column: &usize| match column.checked_sub(width) {
                None => Cell::Left(left.place(*column)),
                Some(column) => Cell::Right(right.place(column)),
            };
            join::join(left.clone(), right.clone(), Shape::new(columns.iter().map(cell)))
        };
        let met = join.residual.as_ref().map(|residual| {
            let codec = Codec::new(residual.output().clone());
            (map(pairs(&left, &right, &both), codec.clone(), residual, self.faults.clone()), codec)
        });

        let mut parts = Vec::new();
        if join.kind.pairs() {
            parts.push(match &met {
                None => pairs(&left, &right, columns),
                Some((met, codec)) => pick(met.clone(), codec, Shape::of(columns), &[], Nulls::Kept),
            });
        }
        let of_left = |is_met: bool| {
            let cell = |column: &usize| match *column {
                column if column < width => Cell::Left(column),
                _ if join.kind == JoinKind::Mark => Cell::Constant(Datum::Bool(is_met)),
                _ => Cell::Constant(Datum::Null),
            };
            Some(columns.iter().map(cell).collect::<Vec<_>>())
        };
        let of_right = |column: &usize| column.checked_sub(width).map_or(Cell::Constant(Datum::Null), Cell::Left);
        let (if_met, if_alone) = match join.kind {
            JoinKind::Inner | JoinKind::NotIn => (None, None),
            JoinKind::Semi => (of_left(true), None),
            JoinKind::Left | JoinKind::Full | JoinKind::Anti => (None, of_left(false)),
            JoinKind::Mark => (of_left(true), of_left(false)),
        };
        let right_if_alone = (join.kind == JoinKind::Full).then(|| columns.iter().map(of_right).collect());
        let sides = [
            (&join.left, &join.left_key, (&left, &right), all(width), if_met, if_alone),
            (&join.right, &join.right_key, (&right, &left), both[width..].to_vec(), None, right_if_alone),
        ];
        for (node, key, (this, other), place, if_met, if_alone) in sides {
            if if_met.is_none() && if_alone.is_none() {
                continue;
            }
            let (this, other) = match &met {
                None => (this.clone(), other.clone()),
                Some((met, codec)) => {
                    let met = pick(met.clone(), codec, Shape::of(&place), &[], Nulls::Kept);
                    let columns = all(node.width());
                    (
                        self.arrange(node, &columns, Nulls::Kept),
                        self.arrange_rows(met, &node.schema, columns, node.width()),
                    )
                }
            };
            // Rows that are not arranged since their key holds a NULL meet none.
            if let Some(cells) = if_alone.as_ref().filter(|_| met.is_none() && nulls == Nulls::Dropped) {
                let codec = Codec::new(node.schema.clone());
                parts.push(pick(self.node(node), &codec, Shape::new(cells.iter().cloned()), key, Nulls::Only));
            }
            let shape = |cells: Vec<Cell>| {
                Shape::new(cells.into_iter().map(|cell| match cell {
                    Cell::Left(column) => Cell::Left(this.place(column)),
                    cell => cell,
                }))
            };
            let (if_met, if_alone) = (if_met.map(shape), if_alone.map(shape));
            parts.push(semi(this, other, if_met, if_alone));
        }
        self.scope.concatenate(parts)
    }

    /// Rows that meet none and have no NULL, as long as there is no NULL on the right; and rows with a NULL, as
    /// long as there is nothing on the right.
    fn not_in(
        &mut self,
        join: &Join,
        left: Arranged<'scope>,
        right: Arranged<'scope>,
        columns: &[usize],
    ) -> RowStream<'scope> {
        let whole = all(join.left.width());
        let (left_codec, right_codec) = (Codec::new(join.left.schema.clone()), Codec::new(join.right.schema.clone()));
        let as_they_were: Vec<usize> = whole.iter().map(|column| left.place(*column)).collect();
        let alone = semi(left, right, None, Some(Shape::of(&as_they_were)));
        let (lefts, rights) = (self.node(&join.left), self.node(&join.right));
        let unknown = pick(lefts, &left_codec, Shape::of(&whole), &join.left_key, Nulls::Only);
        let nulls = pick(rights.clone(), &right_codec, Shape::of(&[]), &join.right_key, Nulls::Only);
        let any = pick(rights, &right_codec, Shape::of(&[]), &[], Nulls::Kept);
        let parts: Vec<_> = [(alone, nulls), (unknown, any)]
            .map(|(rows, against)| {
                let rows = self.arrange_rows(rows, &join.left.schema, whole.clone(), 0);
                let against = self.arrange_rows(against, &Schema::empty(), Vec::new(), 0);
                semi(rows, against, None, Some(Shape::of(columns)))
            })
            .into();
        self.scope.concatenate(parts)
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
