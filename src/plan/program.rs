//! Filters and expressions over rows, vectorised; and row by row where one of them cannot be computed.
//!
//! Rows come in as bytes. Where only columns are picked nothing is decoded: a column's bytes are copied.
//! Otherwise the touched columns become Arrow columns, DataFusion's expressions run over them, and what was
//! computed is encoded again. A batch that fails is run again row by row, so that only the guilty rows
//! become errors; the same row always fails with the same message, so its retraction takes the error away.

use super::caught::caught;
use super::lengths;
use super::session::row_form;
use crate::row::{Cells, Codec, Rows};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, prep_null_mask_filter};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How many rows are decoded at once: enough to pay for vectorised work, few enough to stay in cache.
const ROWS_AT_ONCE: usize = 4096;

#[derive(Clone)]
pub struct Program {
    input: Codec,
    /// The columns of the input that expressions read; all that is decoded.
    touched: Vec<usize>,
    /// Their types as the expressions were bound to them; they may differ from the row form (nanoseconds,
    /// small ints).
    bound: SchemaRef,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    outputs: Vec<Output>,
    output: SchemaRef,
    text: String,
}

#[derive(Clone)]
enum Output {
    Column(usize),
    Computed { expression: Arc<dyn PhysicalExpr>, codec: Codec },
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)
    }
}

impl Program {
    /// `input` in row form, `bound` as the expressions see it; `output` in row form, a field for each of
    /// `outputs`. `text` is how people read it.
    pub fn new(
        input: SchemaRef,
        bound: SchemaRef,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        outputs: Vec<Arc<dyn PhysicalExpr>>,
        output: SchemaRef,
        text: String,
    ) -> Program {
        let mut touched = Vec::new();
        let filters = filters.into_iter().map(|filter| over_touched(filter, &mut touched)).collect();
        let outputs = outputs.into_iter().zip(output.fields()).map(|(expression, field)| {
            match expression.as_any().downcast_ref::<Column>() {
                Some(column) if input.field(column.index()).data_type() == field.data_type() => {
                    Output::Column(column.index())
                }
                _ => {
                    let schema = Schema::new(vec![field.as_ref().clone()]);
                    let expression = over_touched(expression, &mut touched);
                    Output::Computed { expression, codec: Codec::new(Arc::new(schema)) }
                }
            }
        });
        let outputs = outputs.collect();
        let bound = bound.project(&touched).expect("expressions read columns of their input").into();
        Program { input: Codec::new(input), touched, bound, filters, outputs, output, text }
    }

    /// Picks columns and does nothing else.
    pub fn pick(input: SchemaRef, columns: Vec<usize>) -> Program {
        let output: SchemaRef = input.project(&columns).expect("columns of this schema").into();
        let names: Vec<_> = output.fields().iter().map(|f| f.name().clone()).collect();
        Program {
            bound: Arc::new(Schema::empty()),
            input: Codec::new(input),
            touched: Vec::new(),
            filters: Vec::new(),
            outputs: columns.into_iter().map(Output::Column).collect(),
            output,
            text: names.join(", "),
        }
    }

    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// The columns that the program picks, if it does nothing else.
    pub fn columns(&self) -> Option<Vec<usize>> {
        let column = |output: &Output| match output {
            Output::Column(column) => Some(*column),
            Output::Computed { .. } => None,
        };
        if self.filters.is_empty() { self.outputs.iter().map(column).collect() } else { None }
    }

    /// Whether there can be rows that it cannot compute.
    pub fn may_fail(&self) -> bool {
        self.columns().is_none()
    }

    /// Everything that decides what it does, as text that is the same in every process.
    pub(super) fn identity(&self) -> String {
        let computes = |expression: &Arc<dyn PhysicalExpr>| identity_of(expression);
        let filters: Vec<String> = self.filters.iter().map(computes).collect();
        let output = |(output, field): (&Output, &Arc<Field>)| match output {
            Output::Column(column) => format!("column {column}"),
            Output::Computed { expression, .. } => format!("{} as {}", computes(expression), field.data_type()),
        };
        let outputs: Vec<String> = self.outputs.iter().zip(self.output.fields()).map(output).collect();
        let bound: Vec<_> = self.bound.fields().iter().map(|field| field.data_type()).collect();
        format!("{:?} as {bound:?} where {filters:?} give {outputs:?}", self.touched)
    }

