//! Two answers to one query, compared: order aside, and numbers as far as both can hold them.
//!
//! Where both have an exact type, values are equal. Where one has a double (DuckDB's quotients and averages of decimals
//! are; ours are decimals, cut off), they are equal but for rounding: by a part in 10⁹, or by so many units of our last
//! decimal place as a query may carry on by multiplying. Where a query itself rounds to so many decimal places, a tie
//! may have gone the other way: 1.025 is a tie as a decimal, and below it as a double.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

const UNITS: f64 = 100.0;

/// The first rows in which they differ, if they do; where the query rounds, to so many places.
pub fn difference(ours: &RecordBatch, theirs: &RecordBatch, rounds: Option<i32>) -> Option<String> {
    if ours.num_columns() != theirs.num_columns() {
        return Some(format!("{} columns, not {}", ours.num_columns(), theirs.num_columns()));
    }
    let pairs = || ours.columns().iter().zip(theirs.columns());
    let inexact: Vec<bool> = pairs().map(|(a, b)| a.data_type().is_floating() || b.data_type().is_floating()).collect();
    let units = ours.columns().iter().map(|column| match column.data_type() {
        DataType::Decimal128(_, scale) => UNITS * 10f64.powi(-i32::from(*scale)),
        _ => 0.0,
    });
    let units = units.map(|units| units.max(rounds.map_or(0.0, |places| 10f64.powi(-places))));
    let units: Vec<f64> = units.collect();
    let (ours, theirs) = (rows(ours, &inexact), rows(theirs, &inexact));
    let equal = |a: &Line, b: &Line| {
        let near = |(number, (a, b)): (usize, (&Option<f64>, &Option<f64>))| match (a, b) {
            (Some(a), Some(b)) => a == b || (a - b).abs() <= a.abs().max(b.abs()) * 1e-9 + units[number],
            (a, b) => a == b,
        };
        a.exact == b.exact && a.inexact.iter().zip(&b.inexact).enumerate().all(near)
    };
    let at = ours.iter().zip(&theirs).position(|(a, b)| !equal(a, b));
    let at = at.or((ours.len() != theirs.len()).then_some(ours.len().min(theirs.len())))?;
    let shown = |rows: &[Line]| rows.iter().skip(at).take(3).map(|line| format!("  {line:?}\n")).collect::<String>();
    let (count, of) = (ours.len(), theirs.len());
    Some(format!("row {at}; ours, of {count}:\n{}theirs, of {of}:\n{}", shown(&ours), shown(&theirs)))
}

/// A row: what is compared as text, and what is compared as numbers. Each has a place for every column.
#[derive(Debug)]
struct Line {
    exact: Vec<Option<String>>,
    inexact: Vec<Option<f64>>,
}

/// In an order in which equal answers meet.
fn rows(batch: &RecordBatch, inexact: &[bool]) -> Vec<Line> {
    let columns = batch.columns().iter().zip(inexact);
    let texts: Vec<_> = columns.clone().map(|(column, inexact)| (!inexact).then(|| texts(column))).collect();
    let doubles: Vec<_> = columns.map(|(column, inexact)| inexact.then(|| doubles(column))).collect();
    let line = |row: usize| Line {
        exact: texts.iter().map(|column| column.as_ref().and_then(|column| column[row].clone())).collect(),
        inexact: doubles.iter().map(|column| column.as_ref().and_then(|column| column[row])).collect(),
    };
    let mut lines: Vec<Line> = (0..batch.num_rows()).map(line).collect();
    lines.sort_by(|a, b| {
        let inexact = || a.inexact.partial_cmp(&b.inexact).expect("no query gives NaN");
        a.exact.cmp(&b.exact).then_with(inexact)
    });
    lines
}

fn texts(column: &ArrayRef) -> Vec<Option<String>> {
    let cells = cast(column, &DataType::Utf8).expect("all has text");
    let fraction = matches!(column.data_type(), DataType::Decimal128(_, 1..));
    let text = |text: &str| match fraction {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    cells.as_string::<i32>().iter().map(|cell| cell.map(text)).collect()
}

fn doubles(column: &ArrayRef) -> Vec<Option<f64>> {
    let cells = cast(column, &DataType::Float64).expect("a number");
    cells.as_primitive::<Float64Type>().iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, StringArray};
    use std::sync::Arc;

    fn answer(names: [Option<&str>; 2], number: ArrayRef) -> RecordBatch {
        let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
        RecordBatch::try_from_iter([("name", names), ("number", number)]).expect("of one length")
    }

    fn decimals(numbers: [i128; 2], scale: i8) -> ArrayRef {
        let numbers = Decimal128Array::from(numbers.to_vec()).with_precision_and_scale(20, scale);
        Arc::new(numbers.expect("they fit"))
    }

    fn floats(numbers: [f64; 2]) -> ArrayRef {
        Arc::new(Float64Array::from(numbers.to_vec()))
    }

    #[test]
    fn answers_are_equal_in_any_order_and_form() {
        let ours = answer([Some("a"), None], decimals([33_333_333, 20_000_000], 7));
        for theirs in [
            answer([None, Some("a")], floats([2.0, 10.0 / 3.0])),
            answer([Some("a"), None], decimals([333_333_330, 200_000_000], 8)),
        ] {
            assert_eq!(difference(&ours, &theirs, None), None);
        }
    }

    #[test]
    fn answers_differ_in_values_nulls_copies_and_columns() {
        let numbers = decimals([33_333_333, 20_000_000], 7);
        let ours = answer([Some("a"), None], numbers.clone());
        for theirs in [
            answer([Some("a"), None], floats([3.3334, 2.0])),
            answer([Some("a"), None], decimals([33_333_334, 20_000_000], 7)),
            answer([Some("a"), Some("")], numbers.clone()),
            answer([Some("a"), Some("a")], numbers),
            ours.slice(0, 1),
            ours.project(&[0]).expect("a column of it"),
        ] {
            assert!(difference(&ours, &theirs, None).is_some(), "{theirs:?}");
            assert!(difference(&theirs, &ours, None).is_some(), "{theirs:?}");
        }
    }

    #[test]
    fn a_tie_goes_either_way_where_the_query_rounds_and_no_further() {
        let ours = answer([Some("a"), None], decimals([103, 200], 2));
        for (other, rounds, same) in [(1.02, Some(2), true), (1.02, Some(3), false), (1.0, Some(2), false)] {
            let ours = answer([Some("a"), None], decimals([1_030_000_000, 2_000_000_000], 9));
            let theirs = answer([Some("a"), None], floats([other, 2.0]));
            assert_eq!(difference(&ours, &theirs, rounds).is_none(), same, "{other} {rounds:?}");
        }
        let theirs = answer([Some("a"), None], decimals([102, 200], 2));
        assert!(difference(&ours, &theirs, Some(2)).is_some(), "both are exact");
    }
}
