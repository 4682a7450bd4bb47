//! The parts of a recursion → [`Op::Recursion`]: each row of the step carries the number of its iteration.
//!
//! It is a column more, through all that stands between the recursion's rows and what the step makes of them. That
//! may be a map, a filter, or a join that gives a row only for a row of the recursion: then what an iteration gives
//! depends on the one before and on no other. All else is refused by name, much of it as Postgres does.

use super::lower::{Lowered, Lowering};
use super::recursion::{Of, Recursion, Stand, any, work_table};
use super::refusal::Refusal;
use super::{Node, Op};
use crate::row::Direction;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::{self as df, Expr, LogicalPlan, Projection, SubqueryAlias, Unnest, lit};
use std::sync::Arc;

/// No SQL names a column so.
const ITERATION: &str = "(iteration)";

impl Recursion {
    /// The same with the number of the iteration behind the columns of both parts, or why it cannot be maintained.
    pub fn numbered(self, sql: &str) -> Lowered<Recursion> {
        let failed = |e| Refusal::from_datafusion(&e, sql);
        let mut references = 0;
        let count = |node: &LogicalPlan| {
            references += usize::from(is_before(node));
            Ok(TreeNodeRecursion::Continue)
        };
        self.step.apply_with_subqueries(count).map_err(failed)?;
        if references > 1 {
            return Err(self.refusal(sql, "more than one reference to"));
        }
        let base = self.base.schema().columns().into_iter().map(Expr::Column).chain([lit(0i64).alias(ITERATION)]);
        let base = Projection::try_new(base.collect(), Arc::new(self.base.clone())).map_err(failed)?;
        let carried = self.carried(&self.step, sql)?;
        let own = self.step.schema().columns().into_iter().chain([iteration(&carried)]).map(Expr::Column);
        let step = Projection::try_new(own.collect(), Arc::new(carried)).map_err(failed)?;
        Ok(Recursion { base: LogicalPlan::Projection(base), step: LogicalPlan::Projection(step), ..self })
    }

    /// The plan with one more column: the iteration of the row that it has read of the recursion.
    fn carried(&self, plan: &LogicalPlan, sql: &str) -> Lowered<LogicalPlan> {
        let failed = |e| Refusal::from_datafusion(&e, sql);
        let carried = |plan: &Arc<LogicalPlan>| self.carried(plan, sql).map(Arc::new);
        if !plan.exists(|node| Ok(is_before(node))).map_err(failed)? {
            return Err(within(&self.name, sql));
        }
        let refused = match plan {
            LogicalPlan::TableScan(_) => {
                let mut fields = self.schema.fields().to_vec();
                fields.push(Arc::new(Field::new(ITERATION, DataType::Int64, true)));
                let stand = Stand { of: Of::Before, schema: Arc::new(Schema::new(fields)) };
                return stand.scan(&self.name).map_err(failed);
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = carried(&alias.input)?;
                let alias = SubqueryAlias::try_new(input, alias.alias.clone());
                return Ok(LogicalPlan::SubqueryAlias(alias.map_err(failed)?));
            }
            LogicalPlan::Projection(projection) => {
                let input = carried(&projection.input)?;
                let outputs = projection.expr.iter().cloned().chain([Expr::Column(iteration(&input))]);
                let projection = Projection::try_new(outputs.collect(), input);
                return Ok(LogicalPlan::Projection(projection.map_err(failed)?));
            }
            LogicalPlan::Filter(filter) => {
                let filter = df::Filter::try_new(filter.predicate.clone(), carried(&filter.input)?);
                return Ok(LogicalPlan::Filter(filter.map_err(failed)?));
            }
            LogicalPlan::Unnest(Unnest { input, exec_columns, options, .. }) => {
                let unnest = Unnest::try_new(carried(input)?, exec_columns.clone(), options.clone());
                return Ok(LogicalPlan::Unnest(unnest.map_err(failed)?));
            }
            LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => {
                "`except` or `intersect` over"
            }
            LogicalPlan::Join(join) => {
                let on_left = any(&join.left, is_before);
                let kept = match join.join_type {
                    JoinType::Inner => true,
                    JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => on_left,
                    JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => !on_left,
                    JoinType::Full => false,
                };
                if kept {
                    let (left, right) = match on_left {
                        true => (carried(&join.left)?, join.right.clone()),
                        false => (join.left.clone(), carried(&join.right)?),
                    };
                    let df::Join { on, filter, join_type, join_constraint, null_equality, null_aware, .. } = join;
                    let (on, filter) = (on.clone(), filter.clone());
                    let (constraint, nulls) = (*join_constraint, *null_equality);
                    let join = df::Join::try_new(left, right, on, filter, *join_type, constraint, nulls, *null_aware);
                    return Ok(LogicalPlan::Join(join.map_err(failed)?));
                }
                "an outer join that may leave out rows of"
            }
            LogicalPlan::Aggregate(_) => "an aggregate over",
            LogicalPlan::Window(_) => "a window function over",
            LogicalPlan::Distinct(_) => "`distinct` over",
            LogicalPlan::Limit(_) => "`limit` over",
            LogicalPlan::Union(_) => "`union` with other rows of",
            _ => "anything but joins and filters over",
        };
        Err(self.refusal(sql, refused))
    }

