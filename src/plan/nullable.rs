//! Unions whose inputs agree on what may be NULL: nothing says that it may not.
//!
//! DataFusion puts rows of several inputs together under the schema of whichever comes first, and fails where that
//! has no NULLs and another has.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    self as df, ColumnarValue, Expr, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use std::any::Any;
use std::sync::{Arc, LazyLock};

pub(super) fn nullable(union: df::Union) -> DfResult<LogicalPlan> {
    static MAYBE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Maybe { signature }))
    });
    let input = |input: Arc<LogicalPlan>| {
        let column = |(qualifier, field): (Option<&_>, &FieldRef)| {
            let column = vec![Expr::Column((qualifier, field).into())];
            let maybe = Expr::ScalarFunction(ScalarFunction::new_udf(MAYBE.clone(), column));
            maybe.alias_qualified(qualifier.cloned(), field.name())
        };
        let columns = input.schema().iter().map(column).collect();
        Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(columns, input)?)))
    };
    let inputs = union.inputs.into_iter().map(input).collect::<DfResult<_>>()?;
    Ok(LogicalPlan::Union(df::Union { inputs, ..union }))
}

/// The value as it is, or NULL for all that a planner knows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Maybe {
    signature: Signature,
}

impl ScalarUDFImpl for Maybe {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        "maybe"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(args[0].clone())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), args.arg_fields[0].data_type().clone(), true)))
    }
    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(args.args.swap_remove(0))
    }
}
