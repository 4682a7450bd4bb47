//! `lateral`, and functions in `from` that read columns beside them → plain joins, before the optimiser.
//!
//! What is lateral is computed for each row on its left. Here it is computed for all of them at once: the columns that
//! it asks for go into it in the place of nothing (`select` without `from`) or beside its tables, and through all that
//! it does. So `from t, unnest(t.tags)` unnests t itself. Where it looks at several of its rows together (an
//! aggregate, a limit, an outer join) it looks at those of equal columns, each such row of the left going in once, and
//! the left is joined with what comes out.
//!
//! What cannot be written so stays as it is, and `unsound` refuses it.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, JoinType, NullEquality, Result as DfResult, not_impl_err};
use datafusion::functions_nested::expr_fn::array_length;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    self as df, Aggregate, Distinct, Expr, ExprFunctionExt, FetchType, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, SkipType, SubqueryAlias, Union, Unnest, Window, binary_expr, lit, when,
};
use std::collections::HashMap;
use std::sync::Arc;

/// `plan` as it was bound, without `lateral` where that can be.
pub fn plain(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut number = 0;
    let plain = |node| match node {
        LogicalPlan::Join(join) if is_lateral(&join.right) => {
            number += 1;
            match plain_join(&join, number) {
                Ok(Some(plan)) => Ok(Transformed::yes(plan)),
                Ok(None) | Err(DataFusionError::NotImplemented(_)) => Ok(Transformed::no(LogicalPlan::Join(join))),
                Err(error) => Err(error),
            }
        }
        other => Ok(Transformed::no(other)),
    };
    plan.transform_up_with_subqueries(plain).data()
}

/// Whether something in it may ask for columns of what stands to its left.
pub fn is_lateral(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Subquery(_)))).unwrap_or(false)
}

fn plain_join(join: &Join, number: usize) -> DfResult<Option<LogicalPlan>> {
    let (left, right) = (join.left.schema(), join.right.schema());
    let of_left = |column: &Column| left.maybe_index_of_column(column).is_some();
    let mut asked = Vec::new();
    for e in join.right.all_out_ref_exprs() {
        match e {
            Expr::OuterReferenceColumn(_, column) if of_left(&column) && !asked.contains(&column) => asked.push(column),
            _ => {}
        }
    }
    let inner = join.join_type == JoinType::Inner;
    if asked.is_empty() || !(inner || join.join_type == JoinType::Left) {
        return Ok(None);
    }
    let equal = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let condition = conjunction(equal.chain(join.filter.clone()).filter(|e| *e != lit(true)));
    let rights = || right.columns().into_iter().map(Expr::Column);
    let named = |column: Column, place: usize| {
        let (qualifier, field) = left.qualified_field(place);
        Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
    };

    let kept = if inner || condition.is_some() { None } else { kept_rows(&join.right)? };
    let row_by_row = kept.or_else(|| inner.then(|| join.right.as_ref().clone()));
    let all = Asked::of(left.columns(), number);
    if let Some(right) = row_by_row.filter(|right| all.row_by_row(right)) {
        let all = Asked { rows: all.picked(&join.left)?, ..all };
        let through = all.through(&right)?;
        let lefts = all.within(&through).into_iter().enumerate().map(|(place, column)| named(column, place));
        let outputs = lefts.chain(rights()).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(outputs, Arc::new(through))?);
        return Ok(Some(match condition {
            None => plan,
            Some(condition) => LogicalPlan::Filter(df::Filter::try_new(condition, Arc::new(plan))?),
        }));
    }

    let compared = condition.iter().flat_map(Expr::column_refs);
    compared.filter(|column| of_left(column)).for_each(|column| {
        if !asked.contains(column) {
            asked.push(column.clone());
        }
    });
    let asked = Asked::of(asked, number);
    let rows = LogicalPlan::Distinct(Distinct::All(Arc::new(asked.picked(&join.left)?)));
    let asked = Asked { rows, ..asked };
    let mut through = asked.through(&join.right)?;
    if let Some(condition) = condition {
        let inside = |e| match e {
            Expr::Column(column) if of_left(&column) => Expr::Column(asked.column(&column, &through)),
            other => other,
        };
        let condition = condition.transform_up(|e| Ok(Transformed::yes(inside(e)))).data()?;
        through = LogicalPlan::Filter(df::Filter::try_new(condition, Arc::new(through))?);
    }
    let keys = (asked.columns.clone(), asked.within(&through));
    let joined = LogicalPlanBuilder::new_from_arc(join.left.clone());
    let joined = joined.join_detailed(through, join.join_type, keys, None, NullEquality::NullEqualsNull)?;
    let outputs = left.columns().into_iter().map(Expr::Column).chain(rights());
    joined.project(outputs)?.build().map(Some)
}

