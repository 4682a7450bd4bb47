//! The clock as a column of the result, `now() as loaded_at`, and chance → [`Op::Stamp`].
//!
//! ```text
//!   with s as (select *, now() as loaded_at from t) select id, loaded_at from s join u using (id)
//!                              └──────────── on its way up ───────────►─┘
//! ```
//!
//! To the query it is a constant, so it does not matter where it is read: on its way to the result a stamp is taken off
//! whatever hands it on, and each row of the rest gets it at last, with what the clock said when that row came. What a
//! part computes of it reads the clock itself; what sorts, groups or tells apart by it does so by nothing.

use super::lower::{Lowered, Lowering};
use super::temporal::as_written;
use super::{Node, Op, Tick, clock, draws};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    self as df, BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, Projection, lit,
};
use std::sync::Arc;

/// Of each column: what it reads of the clock, if it is a stamp.
type Stamps = Vec<Option<Expr>>;

/// What a model stamps on its rows.
#[derive(Clone, Debug, Default)]
pub struct Stamped {
    columns: Vec<(usize, Expr)>,
}

impl Stamped {
    /// The columns that are stamps.
    pub fn columns(&self) -> Vec<usize> {
        self.columns.iter().map(|(column, _)| *column).collect()
    }

    pub fn of(&self, column: usize) -> Option<Expr> {
        self.columns.iter().find(|(stamped, _)| *stamped == column).map(|(_, e)| e.clone())
    }
}

/// A plan as it was bound, with the clock left open, without its stamps. `scanned` says what a column of a relation reads
/// of the clock, where that is a model whose rows nobody sees.
pub fn taken_off(
    plan: LogicalPlan,
    scanned: &dyn Fn(&df::TableScan, usize) -> Option<Expr>,
) -> DfResult<(LogicalPlan, Stamped)> {
    let (plan, stamps) = taken(plan, scanned)?;
    let columns: Vec<(usize, Expr)> = stamps.into_iter().enumerate().filter_map(|(at, e)| Some((at, e?))).collect();
    if columns.is_empty() {
        return Ok((plan, Stamped::default()));
    }
    let is_rest = |(at, _): &(usize, Column)| !columns.iter().any(|(stamped, _)| stamped == at);
    let rest = plan.schema().columns().into_iter().enumerate().filter(is_rest).map(|(_, column)| Expr::Column(column));
    let rest = Projection::try_new(rest.collect(), Arc::new(plan))?;
    Ok((LogicalPlan::Projection(rest), Stamped { columns }))
}

/// What would compute the stamps of one row, for the optimiser.
pub fn computed(stamped: &Stamped) -> DfResult<LogicalPlan> {
    let one = df::EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) };
    let name = |(number, (_, e)): (usize, &(usize, Expr))| e.clone().alias(format!("stamp {}", number + 1));
    let stamps = stamped.columns.iter().enumerate().map(name).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(stamps, Arc::new(LogicalPlan::EmptyRelation(one)))?))
}

fn taken(
    plan: LogicalPlan,
    scanned: &dyn Fn(&df::TableScan, usize) -> Option<Expr>,
) -> DfResult<(LogicalPlan, Stamps)> {
    let mut below: Vec<(DFSchemaRef, Stamps)> = Vec::new();
    let taken = |child: LogicalPlan| {
        let (child, stamps) = taken(child, scanned)?;
        below.push((child.schema().clone(), stamps));
        Ok(Transformed::yes(child))
    };
    let mut plan = plan.map_children(taken)?.data;
    if below.iter().all(|(_, stamps)| stamps.iter().all(Option::is_none)) {
        let stamps = handed_on(&plan, below, scanned);
        return Ok((plan, stamps));
    }
    plan = read_above(plan, &below)?;
    let stamps = handed_on(&plan, below.clone(), scanned);
    Ok((by_nothing(plan, &below)?, stamps))
}

