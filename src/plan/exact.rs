//! Sums of doubles that do not depend on the order of what is summed, and that forget without residue.
//!
//! A double is an integer times 2^-1074, so a sum of doubles is one long integer: 64 bits in each of its limbs,
//! which carry only when the sum is read. Adding and taking away are exact; the sum is rounded once, when it is
//! read, to the nearest double. NaN and the infinities are counted beside it.
//!
//! DataFusion adds in the order of the rows. So that `recompute` gives what is maintained, `definite` puts
//! [`exact`] in the place of its `sum` and `avg` of doubles.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

/// NaNs, infinities, negative infinities.
const SPECIAL: usize = 3;
/// The largest double has its highest bit in the 32nd limb, and what is shifted spills into one more.
const LIMBS: usize = 33;
/// How many integers a sum takes.
pub const SLOTS: usize = SPECIAL + LIMBS;

/// Adds `value` so many times, or takes it away.
pub fn add(slots: &mut [i128], value: f64, times: i64) {
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52) as usize & 0x7FF);
    let negative = value.is_sign_negative();
    if exponent == 0x7FF {
        let special = if fraction != 0 { 0 } else { 1 + negative as usize };
        slots[special] += i128::from(times);
        return;
    }
    let (mantissa, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
    let times = i128::from(if negative { -times } else { times });
    let shifted = u128::from(mantissa) << (shift % 64);
    let limb = SPECIAL + shift / 64;
    for (slot, part) in slots[limb..].iter_mut().zip([shifted as u64, (shifted >> 64) as u64]) {
        *slot = slot.wrapping_add(i128::from(part).wrapping_mul(times));
    }
}

/// The double that is nearest to the sum.
pub fn total(slots: &[i128]) -> f64 {
    match slots[..SPECIAL] {
        [0, 0, 0] => {}
        [0, _, 0] => return f64::INFINITY,
        [0, 0, _] => return f64::NEG_INFINITY,
        _ => return f64::NAN,
    }
    let mut limbs = [0u64; LIMBS + 2];
    let mut carry = 0i128;
    for (limb, slot) in limbs.iter_mut().zip(&slots[SPECIAL..SLOTS]) {
        let sum = slot + carry;
        *limb = sum as u64;
        carry = sum >> 64;
    }
    limbs[LIMBS] = carry as u64;
    limbs[LIMBS + 1] = (carry >> 64) as u64;
    let negative = carry < 0;
    if negative {
        let mut one = true;
        for limb in &mut limbs {
            (*limb, one) = (!*limb).overflowing_add(one as u64);
        }
    }
    let magnitude = nearest(&limbs);
    if negative { -magnitude } else { magnitude }
}

/// The double nearest to this integer times 2^-1074, to the even one between two.
fn nearest(limbs: &[u64]) -> f64 {
    let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
    let bits = top * 64 + 64 - limbs[top].leading_zeros() as usize;
    let Some(shift) = bits.checked_sub(53) else { return f64::from_bits(limbs[0]) };
    let bit = |at: usize| limbs[at / 64] >> (at % 64) & 1 == 1;
    let low = u128::from(limbs[shift / 64]) | u128::from(limbs.get(shift / 64 + 1).copied().unwrap_or(0)) << 64;
    let mut mantissa = (low >> (shift % 64)) as u64 & ((1 << 53) - 1);
    if shift > 0 && bit(shift - 1) && (mantissa & 1 == 1 || (0..shift - 1).any(bit)) {
        mantissa += 1;
    }
    // A mantissa that rounding has made one bit longer raises the exponent by itself.
    let result = ((shift as u64 + 1) << 52) + (mantissa - (1 << 52));
    f64::from_bits(result.min(f64::INFINITY.to_bits()))
}

/// `sum` or `avg` of doubles for DataFusion's executor; `None` for another function.
pub fn exact(name: &str) -> Option<Arc<AggregateUDF>> {
    let average = match name {
        "sum" => false,
        "avg" => true,
        _ => return None,
    };
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
    Some(Arc::new(AggregateUDF::new_from_impl(Exact { average, signature })))
}

/// The names under which a plan has them.
pub const SUM: &str = "exact_sum";
pub const AVG: &str = "exact_avg";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    average: bool,
    signature: Signature,
}

