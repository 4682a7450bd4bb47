//! A join → its operators: pairs that meet, then what rows of either side give by whether they meet any.
//!
//! ```text
//!   left ──► by key ──┬──► join ──► pairs ──────────────────────────► residual ─┬──► those it lets through
//!                     │                                                         │
//!   right ─► by key ──┴──► semi ──► rows that are alone     (no residual)       └─► by whole row ─┬─► semi
//!                                                                left ──► by whole row ──────────┘
//! ```
//!
//! Without a residual rows meet where keys do, and rows whose key holds a NULL are not even arranged: they meet
//! none. With one, rows meet that are in a pair which it lets through; whole rows are compared, as often as each
//! is there, and NULLs are equal.

use super::{Build, all};
use crate::flow::arrange::{Arranged, Nulls, pick};
use crate::flow::join::join;
use crate::flow::map::map;
use crate::flow::semi::semi;
use crate::flow::shape::{Cell, Shape};
use crate::flow::stream::RowStream;
use crate::plan::{Join, JoinKind};
use crate::row::{Codec, Datum};
use arrow::datatypes::Schema;
use timely::dataflow::operators::Concatenate;

impl<'scope> Build<'scope> {
    /// A join of which only these columns are asked for.
    pub(super) fn join(&mut self, of: &Join, columns: &[usize]) -> RowStream<'scope> {
        let nulls = if of.nulls_equal { Nulls::Kept } else { Nulls::Dropped };
        let left = self.arrange(&of.left, &of.left_key, nulls);
        let right = self.arrange(&of.right, &of.right_key, nulls);
        if of.kind == JoinKind::NotIn {
            return self.not_in(of, left, right, columns);
        }
        let width = of.left.width();
        let both = all(width + of.right.width());
        let pairs = |columns: &[usize]| {
            let cell = |column: &usize| match column.checked_sub(width) {
                None => Cell::Left(left.place(*column)),
                Some(column) => Cell::Right(right.place(column)),
            };
            join(left.clone(), right.clone(), Shape::new(columns.iter().map(cell)))
        };
        let (of_left, of_right) = (Gives::of_left(of, columns), Gives::of_right(of, columns));

        let mut parts = Vec::new();
        let Some(residual) = &of.residual else {
            if of.kind.pairs() {
                parts.push(pairs(columns));
            }
            let sides =
                [(&of.left, &of.left_key, of_left, &left, &right), (&of.right, &of.right_key, of_right, &right, &left)];
            for (node, key, gives, this, other) in sides {
                if gives.anything() {
                    parts.push(gives.split(this.clone(), other.clone()));
                }
                if let Some(alone) = gives.alone.filter(|_| nulls == Nulls::Dropped) {
                    let codec = Codec::new(node.schema.clone());
                    parts.push(pick(self.node(node), &codec, Shape::new(alone), key, Nulls::Only));
                }
            }
            return self.scope.concatenate(parts);
        };
        let codec = Codec::new(residual.output().clone());
        let met = map(pairs(&both), codec.clone(), residual, self.faults.clone());
        for (node, place, gives) in [(&of.left, &both[..width], of_left), (&of.right, &both[width..], of_right)] {
            if gives.anything() {
                let whole = all(node.width());
                let this = self.arrange(node, &whole, Nulls::Kept);
                let met = pick(met.clone(), &codec, Shape::of(place), &[], Nulls::Kept);
                let met = self.arrange_rows(met, &node.schema, whole, node.width());
                parts.push(gives.split(this, met));
            }
        }
        if of.kind.pairs() {
            parts.push(pick(met, &codec, Shape::of(columns), &[], Nulls::Kept));
        }
        self.scope.concatenate(parts)
    }

    /// Rows that meet none and have no NULL, as long as there is no NULL on the right; and rows with a NULL, as
    /// long as there is nothing on the right.
    fn not_in(
        &mut self,
        of: &Join,
        left: Arranged<'scope>,
        right: Arranged<'scope>,
        columns: &[usize],
    ) -> RowStream<'scope> {
        let whole = all(of.left.width());
        let (left_codec, right_codec) = (Codec::new(of.left.schema.clone()), Codec::new(of.right.schema.clone()));
        let gives = Gives { met: None, alone: Some(whole.iter().copied().map(Cell::Left).collect()) };
        let alone = gives.split(left, right);
        let (lefts, rights) = (self.node(&of.left), self.node(&of.right));
        let unknown = pick(lefts, &left_codec, Shape::of(&whole), &of.left_key, Nulls::Only);
        let nulls = pick(rights.clone(), &right_codec, Shape::of(&[]), &of.right_key, Nulls::Only);
        let any = pick(rights, &right_codec, Shape::of(&[]), &[], Nulls::Kept);
        let parts = [(alone, nulls), (unknown, any)].map(|(rows, against)| {
            let rows = self.arrange_rows(rows, &of.left.schema, whole.clone(), 0);
            let against = self.arrange_rows(against, &Schema::empty(), Vec::new(), 0);
            semi(rows, against, None, Some(Shape::of(columns)))
        });
        self.scope.concatenate(parts)
    }
}

/// What rows of one side give where they meet some row of the other, and where they are alone.
struct Gives {
    met: Option<Vec<Cell>>,
    alone: Option<Vec<Cell>>,
}

impl Gives {
    fn of_left(of: &Join, columns: &[usize]) -> Gives {
        let width = of.left.width();
        let cells = |is_met: bool| {
            let cell = |column: &usize| match *column {
                column if column < width => Cell::Left(column),
                _ if of.kind == JoinKind::Mark => Cell::Constant(Datum::Bool(is_met)),
                _ => Cell::Constant(Datum::Null),
            };
            Some(columns.iter().map(cell).collect())
        };
        match of.kind {
            JoinKind::Inner => Gives { met: None, alone: None },
            JoinKind::Semi => Gives { met: cells(true), alone: None },
            JoinKind::Left | JoinKind::Full | JoinKind::Anti | JoinKind::NotIn => {
                Gives { met: None, alone: cells(false) }
            }
            JoinKind::Mark => Gives { met: cells(true), alone: cells(false) },
        }
    }

    fn of_right(of: &Join, columns: &[usize]) -> Gives {
        let width = of.left.width();
        let cell = |column: &usize| column.checked_sub(width).map_or(Cell::Constant(Datum::Null), Cell::Left);
        Gives { met: None, alone: (of.kind == JoinKind::Full).then(|| columns.iter().map(cell).collect()) }
    }

    fn anything(&self) -> bool {
        self.met.is_some() || self.alone.is_some()
    }

    fn split<'scope>(&self, this: Arranged<'scope>, other: Arranged<'scope>) -> RowStream<'scope> {
        let shape = |cells: &Vec<Cell>| {
            Shape::new(cells.iter().map(|cell| match cell {
                Cell::Left(column) => Cell::Left(this.place(*column)),
                cell => cell.clone(),
            }))
        };
        let (met, alone) = (self.met.as_ref().map(shape), self.alone.as_ref().map(shape));
        semi(this, other, met, alone)
    }
}
