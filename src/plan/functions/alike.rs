//! `coalesce`, `greatest`, `least` and `nullif`, whose arguments get one type: a text beside dates or lists is one, as
//! Postgres takes a literal. DataFusion finds no type that both have.
//!
//! It makes a case of `coalesce`, in which each argument stands twice, and of one within another four times, and so on. Here
//! that is only where a later argument might fail, and so must not be computed for rows that have an earlier one.

use super::operators::is_text;
use super::own::TIMESTAMP;
use crate::plan::definite::is_wider;
use crate::row::list_of;
use arrow::array::Array;
use arrow::compute::is_not_null;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::functions::core::{coalesce, greatest, least, nullif};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs};
use datafusion::logical_expr::{ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit, when};
use std::any::Any;
use std::sync::Arc;

/// In the place of DataFusion's, which do all else.
pub(super) fn functions() -> [Arc<ScalarUDF>; 4] {
    let alike = |inner: Arc<ScalarUDF>| Alike { inner, signature: Signature::user_defined(Volatility::Immutable) };
    [coalesce(), greatest(), least(), nullif()].map(|inner| Arc::new(ScalarUDF::new_from_impl(alike(inner))))
}

/// Functions that have a result, be it NULL, for all that they take.
const TOTAL: [&str; 12] = [
    "coalesce",
    "greatest",
    "least",
    "nullif",
    "lower",
    "upper",
    "btrim",
    "ltrim",
    "rtrim",
    "concat",
    "md5",
    "canonical",
];

/// Whether a function never fails, if its arguments do not.
pub fn is_total(name: &str) -> bool {
    TOTAL.contains(&name)
}

fn may_fail(e: &Expr, context: &SimplifyContext) -> bool {
    let fails = |e: &Expr| match e {
        Expr::BinaryExpr(binary) => binary.op.is_numerical_operators(),
        Expr::Cast(cast) => !context.get_data_type(&cast.expr).is_ok_and(|of| is_wider(&of, &cast.data_type)),
        Expr::ScalarFunction(call) => !is_total(call.name()),
        Expr::Negative(_) | Expr::TryCast(_) => true,
        _ => false,
    };
    e.exists(|e| Ok(fails(e))).unwrap_or(true)
}

/// Of each row the first that is not NULL.
fn first_known(args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
    let mut given = args.args.into_iter();
    let mut first = given.next().expect("the planner refuses no arguments");
    for next in given {
        first = match &first {
            ColumnarValue::Scalar(value) if value.is_null() => next,
            ColumnarValue::Scalar(_) => return Ok(first),
            ColumnarValue::Array(array) if array.null_count() == 0 => return Ok(first),
            ColumnarValue::Array(array) => {
                let known = is_not_null(array)?;
                ColumnarValue::Array(match next {
                    ColumnarValue::Scalar(value) => zip(&known, array, &value.to_scalar()?)?,
                    ColumnarValue::Array(next) => zip(&known, array, &next)?,
                })
            }
        };
    }
    Ok(first)
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
        let beside_text = |of: &&DataType| of.is_temporal() || matches!(of, DataType::Boolean | DataType::List(_));
        let mut given = given.to_vec();
        if let Some(other) = given.iter().find(beside_text).cloned() {
            given.iter_mut().filter(|of| is_text(of)).for_each(|of| *of = other.clone());
        }
        // Dates beside timestamps are such, by the microsecond: by the nanosecond there are none after 2262.
        let zoned = |of: &DataType| matches!(of, DataType::Timestamp(_, Some(_)));
        if given.iter().any(|of| matches!(of, DataType::Timestamp(..))) {
            let moment = if given.iter().any(zoned) { super::own::zoned() } else { TIMESTAMP };
            let moments = given.iter_mut().filter(|of| matches!(of, DataType::Date32 | DataType::Timestamp(..)));
            moments.for_each(|of| *of = moment.clone());
        }
        // Lists of one kind of items.
        let items = |of: &DataType| if let DataType::List(item) = of { Some(item.data_type().clone()) } else { None };
        let common = given.iter().filter_map(items).map(Some);
        let common = common.reduce(|one, other| comparison_coercion(&one?, &other?)).flatten();
        if let Some(common) = common.map(list_of) {
            given.iter_mut().filter(|of| matches!(of, DataType::List(_))).for_each(|of| *of = common.clone());
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
        if self.name() == "coalesce" { first_known(args) } else { self.inner.invoke_with_args(args) }
    }
    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        if self.name() == "coalesce" && !args.iter().skip(1).any(|e| may_fail(e, context)) {
            return Ok(ExprSimplifyResult::Original(args));
        }
        // Arrow has no function of its own to compare lists.
        if let ("nullif", [one, other]) = (self.name(), args.as_slice())
            && let of @ DataType::List(_) = context.get_data_type(one)?
        {
            let case = when(one.clone().eq(other.clone()), lit(ScalarValue::try_from(&of)?)).otherwise(one.clone())?;
            return Ok(ExprSimplifyResult::Simplified(case));
        }
        self.inner.simplify(args, context)
    }
    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }
    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }
}
