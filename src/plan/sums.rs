//! `sum` and `avg` of integers, numerics and intervals, as Postgres types them.
//!
//! A sum of ints is a bigint, one of bigints a numeric; an average of either and of numerics is a numeric with 16 digits
//! behind the point, rounded. (Postgres has 16 that count: more where the value is small, fewer where it is large.) A sum
//! that leaves its type is an error, never begun again at the other end; one of intervals keeps months, days and times
//! apart. Doubles are the affair of DataFusion's own, in whose place these stand, and of `exact`.

use super::functions::intervals::{self, Interval};
use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Int64Type, IntervalMonthDayNanoType, TimeUnit, i256,
};
use datafusion::common::{Result as DfResult, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::functions_aggregate::{average::avg_udaf, sum::sum_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, ReversedUDAF, Signature, Volatility};
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

/// Behind the point of an average, at least.
const PLACES: i8 = 16;

/// In the place of DataFusion's.
pub(super) fn functions() -> [Arc<AggregateUDF>; 2] {
    [(false, sum_udaf()), (true, avg_udaf())].map(|(average, of_doubles)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Sum { average, of_doubles, signature }))
    })
}

/// A sum times `factor` over a count, rounded half away from zero.
pub fn average(sum: i128, factor: i128, count: i128) -> Option<i128> {
    let (sum, count) = (i256::from_i128(sum).checked_mul(i256::from_i128(factor))?, i256::from_i128(count));
    let (whole, rest) = (sum.checked_div(count)?, sum.checked_rem(count)?);
    let away = if rest.wrapping_abs().checked_mul(i256::from_i128(2))? >= count {
        sum.is_negative() as i128 * -2 + 1
    } else {
        0
    };
    whole.to_i128()?.checked_add(away)
}

/// What brings the sum of a column of this type to the places of its average.
pub(super) fn factor(of: &DataType, average: i8) -> Option<i128> {
    let own = if let DataType::Decimal128(_, scale) = of { *scale } else { 0 };
    10i128.checked_pow(u32::try_from(average - own).ok()?)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    average: bool,
    of_doubles: Arc<AggregateUDF>,
    signature: Signature,
}