impl AggregateUDFImpl for Exact {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        if self.average { AVG } else { SUM }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Float64)
    }
    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let seen = args.is_distinct.then(HashSet::new);
        Ok(Box::new(Summing { average: self.average, count: 0, slots: [0; SLOTS], seen }))
    }
    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "state"), DataType::Binary, true))])
    }
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug)]
struct Summing {
    average: bool,
    count: i64,
    slots: [i128; SLOTS],
    /// The bits of values that are counted once.
    seen: Option<HashSet<u64>>,
}

impl Summing {
    fn add(&mut self, value: f64) {
        // One NaN and no -0.0, as rows have them.
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() };
        if self.seen.as_mut().is_none_or(|seen| seen.insert(bits)) {
            self.count += 1;
            add(&mut self.slots, value, 1);
        }
    }
}

impl Accumulator for Summing {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        values[0].as_primitive::<Float64Type>().iter().flatten().for_each(|value| self.add(value));
        Ok(())
    }
    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let result = match self.average {
            false => total(&self.slots),
            true => total(&self.slots) / self.count as f64,
        };
        Ok(ScalarValue::Float64((self.count > 0).then_some(result)))
    }
    fn size(&self) -> usize {
        size_of_val(self) + self.seen.as_ref().map_or(0, |seen| seen.capacity() * 9)
    }
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let state: Vec<u8> = match &self.seen {
            Some(seen) => seen.iter().flat_map(|bits| bits.to_le_bytes()).collect(),
            None => [i128::from(self.count)].iter().chain(&self.slots).flat_map(|slot| slot.to_le_bytes()).collect(),
        };
        Ok(vec![ScalarValue::Binary(Some(state))])
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            if self.seen.is_some() {
                let bits = state.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("chunks of 8")));
                bits.for_each(|bits| self.add(f64::from_bits(bits)));
            } else {
                let slots = state.chunks_exact(16).map(|b| i128::from_le_bytes(b.try_into().expect("chunks of 16")));
                let slots: Vec<i128> = slots.collect();
                self.count += slots[0] as i64;
                self.slots.iter_mut().zip(&slots[1..]).for_each(|(sum, slot)| *sum += slot);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[(f64, i64)]) -> f64 {
        let mut slots = [0; SLOTS];
        values.iter().for_each(|(value, times)| add(&mut slots, *value, *times));
        total(&slots)
    }

    #[test]
    fn a_sum_of_one_is_itself() {
        let mut bits = 1u64;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let value = f64::from_bits(bits);
            let expected = if value.is_nan() { f64::NAN } else { value + 0.0 };
            assert!(sum(&[(value, 1)]) == expected || value.is_nan() && sum(&[(value, 1)]).is_nan(), "{value:e}");
            assert_eq!(sum(&[(value, 1), (1.5, 2), (value, -1), (1.5, -2)]), 0.0, "{value:e}");
        }
        for value in [f64::MIN_POSITIVE, 5e-324, f64::MAX, -f64::MAX, 1.0, -0.1, 2f64.powi(-1022) * 0.75] {
            assert_eq!(sum(&[(value, 1)]), value);
        }
    }

    #[test]
    fn two_are_rounded_as_the_processor_rounds_them() {
        let mut bits = 7u64;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let a = f64::from_bits(bits & !(0x7FF << 52) | (1000 + (bits >> 20 & 0x3F)) << 52);
            let other = bits.rotate_left(23);
            let b = f64::from_bits(other & !(0x7FF << 52) | (1000 + (other >> 20 & 0x3F)) << 52);
            assert_eq!(sum(&[(a, 1), (b, 1)]), a + b, "{a:e} + {b:e}");
        }
    }

    #[test]
    fn what_cancels_leaves_what_was_small() {
        assert_eq!(sum(&[(1e300, 1), (1.0, 1), (-1e300, 1)]), 1.0);
        assert_eq!(sum(&[(0.1, 10)]), 1.0);
        assert_eq!(sum(&[(f64::MAX, 2)]), f64::INFINITY);
        assert_eq!(sum(&[(f64::MAX, 2), (f64::MAX, -1)]), f64::MAX);
        assert_eq!(sum(&[(f64::INFINITY, 1), (1.0, 1)]), f64::INFINITY);
        assert!(sum(&[(f64::INFINITY, 1), (f64::NEG_INFINITY, 1)]).is_nan());
        assert_eq!(sum(&[(f64::NAN, 1), (3.0, 1), (f64::NAN, -1)]), 3.0);
    }
}
