//! Expressions that read of the clock only its day or its hour → [`Op::Ticks`].
//!
//! ```text
//!   case when d < current_date - 30 then 'old' else 'new' end
//!                 └─ of the clock, its day
//! ```
//!
//! Each row gets the clock as one column more, cut off to the day or hour. When the next begins, the row goes and comes
//! back with that: what is computed of it changes as with any other column, and where it comes out the same nothing has
//! changed.

use super::lower::{Lowered, Lowering};
use super::refusal::Refusal;
use super::temporal::{as_written, interval, is_utc, read_by};
use super::{Node, Op, clock};
use crate::row::Clock;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator, TryCast};
use std::collections::HashMap;
use std::sync::Arc;

/// No SQL names a column so.
const CLOCK: &str = "(clock)";

/// What of the clock an expression tells apart, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tick {
    Hour,
    Day,
}

impl Tick {
    fn us(self) -> i64 {
        match self {
            Tick::Hour => 3_600_000_000,
            Tick::Day => 24 * 3_600_000_000,
        }
    }

    /// When the day or hour began in which the clock says this.
    pub fn begin(self, clock: Clock) -> Clock {
        Clock(clock.0.saturating_sub(clock.0.rem_euclid(self.us())))
    }

    /// When the next begins.
    pub fn next(self, clock: Clock) -> Clock {
        Clock(self.begin(clock).0.saturating_add(self.us()))
    }

    /// What of the clock decides an expression; `None` where each microsecond may.
    pub(super) fn of(e: &Expr) -> Option<Tick> {
        if clock::is_open(e) {
            return None;
        }
        if let Some((cut, inner)) = cut_off(e)
            && let Some(tick) = [cut, Tick::Hour].into_iter().find(|tick| tick.keeps(inner))
        {
            return Some(tick);
        }
        let mut of_all = Some(Tick::Day);
        let of_child = |child: &Expr| {
            of_all = of_all.min(Tick::of(child));
            Ok(TreeNodeRecursion::Continue)
        };
        e.apply_children(of_child).ok()?;
        of_all
    }

    /// Whether it is the clock, shifted so that it passes from one day or hour to another when the clock does.
    fn keeps(self, e: &Expr) -> bool {
        match e {
            e if clock::is_open(e) => true,
            Expr::Alias(alias) => self.keeps(&alias.expr),
            Expr::Cast(Cast { expr, data_type }) | Expr::TryCast(TryCast { expr, data_type }) => match data_type {
                DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, zone) => {
                    is_utc(zone) && self.keeps(expr)
                }
                _ => false,
            },
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (e, by) = match (op, left.as_ref(), right.as_ref()) {
                    (Operator::Plus | Operator::Minus, e, Expr::Literal(by, _)) => (e, by),
                    (Operator::Plus, Expr::Literal(by, _), e) => (e, by),
                    _ => return false,
                };
                // Months leave the time of day as it is.
                let whole = |(_, fixed_ns): (i128, i128)| fixed_ns % (i128::from(self.us()) * 1_000) == 0;
                interval(by).is_some_and(whole) && self.keeps(e)
            }
            _ => false,
        }
    }
}

