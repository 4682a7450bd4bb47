//! Subqueries that stand for one value and depend on the row outside, each in a projection of its own.
//!
//! DataFusion makes a join of each, with columns that have the same names for all: of two in one place it cannot tell
//! whose is whose. Of one that unnests a list of the row, compares with it otherwise than by `=`, takes the first of its
//! rows or may give many, it makes none: that is `lateral`. And it makes them in filters and projections alone: what groups,
//! windows, orders and outer joins ask gets a column of what is beneath them. What is asked in other words than for one
//! value becomes such a subquery in `marks`.

use super::marks::{compared, valued, valued_where};
use super::single::single;
use super::unsound::unknown;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result as DfResult};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Sort, Subquery,
    Window, lit,
};
use std::sync::Arc;

/// `plan` as it was bound, with such subqueries apart.
pub fn apart(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut apart = Apart { columns: 0 };
    plan.transform_up_with_subqueries(|node| apart.node(node).map(Transformed::yes)).data()
}

struct Apart {
    /// So many have got a column.
    columns: usize,
}

impl Apart {
    fn node(&mut self, node: LogicalPlan) -> DfResult<LogicalPlan> {
        if !node.expressions().iter().any(asks) {
            return Ok(node);
        }
        let node = node.map_expressions(|e| compared(e).map(Transformed::yes)).data()?;
        match node {
            LogicalPlan::Projection(projection) => {
                let mut input = Arc::unwrap_or_clone(projection.input);
                let changed =
                    projection.expr.into_iter().zip(projection.schema.iter()).map(|(e, (qualifier, field))| {
                        let changed = self.projected(valued(e, input.schema())?, &mut input, true)?;
                        let named = |e: Expr| e.alias_qualified(qualifier.cloned(), field.name());
                        Ok(if changed.transformed { named(changed.data.unalias()) } else { changed.data })
                    });
                let exprs = changed.collect::<DfResult<Vec<_>>>()?;
                let projection = Projection::try_new_with_schema(exprs, Arc::new(input), projection.schema)?;
                Ok(LogicalPlan::Projection(projection))
            }
            LogicalPlan::Filter(filter) => {
                let mut input = Arc::unwrap_or_clone(filter.input);
                let schema = input.schema().clone();
                let predicate = valued_where(filter.predicate, &schema, joins)?;
                let predicate = self.projected(predicate, &mut input, true)?.data;
                let filter = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
                named(filter, 0..schema.fields().len(), &schema)
            }
            LogicalPlan::Sort(sort) => {
                let mut input = Arc::unwrap_or_clone(sort.input);
                let schema = input.schema().clone();
                let by = sort.expr.into_iter().map(|by| Ok(by.with_expr(self.beneath(by.expr.clone(), &mut input)?)));
                let (expr, fetch) = (by.collect::<DfResult<Vec<_>>>()?, sort.fetch);
                let sort = LogicalPlan::Sort(Sort { expr, input: Arc::new(input), fetch });
                named(sort, 0..schema.fields().len(), &schema)
            }
            LogicalPlan::Aggregate(group) => {
                let mut input = Arc::unwrap_or_clone(group.input);
                let mut beneath = |exprs: Vec<Expr>| exprs.into_iter().map(|e| self.beneath(e, &mut input)).collect();
                let (keys, calls): (DfResult<_>, DfResult<_>) = (beneath(group.group_expr), beneath(group.aggr_expr));
                let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), keys?, calls?)?);
                named(plan, 0..group.schema.fields().len(), &group.schema)
            }
            LogicalPlan::Window(window) => {
                let mut input = Arc::unwrap_or_clone(window.input);
                let own = input.schema().fields().len();
                let calls = window.window_expr.into_iter().map(|e| self.beneath(e, &mut input));
                let calls = calls.collect::<DfResult<Vec<_>>>()?;
                let all = input.schema().fields().len();
                let places = (0..own).chain(all..all + calls.len());
                named(LogicalPlan::Window(Window::try_new(calls, Arc::new(input))?), places, &window.schema)
            }
            LogicalPlan::Join(join) if join.on.iter().all(|(left, right)| !asks(left) && !asks(right)) => {
                let predicate = join.filter.clone().expect("it asks");
                if join.join_type == JoinType::Inner {
                    let all = LogicalPlan::Join(Join { filter: None, ..join });
                    return self.node(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(all))?));
                }
                self.joined(join, predicate)
            }
            other => Ok(other),
        }
    }

    /// The expression with a column of `input`, which gets it, for each subquery.
    fn beneath(&mut self, e: Expr, input: &mut LogicalPlan) -> DfResult<Expr> {
        let e = valued(e, input.schema())?;
        self.projected(e, input, false).data()
    }

    /// An outer join: its sides get what is asked of their rows.
    fn joined(&mut self, join: Join, predicate: Expr) -> DfResult<LogicalPlan> {
        let (lefts, rights) = (join.left.schema().clone(), join.right.schema().clone());
        let (mut left, mut right) = (join.left.as_ref().clone(), join.right.as_ref().clone());
        let beneath = |e: Expr| {
            let Expr::ScalarSubquery(query) = &e else { return Ok(Transformed::no(e)) };
            let of = |schema: &DFSchema| {
                let mut asked = query.outer_ref_columns.iter();
                asked.all(|e| matches!(e, Expr::OuterReferenceColumn(_, column) if schema.has_column(column)))
            };
            match (of(&lefts), of(&rights)) {
                (true, _) => self.projected(e, &mut left, false),
                (_, true) => self.projected(e, &mut right, false),
                _ => Ok(Transformed::no(e)),
            }
        };
        let filter = valued(predicate, &join.schema)?.transform_up(beneath).data()?;
        let (own, all, others) = (lefts.fields().len(), left.schema().fields().len(), rights.fields().len());
        let Join { on, join_type, join_constraint, null_equality, null_aware, schema, .. } = join;
        let (left, right) = (Arc::new(left), Arc::new(right));
        let join = Join::try_new(left, right, on, Some(filter), join_type, join_constraint, null_equality, null_aware)?;
        named(LogicalPlan::Join(join), (0..own).chain(all..all + others), &schema)
    }

    /// The expression with a column of `input` for each such subquery, which `input` gets. What asks for nothing of the row
    /// may stay in a projection or filter, under a name that no other column has.
    fn projected(&mut self, e: Expr, input: &mut LogicalPlan, may_stay: bool) -> DfResult<Transformed<Expr>> {
        e.transform_up(|e| {
            let Expr::ScalarSubquery(query) = e else { return Ok(Transformed::no(e)) };
            self.columns += 1;
            // No SQL names columns so.
            let name = format!("(subquery {})", self.columns);
            if query.outer_ref_columns.is_empty() {
                let value = query.subquery.schema().columns().swap_remove(0);
                let rows = LogicalPlanBuilder::new_from_arc(query.subquery.clone());
                let rows = rows.project([Expr::Column(value).alias(format!("{name} alone"))])?.build()?;
                let value = Expr::ScalarSubquery(query.with_plan(Arc::new(rows)));
                if may_stay {
                    return Ok(Transformed::yes(value));
                }
                return beside(value, name, input);
            }
            let may_be_many = query.subquery.max_rows().is_none_or(|rows| rows > 1);
            if may_be_many || is_lateral(&query) {
                let rows = if may_be_many { single(query.subquery.clone())? } else { query.subquery.as_ref().clone() };
                let value = rows.schema().columns().swap_remove(0);
                let rows = LogicalPlan::Subquery(query.with_plan(Arc::new(rows)));
                let rows = LogicalPlanBuilder::from(rows)
                    .project([Expr::Column(value).alias(&name)])?
                    .alias(&name)?
                    .build()?;
                let left = LogicalPlanBuilder::from(input.clone());
                *input = left.join_on(rows, JoinType::Left, [lit(true)])?.build()?;
                return Ok(Transformed::yes(Expr::Column(Column::new(Some(name.clone()), name))));
            }
            beside(Expr::ScalarSubquery(query), name, input)
        })
    }
}