    /// Adds to `results` what becomes of the rows that no filter drops; `fault` hears of those that cannot be
    /// computed, by number, and why.
    pub fn run(&self, rows: &Rows, results: &mut Rows, mut fault: impl FnMut(usize, String)) {
        if self.columns().is_some() {
            return self.write(rows, 0..rows.len(), &[], results);
        }
        for from in (0..rows.len()).step_by(ROWS_AT_ONCE) {
            let chunk = from..rows.len().min(from + ROWS_AT_ONCE);
            if self.run_chunk(rows, chunk.clone(), results).is_err() {
                for at in chunk {
                    if let Err(message) = self.run_chunk(rows, at..at + 1, results) {
                        fault(at, message);
                    }
                }
            }
        }
    }

    fn run_chunk(&self, rows: &Rows, chunk: Range<usize>, results: &mut Rows) -> Result<(), String> {
        let columns = self.input.columns(chunk.len(), |at| rows.row(chunk.start + at), &self.touched);
        let columns = columns.iter().zip(self.bound.fields()).map(|(array, field)| convert(array, field));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.len()));
        let mut batch = RecordBatch::try_new_with_options(self.bound.clone(), columns, &options);
        let mut live: Vec<usize> = chunk.collect();
        for filter in &self.filters {
            let rows = batch.map_err(|e| e.to_string())?;
            let mask = evaluate(filter, &rows)?;
            let mask = mask.as_boolean();
            let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
            batch = arrow::compute::filter_record_batch(&rows, &mask);
            live = live.into_iter().zip(mask.values()).filter_map(|(i, keep)| keep.then_some(i)).collect();
            if live.is_empty() {
                return Ok(());
            }
        }
        let batch = batch.map_err(|e| e.to_string())?;
        let mut computed = Vec::new();
        for output in &self.outputs {
            if let Output::Computed { expression, codec } = output {
                let array = convert(&evaluate(expression, &batch)?, codec.schema().field(0))?;
                computed.push(codec.cells(&array, 0));
            }
        }
        self.write(rows, live, &computed, results);
        Ok(())
    }

    /// Output rows: picked columns from the input's bytes, the others as computed, one after another.
    fn write(&self, rows: &Rows, live: impl IntoIterator<Item = usize>, computed: &[Cells], results: &mut Rows) {
        let mut ends = Vec::new();
        for (number, at) in live.into_iter().enumerate() {
            let row = rows.row(at);
            self.input.ends(row, &mut ends);
            let mut computed = computed.iter();
            for output in &self.outputs {
                match output {
                    Output::Column(0) => results.extend(&row[..ends[0] as usize]),
                    Output::Column(column) => results.extend(&row[ends[column - 1] as usize..ends[*column] as usize]),
                    Output::Computed { .. } => {
                        results.extend(computed.next().expect("one for each computed output").cell(number))
                    }
                }
            }
            results.end(rows.diff(at));
        }
    }
}

/// The expression over only the columns that are touched, to which it adds its own.
fn over_touched(expression: Arc<dyn PhysicalExpr>, touched: &mut Vec<usize>) -> Arc<dyn PhysicalExpr> {
    let renumber = |e: Arc<dyn PhysicalExpr>| {
        let Some(column) = e.as_any().downcast_ref::<Column>() else { return Ok(Transformed::no(e)) };
        let place = touched.iter().position(|at| *at == column.index()).unwrap_or_else(|| {
            touched.push(column.index());
            touched.len() - 1
        });
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), place)) as Arc<dyn PhysicalExpr>))
    };
    expression.transform(renumber).data().expect("renumbering columns cannot fail")
}