/// What is left of a timestamp's time of day, and the timestamp.
fn cut_off(e: &Expr) -> Option<(Tick, &Expr)> {
    match e {
        Expr::Cast(Cast { expr, data_type: DataType::Date32 })
        | Expr::TryCast(TryCast { expr, data_type: DataType::Date32 }) => Some((Tick::Day, expr)),
        Expr::ScalarFunction(call) if ["date_trunc", "date_part", "extract"].contains(&call.func.name()) => {
            let [Expr::Literal(unit, _), inner] = call.args.as_slice() else { return None };
            match unit.try_as_str().flatten()?.to_lowercase().as_str() {
                "hour" => Some((Tick::Hour, inner)),
                "day" | "week" | "month" | "quarter" | "year" | "dow" | "doy" | "isodow" | "isoyear" => {
                    Some((Tick::Day, inner))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

impl Lowering<'_> {
    /// What filters and computes rows of `node`, and reads the clock.
    pub fn ticking(
        &self,
        node: Node,
        bound: &DFSchema,
        predicates: &[&Expr],
        outputs: &[Expr],
        schema: &DFSchema,
    ) -> Lowered<Node> {
        let conjuncts = predicates.iter().flat_map(|predicate| split_conjunction(predicate));
        let (clocked, plain): (Vec<&Expr>, Vec<&Expr>) = conjuncts.partition(|e| clock::reads(e));
        let mut text = outputs.iter().map(|e| as_written(&[e])).collect::<Vec<_>>().join(", ");
        if !clocked.is_empty() {
            text = format!("{text} where {}", as_written(&clocked));
        }
        let of_clock: Vec<&Expr> = clocked.iter().copied().chain(outputs).collect();
        let (node, bound) = self.narrowed(node, bound, &plain, &of_clock)?;
        let (node, bound, read) = self.ticked(node, &bound, &of_clock)?;
        let (predicates, outputs) = read.split_at(clocked.len());
        let (predicates, schema): (Vec<&Expr>, _) = (predicates.iter().collect(), self.row_schema(schema)?);
        let program = self.program(&node.schema, &bound, &predicates, outputs, schema.clone(), text)?;
        Ok(Node { op: Op::Map { input: Box::new(node), program }, schema })
    }

    /// The node with the clock behind its columns, what they are called, and the expressions as they read it there.
    pub fn ticked(&self, node: Node, bound: &DFSchema, expressions: &[&Expr]) -> Lowered<(Node, DFSchema, Vec<Expr>)> {
        let refused = |e: &Expr| if Tick::Hour.keeps(e) { clock::stamp(self.sql) } else { clock::elsewhere(self.sql) };
        let tick = |e: &&Expr| Tick::of(e).ok_or_else(|| refused(e));
        let ticks = expressions.iter().map(tick).collect::<Lowered<Vec<Tick>>>()?;
        let tick = ticks.into_iter().min().unwrap_or(Tick::Day);
        self.beside_clock(node, bound, expressions, |input| Op::Ticks { input, tick })
    }

    /// The same by whatever puts the clock there.
    pub fn beside_clock(
        &self,
        node: Node,
        bound: &DFSchema,
        expressions: &[&Expr],
        op: impl FnOnce(Box<Node>) -> Op,
    ) -> Lowered<(Node, DFSchema, Vec<Expr>)> {
        let failed = |e| self.of_datafusion(&e);
        let column = Arc::new(Field::new(CLOCK, clock::instant(), true));
        let mut fields: Vec<_> = bound.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        fields.push((None, column.clone()));
        let bound = DFSchema::new_with_metadata(fields, HashMap::new()).map_err(failed)?;
        let schema = Schema::new(node.schema.fields().iter().cloned().chain([column]).collect::<Vec<_>>());
        let node = Node { op: op(Box::new(node)), schema: Arc::new(schema) };
        let in_place = |e: Expr| match clock::is_open(&e) {
            true => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(CLOCK)))),
            false => Ok(Transformed::no(e)),
        };
        let read = |e: &&Expr| (*e).clone().transform_up(in_place).data().map_err(failed);
        let read = expressions.iter().map(read).collect::<Lowered<Vec<Expr>>>()?;
        Ok((node, bound, read))
    }

    /// The rows of `node` that pass, with only the columns that these expressions read: each row is kept.
    fn narrowed(
        &self,
        node: Node,
        bound: &DFSchema,
        predicates: &[&Expr],
        expressions: &[&Expr],
    ) -> Lowered<(Node, DFSchema)> {
        let read = read_by(expressions.iter().copied(), bound);
        if predicates.is_empty() && read.len() == bound.fields().len() {
            return Ok((node, bound.clone()));
        }
        let own: Vec<_> = read.iter().map(|column| bound.qualified_field(*column)).collect();
        let columns: Vec<Expr> = own.iter().map(|field| Expr::from(*field)).collect();
        let fields = own.iter().map(|(q, f)| (q.cloned(), (*f).clone())).collect();
        let between = DFSchema::new_with_metadata(fields, HashMap::new());
        let between = between.map_err(|e| Refusal::from_datafusion(&e, self.sql))?;
        Ok((self.map_node(node, bound, predicates, &columns, &between)?, between))
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Planner, Relation, Tick, explain};
    use crate::row::{Clock, Table, TableName};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use std::sync::Arc;

    fn compiled(sql: &str) -> String {
        let relation = |name: &str| Relation { database: "db".into(), schema: "public".into(), name: name.into() };
        let mut planner = Planner::new("db", "public");
        let fields = vec![
            Field::new("id", DataType::Int64, true),
            Field::new("c", DataType::Utf8, true),
            Field::new("d", DataType::Date32, true),
            Field::new("s", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ];
        let table = Table { name: TableName::new("public", "t"), schema: Arc::new(Schema::new(fields)), key: vec![0] };
        planner.add_table(relation("t"), table);
        let number = planner.compile(relation("m"), sql).unwrap_or_else(|refusal| panic!("{sql}: {}", refusal.reason));
        explain(&planner.model(number).node, &|_| "t".to_string(), &|_| String::new())
    }

    #[test]
    fn what_is_arranged_is_only_what_is_computed_again() {
        let plan = "\
map t.id, t.d < current_date: row by row, no state
  rows with the day of the clock: all arranged, and computed again as the next day begins
    map t.id, t.d where t.c = x: row by row, no state
      source t: from its base arrangement
";
        assert_eq!(compiled("select id, d < current_date as is_over from t where c = 'x'"), plan);
    }

    #[test]
    fn a_filter_is_scheduled_where_it_can_be() {
        let plan = "\
map t.id where t.d > current_date OR t.d < current_date - interval '30 days': row by row, no state
  rows with the day of the clock: all arranged, and computed again as the next day begins
    map t.id, t.d: row by row, no state
      rows while t.s < now(): incremental, scheduled to enter and to leave
        map t.id, t.d, t.s: row by row, no state
          source t: from its base arrangement
";
        assert_eq!(compiled("select id from t where s < now() and (d > current_date or d < current_date - 30)"), plan);
        let open_ended =
            compiled("select id from (select id, coalesce(d, current_date) as d from t) as q where d > now()");
        assert!(open_ended.contains("rows while") && open_ended.contains("rows with the day"), "{open_ended}");
    }

    #[test]
    fn an_hour_is_followed_only_where_it_counts() {
        for (sql, of) in [
            ("select date_trunc('hour', now()) as h from t", "hour"),
            ("select date_trunc('day', now() - interval '2 hours') as d from t", "hour"),
            ("select date_trunc('day', now() - interval '2 days') as d from t", "day"),
            ("select cast(localtimestamp - interval '1 month' as date) as d from t", "day"),
            ("select date_trunc('hour', current_date + interval '5 minutes') as d from t", "day"),
            ("select id, d - current_date as n, extract(hour from now()) as h from t", "hour"),
        ] {
            assert!(compiled(sql).contains(&format!("rows with the {of} of the clock")), "{sql}");
        }
    }

    #[test]
    fn days_and_hours_begin_in_utc() {
        let (day, hour) = (86_400_000_000, 3_600_000_000);
        for (tick, clock, begin, next) in [
            (Tick::Day, 3 * day, 3 * day, 4 * day),
            (Tick::Day, 4 * day - 1, 3 * day, 4 * day),
            (Tick::Hour, 4 * day - 1, 4 * day - hour, 4 * day),
            (Tick::Hour, -1, -hour, 0),
        ] {
            assert_eq!((tick.begin(Clock(clock)), tick.next(Clock(clock))), (Clock(begin), Clock(next)), "{clock}");
        }
        assert!(Tick::Day.begin(Clock::UNREAD) < Tick::Day.begin(Clock(0)));
    }
}
