//! Groups with sums and counts: one accumulator for each group, and nothing of its rows.
//!
//! The accumulator rides in the diff: the arrangement adds up what enters and leaves a group, and each
//! change retracts the group's old row and asserts the new one. It forgets by subtracting; integers and
//! decimals add up exactly, so that nothing is left behind when a row leaves.
//!
//! NULLs are not summed and not counted, but they are rows of their group. A group without rows is gone; the
//! group of everything (no key) stays, by a ghost row that is never counted.

use super::Fault;
use super::build::{Faults, Rows};
use super::map::split;
use crate::plan::Aggregate;
use crate::row::{Codec, Datum, Diff, Row, RowWriter};
use arrow::datatypes::{DataType, SchemaRef};
use differential_dataflow::difference::{IsZero, Monoid, Multiply, Semigroup};
use differential_dataflow::operators::{CountTotal, ThresholdTotal};
use serde::{Deserialize, Serialize};

pub(super) fn reduce<'scope>(
    rows: Rows<'scope>,
    input: &SchemaRef,
    key: usize,
    aggregates: &[Aggregate],
    ghost: Option<Rows<'scope>>,
) -> (Rows<'scope>, Option<Faults<'scope>>) {
    if aggregates.is_empty() {
        // Not `distinct_total`: in differential 0.25.1 it keeps a row whose last copy has gone.
        return (rows.threshold_total(|_, count| Diff::from(*count > 0)), None);
    }
    let (codec, calls) = (Codec::new(input.clone()), aggregates.to_vec());
    let key_columns: Vec<usize> = (0..key).collect();
    let mut sums = rows.explode(move |row| {
        let slots = calls.iter().map(|call| Slot::of(call, &codec, &row)).collect();
        Some((codec.project(&row, &key_columns), Sums { rows: 1, slots }))
    });
    let ghosts = ghost.is_some() as i64;
    if let Some(ghost) = ghost {
        let width = aggregates.len();
        let slots = move || vec![Slot::default(); width];
        sums = sums.concat(ghost.explode(move |row| Some((row, Sums { rows: 1, slots: slots() }))));
    }
    let calls = aggregates.to_vec();
    let key_codec = Codec::new(input.project(&(0..key).collect::<Vec<_>>()).expect("key leads the input").into());
    let results = sums.count_total_core::<Diff>().map(move |(key, sums)| {
        finish(&key, &sums, &calls, ghosts).map_err(|message| Fault { message, sample: key_codec.show(&key) })
    });
    let (rows, faults) = split(results);
    (rows, Some(faults))
}

/// The group's row as it stands.
fn finish(key: &Row, sums: &Sums, aggregates: &[Aggregate], ghosts: i64) -> Result<Row, String> {
    let mut writer = RowWriter::default();
    writer.push_encoded(key.bytes());
    for (aggregate, slot) in aggregates.iter().zip(&sums.slots) {
        let datum = match aggregate {
            Aggregate::CountRows => Datum::Int64(sums.rows - ghosts),
            Aggregate::Count(_) => Datum::Int64(slot.count),
            Aggregate::Sum { .. } if slot.count == 0 => Datum::Null,
            Aggregate::Sum { result: DataType::Decimal128(precision, _), .. } => {
                let limit = 10i128.checked_pow((*precision).into()).unwrap_or(i128::MAX);
                match slot.sum.unsigned_abs() < limit.unsigned_abs() {
                    true => Datum::Decimal(slot.sum),
                    false => return Err(format!("sum does not fit into numeric({precision})")),
                }
            }
            Aggregate::Sum { .. } => {
                Datum::Int64(i64::try_from(slot.sum).map_err(|_| "sum does not fit into bigint".to_string())?)
            }
        };
        writer.push(&datum);
    }
    Ok(writer.finish())
}

/// What a group adds up to: its rows, and a slot for each aggregate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Sums {
    rows: i64,
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Slot {
    count: i64,
    /// Wraps only beyond 2^127: 10^17 rows of the largest decimal(22).
    sum: i128,
}

impl Slot {
    fn of(aggregate: &Aggregate, codec: &Codec, row: &Row) -> Slot {
        match aggregate {
            Aggregate::CountRows => Slot::default(),
            Aggregate::Count(column) => Slot { count: !codec.any_null(row, &[*column]) as i64, sum: 0 },
            Aggregate::Sum { column, .. } => match codec.integer(row, *column) {
                Some(sum) => Slot { count: 1, sum },
                None => Slot::default(),
            },
        }
    }
}

impl IsZero for Sums {
    fn is_zero(&self) -> bool {
        self.rows == 0 && self.slots.iter().all(|slot| *slot == Slot::default())
    }
}

impl Semigroup for Sums {
    fn plus_equals(&mut self, other: &Self) {
        self.rows += other.rows;
        if self.slots.len() < other.slots.len() {
            self.slots.resize(other.slots.len(), Slot::default());
        }
        for (mine, theirs) in self.slots.iter_mut().zip(&other.slots) {
            mine.count += theirs.count;
            mine.sum = mine.sum.wrapping_add(theirs.sum);
        }
    }
}

impl Monoid for Sums {
    fn zero() -> Self {
        Sums::default()
    }
}

impl Multiply<Diff> for Sums {
    type Output = Sums;
    fn multiply(mut self, diff: &Diff) -> Sums {
        self.rows *= diff;
        for slot in &mut self.slots {
            slot.count *= diff;
            slot.sum = slot.sum.wrapping_mul((*diff).into());
        }
        self
    }
}