    fn refusal(&self, sql: &str, what: &str) -> Refusal {
        let reason = format!("{what} `{}` within its own recursive select is not maintained", self.name);
        let hint = format!("move it into a select that reads `{}` from outside", self.name);
        at_name(Refusal::new(reason, hint), &self.name, sql)
    }
}

fn iteration(plan: &LogicalPlan) -> Column {
    let columns = plan.schema().columns().into_iter();
    columns.rev().find(|column| column.name == ITERATION).expect("it has just been added")
}

impl Lowering<'_> {
    /// A recursion whose parts are numbered and optimised.
    pub fn recursion(&self, recursion: &Recursion) -> Lowered<Node> {
        let (base, step) = (self.lower(&recursion.base)?, self.lower(&recursion.step)?);
        let types = |node: &Node| node.schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        let fields = recursion.schema.fields().iter().map(|field| field.data_type());
        let bound = recursion.base.schema().fields().iter().map(|field| field.data_type());
        if types(&base) != types(&step) || !fields.eq(bound.take(recursion.schema.fields().len())) {
            let reason = format!("the selects of `{}` have columns of different types", recursion.name);
            let hint = "cast the columns to one type in each select";
            return Err(at_name(Refusal::new(reason, hint), &recursion.name, self.sql));
        }
        let (own, schema) = (base.width() - 1, base.schema.clone());
        let mut input = Node { op: Op::Union { inputs: vec![base, step] }, schema: schema.clone() };
        if recursion.distinct {
            let (key, order) = ((0..own).collect(), vec![(own, Direction::PLAIN)]);
            let op = Op::Top { input: Box::new(input), key, order, places: 0..1, numbered: false };
            input = Node { op, schema: schema.clone() };
        }
        let schema = schema.project(&(0..own).collect::<Vec<_>>()).expect("columns of its own").into();
        Ok(Node { op: Op::Recursion { input: Box::new(input) }, schema })
    }
}

/// Refuses parts of a plan in which something reads a recursion, and no row of an iteration stands for it.
pub(super) fn refuse_strays(parts: &[LogicalPlan], sql: &str) -> Lowered<()> {
    let mut stray = None;
    for part in parts {
        any(part, |node| {
            if let LogicalPlan::TableScan(scan) = node {
                stray = stray.take().or_else(|| work_table(scan));
            }
            false
        });
    }
    stray.map_or(Ok(()), |name| Err(within(&name, sql)))
}

fn within(name: &str, sql: &str) -> Refusal {
    let reason = format!("`{name}` in a subquery or a recursion within its own recursive select is not maintained");
    at_name(Refusal::new(reason, "join with it in `from` of its recursive select"), name, sql)
}

/// Where a recursion begins.
fn at_name(refusal: Refusal, name: &str, sql: &str) -> Refusal {
    refusal.at_words(sql, &[name, "as"]).at_words(sql, &[name, "("]).at_words(sql, &["recursive"])
}

fn is_before(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::TableScan(scan) if Stand::scanned(scan) == Some(Of::Before))
}

