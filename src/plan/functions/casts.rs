//! Casts in which Postgres and DataFusion differ, those that nobody has written included: a rule that comes after all
//! types are known puts our own in their place, and arithmetic that is checked in the place of that which is not.

use super::calendar::timestamp_text;
use super::checked::checked;
use super::expressions::each;
use super::own::{Args, INTERVAL, TIMESTAMP, bad, invoke};
use super::{intervals, json_made, list, parse};
use crate::row::JSON;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array,
    IntervalMonthDayNanoArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, Float32Type, Float64Type, IntervalMonthDayNanoType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::{self as df, ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs};
use datafusion::logical_expr::{ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::optimizer::AnalyzerRule;
use std::any::Any;
use std::sync::Arc;

pub(super) const TABLE: &[(&str, &str)] = &[
    ("double as text", "the fewest digits that tell it apart: `1`, `0.1`, `1e+20`, `Infinity`"),
    ("timestamp as text", "`2024-05-17 13:14:15.5`, with a zone `2024-05-17 13:14:15.5+00`; the zone is UTC"),
    ("date as text", "`2024-05-17`, before the year 1 `0044-03-15 BC`"),
    ("uuid as text", "in lower case, with hyphens"),
    ("text as json, jsonb", "an error where it is none; `jsonb` is written anew, members by the length of their names"),
    ("interval as text", "`1 year 2 mons 3 days 04:05:06`"),
    ("double, numeric as integer", "rounded: doubles half to even, numerics half away from zero"),
    ("double as numeric", "its first 15 digits"),
    ("bytea as text", "hexadecimal, `\\x4142`"),
    ("text as list", "`{a,\"b c\",NULL}`"),
    ("text as anything", "with spaces around; numbers, `yes`, `1e3`, `May 17, 2024`; else an error"),
    ("numeric", "without a scale: 38 digits, 10 of them behind the point"),
];

/// Whether the cast is our own.
fn differs(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    match (from, to) {
        (D::Float32 | D::Float64 | D::Date32 | D::Timestamp(..) | D::FixedSizeBinary(16), D::Utf8) => true,
        (D::Interval(_) | D::Duration(_) | D::List(_) | D::Binary, D::Utf8) => true,
        (D::Utf8 | D::Utf8View, &JSON) => true,
        (D::Float32 | D::Float64 | D::Decimal128(..), to) if to.is_integer() => true,
        (D::Float32 | D::Float64, D::Decimal128(..)) => true,
        (D::List(from), D::List(to)) => differs(from.data_type(), to.data_type()),
        (D::Utf8 | D::LargeUtf8 | D::Utf8View, D::List(_)) => true,
        (D::Utf8 | D::LargeUtf8 | D::Utf8View, to) => {
            to.is_integer()
                || matches!(to, D::Float32 | D::Float64 | D::Decimal128(..) | D::Boolean | D::Date32 | D::Interval(_))
                || matches!(to, D::Timestamp(TimeUnit::Microsecond, _) | D::Time64(TimeUnit::Microsecond))
        }
        _ => false,
    }
}

#[derive(Debug)]
pub struct Casts;

impl AnalyzerRule for Casts {
    fn name(&self) -> &str {
        "casts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(replaced).data()
    }
}

fn replaced(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    each(plan, |e, schema| {
        let compared = e.transform_up(|e| in_microseconds(e, schema))?;
        compared.transform_data(|e| e.transform_up(|e| own(e, schema)))
    })
}

/// What is compared as moments is compared by the microsecond: by the nanosecond there is none after 2262.
fn in_microseconds(mut e: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    use df::Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    const COMPARISONS: [df::Operator; 8] = [Eq, NotEq, Lt, LtEq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom];
    let mut sides: Vec<&mut Expr> = match &mut e {
        Expr::BinaryExpr(binary) if COMPARISONS.contains(&binary.op) => vec![&mut binary.left, &mut binary.right],
        Expr::Between(between) => vec![&mut between.expr, &mut between.low, &mut between.high],
        Expr::InList(list) => std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect(),
        _ => return Ok(Transformed::no(e)),
    };
    let coarser = sides.iter().map(|side| coarser(side, schema)).collect::<DfResult<Option<Vec<Expr>>>>()?;
    let Some(coarser) = coarser else { return Ok(Transformed::no(e)) };
    sides.iter_mut().zip(coarser).for_each(|(side, coarser)| **side = coarser);
    Ok(Transformed::yes(e))
}

/// The same moment by the microsecond, where it was only made finer.
fn coarser(e: &Expr, schema: &DFSchema) -> DfResult<Option<Expr>> {
    let Expr::Cast(df::Cast { expr, data_type: DataType::Timestamp(TimeUnit::Nanosecond, zone) }) = e else {
        return Ok(None);
    };
    let to = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    Ok(Some(if expr.get_type(schema)? == to { expr.as_ref().clone() } else { df::cast(expr.as_ref().clone(), to) }))
}

fn own(e: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    if let Some(cast) = at_utc(&e, schema)? {
        return Ok(Transformed::yes(cast));
    }
    if let Expr::BinaryExpr(binary) = &e {
        let of = |e: &Expr| e.get_type(schema);
        let checked = checked(binary, &of(&binary.left)?, &of(&binary.right)?);
        return Ok(checked.map_or(Transformed::no(e), Transformed::yes));
    }
    let Expr::Cast(cast) = &e else { return Ok(Transformed::no(e)) };
    let from = cast.expr.get_type(schema)?;
    if !differs(&from, &cast.data_type) || crate::plan::clock::is_open(&cast.expr) {
        return Ok(Transformed::no(e));
    }
    // What a literal says is read now: what cannot be read is refused, whatever the rows.
    if let Expr::Literal(text, _) = cast.expr.as_ref()
        && text.try_as_str().is_some()
    {
        let read = self::cast(&Args { columns: vec![text.to_array()?], rows: 1 }, &cast.data_type)?;
        return Ok(Transformed::yes(df::lit(ScalarValue::try_from_array(&read, 0)?)));
    }
    Ok(Transformed::yes(cast_to(cast.data_type.clone()).call(vec![cast.expr.as_ref().clone()])))
}

/// `x at time zone 'UTC'` changes nothing but the type: as a cast the clock can be followed through it.
fn at_utc(e: &Expr, schema: &DFSchema) -> DfResult<Option<Expr>> {
    let Expr::ScalarFunction(call) = e else { return Ok(None) };
    let [Expr::Literal(zone, _), instant] = call.args.as_slice() else { return Ok(None) };
    let utc = zone.try_as_str().flatten().is_some_and(|zone| zone.eq_ignore_ascii_case("utc"));
    if call.func.name() != "timezone" || !utc {
        return Ok(None);
    }
    Ok(Some(df::cast(instant.clone(), e.get_type(schema)?)))
}

fn cast_to(to: DataType) -> ScalarUDF {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(Cast { name: format!("cast to {to}"), to, signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Cast {
    to: DataType,
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for Cast {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.to.clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        invoke(args, |args| cast(args, &self.to))
    }
}

/// As Arrow does it, but for an error where it would be NULL.
fn by_arrow(array: &ArrayRef, to: &DataType) -> DfResult<ArrayRef> {
    let options = CastOptions { safe: false, ..Default::default() };
    Ok(cast_with_options(array, to, &options)?)
}

/// Values as another type.
pub(super) fn cast_of(array: &ArrayRef, to: &DataType) -> DfResult<ArrayRef> {
    match differs(array.data_type(), to) {
        true => cast(&Args { columns: vec![array.clone()], rows: array.len() }, to),
        false => by_arrow(array, to),
    }
}

fn cast(args: &Args, to: &DataType) -> DfResult<ArrayRef> {
    let array = &args.columns[0];
    match (array.data_type(), to) {
        (DataType::List(_), DataType::List(item)) => list::items_as(array, item.data_type()),
        (_, DataType::List(item)) => list::read(by_arrow(array, &DataType::Utf8)?.as_string::<i32>(), item.data_type()),
        (_, DataType::Utf8) => text_of(array),
        (_, &JSON) => json_made::read(array),
        (DataType::Float32 | DataType::Float64, DataType::Decimal128(precision, scale)) => {
            let doubles = by_arrow(array, &DataType::Float64)?;
            let doubles = doubles.as_primitive::<Float64Type>();
            let digits = if array.data_type() == &DataType::Float32 { 5 } else { 14 };
            let value = |row| decimal(&format!("{:.digits$e}", doubles.value(row)), *precision, *scale);
            let values: Decimal128Array = args.each(|row| value(row).map(Some))?;
            Ok(Arc::new(values.with_precision_and_scale(*precision, *scale)?))
        }
        (DataType::Float32 | DataType::Float64, to) => {
            let doubles = by_arrow(array, &DataType::Float64)?;
            let doubles = doubles.as_primitive::<Float64Type>();
            let whole = |row| match doubles.value(row).round_ties_even() {
                value if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) => {
                    Ok(Some(value as i64))
                }
                value => bad(format_args!("{value} is out of range")),
            };
            let values: Int64Array = args.each(whole)?;
            by_arrow(&(Arc::new(values) as ArrayRef), to)
        }
        (&JSON, to) if to.is_integer() => {
            let exact = read(args, &DataType::Decimal128(38, 10))?;
            cast(&Args { columns: vec![exact], rows: args.rows }, to)
        }
        (DataType::Decimal128(_, scale), to) => {
            let rounded = by_arrow(array, &DataType::Decimal128(38, (*scale).min(0)))?;
            by_arrow(&rounded, to)
        }
        (_, to) => read(args, to),
    }
}

fn decimal(text: &str, precision: u8, scale: i8) -> DfResult<i128> {
    let value = parse::decimal(text, scale);
    match value.filter(|value| value.unsigned_abs() < 10u128.pow(precision.into())) {
        Some(value) => Ok(value),
        None => bad(format_args!("`{text}` is no numeric({precision}, {scale})")),
    }
}

/// Values that stand in text.
fn read(args: &Args, to: &DataType) -> DfResult<ArrayRef> {
    let texts = by_arrow(&args.columns[0], &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    fn known<T>(value: Option<T>, text: &str, to: &str) -> DfResult<Option<T>> {
        match value {
            Some(value) => Ok(Some(value)),
            None => bad(format_args!("`{text}` is no {to}")),
        }
    }
    Ok(match to {
        DataType::Boolean => {
            let value = |row| known(parse::boolean(texts.value(row)), texts.value(row), "boolean");
            Arc::new(args.each::<BooleanArray, _>(value)?)
        }
        DataType::Float64 => {
            let value = |row| known(parse::double(texts.value(row)), texts.value(row), "double");
            Arc::new(args.each::<Float64Array, _>(value)?)
        }
        DataType::Float32 => {
            let value = |row| known(parse::double(texts.value(row)), texts.value(row), "real");
            Arc::new(args.each::<Float32Array, _>(|row| Ok(value(row)?.map(|value| value as f32)))?)
        }
        DataType::Decimal128(precision, scale) => {
            let values: Decimal128Array = args.each(|row| decimal(texts.value(row), *precision, *scale).map(Some))?;
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Date32 => {
            let value = |row| known(parse::date(texts.value(row)), texts.value(row), "date");
            Arc::new(args.each::<Date32Array, _>(value)?)
        }
        DataType::Timestamp(_, zone) => {
            let parsed = if zone.is_some() { parse::zoned } else { parse::timestamp };
            let value = |row| known(parsed(texts.value(row)), texts.value(row), "timestamp");
            Arc::new(args.each::<TimestampMicrosecondArray, _>(value)?.with_timezone_opt(zone.clone()))
        }
        DataType::Time64(_) => {
            let value = |row| known(parse::time(texts.value(row)), texts.value(row), "time");
            Arc::new(args.each::<Time64MicrosecondArray, _>(value)?)
        }
        DataType::Interval(_) => {
            let value = |row| known(intervals::parsed(texts.value(row)), texts.value(row), "interval");
            Arc::new(args.each::<IntervalMonthDayNanoArray, _>(value)?)
        }
        to => {
            let value = |row| known(parse::integer(texts.value(row)), texts.value(row), "integer");
            by_arrow(&(Arc::new(args.each::<Int64Array, _>(value)?) as ArrayRef), to)?
        }
    })
}

/// Values as Postgres prints them.
pub(super) fn text_of(array: &ArrayRef) -> DfResult<ArrayRef> {
    fn texts(values: impl Iterator<Item = Option<String>>) -> DfResult<ArrayRef> {
        Ok(Arc::new(values.collect::<StringArray>()))
    }
    match array.data_type() {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().iter();
            texts(values.map(|value| value.map(|value| double_text(&format!("{value:e}"), 15))))
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().iter();
            texts(values.map(|value| value.map(|value| double_text(&format!("{value:e}"), 6))))
        }
        DataType::Timestamp(_, zone) => {
            let in_micros = by_arrow(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            let suffix = if zone.is_some() { "+00" } else { "" };
            let values = in_micros.as_primitive::<TimestampMicrosecondType>().iter();
            texts(values.map(|value| value.map(|value| timestamp_text(value, suffix))))
        }
        DataType::Interval(_) => {
            let values = by_arrow(array, &INTERVAL)?;
            let values = values.as_primitive::<IntervalMonthDayNanoType>().iter();
            texts(values.map(|value| value.map(intervals::text)))
        }
        DataType::Duration(_) => {
            let values = by_arrow(array, &DataType::Duration(TimeUnit::Microsecond))?;
            let values = values.as_primitive::<DurationMicrosecondType>().iter();
            texts(values.map(|value| value.map(|value| intervals::text(intervals::of_duration(value)))))
        }
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>().iter();
            texts(values.map(|value| value.map(|value| super::calendar::date_text(value.into()))))
        }
        DataType::FixedSizeBinary(16) => {
            let values = array.as_fixed_size_binary().iter();
            texts(values.map(|value| value.and_then(|bytes| Some(uuid::Uuid::from_slice(bytes).ok()?.to_string()))))
        }
        DataType::Binary => {
            let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            texts(array.as_binary::<i32>().iter().map(|bytes| Some(format!("\\x{}", hexadecimal(bytes?)))))
        }
        DataType::List(_) => {
            let of_list = |items: Option<ArrayRef>| items.map(|items| list_text(&items)).transpose();
            let lists = array.as_list::<i32>().iter().map(of_list).collect::<DfResult<Vec<_>>>()?;
            texts(lists.into_iter())
        }
        _ => by_arrow(array, &DataType::Utf8),
    }
}

/// `{a,"b c",NULL}`.
fn list_text(items: &ArrayRef) -> DfResult<String> {
    let texts = text_of(items)?;
    let is_text = matches!(items.data_type(), &DataType::Utf8 | &JSON);
    let item = |item: Option<&str>| match item {
        None => "NULL".to_string(),
        Some(text) if is_text && quoted(text) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        Some(text) => text.to_string(),
    };
    let items: Vec<String> = texts.as_string::<i32>().iter().map(item).collect();
    Ok(format!("{{{}}}", items.join(",")))
}

fn quoted(text: &str) -> bool {
    let special = |c: char| c.is_whitespace() || "{},\"\\".contains(c);
    text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special)
}

/// From the fewest digits, as `1.25e-7`; without an exponent where it is small.
fn double_text(digits: &str, exponents: i32) -> String {
    let Some((mantissa, exponent)) = digits.split_once('e') else {
        return match digits {
            "inf" => "Infinity".into(),
            "-inf" => "-Infinity".into(),
            other => other.into(),
        };
    };
    let exponent: i32 = exponent.parse().expect("it is printed as a number");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    if !(-4..exponents).contains(&exponent) {
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{direction}{:02}", exponent.abs());
    }
    let all = mantissa.replace('.', "");
    if exponent < 0 {
        return format!("{sign}0.{}{all}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    match all.len() > whole {
        true => format!("{sign}{}.{}", &all[..whole], &all[whole..]),
        false => format!("{sign}{all}{}", "0".repeat(whole - all.len())),
    }
}

/// What is written as a cast to a timestamp, for those who put an expression together.
pub(super) fn as_timestamp(e: Expr) -> Expr {
    df::cast(e, TIMESTAMP)
}
