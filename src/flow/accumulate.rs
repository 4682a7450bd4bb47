//! What a group adds up to: integers that are added and taken away, and what its aggregates show of them.
//!
//! All slots are sums, so a Moment's changes add up by themselves and are added to what was before. At rest they
//! are numbers of variable length: most are small, and those of a sum of doubles are mostly 0.

use crate::plan::{Aggregate, exact, sums};
use crate::row::{Codec, Datum, Diff, append};
use arrow::datatypes::DataType;

/// A guess: a number below two million is no longer.
const SLOT_BYTES: usize = 3;

/// How many integers an aggregate needs, behind the count of the group's rows.
pub(super) fn slots(aggregate: &Aggregate) -> usize {
    match aggregate {
        Aggregate::CountRows => 0,
        Aggregate::Count(_) => 1,
        // How many, and what they add up to.
        Aggregate::Sum { .. } | Aggregate::Average { .. } => 2,
        // How many, and how many of them are true.
        Aggregate::All(_) | Aggregate::Any(_) => 2,
        Aggregate::FloatSum(_) | Aggregate::FloatAverage(_) => 1 + exact::SLOTS,
    }
}

/// About how long a group's numbers are at rest: those of doubles are mostly 0, others below two million.
pub(super) fn sums_bytes(aggregates: &[Aggregate]) -> usize {
    let bytes = |aggregate: &Aggregate| match aggregate {
        Aggregate::FloatSum(_) | Aggregate::FloatAverage(_) => 3 * SLOT_BYTES + exact::SLOTS,
        other => SLOT_BYTES * slots(other),
    };
    SLOT_BYTES + aggregates.iter().map(bytes).sum::<usize>()
}

/// Adds a row so many times; `cell` gives its columns, as `codec` has them.
#[inline]
pub(super) fn add<'a>(
    aggregate: &Aggregate,
    slots: &mut [i128],
    codec: &Codec,
    cell: impl Fn(usize) -> &'a [u8],
    diff: Diff,
) {
    let times = i128::from(diff);
    match aggregate {
        Aggregate::CountRows => {}
        Aggregate::Count(c) => slots[0] += if Codec::is_null(cell(*c)) { 0 } else { times },
        Aggregate::Sum { column: c, .. } | Aggregate::Average { column: c, .. } => {
            if let Some(value) = codec.integer(cell(*c), *c) {
                slots[0] += times;
                // Wraps only beyond 2^127: 10^17 rows of the largest decimal(22).
                slots[1] = slots[1].wrapping_add(value.wrapping_mul(times));
            }
        }
        Aggregate::All(c) | Aggregate::Any(c) => {
            if let Some(truth) = Codec::truth(cell(*c)) {
                slots[0] += times;
                slots[1] += if truth { times } else { 0 };
            }
        }
        Aggregate::FloatSum(c) | Aggregate::FloatAverage(c) => {
            if let Some(value) = Codec::float(cell(*c)) {
                slots[0] += times;
                exact::add(&mut slots[1..], value, diff);
            }
        }
    }
}

/// The aggregates of a group of `rows` rows as its row shows them, or why one cannot be shown.
pub(super) fn show(rows: i128, mut slots: &[i128], aggregates: &[Aggregate], to: &mut Vec<u8>) -> Result<(), String> {
    for aggregate in aggregates {
        let (own, rest) = slots.split_at(self::slots(aggregate));
        slots = rest;
        let datum = match aggregate {
            Aggregate::CountRows => Datum::Int64(rows as i64),
            Aggregate::Count(_) => Datum::Int64(own[0] as i64),
            // All others are NULL where there was nothing but NULLs.
            _ if own[0] == 0 => Datum::Null,
            Aggregate::Sum { result: DataType::Decimal128(precision, _), .. } => match fits(own[1], *precision) {
                true => Datum::Decimal(own[1]),
                false => return Err(format!("sum does not fit into numeric({precision})")),
            },
            Aggregate::Sum { .. } => {
                Datum::Int64(i64::try_from(own[1]).map_err(|_| "sum does not fit into bigint".to_string())?)
            }
            Aggregate::Average { factor, precision, .. } => {
                let average = sums::average(own[1], *factor, own[0]);
                let average = average.filter(|average| fits(*average, *precision));
                Datum::Decimal(average.ok_or_else(|| format!("average does not fit into numeric({precision})"))?)
            }
            Aggregate::All(_) => Datum::Bool(own[1] == own[0]),
            Aggregate::Any(_) => Datum::Bool(own[1] != 0),
            Aggregate::FloatSum(_) => Datum::Float64(exact::total(&own[1..])),
            Aggregate::FloatAverage(_) => Datum::Float64(exact::total(&own[1..]) / own[0] as f64),
        };
        append(to, &datum);
    }
    Ok(())
}

fn fits(value: i128, precision: u8) -> bool {
    10u128.checked_pow(precision.into()).is_none_or(|limit| value.unsigned_abs() < limit)
}

/// Seven bits in each byte, the lowest first, the sign in the lowest bit of all.
pub(super) fn write(slots: &[i128], to: &mut Vec<u8>) {
    for slot in slots {
        let mut rest = (slot << 1 ^ slot >> 127) as u128;
        while rest >= 0x80 {
            to.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        to.push(rest as u8);
    }
}

pub(super) fn read(bytes: &[u8], to: &mut Vec<i128>) {
    to.clear();
    let (mut number, mut shift) = (0u128, 0);
    for byte in bytes {
        number |= u128::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            to.push((number >> 1) as i128 ^ -((number & 1) as i128));
            (number, shift) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_from_rest() {
        let numbers = [0, 1, -1, 63, -64, 64, 127, 128, i128::from(i64::MIN), i128::MAX, i128::MIN, 7];
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        write(&numbers, &mut bytes);
        read(&bytes, &mut back);
        assert_eq!(back, numbers);
        bytes.clear();
        write(&[0; 40], &mut bytes);
        assert_eq!(bytes.len(), 40);
    }
}
