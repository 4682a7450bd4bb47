//! `coalesce`, `greatest`, `least` and `nullif`, whose arguments get one type: a text beside dates is taken for one, as
//! Postgres takes a literal. DataFusion finds no type that both have.

use super::operators::is_text;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::functions::core::{coalesce, greatest, least, nullif};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs};
use datafusion::logical_expr::{ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::any::Any;
use std::sync::Arc;

/// In the place of DataFusion's, which do all else.
pub(super) fn functions() -> [Arc<ScalarUDF>; 4] {
    let alike = |inner: Arc<ScalarUDF>| Alike { inner, signature: Signature::user_defined(Volatility::Immutable) };
    [coalesce(), greatest(), least(), nullif()].map(|inner| Arc::new(ScalarUDF::new_from_impl(alike(inner))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Alike {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Alike {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        let beside_text = |of: &&DataType| of.is_temporal() || **of == DataType::Boolean;
        let mut given = given.to_vec();
        if let Some(other) = given.iter().find(beside_text).cloned() {
            given.iter_mut().filter(|of| is_text(of)).for_each(|of| *of = other.clone());
        }
        let fields: Vec<FieldRef> = given.into_iter().map(|of| Arc::new(Field::new("", of, true))).collect();
        let common = fields_with_udf(&fields, self.inner.as_ref())?;
        Ok(common.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(args)
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }
    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        self.inner.simplify(args, context)
    }
    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }
    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }
}
