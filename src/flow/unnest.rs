//! Lists become rows: one for each item, with the row's other columns beside it. No state, and no faults: a list is
//! there already, and its items stand in the row as they will stand in theirs.

use super::arrange::Outlet;
use super::stream::{RowStream, WholeRows};
use crate::row::{Codec, Datum, append};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Of several lists the first items stand side by side, then the second, and NULL where a list has no more. A row
/// without items goes, unless rows are `kept`: then it stays once, with NULLs.
pub(super) fn unnest<'scope>(rows: RowStream<'scope>, codec: Codec, lists: &[usize], kept: bool) -> RowStream<'scope> {
    let lists = lists.to_vec();
    rows.unary::<WholeRows, _, _, _>(Pipeline, "Unnest", move |_, _| {
        move |input, output| {
            input.for_each(|time, rows| {
                let mut session = output.session_with_builder(&time);
                let mut out = Outlet::new(|rows| session.give_container(rows));
                for (row, diff) in rows.iter() {
                    unnest_row(row, &codec, &lists, kept, |cells| {
                        cells.iter().for_each(|cell| out.rows().extend(cell));
                        out.end(diff);
                    });
                }
                out.flush();
            });
        }
    })
}

fn unnest_row(row: &[u8], codec: &Codec, lists: &[usize], kept: bool, mut give: impl FnMut(&[&[u8]])) {
    let mut null = Vec::new();
    append(&mut null, &Datum::Null);
    let mut cells: Vec<&[u8]> = codec.spans(row).into_iter().map(|span| &row[span]).collect();
    let items: Vec<Vec<&[u8]>> = lists.iter().map(|list| codec.items(cells[*list], *list).collect()).collect();
    let longest = items.iter().map(Vec::len).max().unwrap_or_default();
    for at in 0..longest.max(usize::from(kept)) {
        for (list, items) in lists.iter().zip(&items) {
            cells[*list] = items.get(at).copied().unwrap_or(&null);
        }
        give(&cells);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Row, RowWriter, list_of};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn list(items: &[i32]) -> Datum {
        Datum::List(items.iter().map(|item| Datum::Int32(*item)).collect())
    }

    fn unnested(datums: [Datum; 3], kept: bool) -> Vec<String> {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let schema = |a: DataType, b: DataType| {
            Arc::new(Schema::new(vec![field("a", a), field("id", DataType::Int64), field("b", b)]))
        };
        let codec = Codec::new(schema(list_of(DataType::Int32), list_of(DataType::Int32)));
        let items = Codec::new(schema(DataType::Int32, DataType::Int32));
        let mut writer = RowWriter::default();
        datums.iter().for_each(|datum| writer.push(datum));
        let mut shown = Vec::new();
        unnest_row(writer.finish().bytes(), &codec, &[0, 2], kept, |cells| {
            shown.push(items.show(Row::from(cells.concat().as_slice())));
        });
        shown
    }

    #[test]
    fn lists_end_where_the_longest_ends() {
        let of = |a: Datum, b: Datum, kept: bool| unnested([a, Datum::Int64(7), b], kept);
        assert_eq!(of(list(&[1, 2]), list(&[3]), false), ["a=1 id=7 b=3", "a=2 id=7 b=NULL"]);
        assert_eq!(of(Datum::Null, list(&[3, 4]), true), ["a=NULL id=7 b=3", "a=NULL id=7 b=4"]);
        assert_eq!(of(list(&[]), Datum::Null, false), Vec::<String>::new());
        assert_eq!(of(list(&[]), Datum::Null, true), ["a=NULL id=7 b=NULL"]);
    }
}
