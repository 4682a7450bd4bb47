//! Chance as a column of the result, `gen_random_uuid() as id`: drawn once for each row, and kept with it as a stamp is.
//!
//! Planning leaves a draw open: a parameter with a name of its own. Only what stands on the straight way to the result is
//! drawn so, where rows are handed on as they are; to all else a draw would have to be a value before it is kept.
//! What is drawn follows from a seed that is kept with each row, and from the name of the draw.

use super::refusal::Refusal;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{self as df, ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs};
use datafusion::logical_expr::{ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::any::Any;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// The column in which rows have their seeds.
pub(super) const SEED: &str = "seed";
/// What the names of open draws begin with; no SQL can write a parameter of such a name.
const OPEN: &str = "draw ";

/// As SQL writes it, before its draws are left open.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    name: &'static str,
    aliases: Vec<String>,
    returns: DataType,
    signature: Signature,
}

/// The functions of chance.
pub(super) fn functions() -> [Arc<ScalarUDF>; 2] {
    let function = |name, aliases: &[&str], returns| {
        let aliases = aliases.iter().map(|name| name.to_string()).collect();
        let signature = Signature::nullary(Volatility::Volatile);
        Arc::new(ScalarUDF::from(Function { name, aliases, returns, signature }))
    };
    let uuids = ["uuid", "uuid_generate_v4", "generate_uuid", "uuid_string"];
    [function("random", &["rand"], DataType::Float64), function("gen_random_uuid", &uuids, DataType::Utf8)]
}

impl ScalarUDFImpl for Function {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        self.name
    }
    fn aliases(&self) -> &[String] {
        &self.aliases
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.clone())
    }
    /// For a recompute, which is not compared in these columns.
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(ColumnarValue::Scalar(match self.returns {
            DataType::Utf8 => ScalarValue::from(uuid(0)),
            _ => ScalarValue::from(fraction(0)),
        }))
    }
}

/// A plan as it was bound, with the draws of `model` left open; and whether there are any.
pub(super) fn left_open(plan: LogicalPlan, model: &str) -> DfResult<(LogicalPlan, bool)> {
    let mut count = 0;
    let plan = opened(plan, model, &mut count)?;
    Ok((plan, count > 0))
}

fn opened(plan: LogicalPlan, model: &str, count: &mut usize) -> DfResult<LogicalPlan> {
    let plan = match plan {
        LogicalPlan::Projection(_) => {
            let names = NamePreserver::new(&plan);
            let mut open = |e: Expr| match &e {
                Expr::ScalarFunction(call) => match call.func.inner().as_any().downcast_ref::<Function>() {
                    Some(function) => {
                        *count += 1;
                        let field = Arc::new(Field::new(OPEN, function.returns.clone(), true));
                        let name = format!("{OPEN}{count} of {model}");
                        Ok(Transformed::yes(Expr::Placeholder(Placeholder::new_with_field(name, Some(field)))))
                    }
                    None => Ok(Transformed::no(e)),
                },
                _ => Ok(Transformed::no(e)),
            };
            let opened = plan.map_expressions(|e| {
                let name = names.save(&e);
                Ok(e.transform_up(&mut open)?.update_data(|e| name.restore(e)))
            })?;
            opened.data
        }
        other => other,
    };
    match is_straight(&plan) {
        true => Ok(plan.map_children(|child| opened(child, model, count).map(Transformed::yes))?.data),
        false => Ok(plan),
    }
}

/// Whether a node hands each of its rows on, if at all, as one row.
fn is_straight(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_))
        || matches!(plan, LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Window(_))
}

/// Whether an expression has an open draw.
pub(super) fn reads(e: &Expr) -> bool {
    e.exists(|e| Ok(is_open(e))).unwrap_or(false)
}

fn is_open(e: &Expr) -> bool {
    matches!(e, Expr::Placeholder(open) if open.id.starts_with(OPEN))
}

/// Whether a plan still has an open draw: nothing took it off.
pub(super) fn stay(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(node.expressions().iter().any(reads))).unwrap_or(false)
}

/// An expression with what its draws are in each row, of its seed.
pub(super) fn drawn(e: Expr) -> DfResult<Expr> {
    let in_place = |e: Expr| match &e {
        Expr::Placeholder(open) if is_open(&e) => {
            let returns = open.field.as_ref().map_or(DataType::Float64, |field| field.data_type().clone());
            let signature = Signature::any(1, Volatility::Immutable);
            let draw = Draw { name: open.id.clone(), returns, signature };
            Ok(Transformed::yes(ScalarUDF::new_from_impl(draw).call(vec![df::ident(SEED)])))
        }
        _ => Ok(Transformed::no(e)),
    };
    Ok(e.transform_up(in_place)?.data)
}

/// A draw of this name, of a seed.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Draw {
    name: String,
    returns: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Draw {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let seeds = args.args[0].to_array(args.number_rows)?;
        let seeds = seeds.as_binary::<i32>();
        let draws = (0..seeds.len()).map(|row| xxh3_128(&[seeds.value(row), self.name.as_bytes()].concat()));
        let drawn: ArrayRef = match self.returns {
            DataType::Utf8 => Arc::new(draws.map(|draw| Some(uuid(draw))).collect::<StringArray>()),
            _ => Arc::new(draws.map(|draw| Some(fraction(draw))).collect::<Float64Array>()),
        };
        Ok(ColumnarValue::Array(drawn))
    }
}

/// From 0 to less than 1.
fn fraction(draw: u128) -> f64 {
    (draw >> 75) as f64 / (1u64 << 53) as f64
}

/// Of version 4, as RFC 9562 has them.
fn uuid(draw: u128) -> String {
    let bits = draw & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Whether a relation that `draws` is read elsewhere than on the straight way to the result.
pub(super) fn read_aside(plan: &LogicalPlan, draws: &dyn Fn(&df::TableScan) -> bool) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => false,
        plan if is_straight(plan) => plan.inputs().into_iter().any(|input| read_aside(input, draws)),
        plan => plan.exists(|node| Ok(matches!(node, LogicalPlan::TableScan(scan) if draws(scan)))).unwrap_or(true),
    }
}

/// A draw stands where something else is made of it.
pub(super) fn elsewhere(sql: &str) -> Refusal {
    let hint = "draw in the outermost select, as a column of its own that each row keeps; or take a hash of the row's key, \
                `md5(id::text)`, which is always the same";
    let refusal = |name: &str| {
        let reason =
            format!("`{name}` is drawn where something else is made of it, and would be another with each change");
        Refusal::new(reason, hint).at_words(sql, &[name, "("])
    };
    let names = functions().into_iter().flat_map(|of| [&[of.name().to_string()], of.aliases()].concat());
    let mut placed = names.map(|name| refusal(&name)).filter(|refusal| refusal.line > 0);
    placed.next().unwrap_or_else(|| refusal("random"))
}

/// A model that draws is read where its draws would be others.
pub(super) fn aside() -> Refusal {
    let reason =
        "a model that draws, with `random` or the like, and is not published, is read by a join, a union or a group";
    Refusal::new(reason, "publish that model too, so that what it has drawn can be read")
}

/// Whether it is a function of chance, before it is left open.
pub(super) fn is_call(call: &ScalarFunction) -> bool {
    call.func.inner().as_any().is::<Function>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_has_its_form() {
        for draw in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            assert!((0.0..1.0).contains(&fraction(draw)), "{draw}");
            let uuid = uuid(draw);
            assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{uuid}");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }
    }
}
