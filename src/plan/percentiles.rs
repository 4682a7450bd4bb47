//! `percentile_cont`, `percentile_disc` and `mode`, `within group (order by x)`, as Postgres has them: DataFusion has only
//! the first, and interpolates by millionths.

use crate::row::list_of;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::{SortOptions, concat, filter, is_not_null, partition, sort};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result as DfResult, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use std::any::Any;
use std::sync::Arc;

pub(super) const CONT: &str = "percentile_cont";
pub(super) const DISC: &str = "percentile_disc";
pub(super) const MODE: &str = "mode";

pub(super) fn functions() -> impl Iterator<Item = Arc<AggregateUDF>> {
    let function = |(name, alias): (&'static str, Option<&str>)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        let aliases = alias.into_iter().map(String::from).collect();
        Arc::new(AggregateUDF::new_from_impl(Percentile { name, aliases, signature }))
    };
    [(CONT, Some("quantile_cont")), (DISC, Some("quantile_disc")), (MODE, None)].into_iter().map(function)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

impl AggregateUDFImpl for Percentile {
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
    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn coerce_types(&self, args: &[DataType]) -> DfResult<Vec<DataType>> {
        let number = |of: &DataType| of.is_numeric() || of.is_null();
        let several = |at: &DataType| matches!(at, DataType::List(of) if number(of.data_type()));
        Ok(match (self.name, args) {
            (MODE, [of]) => vec![of.clone()],
            (DISC, [of, at]) if several(at) => vec![of.clone(), list_of(DataType::Float64)],
            (CONT, [of, at]) if number(of) && several(at) => vec![DataType::Float64, list_of(DataType::Float64)],
            (DISC, [of, at]) if number(at) => vec![of.clone(), DataType::Float64],
            (CONT, [of, at]) if number(of) && number(at) => vec![DataType::Float64; 2],
            (CONT, [of, at]) if number(at) => return plan_err!("`{CONT}` is of numbers, and not of {of}"),
            (name, _) => return plan_err!("write `{name}(…) within group (order by …)`, with a number from 0 to 1"),
        })
    }

    fn return_type(&self, of: &[DataType]) -> DfResult<DataType> {
        Ok(match of.get(1) {
            Some(DataType::List(_)) => list_of(of[0].clone()),
            _ => of[0].clone(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let descending = args.order_bys.first().is_some_and(|by| by.options.descending);
        let at = args.exprs.get(1).and_then(|at| at.as_any().downcast_ref::<Literal>()).map(Literal::value);
        let pick = match (self.name, at) {
            (MODE, _) => Pick::Most,
            (name, Some(ScalarValue::List(list))) => {
                let places = list.iter().flatten().map(|places| self.places(&places)).collect::<DfResult<Vec<_>>>()?;
                Pick::Several(if name == CONT { Pick::Cont } else { Pick::Disc }, places.concat())
            }
            (name, Some(at)) => match self.places(&at.to_array()?)?[..] {
                [Some(at)] if name == CONT => Pick::Cont(at),
                [Some(at)] => Pick::Disc(at),
                _ => Pick::Nothing,
            },
            (_, None) => return self.no_place(),
        };
        let of = args.expr_fields[0].data_type().clone();
        Ok(Box::new(Gathered { pick, descending, of, values: Vec::new() }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let items = Field::new_list_field(args.input_fields[0].data_type().clone(), true);
        let name = format_state_name(args.name, "values");
        Ok(vec![Arc::new(Field::new(name, DataType::List(Arc::new(items)), true))])
    }
}

impl Percentile {
    /// The percentiles that are asked for.
    fn places(&self, array: &ArrayRef) -> DfResult<Vec<Option<f64>>> {
        let Some(places) = array.as_primitive_opt::<Float64Type>() else { return self.no_place() };
        match places.iter().flatten().all(|at| (0.0..=1.0).contains(&at)) {
            true => Ok(places.iter().collect()),
            false => self.no_place(),
        }
    }

    fn no_place<T>(&self) -> DfResult<T> {
        plan_err!("the percentile of `{}` is no number from 0 to 1", self.name)
    }
}

#[derive(Clone, Debug)]
enum Pick {
    /// A list of what each of these picks.
    Several(fn(f64) -> Pick, Vec<Option<f64>>),
    Cont(f64),
    Disc(f64),
    Most,
    Nothing,
}

/// All values so far.
#[derive(Debug)]
struct Gathered {
    pick: Pick,
    descending: bool,
    of: DataType,
    values: Vec<ArrayRef>,
}

impl Gathered {
    fn all(&self) -> DfResult<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.values.iter().map(|array| array.as_ref()).collect();
        if arrays.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.of));
        }
        Ok(concat(&arrays)?)
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.values.push(filter(&values[0], &is_not_null(&values[0])?)?);
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let options = SortOptions { descending: self.descending, nulls_first: false };
        let sorted = sort(&self.all()?, Some(options))?;
        let Pick::Several(pick, places) = &self.pick else { return picked(&self.pick, &sorted) };
        let each = places.iter().map(|at| picked(&at.map_or(Pick::Nothing, pick), &sorted));
        let each = each.collect::<DfResult<Vec<_>>>()?;
        match sorted.is_empty() {
            true => ScalarValue::try_from(&list_of(self.of.clone())),
            false => Ok(ScalarValue::List(ScalarValue::new_list_nullable(&each, &self.of))),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.iter().map(|array| array.get_array_memory_size()).sum::<usize>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![SingleRowListArrayBuilder::new(self.all()?).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.values.extend(states[0].as_list::<i32>().iter().flatten());
        Ok(())
    }
}

fn picked(pick: &Pick, sorted: &ArrayRef) -> DfResult<ScalarValue> {
    let last = sorted.len().checked_sub(1);
    let at = match (pick, last) {
        (Pick::Cont(part), Some(last)) => {
            return Ok(ScalarValue::Float64(Some(between(sorted.as_primitive(), part * last as f64))));
        }
        (Pick::Disc(part), Some(last)) => {
            let place = (part * sorted.len() as f64).ceil() as usize;
            place.saturating_sub(1).min(last)
        }
        (Pick::Most, Some(_)) => {
            let runs = partition(std::slice::from_ref(sorted))?.ranges();
            // Of those that are there as often the first.
            runs.into_iter().rev().max_by_key(|run| run.len()).map_or(0, |run| run.start)
        }
        _ => return ScalarValue::try_from(sorted.data_type()),
    };
    ScalarValue::try_from_array(sorted, at)
}

/// What stands at a place between two values.
fn between(sorted: &Float64Array, place: f64) -> f64 {
    let (low, high) = (sorted.value(place.floor() as usize), sorted.value(place.ceil() as usize));
    if low == high { low } else { low + (high - low) * (place - place.floor()) }
}