/// A column of `input`, which gets it.
fn beside(value: Expr, name: String, input: &mut LogicalPlan) -> DfResult<Transformed<Expr>> {
    let own = input.schema().columns().into_iter().map(Expr::Column);
    let columns = own.chain([value.alias(&name)]).collect::<Vec<_>>();
    *input = LogicalPlanBuilder::from(input.clone()).project(columns)?.build()?;
    Ok(Transformed::yes(Expr::Column(Column::from_name(name))))
}

/// Columns in these places of `plan`, called as in `schema`.
fn named(plan: LogicalPlan, places: impl Iterator<Item = usize>, schema: &DFSchema) -> DfResult<LogicalPlan> {
    let columns = plan.schema().columns();
    let outputs = places.zip(schema.iter()).map(|(place, (qualifier, field))| {
        let column = columns[place].clone();
        let same = column.relation.as_ref() == qualifier && column.name == *field.name();
        let e = Expr::Column(column);
        if same { e } else { e.alias_qualified(qualifier.cloned(), field.name()) }
    });
    Projection::try_new(outputs.collect(), Arc::new(plan)).map(LogicalPlan::Projection)
}

/// Whether there is a subquery in it.
fn asks(e: &Expr) -> bool {
    let asks = |e: &Expr| {
        matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
    };
    e.exists(|e| Ok(asks(e))).unwrap_or(false)
}

