//! Filters that compare with the clock → [`Op::Temporal`].
//!
//! ```text
//!   where x >= current_date - 7 and a > 1
//!         │    └─ the clock, truncated to days, shifted by days
//!         └─ a column, or what is computed of columns
//! ```
//!
//! It may have alternatives that do not read the clock: `valid_to is null or valid_to > now()`. First all else that the
//! filter asks for, and the values that are compared become columns; then the rows for as long
//! as the clock is within their bounds ([`Bound`]). Of the columns only those go on that are read behind it, since
//! each row is kept until it leaves.
//!
//! What the clock goes through must never go back while the clock goes on: then a row passes from one instant to
//! another, and never again. Truncations and shifts by a fixed time do not; nor do shifts by months, over whole days.

use super::aggregate::place;
use super::instants::{Bound, DAY_NS, Step};
use super::lower::{Lowered, Lowering, listed};
use super::refusal::Refusal;
use super::{Node, Op, Tick, clock};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::utils::{split_binary, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator, TryCast, cast, ident};
use std::collections::HashMap;
use std::sync::Arc;

impl Lowering<'_> {
    /// What is made of the rows of `node` that pass.
    pub fn passing(
        &self,
        node: Node,
        bound: &DFSchema,
        predicates: &[&Expr],
        outputs: &[Expr],
        schema: &DFSchema,
    ) -> Lowered<Node> {
        let conjuncts = predicates.iter().flat_map(|predicate| split_conjunction(predicate));
        let (clocked, plain): (Vec<&Expr>, Vec<&Expr>) = conjuncts.partition(|e| clock::reads(e));
        let (mut compared, mut ticking, mut text) = (Vec::new(), Vec::new(), Vec::new());
        for conjunct in clocked {
            match self.compared(conjunct, bound) {
                Ok(comparison) => {
                    compared.push(comparison);
                    text.push(conjunct);
                }
                Err(_) if Tick::of(conjunct).is_some() => ticking.push(conjunct),
                Err(refusal) => return Err(refusal),
            }
        }
        if compared.is_empty() {
            return self.map_node(node, bound, predicates, outputs, schema);
        }
        let read = read_by(outputs.iter().chain(ticking.iter().copied()), bound);
        let own: Vec<_> = read.iter().map(|c| bound.qualified_field(*c)).collect();
        let mut columns: Vec<Expr> = own.iter().map(|field| Expr::from(*field)).collect();
        let mut bounds = Vec::new();
        for comparison in compared {
            let column = place(&mut columns, &comparison.value);
            let or_else = comparison.or_else.map(|e| place(&mut columns, &cast(e, DataType::Int32)));
            bounds.extend(comparison.bounds.into_iter().map(|bound| bound.over(column, or_else)));
        }
        let mut fields: Vec<_> = own.iter().map(|(q, f)| (q.cloned(), (*f).clone())).collect();
        for (number, value) in columns[own.len()..].iter().enumerate() {
            let (_, field) = value.to_field(bound).map_err(|e| self.of_datafusion(&e))?;
            fields.push((None, Arc::new(field.as_ref().clone().with_name(format!("instant {}", number + 1)))));
        }
        let between = DFSchema::new_with_metadata(fields, HashMap::new()).map_err(|e| self.of_datafusion(&e))?;
        let node = match plain.is_empty() && columns.len() == own.len() && read.len() == bound.fields().len() {
            true => node,
            false => self.map_node(node, bound, &plain, &columns, &between)?,
        };
        let schema_between = node.schema.clone();
        let op = Op::Temporal { input: Box::new(node), bounds, text: as_written(&text) };
        let node = Node { op, schema: schema_between };
        let whole = ticking.is_empty() && outputs.iter().eq(&columns);
        if whole { Ok(node) } else { self.map_node(node, &between, &ticking, outputs, schema) }
    }

    /// A comparison with the clock, of which one side does not read it; or alternatives, one of them such.
    fn compared(&self, e: &Expr, bound: &DFSchema) -> Lowered<Comparison> {
        use Operator::*;
        // What reads only the day or hour may as well be computed before.
        let is_fine = |e: &Expr| Tick::of(e).is_none();
        let alternatives = split_binary(e, Operator::Or);
        let fine = alternatives.iter().any(|e| is_fine(e));
        let (of_clock, others): (Vec<&Expr>, Vec<&Expr>) =
            alternatives.into_iter().partition(|e| if fine { is_fine(e) } else { clock::reads(e) });
        let [e] = of_clock.as_slice() else {
            return Err(self.cannot_follow(e, "a row would pass more than once"));
        };
        let or_else = others.into_iter().cloned().reduce(Expr::or);
        let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Lt | LtEq | Gt | GtEq | Eq | NotEq), right }) = e else {
            return Err(clock::elsewhere(self.sql));
        };
        let is_value = |e: &Expr| if fine { !is_fine(e) } else { !clock::reads(e) };
        let (value, op, of_clock) = match (is_value(left), op.swap()) {
            (true, _) => (left, *op, right),
            (false, Some(op)) if is_value(right) => (right, op, left),
            _ => return Err(self.cannot_follow(e, "more than the clock decides")),
        };
        let path = self.path(of_clock, e)?;
        let failed = |e| self.of_datafusion(&e);
        let mut value = value.as_ref();
        let mut data_type = value.get_type(bound).map_err(failed)?;
        // What was only made as wide as the other side is compared as it was.
        while let Expr::Cast(Cast { expr, .. }) = value
            && let inner = expr.get_type(bound).map_err(failed)?
            && unit_ns(&inner).zip(unit_ns(&data_type)).is_some_and(|(from, to)| from % to == 0)
        {
            (value, data_type) = (expr, inner);
        }
        let Some(unit_ns) = unit_ns(&data_type) else {
            return Err(self.cannot_follow(e, "it is not compared as a date or a timestamp"));
        };
        let in_rows = matches!(data_type, DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _));
        let value = if in_rows { value.clone() } else { cast(value.clone(), DataType::Int64) };
        let bounds = Bound::of(unit_ns, op, &path.steps);
        let bounds = bounds.ok_or_else(|| self.cannot_follow(e, "a row would pass more than once"))?;
        Ok(Comparison { value, bounds, or_else })
    }

    /// What the clock goes through in `e`, a side of `whole`.
    fn path(&self, e: &Expr, whole: &Expr) -> Lowered<Path> {
        let refused = |reason: &str| self.cannot_follow(whole, reason);
        match e {
            e if clock::is_open(e) => Ok(Path { steps: Vec::new(), whole_days: false, date: false }),
            Expr::Alias(alias) => self.path(&alias.expr, whole),
            Expr::Cast(Cast { expr, data_type }) | Expr::TryCast(TryCast { expr, data_type }) => {
                let mut path = self.path(expr, whole)?;
                match data_type {
                    DataType::Date32 => path.truncate(Step::Truncate { to_ns: DAY_NS, from_ns: 0 }),
                    DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, zone) if is_utc(zone) => {}
                    _ => return Err(refused("it is cast to what is no date and no timestamp in UTC")),
                }
                path.date = *data_type == DataType::Date32;
                Ok(path)
            }
            Expr::ScalarFunction(call) if call.func.name() == "date_trunc" => {
                let [Expr::Literal(unit, _), expr] = call.args.as_slice() else {
                    return Err(refused("the unit of a truncation must be written as it is"));
                };
                let mut path = self.path(expr, whole)?;
                let unit = unit.try_as_str().flatten().and_then(truncation);
                path.truncate(unit.ok_or_else(|| refused("the clock is truncated to an unknown unit"))?);
                Ok(path)
            }
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
                let (of_clock, by, sign) = match (op, left.as_ref(), right.as_ref()) {
                    (Operator::Plus, e, Expr::Literal(by, _)) | (Operator::Plus, Expr::Literal(by, _), e) => (e, by, 1),
                    (Operator::Minus, e, Expr::Literal(by, _)) => (e, by, -1),
                    _ => return Err(refused("the clock is shifted by more than a constant")),
                };
                let mut path = self.path(of_clock, whole)?;
                let (months, fixed_ns) = interval(by).ok_or_else(|| refused("the clock is shifted by no interval"))?;
                if months != 0 && !path.whole_days {
                    let mut refusal =
                        refused("months differ in length, and the clock would go back between two of them");
                    refusal.hint = "take whole days, `current_date` or `date_trunc('day', now())`, for `now()`".into();
                    return Err(refusal);
                }
                // Dates leave out the rest of a day, timestamps that of a microsecond.
                if fixed_ns % if path.date { DAY_NS } else { 1_000 } != 0 {
                    return Err(refused("a date is shifted by a part of a day"));
                }
                path.steps.extend((months != 0).then_some(Step::Months(sign * months)));
                path.steps.extend((fixed_ns != 0).then_some(Step::Shift(sign * fixed_ns)));
                path.whole_days &= fixed_ns % DAY_NS == 0;
                Ok(path)
            }
            _ => Err(refused("the clock stands in it as what cannot be followed")),
        }
    }

    fn cannot_follow(&self, e: &Expr, why: &str) -> Refusal {
        let mut refusal = clock::elsewhere(self.sql);
        refusal.reason = format!("`{}` is not maintained: {why}", as_written(&[e]));
        refusal
    }
}

