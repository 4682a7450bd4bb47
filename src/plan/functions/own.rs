//! What a function of our own is, how it gets its arguments, and how DataFusion sees it.

use crate::row::{JSON, list_of};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type, IntervalUnit, TimeUnit};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use datafusion::common::{Result as DfResult, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub(super) struct Function {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// Lists of arguments, of which the first that fits is taken.
    pub takes: &'static [&'static [Kind]],
    /// What it gives for arguments of these types.
    pub gives: fn(&[DataType]) -> DataType,
    pub work: fn(&Args) -> DfResult<ArrayRef>,
    /// For people: what it does, and in what DataFusion's differs.
    pub does: &'static str,
    pub differs: &'static str,
}

/// What a function takes in a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Text,
    /// JSON; other text is read as what stands in it, as by a cast to `jsonb`.
    Json,
    /// Keys of JSON: a list, or a text like `{a,b}`.
    Keys,
    Integer,
    Decimal,
    Double,
    Date,
    Timestamp,
    Zoned,
    /// A date, as its midnight in UTC.
    DateAsZoned,
    Interval,
    /// A list, as it is.
    List,
    /// Anything, as it is; in the last place: any number of them.
    Any,
}

impl Kind {
    /// The type that a value of `of` is given as.
    fn taken(self, of: &DataType) -> Option<DataType> {
        use DataType as D;
        let zone = |tz: &Option<Arc<str>>| tz.is_some();
        let fits = match (self, of) {
            (Kind::Any, of) => return Some(of.clone()),
            (Kind::List, D::List(_)) => return Some(of.clone()),
            (Kind::List, _) => false,
            (_, D::Null) => true,
            (Kind::Keys, D::List(_)) => return Some(list_of(D::Utf8)),
            (Kind::Keys, D::Utf8) => true,
            (Kind::Decimal, D::Decimal128(..)) => return Some(of.clone()),
            (Kind::Decimal, of) => of.is_integer(),
            (Kind::Text | Kind::Json, D::Utf8 | D::LargeUtf8 | D::Utf8View) => true,
            (Kind::Integer, of) => of.is_integer(),
            (Kind::Double, of) => of.is_numeric(),
            (Kind::Date, D::Date32) => true,
            (Kind::Timestamp, D::Timestamp(_, tz)) => !zone(tz),
            (Kind::Timestamp, D::Date32) | (Kind::DateAsZoned, D::Date32) => true,
            (Kind::Zoned, D::Timestamp(_, tz)) => zone(tz),
            (Kind::Interval, D::Duration(_)) => return Some(D::Duration(TimeUnit::Microsecond)),
            (Kind::Interval, D::Interval(_)) => true,
            _ => false,
        };
        fits.then(|| self.data_type())
    }

    fn data_type(self) -> DataType {
        match self {
            Kind::Text | Kind::Keys | Kind::List | Kind::Any => DataType::Utf8,
            Kind::Json => JSON,
            Kind::Integer => DataType::Int64,
            Kind::Decimal => DataType::Decimal128(20, 0),
            Kind::Double => DataType::Float64,
            Kind::Date => DataType::Date32,
            Kind::Timestamp => TIMESTAMP,
            Kind::Zoned | Kind::DateAsZoned => zoned(),
            Kind::Interval => INTERVAL,
        }
    }
}

pub(super) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
pub const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

pub(super) fn zoned() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Arguments, a column each, all as long.
pub(super) struct Args {
    pub columns: Vec<ArrayRef>,
    pub rows: usize,
}

impl Args {
    pub fn len(&self) -> usize {
        self.columns.len()
    }
    pub fn is_null(&self, column: usize, row: usize) -> bool {
        self.columns[column].is_null(row)
    }
    pub fn text(&self, column: usize, row: usize) -> &str {
        self.columns[column].as_string::<i32>().value(row)
    }
    pub fn json(&self, column: usize, row: usize) -> &str {
        self.columns[column].as_string::<i64>().value(row)
    }
    /// The items of a list of texts, or of one in a text like `{a,"b c",null}`.
    pub fn keys(&self, column: usize, row: usize) -> Vec<Option<String>> {
        match self.columns[column].as_list_opt::<i32>() {
            Some(lists) => lists.value(row).as_string::<i32>().iter().map(|key| key.map(String::from)).collect(),
            None => braced(self.text(column, row)),
        }
    }
    pub fn integer(&self, column: usize, row: usize) -> i64 {
        self.columns[column].as_primitive::<Int64Type>().value(row)
    }
    pub fn double(&self, column: usize, row: usize) -> f64 {
        self.columns[column].as_primitive::<Float64Type>().value(row)
    }
    pub fn date(&self, column: usize, row: usize) -> i32 {
        self.columns[column].as_primitive::<Date32Type>().value(row)
    }
    /// Microseconds.
    pub fn instant(&self, column: usize, row: usize) -> i64 {
        self.columns[column].as_primitive::<TimestampMicrosecondType>().value(row)
    }
    /// The unscaled value.
    pub fn decimal(&self, column: usize, row: usize) -> i128 {
        self.columns[column].as_primitive::<Decimal128Type>().value(row)
    }
    pub fn data_type(&self, column: usize) -> &DataType {
        self.columns[column].data_type()
    }

