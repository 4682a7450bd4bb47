//! `width_bucket`: the number of the bucket, of so many as wide as each other, in which a value lies.

use super::own::{Args, Function, Kind, bad};
use arrow::array::{ArrayRef, Int32Array};
use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use std::sync::Arc;

use Kind::{Decimal, Double, Integer};

pub(super) const FUNCTIONS: &[Function] = &[Function {
    name: "width_bucket",
    aliases: &[],
    takes: &[&[Decimal, Decimal, Decimal, Integer], &[Double, Double, Double, Integer]],
    gives: |_| DataType::Int32,
    work: width_bucket,
    does: "the number of the bucket, of so many between two bounds, in which a value lies; 0 before them, one more behind",
    differs: "none",
}];

fn width_bucket(args: &Args) -> DfResult<ArrayRef> {
    let of_row = |row| {
        let count = args.integer(3, row);
        if count <= 0 {
            return bad("`width_bucket` takes at least one bucket");
        }
        let place = match args.data_type(0) {
            DataType::Decimal128(..) => {
                let scale = (0..3).filter_map(|column| scale(args, column)).max().unwrap_or(0);
                let value = |column| {
                    let of = scale - super::bucket::scale(args, column).unwrap_or(0);
                    args.decimal(column, row).checked_mul(10i128.checked_pow(of.into())?)
                };
                let (Some(value), Some(low), Some(high)) = (value(0), value(1), value(2)) else {
                    return bad("`width_bucket` of numbers that are too large");
                };
                bucket(value, low, high, |from, width| from.checked_mul(count.into()).map(|from| from / width))
            }
            _ => {
                let [value, low, high] = [0, 1, 2].map(|column| args.double(column, row));
                if value.is_nan() || !low.is_finite() || !high.is_finite() {
                    return bad("`width_bucket` of what is no number, or without end");
                }
                bucket(value, low, high, |from, width| Some((from / width * count as f64) as i128))
            }
        };
        let Some(place) = place else { return bad("the bounds of `width_bucket` are equal, or too large") };
        Ok(Some(place.clamp(0, i128::from(count) + 1) as i32))
    };
    Ok(Arc::new(args.each::<Int32Array, _>(of_row)?))
}

fn scale(args: &Args, column: usize) -> Option<u8> {
    let DataType::Decimal128(_, scale) = args.data_type(column) else { return None };
    Some(scale.unsigned_abs())
}

/// `within` says how many buckets are between two of these differences; a range may go down.
fn bucket<T>(value: T, low: T, high: T, within: impl Fn(T, T) -> Option<i128>) -> Option<i128>
where
    T: PartialOrd + std::ops::Sub<Output = T> + Copy,
{
    let (before, behind, from, width) = match () {
        () if low < high => (value < low, value >= high, value - low, high - low),
        () if low > high => (value > low, value <= high, low - value, low - high),
        () => return None,
    };
    match (before, behind) {
        (true, _) => Some(0),
        (_, true) => Some(i128::MAX),
        _ => within(from, width).map(|place| place + 1),
    }
}