/// An expression with its parts, to the last. How it is shown does not tell literals of one look apart, nor
/// where one ends; what it holds for its own use (`Debug`) may differ from process to process.
fn identity_of(expression: &Arc<dyn PhysicalExpr>) -> String {
    if let Some(literal) = expression.as_any().downcast_ref::<Literal>() {
        return format!("{:?}", literal.value());
    }
    if let Some(column) = expression.as_any().downcast_ref::<Column>() {
        return format!("column {}", column.index());
    }
    // Not their texts: one within another has its quotes escaped, and those again, and doubles with each level.
    let part = |part: &Arc<dyn PhysicalExpr>| xxhash_rust::xxh3::xxh3_128(identity_of(part).as_bytes());
    let parts: Vec<u128> = expression.children().into_iter().map(part).collect();
    format!("{expression} of {parts:?}")
}

fn evaluate(expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef, String> {
    let value = caught(|| expression.evaluate(batch).and_then(|value| value.into_array(batch.num_rows())));
    value?.map_err(|e| plainly(&e))
}

/// DataFusion's message without the name of its layer, so that people see "Divide by zero".
pub fn plainly(error: &datafusion::error::DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text =
        ["Arrow error: ", "Execution error: "].iter().find_map(|layer| text.strip_prefix(layer)).unwrap_or(&text);
    text.strip_suffix(" error").unwrap_or(text).to_string()
}

/// Casts between a type and its row form; never turns a value into NULL.
pub fn convert(array: &ArrayRef, to: &Field) -> Result<ArrayRef, String> {
    if array.data_type() == to.data_type() {
        return Ok(array.clone());
    }
    if let Some(converted) = lengths::converted(array, to.data_type()) {
        return Ok(converted);
    }
    debug_assert!(row_form(array.data_type()).is_some());
    if to.data_type().is_null() {
        // Its row form is text, of which there is none.
        return Ok(new_null_array(to.data_type(), array.len()));
    }
    let options = CastOptions { safe: false, ..Default::default() };
    cast_with_options(array, to.data_type(), &options).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Datum, RowWriter};
    use arrow::datatypes::DataType;
    use datafusion::common::{DFSchema, ScalarValue};
    use datafusion::execution::context::ExecutionProps;
    use datafusion::logical_expr::{ColumnarValue, Volatility, col, create_udf};
    use datafusion::physical_expr::create_physical_expr;

    #[test]
    fn a_row_that_makes_a_function_panic_is_a_fault() {
        let fields = vec![Field::new("id", DataType::Int64, true)];
        let schema = Arc::new(Schema::new(fields));
        let odd = create_udf(
            "only_of_one",
            vec![DataType::Int64],
            DataType::Int64,
            Volatility::Immutable,
            Arc::new(|args: &[ColumnarValue]| {
                let ids = args[0].to_array(1)?;
                let ids = ids.as_primitive::<arrow::datatypes::Int64Type>();
                assert!(ids.values().iter().all(|id| *id == 1), "what is not 1 has no result");
                Ok(ColumnarValue::Scalar(ScalarValue::from(7i64)))
            }),
        );
        let bound = DFSchema::try_from(schema.as_ref().clone()).expect("one column");
        let e = create_physical_expr(&odd.call(vec![col("id")]), &bound, &ExecutionProps::new());
        let outputs = vec![e.expect("it is typed")];
        let program = Program::new(schema.clone(), schema.clone(), Vec::new(), outputs, schema.clone(), String::new());
        let mut rows = Rows::default();
        for id in [1, 2, 1] {
            let mut writer = RowWriter::default();
            writer.push(&Datum::Int64(id));
            rows.push(writer.finish().bytes(), 1);
        }
        let (mut results, mut faults) = (Rows::default(), Vec::new());
        program.run(&rows, &mut results, |at, message| faults.push((at, message)));
        assert_eq!(results.len(), 2);
        assert_eq!(faults, [(1, "DataFusion panicked: what is not 1 has no result".to_string())]);
    }
}
