//! [`Node`]s → one dataflow, a line for each node.

mod join;

use super::accumulate::sums_bytes;
use super::arrange::{Arranged, Nulls, arrange, pick, turn};
use super::distinct::distinct;
use super::join::join;
use super::layout::{Arrangement, Read};
use super::map::map;
use super::recursion::{Loop, Waiting, catch};
use super::reduce::reduce;
use super::regroup::regroup;
use super::rerun::{NUMBER_BYTES, numbered, rerun};
use super::shape::{Cell, Shape};
use super::spines::Spines;
use super::stamp::{self, Stamps, stamp};
use super::stream::{RowStream, Time, WholeRows, owner};
use super::temporal::{INSTANT_BYTES, Readings, row_of, temporal};
use super::ticks::ticks;
use super::top::top;
use super::unnest::unnest;
use super::{Faults, Output, Settle};
use crate::plan::{Aggregate, Compiled, Join, Node, Op};
use crate::row::{Codec, Direction, Row, Rows, Sorted, Table};
use crate::state::Spine;
use arrow::datatypes::{Schema, SchemaRef};
use std::cell::{self, RefCell};
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
    /// Of the recursions; one that another reads comes first.
    pub loops: Vec<Loop>,
    pub probe: probe::Handle<Time>,
    pub spines: Spines,
    pub readings: Rc<Readings>,
    pub settle: Rc<cell::Cell<Settle>>,
    pub read: Read,
}

/// What a worker has put out since it was last asked.
pub(super) type Share = Rc<RefCell<Output>>;

pub(super) fn build<'scope>(
    scope: Scope<'scope, Time>,
    plans: &[Compiled],
    tables: &[Table],
    spines: Spines,
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
        read: Read::default(),
        given: Vec::new(),
        loops: Vec::new(),
        probe: probe::Handle::new(),
        readings: Readings::new(spines.clock()),
        settle: Rc::new(cell::Cell::new(Settle::Not)),
        share: share.clone(),
        model: 0,
        faults: Faults::new(0, share.clone()),
        name: String::new(),
        spines,
    };
    for (model, plan) in plans.iter().enumerate() {
        build.model = model;
        build.faults = Faults::new(model, share.clone());
        build.name = plan.relation.to_string();
        let rows = build.node(&plan.node);
        let out = share.clone();
        rows.clone()
            .inspect_container(move |event| {
                if let Ok((_, rows)) = event {
                    out.borrow_mut().models[model].append(rows);
                }
            })
            .probe_with(&build.probe);
        build.models.push((rows, Codec::new(plan.schema().clone())));
    }
    // Not before: what is sent into a stream that nobody reads yet is lost, and waited for.
    let constants = build.constants.into_iter().map(|(mut session, mut rows)| {
        session.send_batch(&mut rows);
        session
    });
    let (constants, loops, probe) = (constants.collect(), build.loops, build.probe);
    let (mut spines, readings, settle) = (build.spines, build.readings, build.settle);
    spines.built();
    Inputs { tables: sessions, constants, loops, probe, spines, readings, settle, read: build.read }
}