/// Lists of a `left join … on true`, unnested so that rows without items stay.
fn kept_rows(plan: &LogicalPlan) -> DfResult<Option<LogicalPlan>> {
    let plain = |e: &Expr| matches!(e.clone().unalias_nested().data, Expr::Column(_));
    Ok(match plan {
        LogicalPlan::Subquery(query) => kept_rows(&query.subquery)?,
        LogicalPlan::SubqueryAlias(alias) => match kept_rows(&alias.input)? {
            Some(input) => Some(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(input.into(), alias.alias.clone())?)),
            None => None,
        },
        LogicalPlan::Projection(projection) if projection.expr.iter().all(plain) => {
            match kept_rows(&projection.input)? {
                Some(input) => {
                    Some(LogicalPlan::Projection(Projection::try_new(projection.expr.clone(), input.into())?))
                }
                None => None,
            }
        }
        LogicalPlan::Unnest(unnest) if unnest.list_type_columns.iter().all(|(_, list)| list.depth == 1) => {
            let LogicalPlan::Projection(lists) = unnest.input.as_ref() else { return Ok(None) };
            if !is_nothing(&lists.input) || lists.expr.len() != unnest.list_type_columns.len() {
                return Ok(None);
            }
            let filled = |(list, column): (&Expr, Column)| {
                let list = list.clone().unalias();
                let filled = when(array_length(list.clone()).gt(lit(0)), list).end()?;
                Ok(filled.alias_qualified(column.relation, column.name))
            };
            let filled = lists.expr.iter().zip(lists.schema.columns()).map(filled).collect::<DfResult<Vec<_>>>()?;
            let input = LogicalPlan::Projection(Projection::try_new(filled, lists.input.clone())?);
            let options = unnest.options.clone().with_preserve_nulls(true);
            Some(LogicalPlan::Unnest(Unnest::try_new(input.into(), unnest.exec_columns.clone(), options)?))
        }
        _ => None,
    })
}

/// One row without columns: what a select without `from` selects from.
fn is_nothing(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row && empty.schema.fields().is_empty())
}

/// Beside what a group gives: there is one.
const SOME: &str = "(some)";

/// Columns of the left that go through what is lateral, behind its own.
struct Asked {
    columns: Vec<Column>,
    /// What they are called there, with whatever qualifier.
    names: Vec<String>,
    /// The rows that go in.
    rows: LogicalPlan,
}

impl Asked {
    fn of(columns: Vec<Column>, number: usize) -> Asked {
        // No SQL names a column so.
        let names = columns.iter().map(|column| format!("({} of {number})", column.flat_name())).collect();
        Asked { columns, names, rows: LogicalPlan::default() }
    }

    fn picked(&self, left: &Arc<LogicalPlan>) -> DfResult<LogicalPlan> {
        let pairs = self.columns.iter().zip(&self.names);
        let outputs = pairs.map(|(column, name)| Expr::Column(column.clone()).alias(name)).collect();
        Projection::try_new(outputs, left.clone()).map(LogicalPlan::Projection)
    }

    /// As a plan has them that they have gone through.
    fn within(&self, plan: &LogicalPlan) -> Vec<Column> {
        let columns = plan.schema().columns();
        let column =
            |name: &String| columns.iter().rfind(|column| column.name == *name).expect("it goes through").clone();
        self.names.iter().map(column).collect()
    }

    fn column(&self, outside: &Column, plan: &LogicalPlan) -> Column {
        let place = self.columns.iter().position(|column| column == outside).expect("it is asked for");
        self.within(plan).swap_remove(place)
    }

    fn is_asked(&self, e: &Expr) -> bool {
        matches!(e, Expr::OuterReferenceColumn(_, column) if self.columns.contains(column))
    }

