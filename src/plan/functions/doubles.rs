//! Doubles beside numerics are compared and put into one column as doubles: DataFusion would have numerics with 15 digits
//! before the point and 15 behind it.

use super::expressions::each;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator as Op, Projection, Union, cast};
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

/// Before the types of operands are made one.
#[derive(Debug)]
pub struct Doubles;

impl AnalyzerRule for Doubles {
    fn name(&self) -> &str {
        "doubles"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Union(union) => united(union),
            plan => each(plan, |e, schema| e.transform_up(|e| doubled(e, schema))),
        })
        .data()
    }
}

fn doubled(mut e: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    const COMPARISONS: [Op; 8] =
        [Op::Eq, Op::NotEq, Op::Lt, Op::LtEq, Op::Gt, Op::GtEq, Op::IsDistinctFrom, Op::IsNotDistinctFrom];
    const CHOICES: [&str; 4] = ["coalesce", "nullif", "greatest", "least"];
    let changed = match &mut e {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if COMPARISONS.contains(op) => {
            alike(vec![left, right], schema)
        }
        Expr::Between(between) => alike(vec![&mut between.expr, &mut between.low, &mut between.high], schema),
        Expr::InList(list) => alike(std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect(), schema),
        Expr::ScalarFunction(call) if CHOICES.contains(&call.func.name()) => {
            alike(call.args.iter_mut().collect(), schema)
        }
        Expr::Case(case) => {
            let (whens, thens): (Vec<&mut Expr>, Vec<&mut Expr>) =
                case.when_then_expr.iter_mut().map(|(when, then)| (when.as_mut(), then.as_mut())).unzip();
            let of_base = match case.expr.as_deref_mut() {
                Some(base) => alike(std::iter::once(base).chain(whens).collect(), schema),
                None => false,
            };
            alike(thens.into_iter().chain(case.else_expr.as_deref_mut()).collect(), schema) || of_base
        }
        _ => false,
    };
    Ok(if changed { Transformed::yes(e) } else { Transformed::no(e) })
}

/// Makes doubles of numerics, where a double is among them.
fn alike(operands: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types: Vec<Option<DataType>> = operands.iter().map(|e| e.get_type(schema).ok()).collect();
    if !mixed(types.iter().flatten()) {
        return false;
    }
    for (operand, of) in operands.into_iter().zip(types) {
        if of.is_some_and(|of| of.is_decimal()) {
            *operand = cast(std::mem::take(operand), DataType::Float64);
        }
    }
    true
}

fn mixed<'a>(mut types: impl Iterator<Item = &'a DataType> + Clone) -> bool {
    types.clone().any(|of| of.is_floating()) && types.any(|of| of.is_decimal())
}

fn united(union: Union) -> DfResult<Transformed<LogicalPlan>> {
    let of = |input: &LogicalPlan, column: usize| input.schema().field(column).data_type().clone();
    let columns = 0..union.schema.fields().len();
    let is_mixed = |column: &usize| {
        let types: Vec<DataType> = union.inputs.iter().map(|input| of(input, *column)).collect();
        mixed(types.iter())
    };
    let columns: Vec<usize> = columns.filter(is_mixed).collect();
    if columns.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let doubled = |input: Arc<LogicalPlan>| {
        let output = |(at, (qualifier, field)): (usize, (Option<&_>, &Arc<arrow::datatypes::Field>))| {
            let e = Expr::from((qualifier, field));
            match columns.contains(&at) && field.data_type().is_decimal() {
                true => cast(e, DataType::Float64).alias_qualified(qualifier.cloned(), field.name()),
                false => e,
            }
        };
        let outputs = input.schema().iter().enumerate().map(output).collect();
        Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(outputs, input)?)))
    };
    let inputs = union.inputs.into_iter().map(doubled).collect::<DfResult<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}