struct Comparison {
    value: Expr,
    /// Of the value, wherever it stands.
    bounds: Vec<Bound>,
    or_else: Option<Expr>,
}

/// What the clock has gone through.
struct Path {
    steps: Vec<Step>,
    /// Whether it is a midnight.
    whole_days: bool,
    date: bool,
}

impl Path {
    fn truncate(&mut self, step: Step) {
        self.whole_days |= match step {
            Step::Truncate { to_ns, .. } => to_ns % DAY_NS == 0,
            _ => true,
        };
        self.steps.push(step);
    }
}

/// Which columns expressions read, in order.
pub(super) fn read_by<'a>(expressions: impl IntoIterator<Item = &'a Expr>, bound: &DFSchema) -> Vec<usize> {
    let columns = expressions.into_iter().flat_map(|e| e.column_refs());
    let mut read: Vec<usize> = columns.filter_map(|column| bound.maybe_index_of_column(column)).collect();
    read.sort_unstable();
    read.dedup();
    read
}

/// Comparisons as people write them.
pub(super) fn as_written(comparisons: &[&Expr]) -> String {
    let plainer = |e: Expr| {
        let text = match &e {
            Expr::Cast(Cast { expr, data_type: DataType::Date32 }) if clock::is_open(expr) => "current_date".into(),
            Expr::Literal(value, _) if let Some(text) = value.try_as_str().flatten() => format!("'{text}'"),
            Expr::Literal(value, _) if value.data_type().is_temporal() => {
                let shown = value.to_array().ok().and_then(|array| array_value_to_string(&array, 0).ok());
                let kind = if interval(value).is_some() { "interval " } else { "" };
                format!("{kind}'{}'", shown.unwrap_or_default())
            }
            _ => return Ok(Transformed::no(e)),
        };
        Ok(Transformed::yes(ident(text)))
    };
    let plain = |e: &&Expr| (*e).clone().transform_up(plainer).data().unwrap_or_else(|_| (*e).clone());
    let plain: Vec<Expr> = comparisons.iter().map(plain).collect();
    listed(&plain.iter().collect::<Vec<_>>())
}

