//! Meaning: what a model's SQL asks for, and how each part of it is kept up to date.
//!
//! ```text
//!  SQL ──DataFusion──► logical plan ──definite──► one answer ──lower──► Node tree ──► flow
//!       parse, bind,   (optimised; never                        each node knows its schema and how it
//!       type           by statistics)                           is maintained; else it is a Refusal
//! ```
//!
//! A [`Node`] is the whole vocabulary of maintenance: `flow` has one file for each. Planning facts live
//! here, so that an operator stays a page. [`recompute`] runs the same SQL through DataFusion's executor
//! over given rows: the oracle of `verify`.
//!
//! Invariants:
//! - Every node's schema is in row form: only types that `row::Codec` takes.
//! - A model that cannot be maintained is computed as a whole when something has changed, and says so and why; one that
//!   cannot be computed either is refused by name, with place, reason and a way out, before anything runs. What
//!   depends on chance is drawn once for each row where it is a column of the result, and else refused. The clock is followed where a filter compares something with it, and
//!   elsewhere by its day or hour; as a column of the result it says when the row came.
//!
//! DataFusion is named here and nowhere else.

mod aggregate;
mod arrays;
mod caught;
mod clock;
mod compile;
mod copies;
mod deep;
mod definite;
mod dialect;
mod draws;
pub mod exact;
mod explain;
mod fingerprint;
mod firsts;
mod from;
pub mod functions;
mod instants;
mod join;
mod lateral;
mod lengths;
mod lower;
mod map;
mod marked;
mod marks;
mod names;
mod nullable;
mod ordered;
mod percentiles;
mod program;
pub mod recompute;
mod recursion;
mod refusal;
mod regroup;
mod rerun;
mod series;
mod session;
mod sets;
mod several;
mod single;
mod sliding;
mod stamps;
mod step;
mod table_row;
pub mod sums;
mod temporal;
mod ticks;
mod top;
mod totals;
mod tuples;
mod unnest;
mod unsound;
mod using;
mod values;
mod window;
mod with;
mod zeros;

pub use compile::{Compiled, Planner};
pub use dialect::{Postgres, tokens};
pub use explain::{Explained, explain};
pub use instants::{Bound, span};
pub use program::Program;
pub use recursion::{ITERATIONS_MAX, endless};
pub use refusal::Refusal;
pub use regroup::Regroup;
pub use rerun::Rerun;
pub use ticks::Tick;

use crate::row::{Direction, Row};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::sql::TableReference;
use std::fmt;
use std::ops::Range;

/// A name as SQL writes it in full.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Relation {
    pub database: String,
    pub schema: String,
    pub name: String,
}

impl Relation {
    /// A name as SQL has it, in full: this says where names without a database or schema are.
    fn resolve(&self, name: &TableReference) -> Relation {
        let full = name.clone().resolve(&self.database, &self.schema);
        let [database, schema, name] = [full.catalog, full.schema, full.table].map(|part| part.to_string());
        Relation { database, schema, name }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\".\"{}\".\"{}\"", self.database, self.schema, self.name)
    }
}

/// One maintained step: rows with a schema.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub schema: SchemaRef,
}

