//! Filters and expressions over rows, vectorised; and row by row where one of them cannot be computed.
//!
//! Rows come in as bytes. Where only columns are picked nothing is decoded: a column's bytes are copied.
//! Otherwise the touched rows become Arrow columns, DataFusion's expressions run over them, and what was
//! computed is encoded again. A batch that fails is run again row by row, so that only the guilty rows
//! become errors; the same row always fails with the same message, so its retraction takes the error away.

use super::session::row_form;
use crate::row::{Codec, Row, RowWriter};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options, prep_null_mask_filter};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;

/// How many rows are decoded at once: enough to pay for vectorised work, few enough to stay in cache.
const ROWS_AT_ONCE: usize = 4096;

/// What became of one input row, by its number: a row, or why it cannot be computed. Rows that a filter
/// drops do not appear.
pub struct Outcome {
    pub input: usize,
    pub result: Result<Row, String>,
}

#[derive(Clone)]
pub struct Program {
    input: Codec,
    /// The types that the expressions were bound to; they may differ from the row form (nanoseconds, small ints).
    bound: SchemaRef,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    outputs: Vec<Output>,
    output: Codec,
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
        let outputs = outputs.into_iter().zip(output.fields()).map(|(expression, field)| {
            let column = expression.as_any().downcast_ref::<datafusion::physical_expr::expressions::Column>();
            match column {
                Some(column) if input.field(column.index()).data_type() == field.data_type() => {
                    Output::Column(column.index())
                }
                _ => {
                    let schema = Schema::new(vec![field.as_ref().clone()]);
                    Output::Computed { expression, codec: Codec::new(Arc::new(schema)) }
                }
            }
        });
        let outputs = outputs.collect();
        Program { input: Codec::new(input), bound, filters, outputs, output: Codec::new(output), text }
    }

    /// Picks columns and does nothing else.
    pub fn pick(input: SchemaRef, columns: Vec<usize>) -> Program {
        let output: SchemaRef = input.project(&columns).expect("columns of this schema").into();
        let names: Vec<_> = output.fields().iter().map(|f| f.name().clone()).collect();
        Program {
            bound: input.clone(),
            input: Codec::new(input),
            filters: Vec::new(),
            outputs: columns.into_iter().map(Output::Column).collect(),
            output: Codec::new(output),
            text: names.join(", "),
        }
    }

    pub fn output(&self) -> &SchemaRef {
        self.output.schema()
    }

    pub fn run(&self, rows: &[Row]) -> Vec<Outcome> {
        let computes = self.outputs.iter().any(|o| matches!(o, Output::Computed { .. }));
        let mut outcomes = Vec::with_capacity(rows.len());
        if self.filters.is_empty() && !computes {
            for (input, row) in rows.iter().enumerate() {
                outcomes.push(Outcome { input, result: Ok(self.assemble(row, &[], 0)) });
            }
            return outcomes;
        }
        for (chunk, at) in rows.chunks(ROWS_AT_ONCE).zip((0..).step_by(ROWS_AT_ONCE)) {
            match self.run_batch(chunk) {
                Ok(done) => {
                    outcomes.extend(done.into_iter().map(|(i, row)| Outcome { input: at + i, result: Ok(row) }))
                }
                Err(_) => {
                    for (i, row) in chunk.iter().enumerate() {
                        match self.run_batch(std::slice::from_ref(row)) {
                            Ok(done) => outcomes
                                .extend(done.into_iter().map(|(_, row)| Outcome { input: at + i, result: Ok(row) })),
                            Err(message) => outcomes.push(Outcome { input: at + i, result: Err(message) }),
                        }
                    }
                }
            }
        }
        outcomes
    }

    fn run_batch(&self, rows: &[Row]) -> Result<Vec<(usize, Row)>, String> {
        let mut batch = self.bind(self.input.decode(rows))?;
        let mut live: Vec<usize> = (0..rows.len()).collect();
        for filter in &self.filters {
            let mask = evaluate(filter, &batch)?;
            let mask = mask.as_boolean();
            let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
            batch = arrow::compute::filter_record_batch(&batch, &mask).map_err(|e| e.to_string())?;
            live = live.into_iter().zip(mask.values()).filter_map(|(i, keep)| keep.then_some(i)).collect();
            if live.is_empty() {
                return Ok(Vec::new());
            }
        }
        let mut computed = Vec::new();
        for output in &self.outputs {
            if let Output::Computed { expression, codec } = output {
                let array = convert(&evaluate(expression, &batch)?, codec.schema().field(0))?;
                let batch = RecordBatch::try_new(codec.schema().clone(), vec![array]).map_err(|e| e.to_string())?;
                computed.push(codec.encode(&batch));
            }
        }
        Ok(live.iter().enumerate().map(|(at, i)| (*i, self.assemble(&rows[*i], &computed, at))).collect())
    }

    /// The output row: picked columns from the input's bytes, computed ones from row `at` of each.
    fn assemble(&self, row: &Row, computed: &[Vec<Row>], at: usize) -> Row {
        let spans = self.input.spans(row.bytes());
        let mut writer = RowWriter::default();
        let mut computed = computed.iter();
        for output in &self.outputs {
            match output {
                Output::Column(column) => writer.push_encoded(&row.bytes()[spans[*column].clone()]),
                Output::Computed { .. } => {
                    writer.push_encoded(computed.next().expect("one for each computed output")[at].bytes())
                }
            }
        }
        writer.finish()
    }

    /// From row form to the types that the expressions were bound to.
    fn bind(&self, batch: RecordBatch) -> Result<RecordBatch, String> {
        if batch.schema() == self.bound {
            return Ok(batch);
        }
        let rows = batch.num_rows();
        let columns = batch.columns().iter().zip(self.bound.fields());
        let columns = columns.map(|(array, field)| convert(array, field)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.bound.clone(), columns, &options).map_err(|e| e.to_string())
    }
}

fn evaluate(expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef, String> {
    let value = expression.evaluate(batch).map_err(|e| plainly(&e))?;
    value.into_array(batch.num_rows()).map_err(|e| plainly(&e))
}

/// DataFusion's message without the name of its layer, so that people see "Divide by zero".
fn plainly(error: &datafusion::error::DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text.strip_prefix("Arrow error: ").unwrap_or(&text);
    text.strip_suffix(" error").unwrap_or(text).to_string()
}

/// Casts between a type and its row form; never turns a value into NULL.
pub fn convert(array: &ArrayRef, to: &Field) -> Result<ArrayRef, String> {
    if array.data_type() == to.data_type() {
        return Ok(array.clone());
    }
    debug_assert!(row_form(array.data_type()).is_some());
    let options = CastOptions { safe: false, ..Default::default() };
    cast_with_options(array, to.data_type(), &options).map_err(|e| e.to_string())
}