struct Build<'scope> {
    scope: Scope<'scope, Time>,
    tables: Vec<(RowStream<'scope>, Codec)>,
    models: Vec<(RowStream<'scope>, Codec)>,
    constants: Vec<(Session, Rows)>,
    /// What is there already, by what it is.
    built: HashMap<Identity, RowStream<'scope>>,
    /// Two that need the same rows by the same key have one arrangement; with its number.
    arranged: HashMap<(Identity, Vec<usize>, Nulls), (Arranged<'scope>, usize)>,
    read: Read,
    /// What nodes around give to those within, the innermost last: a Beside its input, a recursion what it has found.
    given: Vec<(u128, RowStream<'scope>, Codec)>,
    loops: Vec<Loop>,
    probe: probe::Handle<Time>,
    readings: Rc<Readings>,
    settle: Rc<cell::Cell<Settle>>,
    share: Share,
    /// That is being built.
    model: usize,
    /// Of this model.
    faults: Faults,
    name: String,
    spines: Spines,
}

/// A node's fingerprint, and its model where it has faults, which belong to one model.
pub(super) type Identity = (u128, Option<usize>);

/// `given` is the fingerprint of what the node around gives, if one does.
pub(super) fn identity(node: &Node, given: Option<u128>, model: usize) -> Identity {
    let number = |number: usize| number.to_string();
    let mut fingerprint = node.fingerprint(&number, &number);
    if let Some(given) = given.filter(|_| node.open()) {
        fingerprint = fingerprint.rotate_left(1) ^ given;
    }
    (fingerprint, node.may_fail().then_some(model))
}

/// The join of which this takes columns, and which: both are one operator. What may fail is built once, whichever columns
/// of it are asked for.
pub(super) fn joined(node: &Node) -> Option<(&Join, Vec<usize>)> {
    let Op::Map { input, program } = &node.op else { return None };
    match (&input.op, program.columns()) {
        (Op::Join(join), Some(columns)) if join.residual.is_none() => Some((join, columns)),
        _ => None,
    }
}

impl<'scope> Build<'scope> {
    fn node(&mut self, node: &Node) -> RowStream<'scope> {
        let identity = self.identity(node);
        if let Some(rows) = self.built.get(&identity) {
            return rows.clone();
        }
        let around = self.read.begin(identity);
        let rows = self.fresh(node);
        self.read.reader = around;
        self.built.insert(identity, rows.clone());
        rows
    }

    fn fresh(&mut self, node: &Node) -> RowStream<'scope> {
        match &node.op {
            Op::Table { table, columns } => picked(&self.tables[*table], columns),
            Op::Model { model, columns } => picked(&self.models[*model], columns),
            Op::Constant { rows } => self.constant(rows),
            Op::Map { input, program } => match joined(node) {
                Some((join, columns)) => self.join(join, &columns),
                None => {
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
                let shown = Codec::new(node.schema.clone());
                let (spine, begun) = (self.sums(&shown, *key, aggregates), self.spines.go_on());
                reduce(rows, codec, *key, aggregates, spine, begun, self.faults.clone())
            }
            Op::Top { input, key, order, places, numbered } => {
                let (rows, sorted, columns) = self.arrange_sorted(input, key, order);
                let fronts = self.spine(sorted.codec(), key.len());
                let rows = top(rows, sorted, places.clone(), *numbered, fronts);
                // As the input has them, and the number behind them.
                let all: Vec<usize> =
                    places_of(&columns).into_iter().chain(numbered.then_some(columns.len())).collect();
                let schema = node.schema.project(&key_first(all.len(), &columns)).expect("an order of its own columns");
                pick(rows, &Codec::new(Arc::new(schema)), Shape::of(&all), &[], Nulls::Kept)
            }
            Op::Temporal { input, bounds, .. } => {
                let rows = self.node(input);
                let codec = Codec::new(input.schema.clone());
                let (bytes, guessed) = codec.row_bytes();
                let schedule = self.named_spine("by instant", (INSTANT_BYTES + bytes, guessed), row_of);
                temporal(rows, codec, bounds, schedule, self.readings.clone(), self.share.clone())
            }
            Op::Ticks { input, tick } => {
                let rows = self.node(input);
                let codec = Codec::new(input.schema.clone());
                let kept = self.named_spine("by whole row", codec.row_bytes(), |row| row);
                ticks(rows, codec, *tick, kept, self.readings.clone(), self.share.clone())
            }
            Op::Stamp { input, drawn } => {
                let rows = self.node(input);
                let name = stamp::name(&self.name, *drawn);
                let row_of = if *drawn { stamp::row_of_drawn } else { stamp::row_of };
                let before = self.spines.outlived(&name, row_of);
                let codec = Codec::new(input.schema.clone());
                let (bytes, guessed) = codec.row_bytes();
                let bytes = bytes + stamp::mark_bytes(*drawn);
                let kept = self.noted_spine(name, "by whole row", (bytes, guessed), row_of);
                stamp(rows, codec, Stamps { kept, before, drawn: *drawn }, self.readings.clone())
            }
            Op::Regroup { input, key, order, work } => {
                let (rows, sorted, columns) = self.arrange_sorted(input, key, order);
                regroup(rows, sorted, work, places_of(&columns), self.faults.clone())
            }
            Op::Beside { input, parts, key } => {
                let (rows, (fingerprint, _)) = (self.node(input), self.identity(input));
                self.given.push((fingerprint, rows, Codec::new(input.schema.clone())));
                let beside = self.beside(parts, *key);
                self.given.pop();
                beside
            }
            Op::Given => {
                let (_, rows, _) = self.given.last().expect("a part stands in the node that gives its input");
                rows.clone()
            }
            Op::Recursion { input } => {
                let ((fingerprint, _), codec) = (self.identity(node), Codec::new(input.schema.clone()));
                let (back, found) = self.scope.new_input_with_builder();
                self.given.push((fingerprint, found, codec.clone()));
                let rows = self.node(input);
                self.given.pop();
                let (waiting, faults) = (Waiting::default(), self.faults.clone());
                catch(rows.clone(), codec.clone(), waiting.clone()).probe_with(&self.probe);
                let kept = self.spine(&codec, node.width());
                self.loops.push(Loop::new(back, waiting, codec.clone(), faults, kept));
                picked(&(rows, codec), &all(node.width()))
            }
            Op::Recurring { columns } => {
                let (_, rows, codec) = self.given.last().expect("a step stands in its recursion");
                pick(rows.clone(), codec, Shape::of(columns), &[], Nulls::Kept)
            }
            Op::Unnest { input, lists, kept } => {
                let rows = self.node(input);
                unnest(rows, Codec::new(input.schema.clone()), lists, *kept)
            }
            Op::Union { inputs } => {
                let inputs: Vec<_> = inputs.iter().map(|input| self.node(input)).collect();
                self.scope.concatenate(inputs)
            }
            Op::Rerun { inputs, work } => {
                let longest = inputs.iter().map(|input| Codec::new(input.schema.clone()).row_bytes()).max();
                let (longest, guessed) = longest.unwrap_or_default();
                let inputs = inputs.iter().enumerate().map(|(number, input)| numbered(self.node(input), number));
                let mut inputs: Vec<_> = inputs.collect();
                // Where it reads nothing, what brings it a turn at each Moment.
                inputs.extend(inputs.is_empty().then(|| self.constant(&[])));
                let rows = self.scope.concatenate(inputs);
                let none = Codec::new(Arc::new(Schema::empty()));
                let read = self.keyed_spine(&none, 0, (NUMBER_BYTES + longest, guessed));
                let rows = arrange(rows, none.clone(), Rc::new([]), 0, read);
                let shown = self.keyed_spine(&none, 0, Codec::new(node.schema.clone()).row_bytes());
                let own = owner(&[], self.scope.peers()) == self.scope.index();
                let unborn = own && !self.spines.go_on();
                rerun(rows, work, shown, unborn, self.settle.clone(), self.faults.clone())
            }
        }
    }

    fn identity(&self, node: &Node) -> Identity {
        identity(node, self.given.last().map(|(given, _, _)| *given), self.model)
    }

    /// Rows of equal keys, NULLs included, glued together: each part has one row for each key.
    fn beside(&mut self, parts: &[Node], key: usize) -> RowStream<'scope> {
        let mut parts = parts.iter();
        let first = parts.next().expect("there are parts");
        let (mut rows, mut schema) = (self.node(first), first.schema.clone());
        for part in parts {
            let width = schema.fields().len();
            let left = self.arrange_rows(rows, &schema, all(width), key);
            let right = self.arrange(part, &all(key), Nulls::Kept);
            let cells = (0..width).map(Cell::Left).chain((key..part.width()).map(Cell::Right));
            rows = join(left, right, Shape::new(cells));
            let fields: Vec<_> = schema.fields().iter().chain(&part.schema.fields()[key..]).cloned().collect();
            schema = Arc::new(Schema::new(fields));
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
        let rows = pick(rows, &Codec::new(node.schema.clone()), Shape::of(&columns), &[], Nulls::Kept);
        let rows = turn(rows, &sorted);
        let spine = self.spine(sorted.codec(), key.len());
        let arranged = arrange(rows, sorted.codec().clone(), columns.as_slice().into(), key.len(), spine);
        (arranged, sorted, columns)
    }

    /// The rows of a node by these columns, which then lead.
    fn arrange(&mut self, node: &Node, key: &[usize], nulls: Nulls) -> Arranged<'scope> {
        let name = (self.identity(node), key.to_vec(), nulls);
        if let Some((arranged, number)) = self.arranged.get(&name) {
            self.read.again(*number);
            return arranged.clone();
        }
        let rows = self.node(node);
        let order = key_first(node.width(), key);
        let rows = pick(rows, &Codec::new(node.schema.clone()), Shape::of(&order), key, nulls);
        let arranged = self.arrange_rows(rows, &node.schema, order, key.len());
        self.arranged.insert(name, (arranged.clone(), self.read.arrangements.len() - 1));
        arranged
    }

    /// Rows of these columns of a schema, by the first `key` of them.
    fn arrange_rows(
        &mut self,
        rows: RowStream<'scope>,
        schema: &Schema,
        order: Vec<usize>,
        key: usize,
    ) -> Arranged<'scope> {
        let codec = Codec::new(Arc::new(schema.project(&order).expect("an order of its own columns")));
        let spine = self.spine(&codec, key);
        arrange(rows, codec, order.into(), key, spine)
    }

    /// Of rows that begin with a key of so many columns.
    fn spine(&mut self, codec: &Codec, key: usize) -> Rc<RefCell<Spine>> {
        self.keyed_spine(codec, key, codec.row_bytes())
    }

    /// Of groups, which are shown with a key of so many columns, and what they add up to.
    fn sums(&mut self, codec: &Codec, key: usize, aggregates: &[Aggregate]) -> Rc<RefCell<Spine>> {
        let (group, guessed) = Codec::new(key_of(codec, key)).row_bytes();
        self.keyed_spine(codec, key, (group + sums_bytes(aggregates), guessed || !aggregates.is_empty()))
    }

    fn keyed_spine(&mut self, codec: &Codec, key: usize, row_bytes: (usize, bool)) -> Rc<RefCell<Spine>> {
        let fields = codec.schema().fields().iter().take(key);
        let by: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        self.named_spine(&format!("by ({})", by.join(", ")), row_bytes, |row| &row[..codec.prefix(row, key)])
    }

    /// Spines are named by their model and counted in it: one dataflow always gives the same names.
    fn named_spine(&mut self, by: &str, row_bytes: (usize, bool), key: impl Fn(&[u8]) -> &[u8]) -> Rc<RefCell<Spine>> {
        let name = format!("{} {} {by}", self.name, self.spines.of(&self.name) + 1);
        self.noted_spine(name, by, row_bytes, key)
    }

    /// For the node that is being built.
    fn noted_spine(
        &mut self,
        name: String,
        by: &str,
        (row_bytes, guessed): (usize, bool),
        key: impl Fn(&[u8]) -> &[u8],
    ) -> Rc<RefCell<Spine>> {
        let (model, number, by) = (self.model, self.spines.of(&self.name) + 1, by.to_string());
        self.read.first(Arrangement { name: name.clone(), model, number, by, row_bytes, guessed });
        self.spines.spine(name, key)
    }

    /// Constants enter at one worker only, or each worker would add its own; and once, not at each restart.
    fn constant(&mut self, rows: &[Row]) -> RowStream<'scope> {
        let (session, stream) = self.scope.new_input_with_builder();
        let here = self.scope.index() == 0 && !self.spines.go_on();
        let rows = rows.iter().filter(|_| here).map(|row| (row.clone(), 1)).collect();
        self.constants.push((session, rows));
        stream
    }
}

/// The first columns of a row, so many.
fn key_of(codec: &Codec, key: usize) -> SchemaRef {
    Arc::new(codec.schema().project(&all(key)).expect("a key is columns of its row"))
}

/// All columns, those of the key first.
fn key_first(width: usize, key: &[usize]) -> Vec<usize> {
    key.iter().copied().chain((0..width).filter(|column| !key.contains(column))).collect()
}

/// The first `width` columns, in order.
fn all(width: usize) -> Vec<usize> {
    (0..width).collect()
}

/// Where each column stands in an order of all columns.
fn places_of(order: &[usize]) -> Vec<usize> {
    let place = |column| order.iter().position(|at| *at == column).expect("every column is arranged");
    (0..order.len()).map(place).collect()
}

fn picked<'scope>((rows, codec): &(RowStream<'scope>, Codec), columns: &[usize]) -> RowStream<'scope> {
    pick(rows.clone(), codec, Shape::of(columns), &[], Nulls::Kept)
}