    /// A value for each row in which no argument is NULL.
    pub fn each<A, T>(&self, mut value: impl FnMut(usize) -> DfResult<Option<T>>) -> DfResult<A>
    where
        A: FromIterator<Option<T>>,
    {
        let known = |row| self.columns.iter().all(|column| column.is_valid(row));
        (0..self.rows).map(|row| if known(row) { value(row) } else { Ok(None) }).collect()
    }
}

/// The items of `{a,"b c",null}`.
fn braced(list: &str) -> Vec<Option<String>> {
    let list = list.trim();
    let inner = list.strip_prefix('{').and_then(|list| list.strip_suffix('}')).unwrap_or(list);
    let (mut items, mut item, mut in_quotes, mut was_quoted) = (Vec::new(), String::new(), false, false);
    let ended = |item: &mut String, was_quoted: &mut bool| {
        let item = std::mem::take(item);
        match std::mem::take(was_quoted) {
            true => Some(item),
            false => Some(item.trim().to_string()).filter(|item| !item.eq_ignore_ascii_case("null")),
        }
    };
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => item.extend(chars.next()),
            '"' => (in_quotes, was_quoted) = (!in_quotes, true),
            ',' if !in_quotes => items.push(ended(&mut item, &mut was_quoted)),
            // Around what is quoted nothing counts.
            c if !in_quotes && c.is_whitespace() && (was_quoted || item.is_empty()) => {}
            c => item.push(c),
        }
    }
    if !inner.trim().is_empty() {
        items.push(ended(&mut item, &mut was_quoted));
    }
    items
}

/// A function as DataFusion sees it.
pub(super) struct Own {
    function: &'static Function,
    aliases: Vec<String>,
    signature: Signature,
}

impl Own {
    pub fn new(function: &'static Function) -> Own {
        let aliases = function.aliases.iter().map(|name| name.to_string()).collect();
        Own { function, aliases, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.function.name)
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Own) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for Own {}

impl Hash for Own {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for Own {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        self.function.name
    }
    fn aliases(&self) -> &[String] {
        &self.aliases
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        let fits = |takes: &&[Kind]| {
            let open = takes.last() == Some(&Kind::Any);
            let wanted = if open { given.len() >= takes.len() } else { given.len() == takes.len() };
            let kinds = takes.iter().chain(std::iter::repeat(&Kind::Any));
            let taken: Option<Vec<DataType>> = given.iter().zip(kinds).map(|(of, kind)| kind.taken(of)).collect();
            taken.filter(|_| wanted)
        };
        match self.function.takes.iter().find_map(fits) {
            Some(types) => Ok(types),
            None => {
                let given: Vec<String> = given.iter().map(|of| of.to_string()).collect();
                plan_err!("`{}` does not take ({})", self.function.name, given.join(", "))
            }
        }
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok((self.function.gives)(args))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let digits = match args.scalar_arguments {
            [_, Some(digits)] if ["round", "trunc"].contains(&self.name()) => digits.cast_to(&DataType::Int64).ok(),
            _ => None,
        };
        let rounded = match digits {
            Some(ScalarValue::Int64(Some(digits))) => super::number::rounded_to(&types, digits),
            _ => None,
        };
        let gives = rounded.unwrap_or_else(|| (self.function.gives)(&types));
        Ok(Arc::new(Field::new(self.name(), gives, true)))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let gives = args.return_field.data_type().clone();
        // What the planner asks for while it plans may have no type yet.
        if args.args.iter().any(|arg| arg.data_type() == DataType::Null) {
            let given: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
            let typed = args.args.iter().zip(self.coerce_types(&given)?).map(|(arg, of)| arg.cast_to(&of, None));
            args.args = typed.collect::<DfResult<_>>()?;
        }
        let result = invoke(args, self.function.work)?;
        if result.data_type() == gives || !gives.is_decimal() { Ok(result) } else { result.cast_to(&gives, None) }
    }
}

/// Runs `work` over columns; over one row where all arguments are the same for all.
pub(super) fn invoke(args: ScalarFunctionArgs, work: impl Fn(&Args) -> DfResult<ArrayRef>) -> DfResult<ColumnarValue> {
    let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { args.number_rows };
    let columns = args.args.into_iter().map(|arg| arg.into_array(rows)).collect::<DfResult<Vec<_>>>()?;
    let array = work(&Args { columns, rows })?;
    if constant {
        Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
    } else {
        Ok(ColumnarValue::Array(array))
    }
}

/// An error of a value that a function does not take.
pub(super) fn bad<T>(what: impl std::fmt::Display) -> DfResult<T> {
    exec_err!("{what}")
}
