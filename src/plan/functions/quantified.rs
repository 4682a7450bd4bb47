//! `x = any(list)`, `x <> all(list)` and their like: NULL where an item that is NULL might have decided.

use super::own::{Args, bad, invoke};
use crate::row::list_of;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum, UInt32Array};
use arrow::compute::{kernels::cmp, take};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use datafusion::common::{Result as DfResult, plan_err};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::sql::sqlparser::ast::BinaryOperator as Op;
use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

type Compare = fn(&dyn Datum, &dyn Datum) -> Result<BooleanArray, ArrowError>;

const COMPARISONS: [(&str, Op, Compare); 6] = [
    ("eq", Op::Eq, cmp::eq),
    ("ne", Op::NotEq, cmp::neq),
    ("lt", Op::Lt, cmp::lt),
    ("le", Op::LtEq, cmp::lt_eq),
    ("gt", Op::Gt, cmp::gt),
    ("ge", Op::GtEq, cmp::gt_eq),
];

/// The function that `operator any`, or `operator all`, is written as.
pub fn name(operator: &Op, all: bool) -> Option<String> {
    let (word, ..) = COMPARISONS.iter().find(|(_, op, _)| op == operator)?;
    Some(named(word, all))
}

fn named(word: &str, all: bool) -> String {
    format!("{word}_{}", if all { "all" } else { "any" })
}

/// One for each comparison, of any and of all.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let function = |(word, _, compare): (&str, Op, Compare), all| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Quantified { name: named(word, all), all, compare, signature }))
    };
    COMPARISONS.into_iter().flat_map(move |of| [false, true].map(|all| function(of.clone(), all)))
}

#[derive(Debug)]
struct Quantified {
    name: String,
    all: bool,
    compare: Compare,
    signature: Signature,
}

impl PartialEq for Quantified {
    fn eq(&self, other: &Quantified) -> bool {
        self.name == other.name
    }
}

impl Eq for Quantified {}

impl Hash for Quantified {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Quantified {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        // A list as it is written in text.
        if let [of, DataType::Utf8] = given {
            return Ok(vec![of.clone(), list_of(of.clone())]);
        }
        let [of, DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)] = given else {
            return plan_err!("`any` and `all` take a list or a subquery");
        };
        match comparison_coercion(of, item.data_type()) {
            Some(common) => {
                let items = DataType::List(Arc::new(Field::new_list_field(common.clone(), true)));
                Ok(vec![common, items])
            }
            None => plan_err!("{of} cannot be compared with items of {}", item.data_type()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        invoke(args, |args| self.decided(args))
    }
}

impl Quantified {
    fn decided(&self, args: &Args) -> DfResult<ArrayRef> {
        let Some(lists) = args.columns[1].as_list_opt::<i32>() else { return bad("no list") };
        let offsets = lists.value_offsets();
        let (first, last) = (offsets[0] as usize, offsets[lists.len()] as usize);
        let items = lists.values().slice(first, last - first);
        // Each item beside the value of its row.
        let rows = (0..lists.len()).flat_map(|row| {
            let items = (offsets[row + 1] - offsets[row]) as usize;
            std::iter::repeat_n(row as u32, items)
        });
        let values = take(&args.columns[0], &UInt32Array::from_iter_values(rows), None)?;
        let compared = (self.compare)(&values, &items)?;
        // One that is so decides for any, one that is not for all.
        let deciding = !self.all;
        let row = |row: usize| {
            let own = offsets[row] as usize - first..offsets[row + 1] as usize - first;
            let decides = |at: usize| compared.is_valid(at) && compared.value(at) == deciding;
            match () {
                () if lists.is_null(row) => None,
                () if own.clone().any(decides) => Some(deciding),
                () if own.clone().any(|at| compared.is_null(at)) => None,
                () => Some(!deciding),
            }
        };
        Ok(Arc::new((0..lists.len()).map(row).collect::<BooleanArray>()))
    }
}
