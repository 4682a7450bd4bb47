//! Rows by key: each Moment's rows become a batch, and the batch a step.

use super::shape::{Shape, Side};
use super::stream::{CONTAINER_BYTES, RowStream, Step, StepStream, Time, WholeRows, WholeSteps, by_key, upper};
use crate::row::{Codec, Diff, Rows, Sorted};
use crate::state::{Batch, Bodies, Spine, merge};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Unsorted rows are sorted in pieces of this size while a Moment comes in: in cache, and not all at its end.
const RUN_BYTES: usize = 1 << 20;

/// An arrangement in a dataflow: rows that begin with their key.
#[derive(Clone)]
pub(super) struct Arranged<'scope> {
    pub steps: StepStream<'scope>,
    pub codec: Codec,
    /// How many columns the key has.
    pub key: usize,
    /// Which column of the rows each column is.
    pub order: Rc<[usize]>,
}

impl Arranged<'_> {
    /// Where a column of the rows is.
    pub fn place(&self, column: usize) -> usize {
        self.order.iter().position(|at| *at == column).expect("every column is arranged")
    }
}

/// Which rows go on by whether their key holds a NULL: such a row meets none by equality.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Nulls {
    Kept,
    Dropped,
    Only,
}

/// Rows in another shape, without those that `nulls` of these columns leaves out.
pub(super) fn pick<'scope>(
    rows: RowStream<'scope>,
    codec: &Codec,
    shape: Shape,
    key: &[usize],
    nulls: Nulls,
) -> RowStream<'scope> {
    if nulls == Nulls::Kept && shape.is_whole(codec.schema().fields().len()) {
        return rows;
    }
    let (codec, key) = (codec.clone(), key.to_vec());
    rows.unary::<WholeRows, _, _, _>(Pipeline, "Pick", move |_, _| {
        let mut ends = Vec::new();
        move |input, output| {
            input.for_each(|time, rows| {
                let mut picked = Rows::with_capacity(rows.len(), rows.size());
                for (row, diff) in rows.iter() {
                    codec.ends(row, &mut ends);
                    let row = Side { row, ends: &ends };
                    let null = || key.iter().any(|column| row.is_null(*column));
                    if nulls == Nulls::Kept || null() == (nulls == Nulls::Only) {
                        shape.write_one(row, &mut picked);
                        picked.end(diff);
                    }
                }
                if !picked.is_empty() {
                    output.session_with_builder(&time).give_container(&mut picked);
                }
            });
        }
    })
}

/// Rows as they sort.
pub(super) fn turn<'scope>(rows: RowStream<'scope>, sorted: &Sorted) -> RowStream<'scope> {
    if sorted.is_plain() {
        return rows;
    }
    let sorted = sorted.clone();
    rows.unary::<WholeRows, _, _, _>(Pipeline, "Turn", move |_, _| {
        let mut ends = Vec::new();
        move |input, output| {
            input.for_each(|time, rows| {
                let mut turned = Rows::with_capacity(rows.len(), rows.size());
                for (row, diff) in rows.iter() {
                    sorted.turn(row, &mut ends, turned.open());
                    turned.end(diff);
                }
                if !turned.is_empty() {
                    output.session_with_builder(&time).give_container(&mut turned);
                }
            });
        }
    })
}

/// Arranges rows whose first `key` columns are the key; `order` says what they were before.
pub(super) fn arrange<'scope>(
    rows: RowStream<'scope>,
    codec: Codec,
    order: Rc<[usize]>,
    key: usize,
    spine: Rc<RefCell<Spine>>,
) -> Arranged<'scope> {
    let pact = by_key(codec.clone(), key);
    let steps = rows.unary_frontier::<WholeSteps, _, _, _>(pact, "Arrange", move |capability, _| {
        let mut capability = Some(capability);
        let mut waiting: BTreeMap<Time, Gathered> = BTreeMap::new();
        move |(input, frontier), output| {
            let bodies = spine.borrow().bodies().clone();
            input.for_each(|time, rows| waiting.entry(*time.time()).or_default().take(rows, &bodies));
            let Some(held) = &mut capability else { return };
            let (lower, upper) = (*held.time(), upper(frontier));
            let mut stepped = None;
            let mut step = |time: Time, gathered: Gathered| {
                let mut spine = spine.borrow_mut();
                let delta = Arc::new(gathered.finish(&bodies));
                let step = Step { before: spine.batches(), delta: delta.clone() };
                spine.insert(delta);
                output.session(&held.delayed(&time)).give(step);
            };
            while let Some(entry) = waiting.first_entry().filter(|e| upper.is_none_or(|upper| *e.key() < upper)) {
                let (time, gathered) = entry.remove_entry();
                step(time, gathered);
                stepped = Some(time);
            }
            match upper {
                Some(upper) if upper > lower => {
                    if stepped != Some(upper - 1) {
                        step(upper - 1, Gathered::default());
                    }
                    held.downgrade(&upper);
                }
                Some(_) => {}
                None => capability = None,
            }
        }
    });
    Arranged { steps, codec, key, order }
}

