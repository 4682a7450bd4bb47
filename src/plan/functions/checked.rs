//! `+`, `-` and `*` of integers: an error where the result is beyond their type. DataFusion's begin again at the other end.

use super::own::bad;
use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::{BinaryExpr, ColumnarValue, Expr, Operator, ScalarFunctionArgs};
use datafusion::logical_expr::{ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::physical_expr_common::datum::apply;
use std::any::Any;

/// The same with an error, if these are integers.
pub(super) fn checked(binary: &BinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
    let arithmetic = matches!(binary.op, Operator::Plus | Operator::Minus | Operator::Multiply);
    if !arithmetic || left != right || !left.is_integer() {
        return None;
    }
    let checked =
        Checked { op: binary.op, name: binary.op.to_string(), signature: Signature::any(2, Volatility::Immutable) };
    Some(ScalarUDF::new_from_impl(checked).call(vec![binary.left.as_ref().clone(), binary.right.as_ref().clone()]))
}

/// As it was written, for people.
pub fn shown(e: &Expr) -> Expr {
    let written = |e: Expr| match &e {
        Expr::ScalarFunction(call) => {
            match (call.func.inner().as_any().downcast_ref::<Checked>(), call.args.as_slice()) {
                (Some(checked), [left, right]) => {
                    let binary = BinaryExpr::new(Box::new(left.clone()), checked.op, Box::new(right.clone()));
                    Ok(Transformed::yes(Expr::BinaryExpr(binary)))
                }
                _ => Ok(Transformed::no(e)),
            }
        }
        // A name that was only kept is how DataFusion writes it.
        Expr::Alias(alias) if alias.name == alias.expr.schema_name().to_string() => {
            Ok(Transformed::yes(alias.expr.as_ref().clone()))
        }
        _ => Ok(Transformed::no(e)),
    };
    e.clone().transform_up(written).data().expect("nothing there fails")
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, of: &[DataType]) -> DfResult<DataType> {
        Ok(of[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let work: fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError> = match self.op {
            Operator::Plus => add,
            Operator::Minus => sub,
            _ => mul,
        };
        match apply(&args.args[0], &args.args[1], work) {
            Err(_) if args.return_type() == &DataType::Int64 => bad("bigint out of range"),
            Err(_) => bad("integer out of range"),
            result => result,
        }
    }
}