#[derive(Clone, Debug)]
pub enum Op {
    /// These columns of a source table's base arrangement. Tables count as the [`Planner`] was given them.
    Table {
        table: usize,
        columns: Vec<usize>,
    },
    /// These columns of another model. Models count in the order in which they were compiled.
    Model {
        model: usize,
        columns: Vec<usize>,
    },
    /// Rows that never change.
    Constant {
        rows: Vec<Row>,
    },
    /// Filters and computes, row by row. A row that cannot be computed becomes an error.
    Map {
        input: Box<Node>,
        program: Program,
    },
    Join(Box<Join>),
    /// Groups by the first `key` columns of the input; gives these, then one column for each aggregate.
    /// With no key there is always exactly one group.
    Reduce {
        input: Box<Node>,
        key: usize,
        aggregates: Vec<Aggregate>,
    },
    /// The rows in these places (from 0) of each group, groups being rows equal in `key`, in this order and then
    /// by all columns. If `numbered`, a row's place (from 1) is a column behind its own.
    Top {
        input: Box<Node>,
        key: Vec<usize>,
        order: Vec<(usize, Direction)>,
        places: Range<u64>,
        numbered: bool,
    },
    /// Rows for as long as the clock is within all these bounds: they are scheduled to enter and to leave.
    Temporal {
        input: Box<Node>,
        bounds: Vec<Bound>,
        /// How people read it.
        text: String,
    },
    /// Rows with one column more, the timestamp at which the clock's day or hour has begun.
    Ticks {
        input: Box<Node>,
        tick: Tick,
    },
    /// Rows with one column more, the timestamp at which they came, which they keep for as long as they stay; if `drawn`
    /// with a seed of their own behind it.
    Stamp {
        input: Box<Node>,
        drawn: bool,
    },
    /// Groups, being rows equal in `key`, each computed as a whole and in this order: windows, and aggregates that cannot
    /// forget. A group that cannot be computed becomes an error.
    Regroup {
        input: Box<Node>,
        key: Vec<usize>,
        order: Vec<(usize, Direction)>,
        work: Regroup,
    },
    /// What several parts make of one input, side by side: the first `key` columns, which all parts have and of
    /// which each has every value once, then the other columns of each part.
    Beside {
        input: Box<Node>,
        parts: Vec<Node>,
        key: usize,
    },
    /// The input of the Beside around.
    Given,
    /// A recursion: the input's rows without the last column, their iteration. They are also what its `Recurring`
    /// reads, one iteration later.
    Recursion {
        input: Box<Node>,
    },
    /// These columns of the rows that the Recursion around has found, each with the iteration that it leads to.
    Recurring {
        columns: Vec<usize>,
    },
    /// A row for each item of these columns, which are lists: of several the first items stand side by side, then the
    /// second, and NULL where a list has no more. A row without items goes, unless `kept`: then it has NULLs.
    Unnest {
        input: Box<Node>,
        lists: Vec<usize>,
        kept: bool,
    },
    /// All rows of all inputs.
    Union {
        inputs: Vec<Node>,
    },
    /// A whole model, computed from all rows of all inputs whenever some have changed.
    Rerun {
        inputs: Vec<Node>,
        work: Rerun,
    },
}

/// Two rows meet if their keys are equal and the residual predicate lets the pair through. An empty key lets
/// everything meet.
#[derive(Clone, Debug)]
pub struct Join {
    pub kind: JoinKind,
    pub left: Node,
    pub right: Node,
    pub left_key: Vec<usize>,
    pub right_key: Vec<usize>,
    /// Whether NULL equals NULL in the keys; otherwise it equals nothing.
    pub nulls_equal: bool,
    /// Over left columns, then right columns; it gives them all.
    pub residual: Option<Program>,
}

/// What a join gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs that meet: left columns, then right columns.
    Inner,
    /// Those, and left rows that meet none, with NULLs for the right columns.
    Left,
    /// Those, and right rows that meet none, with NULLs for the left columns.
    Full,
    /// Left rows that meet some row.
    Semi,
    /// Left rows that meet none.
    Anti,
    /// All left rows, and behind their columns whether they meet some row.
    Mark,
    /// Left rows as `not in` has them: those that meet none, if no key of the right is NULL; and those whose
    /// own key is NULL, if there is nothing on the right. There is one key column and no residual.
    NotIn,
}

impl JoinKind {
    /// Whether pairs are among the results.
    pub fn pairs(self) -> bool {
        matches!(self, JoinKind::Inner | JoinKind::Left | JoinKind::Full)
    }
}

/// Each forgets by subtracting; state is one sum and one count for each group.
#[derive(Clone, Debug, PartialEq)]
pub enum Aggregate {
    /// `count(*)`: NULLs count. No errors.
    CountRows,
    /// `count(x)` of this input column: NULLs do not count. No errors.
    Count(usize),
    /// `sum(x)` of integers or decimals, exact: NULLs are skipped, NULL where nothing else was there. A sum that
    /// leaves the range of its type is an error of its group, for as long as it does.
    Sum { column: usize, result: DataType },
    /// `avg(x)` of integers or decimals: the sum times `factor`, over the count, rounded ([`sums`]); an error of its group
    /// where it does not fit.
    Average { column: usize, factor: i128, precision: u8 },
    /// `sum(x)` of doubles, exact and rounded once ([`exact`]). No errors.
    FloatSum(usize),
    /// `avg(x)` of doubles: their exact sum, rounded, over their count. No errors.
    FloatAverage(usize),
    /// `bool_and(x)`: NULLs are skipped, NULL where nothing else was there. No errors.
    All(usize),
    /// `bool_or(x)`, likewise.
    Any(usize),
}