fn truncation(unit: &str) -> Option<Step> {
    const SECOND_NS: i128 = 1_000_000_000;
    let every = |to_ns| Step::Truncate { to_ns, from_ns: 0 };
    Some(match unit.to_lowercase().as_str() {
        "microsecond" => every(SECOND_NS / 1_000_000),
        "millisecond" => every(SECOND_NS / 1_000),
        "second" => every(SECOND_NS),
        "minute" => every(60 * SECOND_NS),
        "hour" => every(3_600 * SECOND_NS),
        "day" => every(DAY_NS),
        // Weeks begin on Mondays, as the fifth day of 1970 was.
        "week" => Step::Truncate { to_ns: 7 * DAY_NS, from_ns: 4 * DAY_NS },
        "month" => Step::TruncateMonths(1),
        "quarter" => Step::TruncateMonths(3),
        "year" => Step::TruncateMonths(12),
        _ => return None,
    })
}

/// Months, and nanoseconds.
pub(super) fn interval(value: &ScalarValue) -> Option<(i128, i128)> {
    Some(match value {
        ScalarValue::IntervalYearMonth(Some(months)) => (i128::from(*months), 0),
        ScalarValue::IntervalDayTime(Some(by)) => {
            (0, i128::from(by.days) * DAY_NS + i128::from(by.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalMonthDayNano(Some(by)) => {
            (by.months.into(), i128::from(by.days) * DAY_NS + i128::from(by.nanoseconds))
        }
        ScalarValue::DurationSecond(Some(by)) => (0, i128::from(*by) * 1_000_000_000),
        ScalarValue::DurationMillisecond(Some(by)) => (0, i128::from(*by) * 1_000_000),
        ScalarValue::DurationMicrosecond(Some(by)) => (0, i128::from(*by) * 1_000),
        ScalarValue::DurationNanosecond(Some(by)) => (0, i128::from(*by)),
        _ => return None,
    })
}

/// What one of a date or timestamp is; `None` of all else.
fn unit_ns(data_type: &DataType) -> Option<i128> {
    Some(match data_type {
        DataType::Date32 => DAY_NS,
        DataType::Timestamp(unit, zone) if is_utc(zone) => match unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        },
        _ => return None,
    })
}

/// Without a zone it is UTC as well.
pub(super) fn is_utc(zone: &Option<Arc<str>>) -> bool {
    zone.as_deref().is_none_or(|zone| zone.eq_ignore_ascii_case("utc") || zone == "+00:00")
}

#[cfg(test)]
mod tests {
    use crate::plan::{Planner, Refusal, Relation, explain};
    use crate::row::{Table, TableName};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use std::sync::Arc;

    fn compiled(sql: &str) -> Result<String, Refusal> {
        let relation = |name: &str| Relation { database: "db".into(), schema: "public".into(), name: name.into() };
        let mut planner = Planner::new("db", "public");
        for name in ["t", "u"] {
            let fields = vec![
                Field::new("id", DataType::Int64, true),
                Field::new("c", DataType::Utf8, true),
                Field::new("d", DataType::Date32, true),
                Field::new("s", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            ];
            let schema = Arc::new(Schema::new(fields));
            planner.add_table(relation(name), Table { name: TableName::new("public", name), schema, key: vec![0] });
        }
        let number = planner.compile(relation("m"), sql)?;
        Ok(explain(&planner.model(number).node, &|table| ["t", "u"][table].to_string(), &|_| String::new()))
    }

    #[test]
    fn only_the_columns_that_are_read_behind_it_are_scheduled() {
        let sql = "select id from t where s > now() - interval '1 hour' and d <= current_date and c = 'x'";
        let plan = "\
map t.id: row by row, no state
  rows while t.s > now() - interval '1 hours' and t.d <= current_date: incremental, scheduled to enter and to leave
    map t.id, t.s, t.d where t.c = x: row by row, no state
      source t: from its base arrangement
";
        assert_eq!(compiled(sql).expect("it is maintained"), plan);
        let sql = "select id, s from (select id, s from t) as q where now() > s";
        let plan = "\
rows while now() > t.s: incremental, scheduled to enter and to leave
  source t: from its base arrangement
";
        assert_eq!(compiled(sql).expect("it is maintained"), plan);
    }

    #[test]
    fn a_clock_that_cannot_be_followed_is_refused_by_name() {
        let elsewhere = |name: &str| format!("`{name}` stands where each of its microseconds counts");
        let stamp = |name: &str| format!("`{name}` stamps rows of which something else is made");
        let not = |e: &str, why: &str| format!("`{e}` is not maintained: {why}");
        let mut wrong = Vec::new();
        const BACK: &str = "months differ in length, and the clock would go back between two of them";
        for (sql, reason) in [
            ("select max(cast(current_timestamp as timestamp)) as at from t", stamp("current_timestamp")),
            ("select id, now() as at from t union all select id, null from t", stamp("now")),
            ("select id, now() - s as age from t", elsewhere("now")),
            ("select sum(case when now() < s then id end) over (order by id) as n from t", elsewhere("now")),
            ("select max(now() < s) filter (where s > now()) as n from t", elsewhere("now")),
            ("select id from t order by s > localtimestamp limit 1", elsewhere("localtimestamp")),
            (
                "select current_date as day, current_timestamp - max(s) as age, count(*) as n from t",
                elsewhere("current_timestamp"),
            ),
            (
                "select id from t where s > now() or (d is null and c = cast(now() as text)) or d = current_date",
                not("", "a row would pass more than once"),
            ),
            (
                "select id from t where s > now() or s < now() - interval '1 day'",
                not("t.s > now() OR t.s < now() - interval '1 days'", "a row would pass more than once"),
            ),
            (
                "select id from t where case when s > now() then true else c = 'x' end",
                not("", "a row would pass more than once"),
            ),
            ("select t.id from t left join u on t.id = u.id and t.s > now()", elsewhere("now")),
            ("select id from t where (s > now()) is true", elsewhere("now")),
            ("select id from t where s > now() - interval '1 month'", not("t.s > now() - interval '1 mons'", BACK)),
            ("select id from t where s <> now()", not("t.s != now()", "a row would pass more than once")),
            ("select id from t where now() > now() - (now() - s)", not("", "more than the clock decides")),
            (
                "select id from t where c = cast(now() as text)",
                not("", "it is cast to what is no date and no timestamp in UTC"),
            ),
            (
                "select id from t where extract(minute from now()) = id",
                not("", "the clock stands in it as what cannot be followed"),
            ),
        ] {
            let refusal = compiled(sql).expect_err(sql);
            let (_, why) = reason.rsplit_once(": ").unwrap_or(("", &reason));
            let whole = !reason.starts_with("``");
            if !(if whole { refusal.reason == reason } else { refusal.reason.ends_with(why) }) {
                wrong.push(format!("{sql}: {}", refusal.reason));
            }
            assert_eq!(refusal.line, 1, "{sql}");
            let hint = if why == BACK { "take whole days" } else { "take its day or hour" };
            assert!(refusal.hint.contains(hint), "{}", refusal.hint);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn chance_and_the_time_of_day_are_refused_still() {
        const FROZEN: &str = "depends on the clock or on chance, and its result would be frozen";
        const DRAWN: &str = "is drawn where something else is made of it, and would be another with each change";
        for (sql, name, why) in [
            ("select id from t where random() < 0.5", "random", DRAWN),
            ("select id from t where cast(s as time) > current_time", "current_time", FROZEN),
            ("select id from t where s > now() and c = uuid()", "uuid", DRAWN),
        ] {
            assert_eq!(compiled(sql).expect_err(sql).reason, format!("`{name}` {why}"));
        }
    }

    #[test]
    fn a_clock_that_nothing_reads_is_no_matter() {
        let plan = compiled("with q as (select *, now() as loaded_at from t) select id from q where c = 'x'");
        assert!(!plan.expect("it is maintained").contains("scheduled"));
    }
}