    fn asks(&self, plan: &LogicalPlan) -> bool {
        plan.all_out_ref_exprs().iter().any(|e| self.is_asked(e))
    }

    /// Whether each row of the left alone decides what comes out for it, copies of it giving copies.
    fn row_by_row(&self, plan: &LogicalPlan) -> bool {
        let here = match plan {
            LogicalPlan::Subquery(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Projection(_) => true,
            LogicalPlan::Filter(_) | LogicalPlan::Unnest(_) | LogicalPlan::Union(_) => true,
            LogicalPlan::Join(join) => match join.join_type {
                JoinType::Inner => !(self.asks(&join.left) && self.asks(&join.right)),
                JoinType::Left => !self.asks(&join.right),
                _ => false,
            },
            _ => false,
        };
        !self.asks(plan) || here && plan.inputs().into_iter().all(|input| self.row_by_row(input))
    }

    /// The same plan with the columns in the place of what it asks for, and behind its own.
    fn through(&self, plan: &LogicalPlan) -> DfResult<LogicalPlan> {
        if !self.asks(plan) {
            return match is_nothing(plan) {
                true => Ok(self.rows.clone()),
                false => LogicalPlanBuilder::from(plan.clone()).cross_join(self.rows.clone())?.build(),
            };
        }
        let through = |plan: &Arc<LogicalPlan>| self.through(plan).map(Arc::new);
        Ok(match plan {
            LogicalPlan::Subquery(query) => self.through(&query.subquery)?,
            LogicalPlan::SubqueryAlias(alias) => {
                LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(through(&alias.input)?, alias.alias.clone())?)
            }
            LogicalPlan::Projection(projection) => {
                let input = through(&projection.input)?;
                let outputs = projection.expr.iter().zip(projection.schema.iter());
                let outputs = outputs.map(|(e, (qualifier, field))| match self.inside(e, &input)? {
                    of if of == *e || matches!(of, Expr::Alias(_)) => Ok(of),
                    of => Ok(of.alias_qualified(qualifier.cloned(), field.name())),
                });
                let outputs = outputs.chain(self.within(&input).into_iter().map(|column| Ok(Expr::Column(column))));
                LogicalPlan::Projection(Projection::try_new(outputs.collect::<DfResult<_>>()?, input)?)
            }
            LogicalPlan::Filter(filter) => {
                let input = through(&filter.input)?;
                LogicalPlan::Filter(df::Filter::try_new(self.inside(&filter.predicate, &input)?, input)?)
            }
            LogicalPlan::Unnest(Unnest { input, exec_columns, options, .. }) => {
                LogicalPlan::Unnest(Unnest::try_new(through(input)?, exec_columns.clone(), options.clone())?)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => LogicalPlan::Distinct(Distinct::All(through(input)?)),
            LogicalPlan::Limit(limit) => self.limit(limit)?,
            LogicalPlan::Aggregate(group) => self.aggregate(group)?,
            LogicalPlan::Window(window) => self.window(window)?,
            LogicalPlan::Join(join) => self.join(join)?,
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(through).collect::<DfResult<Vec<_>>>()?;
                let own = union.schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone()));
                let asked = inputs[0].schema().fields().iter().skip(union.schema.fields().len());
                let fields = own.chain(asked.map(|field| (None, field.clone()))).collect();
                let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
                LogicalPlan::Union(Union { inputs, schema })
            }
            other => return not_impl_err!("lateral {}", other.display()),
        })
    }

    /// An expression over a plan that the columns go through.
    fn inside(&self, e: &Expr, plan: &LogicalPlan) -> DfResult<Expr> {
        let inside = |e: Expr| match &e {
            Expr::OuterReferenceColumn(_, column) if self.is_asked(&e) => {
                Ok(Transformed::yes(Expr::Column(self.column(column, plan))))
            }
            Expr::ScalarSubquery(query) | Expr::Exists(df::expr::Exists { subquery: query, .. })
                if query.outer_ref_columns.iter().any(|e| self.is_asked(e)) =>
            {
                not_impl_err!("a subquery of what is lateral")
            }
            Expr::InSubquery(query) if query.subquery.outer_ref_columns.iter().any(|e| self.is_asked(e)) => {
                not_impl_err!("a subquery of what is lateral")
            }
            _ => Ok(Transformed::no(e)),
        };
        e.clone().transform_up(inside).data()
    }

    /// Columns in these places of `plan`, called as in `schema`, and then those of the left.
    fn named(
        &self,
        plan: LogicalPlan,
        places: impl Iterator<Item = usize>,
        schema: &DFSchema,
    ) -> DfResult<LogicalPlan> {
        let columns = plan.schema().columns();
        let outputs = places.zip(schema.iter()).map(|(place, (qualifier, field))| {
            Expr::Column(columns[place].clone()).alias_qualified(qualifier.cloned(), field.name())
        });
        let outputs = outputs.chain(self.within(&plan).into_iter().map(Expr::Column)).collect();
        Projection::try_new(outputs, Arc::new(plan)).map(LogicalPlan::Projection)
    }

    /// The first rows of those of equal columns.
    fn limit(&self, limit: &df::Limit) -> DfResult<LogicalPlan> {
        let beneath =
            |input: &Arc<LogicalPlan>| LogicalPlan::Limit(df::Limit { input: input.clone(), ..limit.clone() });
        let (order, input) = match limit.input.as_ref() {
            LogicalPlan::Projection(Projection { expr, input, schema, .. }) => {
                let projection = Projection::try_new_with_schema(expr.clone(), beneath(input).into(), schema.clone())?;
                return self.through(&LogicalPlan::Projection(projection));
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let alias = SubqueryAlias::try_new(beneath(&alias.input).into(), alias.alias.clone())?;
                return self.through(&LogicalPlan::SubqueryAlias(alias));
            }
            LogicalPlan::Sort(sort) => (sort.expr.as_slice(), &sort.input),
            _ => ([].as_slice(), &limit.input),
        };
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return not_impl_err!("a computed limit of what is lateral");
        };
        let (own, schema) = (input.schema().fields().len(), input.schema().clone());
        let input = self.through(input)?;
        let order = order.iter().map(|by| Ok(by.with_expr(self.inside(&by.expr, &input)?))).collect::<DfResult<_>>()?;
        let partition = self.within(&input).into_iter().map(Expr::Column).collect();
        let place = row_number().partition_by(partition).order_by(order).build()?;
        let plan = Window::try_new(vec![place], Arc::new(input))?;
        let place = Expr::Column(plan.schema.columns().pop().expect("the number is a column"));
        let mut within = place.clone().gt(lit(skip as u64));
        if let Some(fetch) = fetch {
            within = within.and(place.lt_eq(lit((skip + fetch) as u64)));
        }
        let plan = df::Filter::try_new(within, Arc::new(LogicalPlan::Window(plan)))?;
        self.named(LogicalPlan::Filter(plan), 0..own, &schema)
    }

    fn aggregate(&self, group: &Aggregate) -> DfResult<LogicalPlan> {
        if group.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            return not_impl_err!("lateral grouping sets");
        }
        let input = Arc::new(self.through(&group.input)?);
        let inside = |e: &Expr| self.inside(e, &input);
        let own = group.group_expr.iter().map(inside);
        let keys = own.chain(self.within(&input).into_iter().map(|column| Ok(Expr::Column(column))));
        let calls = group.aggr_expr.iter().map(inside).collect::<DfResult<Vec<_>>>()?;
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(input.clone(), keys.collect::<DfResult<_>>()?, calls)?);
        let (own, asked) = (group.group_expr.len(), self.names.len());
        let places = (0..own).chain(own + asked..own + asked + group.aggr_expr.len());
        let plan = self.named(plan, places, &group.schema)?;
        if own > 0 {
            return Ok(plan);
        }
        // Without groups there is always one row, of nothing too.
        let inner = |name: &String| format!("{name} inside");
        let mut outputs: Vec<Expr> = group.schema.columns().into_iter().map(Expr::Column).collect();
        let asked = self.within(&plan).into_iter();
        outputs.extend(asked.map(|column| Expr::Column(column.clone()).alias(inner(&column.name))));
        outputs.push(lit(true).alias(SOME));
        let some = LogicalPlanBuilder::from(plan).project(outputs)?.build()?;
        let keys = self.names.iter().map(|name| (Column::from_name(name), Column::from_name(inner(name)))).unzip();
        let all = LogicalPlanBuilder::from(self.rows.clone());
        let all = all.join_detailed(some, JoinType::Left, keys, None, NullEquality::NullEqualsNull)?.build()?;
        let outputs = group.aggr_expr.iter().zip(group.schema.iter()).map(|(call, (qualifier, field))| {
            let value = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            let of_nothing = match call.clone().unalias_nested().data {
                Expr::AggregateFunction(call) => call.func.default_value(field.data_type())?,
                _ => return not_impl_err!("a lateral aggregate"),
            };
            let none = Expr::Column(Column::from_name(SOME)).is_null();
            let value = if of_nothing.is_null() { value } else { when(none, lit(of_nothing)).otherwise(value)? };
            Ok(value.alias_qualified(qualifier.cloned(), field.name()))
        });
        let outputs = outputs.chain(self.within(&all).into_iter().map(|column| Ok(Expr::Column(column))));
        Projection::try_new(outputs.collect::<DfResult<_>>()?, Arc::new(all)).map(LogicalPlan::Projection)
    }

    fn window(&self, window: &Window) -> DfResult<LogicalPlan> {
        let (own, asked) = (window.input.schema().fields().len(), self.names.len());
        let input = self.through(&window.input)?;
        let apart = |e: Expr| match e {
            Expr::WindowFunction(mut function) => {
                function.params.partition_by.extend(self.within(&input).into_iter().map(Expr::Column));
                Ok(Transformed::yes(Expr::WindowFunction(function)))
            }
            other => Ok(Transformed::no(other)),
        };
        let calls = window.window_expr.iter().map(|e| self.inside(e, &input)?.transform_up(apart).data());
        let plan = Window::try_new(calls.collect::<DfResult<_>>()?, Arc::new(input))?;
        let places = (0..own).chain(own + asked..own + asked + window.window_expr.len());
        self.named(LogicalPlan::Window(plan), places, &window.schema)
    }

    fn join(&self, join: &Join) -> DfResult<LogicalPlan> {
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return not_impl_err!("lateral within a join of another kind");
        }
        let (own, others) = (join.left.schema().fields().len(), join.right.schema().fields().len());
        let Join { mut on, join_type, join_constraint, mut null_equality, null_aware, .. } = join.clone();
        let asks = (self.asks(&join.left), self.asks(&join.right));
        let by_right = asks == (false, true) && join_type == JoinType::Inner;
        let left = if by_right { join.left.as_ref().clone() } else { self.through(&join.left)? };
        let mut right = if asks.1 { self.through(&join.right)? } else { join.right.as_ref().clone() };
        let side = if by_right { &right } else { &left };
        let filter = join.filter.as_ref().map(|filter| self.inside(filter, side)).transpose()?;
        let mut filters: Vec<Expr> = filter.into_iter().collect();
        if asks.1 && !by_right {
            // Both sides have the columns, and rows meet where these are equal too.
            let inner = |column: Column| Expr::Column(column.clone()).alias(format!("{} right", column.name));
            let asked = self.within(&right);
            let outputs = join.right.schema().columns().into_iter().map(Expr::Column);
            right = LogicalPlanBuilder::from(right).project(outputs.chain(asked.into_iter().map(inner)))?.build()?;
            let rights = right.schema().columns().into_iter().skip(others).map(Expr::Column);
            let keys = self.within(&left).into_iter().map(Expr::Column).zip(rights);
            if on.is_empty() && filters.is_empty() {
                null_equality = NullEquality::NullEqualsNull;
            }
            match null_equality {
                NullEquality::NullEqualsNull if filters.is_empty() => on.extend(keys),
                _ => filters.extend(keys.map(|(left, right)| binary_expr(left, Operator::IsNotDistinctFrom, right))),
            }
        }
        let (left, right, filter) = (Arc::new(left), Arc::new(right), conjunction(filters));
        let plan = Join::try_new(left, right, on, filter, join_type, join_constraint, null_equality, null_aware)?;
        let rights = if by_right { own } else { own + self.names.len() };
        self.named(LogicalPlan::Join(plan), (0..own).chain(rights..rights + others), &join.schema)
    }
}
