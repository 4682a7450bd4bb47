//! Joins, and what the optimiser makes joins of: `in` and `exists`, `except` and `intersect`, subqueries in
//! expressions.
//!
//! What comes from the right is what comes from the left with the sides exchanged. Computed keys become
//! columns at the end of their side and are dropped again behind the join.

use super::lower::{Lowered, Lowering, listed};
use super::refusal::Refusal;
use super::{Join, JoinKind, Node, Op, Program, clock};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::{self as df, Expr, ExprSchemable, LogicalPlan};
use std::collections::HashMap;
use std::sync::Arc;

/// One side of a join.
struct Side {
    node: Node,
    key: Vec<usize>,
    /// What expressions call its columns; computed keys are behind the first `own`.
    bound: DFSchema,
    own: usize,
}

impl Lowering<'_> {
    pub(super) fn join(&self, join: &df::Join) -> Lowered<Node> {
        let (kind, exchanged) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, false),
            JoinType::Left => (JoinKind::Left, false),
            JoinType::Right => (JoinKind::Left, true),
            JoinType::Full => (JoinKind::Full, false),
            JoinType::LeftSemi => (JoinKind::Semi, false),
            JoinType::RightSemi => (JoinKind::Semi, true),
            JoinType::LeftAnti if join.null_aware => (JoinKind::NotIn, false),
            JoinType::LeftAnti => (JoinKind::Anti, false),
            JoinType::RightAnti => (JoinKind::Anti, true),
            JoinType::LeftMark => (JoinKind::Mark, false),
            JoinType::RightMark => (JoinKind::Mark, true),
        };
        let (left_on, right_on): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
        let (mut left, mut right) =
            (self.side(&join.left, &left_on, "left")?, self.side(&join.right, &right_on, "right")?);
        if exchanged {
            std::mem::swap(&mut left, &mut right);
        }
        let types = |side: &Side| side.node.schema.project(&side.key).expect("columns of its own").fields().clone();
        let same = types(&left).iter().zip(&types(&right)).all(|(l, r)| l.data_type() == r.data_type());
        if !same {
            return Err(Refusal::new(
                "a join compares columns of different types",
                "cast the columns that are compared to one type",
            ));
        }
        let residual = match &join.filter {
            None => None,
            Some(Expr::Literal(value, _)) if value == &true.into() => None,
            Some(filter) if clock::reads(filter) => {
                let (node, bound, read) = self.ticked(right.node, &right.bound, &[filter])?;
                right = Side { node, bound, ..right };
                Some(self.residual(&read[0], &left, &right)?)
            }
            Some(filter) => Some(self.residual(filter, &left, &right)?),
        };
        if kind == JoinKind::NotIn && (left.key.len() != 1 || residual.is_some()) {
            let reason = "`not in (select …)` that depends on other columns outside is not maintained yet";
            let hint = "write it as `not exists (select … where …)`, which is also what most people mean";
            return Err(Refusal::new(reason, hint).at_words(self.sql, &["not", "in"]));
        }

        let (own, widths) = ((left.own, right.own), (left.node.width(), right.node.width()));
        let lefts = || left.node.schema.fields().iter().cloned();
        let rights = || right.node.schema.fields().iter().cloned();
        let schema = Arc::new(Schema::new(match kind {
            kind if kind.pairs() => lefts().chain(rights()).collect::<Vec<_>>(),
            JoinKind::Mark => lefts().chain([Arc::new(Field::new("mark", DataType::Boolean, true))]).collect(),
            _ => lefts().collect(),
        }));
        let columns: Vec<usize> = match kind {
            kind if kind.pairs() => {
                let (left, right) = (0..own.0, widths.0..widths.0 + own.1);
                if exchanged { right.chain(left).collect() } else { left.chain(right).collect() }
            }
            JoinKind::Mark => (0..own.0).chain([widths.0]).collect(),
            _ => (0..own.0).collect(),
        };
        let nulls_equal = join.null_equality == NullEquality::NullEqualsNull;
        let join = Join {
            kind,
            left: left.node,
            right: right.node,
            left_key: left.key,
            right_key: right.key,
            nulls_equal,
            residual,
        };
        let node = Node { op: Op::Join(Box::new(join)), schema: schema.clone() };
        if columns.iter().copied().eq(0..schema.fields().len()) {
            return Ok(node);
        }
        let program = Program::pick(schema, columns);
        let schema = program.output().clone();
        Ok(Node { op: Op::Map { input: Box::new(node), program }, schema })
    }

    /// What lets pairs of all columns of both sides through.
    fn residual(&self, filter: &Expr, left: &Side, right: &Side) -> Lowered<Program> {
        let fields = left.bound.iter().chain(right.bound.iter()).map(|(q, f)| (q.cloned(), f.clone())).collect();
        let bound = DFSchema::new_with_metadata(fields, HashMap::new());
        let bound = bound.map_err(|e| Refusal::from_datafusion(&e, self.sql))?;
        let columns: Vec<Expr> = bound.columns().into_iter().map(Expr::Column).collect();
        let schema = self.row_schema(&bound)?;
        self.program(&schema, &bound, &[filter], &columns, schema.clone(), listed(&[filter]))
    }

    fn side(&self, plan: &LogicalPlan, on: &[Expr], name: &str) -> Lowered<Side> {
        let node = self.lower(plan)?;
        let schema = plan.schema();
        let own = node.width();
        let column = |e: &Expr| e.try_as_col().and_then(|c| schema.maybe_index_of_column(c));
        if let Some(key) = on.iter().map(column).collect() {
            return Ok(Side { node, key, bound: schema.as_ref().clone(), own });
        }
        let mut outputs: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        outputs.extend(on.iter().cloned());
        let mut fields: Vec<_> = schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        for (i, e) in on.iter().enumerate() {
            let (_, field) = e.to_field(schema).map_err(|e| Refusal::from_datafusion(&e, self.sql))?;
            fields.push((None, Arc::new(field.as_ref().clone().with_name(format!("{name} key {}", i + 1)))));
        }
        let bound = DFSchema::new_with_metadata(fields, HashMap::new());
        let bound = bound.map_err(|e| Refusal::from_datafusion(&e, self.sql))?;
        let node = self.map_node(node, schema, &[], &outputs, &bound)?;
        Ok(Side { node, key: (own..own + on.len()).collect(), bound, own })
    }
}
