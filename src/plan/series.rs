//! `generate_series(from, to [, step])` as Postgres has it, as a list: DataFusion's own keeps days where those of
//! Postgres are moments, knows no moment after 2262, and takes whatever memory there is.

use arrow::array::types::{IntervalMonthDayNanoType, TimestampMicrosecondType};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, IntervalUnit, TimeUnit};
use datafusion::common::{Result as DfResult, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::any::Any;
use std::sync::Arc;

/// Of all that is computed at once.
const VALUES_MAX: usize = 16 << 20;

/// In the place of DataFusion's.
pub(super) fn series() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Series { signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    signature: Signature,
}

impl ScalarUDFImpl for Series {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        "generate_series"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(args[0].clone(), true))))
    }
    fn coerce_types(&self, args: &[DataType]) -> DfResult<Vec<DataType>> {
        let (bounds, step) = (&args[..args.len().min(2)], args.get(2));
        let whole = |of: &DataType| of.is_integer() || of.is_null();
        if bounds.len() == 2 && args.len() <= 3 && args.iter().all(whole) {
            return Ok(vec![DataType::Int64; args.len()]);
        }
        let number = |of: &DataType| whole(of) || matches!(of, DataType::Decimal128(_, _));
        if bounds.len() == 2 && args.len() <= 3 && args.iter().all(number) {
            let digits = |of: &DataType| match of {
                DataType::Decimal128(precision, scale) => (i16::from(*precision) - i16::from(*scale), *scale),
                _ => (19, 0),
            };
            let before = args.iter().map(|of| digits(of).0).max().unwrap_or_default();
            let scale = args.iter().map(|of| digits(of).1).max().unwrap_or_default();
            let precision = (before + i16::from(scale)).clamp(1, 38) as u8;
            return Ok(vec![DataType::Decimal128(precision, scale); args.len()]);
        }
        let moment =
            |of: &DataType| of.is_null() || matches!(of, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Utf8);
        let of_time = step.is_some_and(|of| matches!(of, DataType::Interval(_) | DataType::Utf8) || of.is_null());
        if args.len() != 3 || !bounds.iter().all(moment) || !of_time {
            return plan_err!("generate_series is of numbers, or of two moments and an interval");
        }
        // Postgres takes two days for moments of the session's time zone.
        let local = bounds.iter().any(|of| matches!(of, DataType::Timestamp(_, None)));
        let zoned = bounds.iter().any(|of| matches!(of, DataType::Timestamp(_, Some(_))));
        let zone = (zoned || !local).then(|| "UTC".into());
        let moment = DataType::Timestamp(TimeUnit::Microsecond, zone);
        Ok(vec![moment.clone(), moment, DataType::Interval(IntervalUnit::MonthDayNano)])
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let item = args.arg_fields[0].data_type().clone();
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let lists = match &item {
            DataType::Int64 => lists(&item, &arrays, integers, |values| Arc::new(Int64Array::from(values)))?,
            DataType::Decimal128(_, scale) => {
                let one = 10i128.pow(scale.unsigned_abs().into());
                let add = |arrays: &[ArrayRef], row, values: &mut Vec<i128>| numbers(arrays, row, one, values);
                let array = |values| PrimitiveArray::<Decimal128Type>::from(values).with_data_type(item.clone());
                lists(&item, &arrays, add, |values| Arc::new(array(values)))?
            }
            _ => {
                let array = |values| PrimitiveArray::<TimestampMicrosecondType>::from(values);
                lists(&item, &arrays, moments, |values| Arc::new(array(values).with_data_type(item.clone())))?
            }
        };
        Ok(match args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&lists, 0)?),
            false => ColumnarValue::Array(lists),
        })
    }
}

/// A list for each row of the arguments, NULL where one of them is.
fn lists<T>(
    item: &DataType,
    arrays: &[ArrayRef],
    add: impl Fn(&[ArrayRef], usize, &mut Vec<T>) -> DfResult<()>,
    array: impl Fn(Vec<T>) -> ArrayRef,
) -> DfResult<ArrayRef> {
    let (mut values, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..arrays[0].len() {
        let before = values.len();
        valid.push(arrays.iter().all(|array| array.is_valid(row)));
        if valid[row] {
            add(arrays, row, &mut values)?;
        }
        lengths.push(values.len() - before);
    }
    let field = Arc::new(Field::new_list_field(item.clone(), true));
    let (offsets, nulls) = (OffsetBuffer::from_lengths(lengths), NullBuffer::from(valid));
    Ok(Arc::new(ListArray::try_new(field, offsets, array(values), Some(nulls))?))
}

fn integers(arrays: &[ArrayRef], row: usize, values: &mut Vec<i64>) -> DfResult<()> {
    let argument = |at: usize| arrays[at].as_primitive::<Int64Type>().value(row);
    let step = if arrays.len() == 3 { argument(2) } else { 1 };
    add(argument(0), argument(1), i128::from(step), |value| value.checked_add(step), values)
}

fn numbers(arrays: &[ArrayRef], row: usize, one: i128, values: &mut Vec<i128>) -> DfResult<()> {
    let argument = |at: usize| arrays[at].as_primitive::<Decimal128Type>().value(row);
    let step = if arrays.len() == 3 { argument(2) } else { one };
    add(argument(0), argument(1), step, |value| value.checked_add(step), values)
}

fn moments(arrays: &[ArrayRef], row: usize, values: &mut Vec<i64>) -> DfResult<()> {
    let argument = |at: usize| arrays[at].as_primitive::<TimestampMicrosecondType>().value(row);
    let step = arrays[2].as_primitive::<IntervalMonthDayNanoType>().value(row);
    let (months, days, nanos) = IntervalMonthDayNanoType::to_parts(step);
    let utc = "+00:00".parse().expect("it is a time zone");
    // A month has 30 days where intervals are compared.
    let direction = (i128::from(months) * 30 + i128::from(days)) * 86_400_000_000_000 + i128::from(nanos);
    let next = |value| TimestampMicrosecondType::add_month_day_nano(value, step, utc);
    add(argument(0), argument(1), direction, next, values)
}

fn add<T: Copy + PartialOrd>(
    from: T,
    to: T,
    direction: i128,
    next: impl Fn(T) -> Option<T>,
    values: &mut Vec<T>,
) -> DfResult<()> {
    if direction == 0 {
        return exec_err!("the step of generate_series is zero");
    }
    let mut value = Some(from);
    while let Some(at) = value.filter(|at| if direction > 0 { *at <= to } else { *at >= to }) {
        if values.len() == VALUES_MAX {
            return exec_err!("generate_series gives more than {VALUES_MAX} values");
        }
        values.push(at);
        value = next(at);
    }
    Ok(())
}
