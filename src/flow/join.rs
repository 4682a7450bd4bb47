//! Inner joins on equal keys: both sides arranged by key, each change probes the other side.
//!
//! A row whose key holds a NULL pairs with nothing and is not kept. A change to one side never scans the
//! other. An empty key pairs everything with everything.

use super::build::{Rows, Time};
use crate::row::{Codec, Diff, Row};
use arrow::datatypes::SchemaRef;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ValSpine;

type ByKey<'scope> = Arranged<'scope, TraceAgent<ValSpine<Row, Row, Time, Diff>>>;

pub(super) fn arrange<'scope>(rows: Rows<'scope>, schema: &SchemaRef, key: &[usize]) -> ByKey<'scope> {
    let (codec, key) = (Codec::new(schema.clone()), key.to_vec());
    rows.flat_map(move |row| (!codec.any_null(&row, &key)).then(|| (codec.project(&row, &key), row))).arrange_by_key()
}

pub(super) fn join<'scope>(left: ByKey<'scope>, right: ByKey<'scope>) -> Rows<'scope> {
    left.join_core(right, |_, left, right| Some(left.glue(right)))
}