/// Whether DataFusion makes joins of what a predicate asks, that give what SQL does.
fn joins(e: &Expr) -> bool {
    let over_list = |query: &Subquery| query.subquery.exists(|node| Ok(unnests(node))).unwrap_or(false);
    let over_lists = |e: &Expr| match e {
        Expr::Exists(Exists { subquery, .. }) | Expr::InSubquery(InSubquery { subquery, .. }) => {
            Ok(over_list(subquery))
        }
        _ => Ok(false),
    };
    let not_in = match e {
        Expr::Not(negated) => match negated.as_ref() {
            Expr::InSubquery(query) => Some((query, !query.negated)),
            _ => None,
        },
        Expr::InSubquery(query) => Some((query, query.negated)),
        _ => None,
    };
    let is_sound = match not_in {
        Some((query, negated)) => !negated || query.subquery.outer_ref_columns.is_empty(),
        None => !unknown(e),
    };
    is_sound && !e.exists(over_lists).unwrap_or(false)
}

fn unnests(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Unnest(_)) && !node.all_out_ref_exprs().is_empty()
}

/// Whether DataFusion makes no join of it: it asks something else of the row than to be equal to a column, takes the first of
/// its rows, or unnests a list of the row.
fn is_lateral(query: &Subquery) -> bool {
    let is_column = |e: &Expr| match e {
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Column(_)),
        e => matches!(e, Expr::Column(_)),
    };
    let equal = |e: &&Expr| match e {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            is_column(left) && !right.any_column_refs() || is_column(right) && !left.any_column_refs()
        }
        _ => false,
    };
    let is_lateral = |node: &LogicalPlan| match node {
        LogicalPlan::Limit(_) => true,
        LogicalPlan::Filter(filter) => {
            split_conjunction(&filter.predicate).into_iter().filter(|e| !equal(e)).any(Expr::contains_outer)
        }
        // It forgets what they would have to hand on.
        LogicalPlan::Union(_) | LogicalPlan::Distinct(_) | LogicalPlan::SubqueryAlias(_) => {
            !node.all_out_ref_exprs().is_empty()
        }
        other => unnests(other) || other.contains_outer_reference(),
    };
    query.subquery.exists(|node| Ok(is_lateral(node))).unwrap_or(false)
}
