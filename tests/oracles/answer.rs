//! Answers of three systems in one form: rows without order, each value by what SQL takes it for.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;

/// Numbers are exact, or known by their first digits; whatever else there is has one text.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Exact(String),
    Double(f64),
    Other(String),
}

pub type Rows = Vec<Vec<Cell>>;

/// So many digits behind the point only a quotient has, and each system cuts it off elsewhere.
const DIGITS_EXACT: usize = 8;

impl Cell {
    /// Without zeros that change nothing.
    fn number(text: &str) -> Cell {
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
        Cell::Exact(if text == "-0" { "0" } else { text }.to_string())
    }

    fn as_double(&self) -> Option<f64> {
        match self {
            Cell::Double(number) => Some(*number),
            Cell::Exact(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn is_inexact(&self) -> bool {
        match self {
            Cell::Double(_) => true,
            Cell::Exact(text) => text.split_once('.').is_some_and(|(_, digits)| digits.len() > DIGITS_EXACT),
            _ => false,
        }
    }

    fn equals(&self, other: &Cell) -> bool {
        match (self.as_double(), other.as_double()) {
            (Some(a), Some(b)) if self.is_inexact() || other.is_inexact() => {
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(0.1)
            }
            _ => self == other,
        }
    }
}

/// Ours.
pub fn of_batch(batch: &RecordBatch) -> Rows {
    let column = |column: &ArrayRef| {
        let kind = match column.data_type() {
            DataType::Int32 | DataType::Int64 | DataType::Decimal128(..) => "numeric",
            DataType::Float64 => "float8",
            DataType::Boolean => "bool",
            DataType::Utf8 => "text",
            DataType::Date32 => "date",
            DataType::Timestamp(_, None) => "timestamp",
            other => panic!("no query gives {other}"),
        };
        let texts = cast(column, &DataType::Utf8).expect("all has text");
        texts.as_string::<i32>().iter().map(|text| cell(kind, text)).collect::<Vec<_>>()
    };
    let columns: Vec<Vec<Cell>> = batch.columns().iter().map(column).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

/// From the name of a type in Postgres, and the text of a value.
pub fn cell(kind: &str, text: Option<&str>) -> Cell {
    let Some(text) = text else { return Cell::Null };
    match kind {
        "int2" | "int4" | "int8" | "numeric" => Cell::number(text),
        "float8" => Cell::Double(text.parse().expect("a double")),
        "bool" => Cell::Other(text.starts_with('t').to_string()),
        "timestamp" => Cell::Other(text.replacen(' ', "T", 1)),
        "text" | "date" => Cell::Other(text.to_string()),
        other => panic!("no query gives {other}"),
    }
}

/// Rows that only one of the two has, if there are some.
pub fn difference(ours: &Rows, theirs: &Rows) -> Option<String> {
    let same = |a: &Vec<Cell>, b: &Vec<Cell>| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b));
    let mut left: Vec<&Vec<Cell>> = theirs.iter().collect();
    let mut more = Vec::new();
    for row in ours {
        match left.iter().position(|other| same(row, other)) {
            Some(at) => drop(left.swap_remove(at)),
            None => more.push(row),
        }
    }
    let lines = |sign: &str, rows: &[&Vec<Cell>]| {
        let text = |row: &&Vec<Cell>| format!("  {sign} {}\n", row.iter().map(shown).collect::<Vec<_>>().join(" | "));
        rows.iter().take(8).map(text).collect::<String>()
    };
    let text = lines("+", &more) + &lines("-", &left);
    (!text.is_empty()).then_some(text)
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_string(),
        Cell::Exact(text) => text.clone(),
        Cell::Double(number) => format!("{number:?}"),
        Cell::Other(text) => format!("{text:?}"),
    }
}