#[cfg(test)]
mod tests {
    use crate::plan::{Planner, Refusal, Relation, explain};
    use crate::row::{Table, TableName};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn plan(sql: &str) -> Result<String, Refusal> {
        let relation = |name: &str| Relation { database: "db".into(), schema: "public".into(), name: name.into() };
        let mut planner = Planner::new("db", "public");
        let fields = ["id", "a"].map(|name| Field::new(name, DataType::Int64, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        planner.add_table(relation("t"), Table { name: TableName::new("public", "t"), schema, key: vec![0] });
        let model = planner.compile(relation("m"), sql)?;
        Ok(explain(&planner.model(model).node, &|_| "t".into(), &|_| "m".into()))
    }

    /// Of a recursion `r` with this step.
    fn step(step: &str) -> Result<String, Refusal> {
        plan(&format!("with recursive r as (select id, a from t union {step}) select id from r"))
    }

    #[test]
    fn a_step_reads_the_recursion_once_and_row_by_row() {
        for (sql, what) in [
            ("select max(id), 1 from r", "an aggregate over"),
            ("select a, count(*) from r group by a", "an aggregate over"),
            ("select id, rank() over (order by a) from r", "a window function over"),
            ("select distinct id, a from r", "`distinct` over"),
            ("(select id, a from r limit 3)", "`limit` over"),
            (
                "select id, a from (select id, a from r union all select id, a from t) as x",
                "`union` with other rows of",
            ),
            ("(select id, a from r except select id, a from t)", "`except` or `intersect` over"),
            ("(select id, a from t intersect select id, a from r)", "`except` or `intersect` over"),
            ("select t.id, r.a from t left join r on t.a = r.id", "an outer join that may leave out rows of"),
            ("select t.id, r.a from r right join t on t.a = r.id", "an outer join that may leave out rows of"),
            ("select t.id, r.a from r full join t on t.a = r.id", "an outer join that may leave out rows of"),
            ("select x.id, y.a from r as x join r as y on x.a = y.id", "more than one reference to"),
            ("select r.id, r.a from r where a in (select id from r)", "more than one reference to"),
        ] {
            let plan = step(sql).unwrap_or_else(|refusal| panic!("{sql}: {}", refusal.reason));
            let why = format!("since {what} `r` within its own recursive select is not maintained\n");
            assert!(plan.starts_with("recompute: ") && plan.contains(&why), "{sql}: {plan}");
        }
        for sql in [
            "select id, a from t where a in (select id from r)",
            "select id, a from t where not exists (select 1 from r where r.id = t.a)",
            "select id, (select max(id) from r) from t",
            "(with recursive q as (select id, a from r union select a, id from q) select id, a from q)",
            "(with recursive q as (select id, a from t union select r.id, q.a from q, r) select id, a from q)",
        ] {
            let reason = "`r` in a subquery or a recursion within its own recursive select is not maintained";
            assert_eq!(step(sql).expect_err(sql).reason, reason, "{sql}");
        }
        for sql in [
            "select t.id, r.a from r left join t on t.a = r.id",
            "select t.id, r.a from t right join r on t.a = r.id where r.a > 1",
            "select x.id, t.a from (select id from r where a > 1) as x, t",
            "select id, a from r where a not in (select id from t) and exists (select 1 from t where t.a = r.id)",
            "select r.id, q.n from r join (select a, count(*) as n from t group by a) as q on q.a = r.id",
            "(with recursive q as (select id from t union select a from q, t) select r.id, q.id from q, r)",
        ] {
            step(sql).unwrap_or_else(|refusal| panic!("{sql}: {}", refusal.reason));
        }
    }

    #[test]
    fn what_datafusion_passes_over_is_refused() {
        const AFTER: &str = "of all that `r` gives, within `with recursive`, is not maintained";
        for (query, word) in [
            ("select id from t union select id + 1 from r order by 1", "order by"),
            ("select id from t union all select id + 1 from r limit 3", "limit"),
            ("select id from t union all select a from t offset 3", "limit"),
            ("with t as (select 1 as id, 2 as a) select id from t union select id + 1 from r", "with"),
        ] {
            let refusal = plan(&format!("with recursive r as ({query}) select id from r")).expect_err(query);
            assert_eq!(refusal.reason, format!("`{word}` {AFTER}"), "{query}");
            assert_eq!(refusal.line, 1, "{query}");
        }
        for sql in [
            "with recursive r as (select id from t order by a limit 3) select id from r",
            "with recursive r(b, c) as (select id, a from t union select b + 1, c from r where c > b) select b from r",
            "with r as (select id from t union select a from t order by 1 limit 3) select id from r",
            "with recursive r(b, c) as (select id, cast(a as int) from t union select b + 1, c from r) select b from r",
        ] {
            plan(sql).unwrap_or_else(|refusal| panic!("{sql}: {}", refusal.reason));
        }
    }

    #[test]
    fn columns_have_the_types_of_the_first_select() {
        let untyped =
            "with recursive r as (select id, null as b from t union select t.id, r.id from t, r) select id from r";
        let reason = "a column that is NULL in the first select of a recursion has no type";
        assert_eq!(plan(untyped).expect_err(untyped).reason, reason);
        let mixed = "with recursive r as (select 1 as i union all select 2.5 as i union all select i + 1 from r) select i from r";
        let reason = "the selects of `r` have columns of different types";
        assert_eq!(plan(mixed).expect_err(mixed).reason, reason);
    }

    #[test]
    fn nothing_is_pushed_over_the_border_of_a_recursion() {
        let sql = "with recursive r as (select id, a from t union select t.id, t.a from r join t on t.a = r.id)
            select id from r where a > 3 limit 2";
        let plan = plan(sql).expect("it is maintained");
        let (outside, inside) = plan.split_once("recursion: ").expect("there is one");
        assert!(outside.contains("a > 3") && outside.contains("top first 2"), "{plan}");
        assert!(inside.contains("top first 1 of each (id, a)") && !inside.contains(" > 3"), "{plan}");
    }
}
