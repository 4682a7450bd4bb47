//! A subquery that stands for one value and may give many rows: NULL where it gives none, an error where it gives more
//! than one, as SQL has it.
//!
//! DataFusion joins with its rows, so that many would make many of each row outside. Here they go through an aggregate
//! first, which always gives one row or an error. What depends on the row outside is the affair of `several`.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result as DfResult, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, LogicalPlanBuilder, Signature, Subquery, Volatility,
};
use std::any::Any;
use std::sync::Arc;

/// The name under which a plan has the aggregate.
pub const SINGLE: &str = "single";

/// `plan` as it was bound, with such subqueries made single.
pub fn single_values(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| node.map_expressions(|e| e.transform_up(single_value))).data()
}

fn single_value(e: Expr) -> DfResult<Transformed<Expr>> {
    let many = |query: &Subquery| query.subquery.max_rows().is_none_or(|rows| rows > 1);
    match e {
        Expr::ScalarSubquery(query) if query.outer_ref_columns.is_empty() && many(&query) => {
            let plan = single(query.subquery.clone())?;
            Ok(Transformed::yes(Expr::ScalarSubquery(query.with_plan(Arc::new(plan)))))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// The one row of these, NULL where there is none.
pub(super) fn single(rows: Arc<LogicalPlan>) -> DfResult<LogicalPlan> {
    let column = rows.schema().columns().swap_remove(0);
    let name = column.name.clone();
    let single = AggregateUDF::new_from_impl(Single { signature: Signature::any(1, Volatility::Immutable) });
    let single = single.call(vec![Expr::Column(column)]).alias(name);
    LogicalPlanBuilder::new_from_arc(rows).aggregate(Vec::<Expr>::new(), [single])?.build()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Single {
    signature: Signature,
}

impl AggregateUDFImpl for Single {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        SINGLE
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, of: &[DataType]) -> DfResult<DataType> {
        Ok(of[0].clone())
    }
    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(Kept { rows: 0, value: ScalarValue::try_from(args.return_field.data_type())? }))
    }
    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let rows = Field::new(format_state_name(args.name, "rows"), DataType::Int64, true);
        let value = args.return_field.as_ref().clone().with_name(format_state_name(args.name, "value"));
        Ok(vec![Arc::new(rows), Arc::new(value.with_nullable(true))])
    }
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The one row so far, or NULL.
#[derive(Debug)]
struct Kept {
    rows: i64,
    value: ScalarValue,
}

impl Kept {
    fn add(&mut self, rows: i64, values: &ArrayRef, at: usize) -> DfResult<()> {
        self.rows += rows;
        if self.rows > 1 {
            return exec_err!("a subquery that stands for one value gives many rows");
        }
        self.value = ScalarValue::try_from_array(values, at)?;
        Ok(())
    }
}

impl Accumulator for Kept {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        (0..values[0].len()).try_for_each(|at| self.add(1, &values[0], at))
    }
    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value.clone())
    }
    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.rows.into(), self.value.clone()])
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let rows = states[0].as_primitive::<Int64Type>().values();
        let mut some = rows.iter().enumerate().filter(|(_, rows)| **rows > 0);
        some.try_for_each(|(at, rows)| self.add(*rows, &states[1], at))
    }
}
