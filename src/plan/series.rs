//! `generate_series(from, to [, step])` as Postgres has it, as a list: DataFusion's own keeps days where those of
//! Postgres are moments, knows no moment after 2262, and takes whatever memory there is.

use arrow::array::types::{IntervalMonthDayNanoType, TimestampMicrosecondType};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Int64Type, IntervalUnit, TimeUnit};
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
        let moment =
            |of: &DataType| of.is_null() || matches!(of, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Utf8);
        let of_time = step.is_some_and(|of| matches!(of, DataType::Interval(_) | DataType::Utf8) || of.is_null());
        if args.len() != 3 || !bounds.iter().all(moment) || !of_time {
            return plan_err!("generate_series is of integers, or of two moments and an interval");
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
        let mut values = Vec::new();
        let mut lengths = Vec::new();
        let mut valid = Vec::new();
        for row in 0..arrays[0].len() {
            let before = values.len();
            valid.push(arrays.iter().all(|array| array.is_valid(row)));
            if valid[row] {
                match item {
                    DataType::Int64 => integers(&arrays, row, &mut values)?,
                    _ => moments(&arrays, row, &mut values)?,
                }
            }
            lengths.push(values.len() - before);
        }
        let values: ArrayRef = match &item {
            DataType::Int64 => Arc::new(Int64Array::from(values)),
            moment => Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(values).with_data_type(moment.clone())),
        };
        let field = Arc::new(Field::new_list_field(item, true));
        let (offsets, nulls) = (OffsetBuffer::from_lengths(lengths), NullBuffer::from(valid));
        let lists: ArrayRef = Arc::new(ListArray::try_new(field, offsets, values, Some(nulls))?);
        Ok(match args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&lists, 0)?),
            false => ColumnarValue::Array(lists),
        })
    }
}

fn integers(arrays: &[ArrayRef], row: usize, values: &mut Vec<i64>) -> DfResult<()> {
    let argument = |at: usize| arrays[at].as_primitive::<Int64Type>().value(row);
    let step = if arrays.len() == 3 { argument(2) } else { 1 };
    add(argument(0), argument(1), i128::from(step), |value| value.checked_add(step), values)
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

fn add(from: i64, to: i64, direction: i128, next: impl Fn(i64) -> Option<i64>, values: &mut Vec<i64>) -> DfResult<()> {
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
