//! Doubles with one zero and one NaN, whatever computes them.
//!
//! To SQL -0.0 is 0.0 and NaN is NaN, and rows hold one of each. DataFusion tells doubles apart by their bits where it
//! compares, groups and joins them, and a minus or a division gives the other zero and the other NaN. So all that
//! computes a double is put through `canonical`, in the plan from which both the dataflow and `recompute` are made.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, TryCast, Volatility,
};
use std::any::Any;
use std::sync::{Arc, LazyLock};

/// The plan with canonical doubles in all its expressions.
pub(super) fn canonical(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let canonical = |node: LogicalPlan| {
        let (schema, names) = (merge_schema(&node.inputs()), NamePreserver::new(&node));
        let named = |e: Expr| {
            let name = names.save(&e);
            let changed = e.transform_up(|e| Ok(wrapped(e, &schema)))?;
            Ok(changed.update_data(|e| name.restore(e)))
        };
        node.map_expressions(|e| if let Expr::GroupingSet(_) = e { e.map_children(named) } else { named(e) })
    };
    plan.transform_up(canonical).data()
}

/// The same for what an operator of the executor gives; those of the dataflow give rows, which are canonical.
pub(super) fn canonical_outputs(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if !node.schema().fields().iter().any(|field| is_double(field.data_type())) {
        return Ok(Transformed::no(node));
    }
    let column = |(qualifier, field): (Option<&_>, &FieldRef)| {
        let column = Expr::Column((qualifier, field).into());
        match is_double(field.data_type()) {
            true => call(column).alias_qualified(qualifier.cloned(), field.name()),
            false => column,
        }
    };
    let columns = node.schema().iter().map(column).collect();
    let schema = node.schema().clone();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new_with_schema(columns, Arc::new(node), schema)?)))
}

/// What picks one of several doubles gives a canonical one already, and so does a cast of another number.
fn wrapped(e: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let computes = match &e {
        Expr::Literal(ScalarValue::Float64(Some(value)), metadata) => {
            return Transformed::yes(Expr::Literal(ScalarValue::Float64(Some(double(*value))), metadata.clone()));
        }
        Expr::Literal(ScalarValue::Float32(Some(value)), metadata) => {
            return Transformed::yes(Expr::Literal(ScalarValue::Float32(Some(float(*value))), metadata.clone()));
        }
        Expr::BinaryExpr(BinaryExpr { op, .. }) => op.is_numerical_operators(),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => {
            !expr.get_type(schema).is_ok_and(|of| of.is_numeric())
        }
        Expr::Negative(_) | Expr::ScalarFunction(_) => true,
        _ => false,
    };
    match computes && e.get_type(schema).is_ok_and(|of| is_double(&of)) {
        true => Transformed::yes(call(e)),
        false => Transformed::no(e),
    }
}

fn is_double(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

fn double(value: f64) -> f64 {
    if value.is_nan() { f64::NAN.abs() } else { value + 0.0 }
}

fn float(value: f32) -> f32 {
    if value.is_nan() { f32::NAN.abs() } else { value + 0.0 }
}

fn call(e: Expr) -> Expr {
    static CANONICAL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Canonical { signature }))
    });
    Expr::ScalarFunction(ScalarFunction::new_udf(CANONICAL.clone(), vec![e]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Canonical {
    signature: Signature,
}

impl ScalarUDFImpl for Canonical {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        "canonical"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(args[0].clone())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let of = &args.arg_fields[0];
        Ok(Arc::new(Field::new(self.name(), of.data_type().clone(), of.is_nullable())))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let array = |array: &ArrayRef| -> ArrayRef {
            match array.data_type() {
                DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(float)),
                _ => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(double)),
            }
        };
        Ok(match &args.args[0] {
            ColumnarValue::Array(values) => ColumnarValue::Array(array(values)),
            ColumnarValue::Scalar(ScalarValue::Float32(value)) => {
                ColumnarValue::Scalar(ScalarValue::Float32(value.map(float)))
            }
            ColumnarValue::Scalar(ScalarValue::Float64(value)) => {
                ColumnarValue::Scalar(ScalarValue::Float64(value.map(double)))
            }
            ColumnarValue::Scalar(other) => ColumnarValue::Scalar(other.clone()),
        })
    }
}