/// The node with the clock itself in the place of stamps that it has from below.
fn read_above(plan: LogicalPlan, below: &[(DFSchemaRef, Stamps)]) -> DfResult<LogicalPlan> {
    let stamp = |column: &Column| {
        below.iter().find_map(|(schema, stamps)| Some(stamps[schema.maybe_index_of_column(column)?].clone()))?
    };
    let in_place = |e: Expr| match &e {
        Expr::Column(column) => Ok(stamp(column).map_or(Transformed::no(e), Transformed::yes)),
        _ => Ok(Transformed::no(e)),
    };
    let names = NamePreserver::new(&plan);
    let read = plan.map_expressions(|e| {
        let name = names.save(&e);
        Ok(e.transform_up(in_place)?.update_data(|e| name.restore(e)))
    })?;
    Ok(read.data)
}

/// The node where all rows have one stamp: nothing is sorted by it, grouped or told apart.
fn by_nothing(plan: LogicalPlan, below: &[(DFSchemaRef, Stamps)]) -> DfResult<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Sort(mut sort) => {
            sort.expr.retain(|by| !is_clock(&by.expr));
            if sort.expr.is_empty() { Arc::unwrap_or_clone(sort.input) } else { LogicalPlan::Sort(sort) }
        }
        LogicalPlan::Window(window) => {
            let functions = window.window_expr.into_iter().map(|e| {
                let name = e.schema_name().to_string();
                let mut e = e.unalias_nested().data;
                if let Expr::WindowFunction(function) = &mut e {
                    function.params.partition_by.retain(|by| !is_clock(by));
                    function.params.order_by.retain(|by| !is_clock(&by.expr));
                }
                e.alias(name)
            });
            LogicalPlan::Window(df::Window::try_new(functions.collect(), window.input)?)
        }
        // Of no group at all there would be a total.
        LogicalPlan::Aggregate(group) if group.group_expr.iter().any(|e| !is_stamp(e)) => {
            let key = group.group_expr.into_iter().map(|e| match is_stamp(&e) {
                true => nothing(&e, group.input.schema()),
                false => Ok(e),
            });
            let key = key.collect::<DfResult<Vec<_>>>()?;
            LogicalPlan::Aggregate(df::Aggregate::try_new(group.input, key, group.aggr_expr)?)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = input.schema().columns().into_iter().map(Expr::Column);
            let columns = columns.zip(&below[0].1).map(|(e, stamp)| match stamp {
                Some(_) => nothing(&e, input.schema()),
                None => Ok(e),
            });
            let columns = columns.collect::<DfResult<Vec<_>>>()?;
            let input = LogicalPlan::Projection(Projection::try_new(columns, input)?);
            LogicalPlan::Distinct(Distinct::All(Arc::new(input)))
        }
        other => other,
    })
}

/// NULL under the same name, and of the same type.
fn nothing(e: &Expr, schema: &DFSchema) -> DfResult<Expr> {
    let (qualifier, name) = e.qualified_name();
    Ok(lit(ScalarValue::try_from(&e.get_type(schema)?)?).alias_qualified(qualifier, name))
}

/// The stamps of a node's own columns.
fn handed_on(
    plan: &LogicalPlan,
    below: Vec<(DFSchemaRef, Stamps)>,
    scanned: &dyn Fn(&df::TableScan, usize) -> Option<Expr>,
) -> Stamps {
    let width = plan.schema().fields().len();
    let mut below: Vec<Stamps> = below.into_iter().map(|(_, stamps)| stamps).collect();
    let of = |expressions: &[Expr]| expressions.iter().map(stamp).collect::<Stamps>();
    let mut stamps = match plan {
        LogicalPlan::Projection(projection) => of(&projection.expr),
        LogicalPlan::Distinct(Distinct::On(distinct)) => of(&distinct.select_expr),
        LogicalPlan::Aggregate(group) if !matches!(group.group_expr.as_slice(), [Expr::GroupingSet(_)]) => {
            of(&group.group_expr)
        }
        LogicalPlan::TableScan(scan) => (0..width).map(|column| scanned(scan, column)).collect(),
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) | LogicalPlan::Window(_) => below.swap_remove(0),
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Distinct(Distinct::All(_)) => below.swap_remove(0),
        LogicalPlan::Union(_) => {
            let same = |column: usize| below.iter().all(|stamps| stamps[column] == below[0][column]);
            (0..width).map(|column| below[0][column].clone().filter(|_| same(column))).collect()
        }
        LogicalPlan::Join(join) => {
            let (right, left) = (below.pop().unwrap_or_default(), below.pop().unwrap_or_default());
            let none = |stamps: &Stamps| vec![None; stamps.len()];
            match join.join_type {
                JoinType::Inner => [left, right].concat(),
                JoinType::Left => [left, none(&right)].concat(),
                JoinType::Right => [none(&left), right].concat(),
                JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
                JoinType::Full => Vec::new(),
            }
        }
        _ => Vec::new(),
    };
    stamps.resize(width, None);
    stamps
}