/// Rows to the workers that have them, where they wait until all of a Moment are there: then `turn` gets them, and where
/// to put what becomes of them. It has a turn at each Moment, if only one without rows.
pub(super) fn turns<'scope>(
    rows: RowStream<'scope>,
    codec: Codec,
    name: &str,
    bodies: Arc<Bodies>,
    mut turn: impl FnMut(&[Arc<Batch>], &mut Outlet<&mut dyn FnMut(&mut Rows)>) + 'static,
) -> RowStream<'scope> {
    let width = codec.schema().fields().len();
    rows.unary_frontier::<WholeRows, _, _, _>(by_key(codec, width), name, move |capability, _| {
        let mut capability = Some(capability);
        let mut waiting: BTreeMap<Time, Gathered> = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|time, rows| waiting.entry(*time.time()).or_default().take(rows, &bodies));
            let Some(held) = &mut capability else { return };
            let Some(upper) = upper(frontier) else {
                capability = None;
                return;
            };
            if upper == *held.time() {
                return;
            }
            // As early as can be: behind a recursion a Moment's later times come only with the next.
            let first = waiting.keys().next().copied().filter(|time| *time < upper);
            let time = held.delayed(&first.unwrap_or(*held.time()));
            let mut news = Vec::new();
            while let Some(entry) = waiting.first_entry().filter(|entry| *entry.key() < upper) {
                news.push(Arc::new(entry.remove().finish(&bodies)));
            }
            let mut session = output.session_with_builder(&time);
            let mut give = |rows: &mut Rows| session.give_container(rows);
            let mut out = Outlet::new(&mut give as &mut dyn FnMut(&mut Rows));
            turn(&news, &mut out);
            out.flush();
            held.downgrade(&upper);
        }
    })
}

/// The rows of one Moment as they come in.
#[derive(Default)]
pub(super) struct Gathered {
    rows: Rows,
    runs: Vec<Arc<Batch>>,
}

impl Gathered {
    pub fn take(&mut self, rows: &mut Rows, bodies: &Arc<Bodies>) {
        match self.rows.is_empty() {
            true => std::mem::swap(&mut self.rows, rows),
            false => self.rows.append(rows),
        }
        rows.clear();
        if self.rows.size() > RUN_BYTES {
            self.runs.push(Arc::new(Batch::of(&self.rows, bodies)));
            self.rows.clear();
            if self.runs.len() == 16 {
                let merged = merge(&self.runs, bodies);
                self.runs = vec![Arc::new(merged)];
            }
        }
    }

    pub fn finish(mut self, bodies: &Arc<Bodies>) -> Batch {
        if self.runs.is_empty() {
            return Batch::of(&self.rows, bodies);
        }
        self.runs.push(Arc::new(Batch::of(&self.rows, bodies)));
        merge(&self.runs, bodies)
    }
}

/// Rows in any order that become one batch.
pub(super) struct Gathering<'a> {
    rows: Rows,
    gathered: Gathered,
    bodies: &'a Arc<Bodies>,
}

impl<'a> Gathering<'a> {
    pub fn new(bodies: &'a Arc<Bodies>) -> Gathering<'a> {
        Gathering { rows: Rows::default(), gathered: Gathered::default(), bodies }
    }

    pub fn push(&mut self, parts: [&[u8]; 2], diff: Diff) {
        parts.iter().for_each(|part| self.rows.extend(part));
        self.rows.end(diff);
        if self.rows.size() >= CONTAINER_BYTES {
            self.gathered.take(&mut self.rows, self.bodies);
        }
    }

    pub fn finish(mut self) -> Batch {
        self.gathered.take(&mut self.rows, self.bodies);
        self.gathered.finish(self.bodies)
    }
}

/// Gathers output rows into containers of a good size.
pub(super) struct Outlet<F: FnMut(&mut Rows)> {
    rows: Rows,
    give: F,
}

impl<F: FnMut(&mut Rows)> Outlet<F> {
    pub fn new(give: F) -> Self {
        Outlet { rows: Rows::default(), give }
    }

    /// Where to write the next row; [`Outlet::end`] completes it.
    pub fn rows(&mut self) -> &mut Rows {
        &mut self.rows
    }

    pub fn end(&mut self, diff: i64) {
        self.rows.end(diff);
        if self.rows.size() >= CONTAINER_BYTES {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
        if !self.rows.is_empty() {
            (self.give)(&mut self.rows);
            self.rows.clear();
        }
    }
}
