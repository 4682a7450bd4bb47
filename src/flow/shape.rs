//! What an operator's rows are made of: columns of the rows it has at hand, and constants.

use crate::row::{Codec, Datum, Rows, append};

/// A column of an output row.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Left(usize),
    Right(usize),
    Constant(Datum),
}

#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Neighbours that stay neighbours are copied at once.
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Left { from: usize, to: usize },
    Right { from: usize, to: usize },
    Constant(Vec<u8>),
}

impl Shape {
    pub fn new(cells: impl IntoIterator<Item = Cell>) -> Shape {
        let mut parts: Vec<Part> = Vec::new();
        for cell in cells {
            match (parts.last_mut(), cell) {
                (Some(Part::Left { to, .. }), Cell::Left(at)) if *to == at => *to += 1,
                (Some(Part::Right { to, .. }), Cell::Right(at)) if *to == at => *to += 1,
                (Some(Part::Constant(bytes)), Cell::Constant(datum)) => append(bytes, &datum),
                (_, Cell::Left(at)) => parts.push(Part::Left { from: at, to: at + 1 }),
                (_, Cell::Right(at)) => parts.push(Part::Right { from: at, to: at + 1 }),
                (_, Cell::Constant(datum)) => {
                    let mut bytes = Vec::new();
                    append(&mut bytes, &datum);
                    parts.push(Part::Constant(bytes));
                }
            }
        }
        Shape { parts }
    }

    /// These columns of one row.
    pub fn of(columns: &[usize]) -> Shape {
        Shape::new(columns.iter().copied().map(Cell::Left))
    }

    /// Whether it gives left rows of so many columns as they are.
    pub fn is_whole(&self, width: usize) -> bool {
        match self.parts.as_slice() {
            [] => width == 0,
            [Part::Left { from: 0, to }] => *to == width,
            _ => false,
        }
    }

    #[inline]
    pub fn write(&self, left: Side, right: Side, to: &mut Rows) {
        for part in &self.parts {
            match part {
                Part::Left { from, to: end } => to.extend(left.columns(*from, *end)),
                Part::Right { from, to: end } => to.extend(right.columns(*from, *end)),
                Part::Constant(bytes) => to.extend(bytes),
            }
        }
    }

    pub fn write_one(&self, row: Side, to: &mut Rows) {
        self.write(row, row, to);
    }
}

/// A row, and where its columns end.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub row: &'a [u8],
    pub ends: &'a [u32],
}

impl<'a> Side<'a> {
    #[inline]
    pub fn columns(self, from: usize, to: usize) -> &'a [u8] {
        let begin = if from == 0 { 0 } else { self.ends[from - 1] as usize };
        &self.row[begin..self.ends[to - 1] as usize]
    }

    pub fn is_null(self, column: usize) -> bool {
        Codec::is_null(self.columns(column, column + 1))
    }
}