fn stamp(e: &Expr) -> Option<Expr> {
    let e = e.clone().unalias_nested().data;
    is_stamp(&e).then_some(e)
}

/// Whether it is the clock, which is the same for all rows; what is drawn for each is not.
fn is_clock(e: &Expr) -> bool {
    is_stamp(e) && !draws::reads(e)
}

/// Whether it is made of draws, and of nothing that rows have.
fn is_drawn(e: &Expr) -> bool {
    let of_rows = |e: &Expr| {
        matches!(
            e,
            Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::AggregateFunction(_) | Expr::WindowFunction(_)
        ) || matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::Unnest(_))
    };
    draws::reads(e) && !e.exists(|e| Ok(of_rows(e))).unwrap_or(true)
}

/// Whether it is drawn, or the clock in some form, and nothing else: what tells one instant from another would have to change
/// when it comes.
fn is_stamp(e: &Expr) -> bool {
    let mut is_form = true;
    let visit = |e: &Expr| {
        is_form &= match e {
            Expr::BinaryExpr(BinaryExpr { op, .. }) => {
                matches!(op, Operator::Plus | Operator::Minus | Operator::StringConcat)
            }
            Expr::Alias(_) | Expr::Cast(_) | Expr::TryCast(_) | Expr::ScalarFunction(_) | Expr::Literal(..) => true,
            e => clock::is_open(e),
        };
        Ok(TreeNodeRecursion::Continue)
    };
    is_drawn(e) || clock::reads(e) && Tick::of(e).is_none() && e.apply(visit).is_ok() && is_form
}

impl Lowering<'_> {
    /// The rows of `rest`, whose columns are `bound`, with their stamps: `stamps` compute these, optimised, and `schema` is
    /// the model's.
    pub fn stamped(
        &self,
        rest: Node,
        bound: &DFSchema,
        stamped: &Stamped,
        stamps: Vec<Expr>,
        schema: &DFSchema,
    ) -> Lowered<Node> {
        let stamps: Vec<&Expr> = stamps.iter().collect();
        let drawn = stamps.iter().any(|e| draws::reads(e));
        let (mut node, mut bound, mut stamps) =
            self.beside_clock(rest, bound, &stamps, |input| Op::Stamp { input, drawn })?;
        if drawn {
            let seed = Schema::new(vec![Field::new(draws::SEED, DataType::Binary, true)]);
            node.schema = Arc::new(Schema::new(
                [node.schema.fields(), seed.fields()].into_iter().flatten().cloned().collect::<Vec<_>>(),
            ));
            let failed = |e| self.of_datafusion(&e);
            bound = DFSchema::try_from(seed).and_then(|seed| bound.join(&seed)).map_err(failed)?;
            stamps = stamps.into_iter().map(draws::drawn).collect::<DfResult<_>>().map_err(failed)?;
        }
        let mut rest = bound.columns().into_iter().map(Expr::Column);
        let mut stamps = stamps.into_iter();
        let is_stamp = |column: usize| stamped.of(column).is_some();
        let next = |column: usize| if is_stamp(column) { stamps.next() } else { rest.next() };
        let outputs: Vec<Expr> = (0..schema.fields().len()).filter_map(next).collect();
        let text = |(column, field): (usize, &Arc<Field>)| match stamped.of(column) {
            Some(e) => as_written(&[&e]),
            None => field.name().clone(),
        };
        let text = schema.fields().iter().enumerate().map(text).collect::<Vec<_>>().join(", ");
        let schema = self.row_schema(schema)?;
        let program = self.program(&node.schema, &bound, &[], &outputs, schema.clone(), text)?;
        Ok(Node { op: Op::Map { input: Box::new(node), program }, schema })
    }
}