impl AggregateUDFImpl for Sum {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        self.of_doubles.name()
    }
    fn aliases(&self) -> &[String] {
        self.of_doubles.aliases()
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        use DataType as D;
        let [of] = given else { return plan_err!("`{}` takes one argument", self.name()) };
        Ok(vec![match of {
            D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 => D::Int32,
            D::Null | D::Int64 | D::UInt32 => D::Int64,
            D::UInt64 => D::Decimal128(20, 0),
            D::Decimal32(precision, scale) | D::Decimal64(precision, scale) => D::Decimal128(*precision, *scale),
            D::Decimal128(..) | D::Decimal256(..) => of.clone(),
            of if of.is_floating() => D::Float64,
            D::Interval(_) => intervals::INTERVAL,
            D::Duration(_) => D::Duration(TimeUnit::Microsecond),
            of => return plan_err!("`{}` does not take {of}", self.name()),
        }])
    }

    fn return_type(&self, of: &[DataType]) -> DfResult<DataType> {
        use DataType as D;
        Ok(match &of[0] {
            D::Int32 if !self.average => D::Int64,
            // A billion of the largest.
            D::Int64 if !self.average => D::Decimal128(28, 0),
            D::Decimal128(precision, scale) if !self.average => D::Decimal128((precision + 10).min(38), *scale),
            D::Int32 => D::Decimal128(10 + PLACES as u8, PLACES),
            D::Int64 => D::Decimal128(19 + PLACES as u8, PLACES),
            D::Decimal128(precision, scale) => {
                let places = PLACES.max(*scale);
                D::Decimal128((i16::from(*precision) + i16::from(places - scale)).min(38) as u8, places)
            }
            D::Interval(_) | D::Duration(_) => intervals::INTERVAL,
            of => return self.of_doubles.return_type(std::slice::from_ref(of)),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let result = args.return_type().clone();
        let seen = args.is_distinct.then(HashMap::new);
        Ok(match args.expr_fields[0].data_type() {
            DataType::Interval(_) | DataType::Duration(_) => {
                Box::new(Lengths { average: self.average, count: 0, months: 0, days: 0, micros: 0 })
            }
            DataType::Float64 | DataType::Decimal256(..) => return self.of_doubles.accumulator(args),
            of => {
                let factor = match (self.average, &result) {
                    (true, DataType::Decimal128(_, scale)) => factor(of, *scale),
                    _ => None,
                };
                Box::new(Whole { factor, result, count: 0, sum: i256::ZERO, seen })
            }
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match args.expr_fields[0].data_type() {
            DataType::Float64 | DataType::Decimal256(..) => self.of_doubles.create_sliding_accumulator(args),
            _ => self.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        match args.input_fields[0].data_type() {
            DataType::Float64 | DataType::Decimal256(..) => self.of_doubles.state_fields(args),
            _ => Ok(vec![Arc::new(Field::new(format_state_name(args.name, "state"), DataType::Binary, true))]),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// Of integers and numerics.
#[derive(Debug)]
struct Whole {
    /// Of an average.
    factor: Option<i128>,
    result: DataType,
    count: i64,
    sum: i256,
    /// How often each value is there, if each counts once.
    seen: Option<HashMap<i128, i64>>,
}

impl Whole {
    fn add(&mut self, value: i128, times: i64) {
        if let Some(seen) = &mut self.seen {
            let held = seen.entry(value).or_default();
            let before = *held > 0;
            *held += times;
            let after = *held > 0;
            if !after {
                seen.remove(&value);
            }
            if before == after {
                return;
            }
        }
        self.count += times.signum() * if self.seen.is_some() { 1 } else { times.abs() };
        let value = i256::from_i128(value);
        self.sum = if times < 0 { self.sum.wrapping_sub(value) } else { self.sum.wrapping_add(value) };
    }

    fn add_all(&mut self, values: &ArrayRef, times: i64) -> DfResult<()> {
        if values.data_type().is_integer() {
            let values = cast(values, &DataType::Int64)?;
            values.as_primitive::<Int64Type>().iter().flatten().for_each(|value| self.add(value.into(), times));
        } else {
            values.as_primitive::<Decimal128Type>().iter().flatten().for_each(|value| self.add(value, times));
        }
        Ok(())
    }
}

impl Accumulator for Whole {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add_all(&values[0], 1)
    }
    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add_all(&values[0], -1)
    }
    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_from(&self.result);
        }
        let value = match (self.factor, self.sum.to_i128()) {
            (Some(factor), Some(sum)) => average(sum, factor, self.count.into()),
            (None, sum) => sum,
            _ => None,
        };
        match self.result {
            DataType::Decimal128(precision, scale) => {
                let value = value.filter(|value| value.unsigned_abs() < 10u128.pow(precision.into()));
                let what = if self.factor.is_some() { "average" } else { "sum" };
                let value = value.ok_or_else(|| exec_datafusion_err!("{what} does not fit into numeric({precision})"));
                Ok(ScalarValue::Decimal128(Some(value?), precision, scale))
            }
            _ => match value.and_then(|value| i64::try_from(value).ok()) {
                Some(value) => Ok(ScalarValue::Int64(Some(value))),
                None => exec_err!("sum does not fit into bigint"),
            },
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.seen.as_ref().map_or(0, |seen| seen.capacity() * 32)
    }

    /// The values where each counts once; else how many, and the sum.
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let state: Vec<u8> = match &self.seen {
            Some(seen) => seen.keys().flat_map(|value| value.to_le_bytes()).collect(),
            None => [self.count.to_le_bytes().as_slice(), &self.sum.to_le_bytes()].concat(),
        };
        Ok(vec![ScalarValue::Binary(Some(state))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            if self.seen.is_some() {
                let values = state.chunks_exact(16).map(|b| i128::from_le_bytes(b.try_into().expect("chunks of 16")));
                values.for_each(|value| self.add(value, 1));
            } else {
                let (count, sum) = state.split_at(8);
                self.count += i64::from_le_bytes(count.try_into().expect("it is 8 bytes"));
                let sum = i256::from_le_bytes(sum.try_into().expect("it is 32 bytes"));
                self.sum = self.sum.wrapping_add(sum);
            }
        }
        Ok(())
    }
}

/// Of intervals.
#[derive(Debug)]
struct Lengths {
    average: bool,
    count: i64,
    months: i128,
    days: i128,
    micros: i128,
}

impl Lengths {
    fn add_all(&mut self, values: &ArrayRef, times: i128) -> DfResult<()> {
        let values = intervals::whole(values)?;
        for value in values.as_primitive::<IntervalMonthDayNanoType>().iter().flatten() {
            self.count += times as i64;
            self.months += times * i128::from(value.months);
            self.days += times * i128::from(value.days);
            self.micros += times * i128::from(intervals::micros(value));
        }
        Ok(())
    }

    fn sum(&self) -> Option<Interval> {
        let part = |part: i128| i64::try_from(part).ok();
        intervals::of(part(self.months)?, part(self.days)?, part(self.micros)?)
    }
}

impl Accumulator for Lengths {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add_all(&values[0], 1)
    }
    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add_all(&values[0], -1)
    }
    fn supports_retract_batch(&self) -> bool {
        true
    }
    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let shown = |sum: Interval| if self.average { intervals::over(sum, self.count as f64) } else { Some(sum) };
        match self.sum().and_then(shown) {
            _ if self.count == 0 => Ok(ScalarValue::IntervalMonthDayNano(None)),
            Some(sum) => Ok(ScalarValue::IntervalMonthDayNano(Some(sum))),
            None => exec_err!("a sum of intervals is out of range"),
        }
    }
    fn size(&self) -> usize {
        size_of_val(self)
    }
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let parts = [i128::from(self.count), self.months, self.days, self.micros];
        Ok(vec![ScalarValue::Binary(Some(parts.iter().flat_map(|part| part.to_le_bytes()).collect()))])
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            let part = |at: usize| i128::from_le_bytes(state[at * 16..][..16].try_into().expect("it is 16 bytes"));
            self.count += part(0) as i64;
            self.months += part(1);
            self.days += part(2);
            self.micros += part(3);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::average;

    #[test]
    fn an_average_is_rounded_half_away_from_zero() {
        assert_eq!(average(5, 1, 2), Some(3));
        assert_eq!(average(-5, 1, 2), Some(-3));
        assert_eq!(average(1, 100, 3), Some(33));
        assert_eq!(average(-2, 100, 3), Some(-67));
        assert_eq!(average(i128::MAX, 10, 10), Some(i128::MAX));
        assert_eq!(average(i128::MAX, 10, 1), None);
    }
}
