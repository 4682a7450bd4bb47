//! The clock in SQL: `now()` and its like. Filters follow it to the microsecond (`temporal`), all else by its day or hour
//! (`ticks`).
//!
//! They are functions of our own, with the microseconds that rows have. Planning leaves the clock open: a parameter that
//! the optimiser moves about like a constant and never computes. A recompute puts the reading of its Moment there
//! instead, before anything looks at the plan.

use super::refusal::Refusal;
use crate::row::Clock;
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result as DfResult, ScalarValue, exec_err};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{self as df, ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, cast};
use datafusion::logical_expr::{ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::optimizer::Optimizer;
use std::any::Any;
use std::sync::Arc;

/// What stands for the clock; no SQL can write a parameter of this name.
const OPEN: &str = "now()";

/// Names under which people ask for the clock, as SQL writes them.
pub(super) const WRITTEN: [&str; 5] = ["now", "current_timestamp", "localtimestamp", "current_date", "today"];

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    name: &'static str,
    aliases: Vec<String>,
    returns: DataType,
    signature: Signature,
}

/// The functions that read the clock.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let function = |name, alias: Option<&str>, returns| {
        let signature = Signature::nullary(Volatility::Stable);
        let aliases = alias.into_iter().map(String::from).collect();
        Arc::new(ScalarUDF::from(Function { name, aliases, returns, signature }))
    };
    vec![
        function("now", Some("current_timestamp"), instant()),
        function("localtimestamp", None, DataType::Timestamp(TimeUnit::Microsecond, None)),
        function("current_date", Some("today"), DataType::Date32),
    ]
}

impl ScalarUDFImpl for Function {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        exec_err!("`{}` has no reading of the clock", self.name)
    }
}

pub(super) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A plan as it was bound, with the clock left open; and whether it reads it.
pub(super) fn left_open(plan: LogicalPlan) -> DfResult<(LogicalPlan, bool)> {
    let field = Arc::new(Field::new(OPEN, instant(), true));
    let replaced = replaced(plan, &Expr::Placeholder(Placeholder::new_with_field(OPEN.into(), Some(field))))?;
    Ok((replaced.data, replaced.transformed))
}

/// The optimised plan, with this reading of the clock.
pub(super) fn optimised_at(state: &SessionState, plan: LogicalPlan, clock: Clock) -> DfResult<LogicalPlan> {
    let reading = ScalarValue::TimestampMicrosecond(Some(clock.0), Some("UTC".into()));
    let replaced = replaced(plan, &Expr::Literal(reading, None))?;
    if replaced.transformed { optimise(state, replaced.data) } else { state.optimize(&replaced.data) }
}

fn replaced(plan: LogicalPlan, clock: &Expr) -> DfResult<Transformed<LogicalPlan>> {
    let in_place = |e: Expr| match &e {
        Expr::ScalarFunction(call) => match call.func.inner().as_any().downcast_ref::<Function>() {
            Some(function) if function.returns == instant() => Ok(Transformed::yes(clock.clone())),
            Some(function) => Ok(Transformed::yes(cast(clock.clone(), function.returns.clone()))),
            None => Ok(Transformed::no(e)),
        },
        _ => Ok(Transformed::no(e)),
    };
    plan.transform_down_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|e| {
            let name = names.save(&e);
            Ok(e.transform_up(in_place)?.update_data(|e| name.restore(e)))
        })
    })
}

/// A rule of DataFusion 53.1 that must not run where the clock is read: it would compute what several comparisons have
/// in common outside of their filters.
const RULE_LEFT_OUT: &str = "common_sub_expression_eliminate";

/// Optimises a plan that reads the clock, so that every comparison with it stands whole in a filter.
pub(super) fn optimise(state: &SessionState, plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let analysed = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let rules = state.optimizers().iter().filter(|rule| rule.name() != RULE_LEFT_OUT);
    let optimised = Optimizer::with_rules(rules.cloned().collect()).optimize(analysed, state, |_, _| {})?;
    optimised.transform_up(beside_its_join).data()
}

/// What an inner join compares with the clock may as well be compared behind it.
fn beside_its_join(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Join(mut join) if join.join_type == JoinType::Inner => {
            let conjuncts = join.filter.take().map(split_conjunction_owned).unwrap_or_default();
            let (clocked, others): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(reads);
            join.filter = conjunction(others);
            let node = LogicalPlan::Join(join);
            Ok(match conjunction(clocked) {
                None => Transformed::no(node),
                Some(clocked) => Transformed::yes(LogicalPlan::Filter(df::Filter::try_new(clocked, Arc::new(node))?)),
            })
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Whether an expression reads the clock.
pub(super) fn reads(e: &Expr) -> bool {
    is_open(e) || e.exists(|e| Ok(is_open(e))).unwrap_or(false)
}

pub(super) fn is_open(e: &Expr) -> bool {
    matches!(e, Expr::Placeholder(open) if open.id == OPEN)
}

/// The clock stands where it can be followed neither by its day or hour nor by what is compared with it.
pub(super) fn elsewhere(sql: &str) -> Refusal {
    const HINT: &str = "take its day or hour, `current_date`, `date_trunc('hour', now())`; or compare a column with it in \
                        `where`, `x >= now() - interval '7 days'`";
    refusal("stands where each of its microseconds counts", HINT, sql)
}

/// The clock is a column as it is, but none of the result.
pub(super) fn stamp(sql: &str) -> Refusal {
    const HINT: &str = "stamp the rows of the result, in the outermost select; or take its day or hour, \
                        `current_date`, `date_trunc('hour', now())`";
    refusal("stamps rows of which something else is made", HINT, sql)
}

fn refusal(why: &str, hint: &str, sql: &str) -> Refusal {
    let placed = |name: &&str| Refusal::new(format!("`{name}` {why}"), hint).at_words(sql, &[name]);
    let mut placed = WRITTEN.iter().map(placed).filter(|refusal| refusal.line > 0);
    placed.next().unwrap_or_else(|| Refusal::new(format!("`{OPEN}` {why}"), hint))
}
