//! Intervals between two nodes of a plan: rows hold their months, days and nanoseconds side by side.
//!
//! No column of a model is one. To Postgres `1 month` equals `30 days`, so both would need the same bytes; yet added to a
//! date they differ. So nothing is grouped by them (`unsound`), and what is compared or ordered is their length
//! (`functions/types`).

use crate::row::struct_of;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, IntervalMonthDayNanoArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use arrow::datatypes::{FieldRef, Schema};
use std::sync::Arc;

/// The same columns, but intervals as rows hold them.
pub(super) fn in_rows(schema: &Schema) -> Schema {
    let field = |field: &FieldRef| match field.data_type() {
        DataType::Interval(_) => {
            let parts = [("months", DataType::Int32), ("days", DataType::Int32), ("nanoseconds", DataType::Int64)];
            field.as_ref().clone().with_data_type(struct_of(parts))
        }
        _ => field.as_ref().clone(),
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

/// Intervals as rows hold them, or these as intervals; `None` for anything else.
pub(super) fn converted(array: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    match (array.data_type(), to) {
        (DataType::Interval(_), DataType::Struct(fields)) => {
            let whole = cast(array, &DataType::Interval(IntervalUnit::MonthDayNano)).ok()?;
            let values = whole.as_primitive::<IntervalMonthDayNanoType>();
            let parts: [ArrayRef; 3] = [
                Arc::new(values.iter().map(|v| v.map(|v| v.months)).collect::<Int32Array>()),
                Arc::new(values.iter().map(|v| v.map(|v| v.days)).collect::<Int32Array>()),
                Arc::new(values.iter().map(|v| v.map(|v| v.nanoseconds)).collect::<Int64Array>()),
            ];
            Some(Arc::new(StructArray::new(fields.clone(), parts.to_vec(), array.nulls().cloned())))
        }
        (DataType::Struct(_), DataType::Interval(_)) => {
            let parts = array.as_struct();
            let (months, days) =
                (parts.column(0).as_primitive::<Int32Type>(), parts.column(1).as_primitive::<Int32Type>());
            let rest = parts.column(2).as_primitive::<Int64Type>();
            let value = |row| IntervalMonthDayNano::new(months.value(row), days.value(row), rest.value(row));
            let values = (0..parts.len()).map(|row| parts.is_valid(row).then(|| value(row)));
            Some(Arc::new(values.collect::<IntervalMonthDayNanoArray>()))
        }
        _ => None,
    }
}
