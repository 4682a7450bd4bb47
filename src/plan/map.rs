//! `map(keys, values)` where one of the two is the same for all rows: DataFusion's own takes it for a list of all rows,
//! and then fails, or panics, or gives the keys of one row the values of many.

use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use datafusion::functions_nested::map::map_udf;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use std::any::Any;
use std::sync::Arc;

/// In the place of DataFusion's.
pub(super) fn map() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Map { of_lists: map_udf() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Map {
    of_lists: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Map {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        self.of_lists.name()
    }
    fn signature(&self) -> &Signature {
        self.of_lists.signature()
    }
    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        self.of_lists.return_type(args)
    }
    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if args.args.iter().any(|arg| matches!(arg, ColumnarValue::Array(_))) {
            let rows = args.number_rows;
            let array = |arg: ColumnarValue| Ok(ColumnarValue::Array(arg.into_array(rows)?));
            args.args = args.args.into_iter().map(array).collect::<DfResult<_>>()?;
        }
        self.of_lists.invoke_with_args(args)
    }
}
