//! Lists: what they share, what is taken out of them, and how they stand in text. An item that is NULL is found by
//! `array_remove` only.

use super::casts::cast_of;
use super::operators::is_text;
use super::own::{Args, bad, invoke};
use crate::row::list_of;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StringArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result as DfResult, plan_err};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};
use datafusion::logical_expr::{Signature, Volatility};
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

/// `l @> m`: every item of the second is in the first.
pub(super) fn holds(list: Expr, other: Expr) -> Expr {
    ScalarUDF::new_from_impl(Lists::new(Work::Holds)).call(vec![list, other])
}

/// `l && m`: some item is in both.
pub(super) fn meets(list: Expr, other: Expr) -> Expr {
    ScalarUDF::new_from_impl(Lists::new(Work::Meets)).call(vec![list, other])
}

/// Those that SQL may name.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    [Work::Holds, Work::Meets, Work::Remove]
        .into_iter()
        .map(|work| Arc::new(ScalarUDF::new_from_impl(Lists::new(work))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Work {
    Holds,
    Meets,
    Remove,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Lists {
    work: Work,
    aliases: Vec<String>,
    signature: Signature,
}

impl Lists {
    fn new(work: Work) -> Lists {
        let aliases: &[&str] = match work {
            Work::Holds => &["array_has_all", "array_contains_all", "list_has_all", "list_contains_all"],
            Work::Meets => &["array_has_any", "array_overlap", "arrays_overlap", "list_has_any"],
            Work::Remove => &["list_remove"],
        };
        let aliases = aliases.iter().map(|name| name.to_string()).collect();
        Lists { work, aliases, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Lists {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &str {
        match self.work {
            Work::Holds => "list_holds",
            Work::Meets => "list_meets",
            Work::Remove => "array_remove",
        }
    }
    fn aliases(&self) -> &[String] {
        &self.aliases
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        let refused = || plan_err!("`{}` does not take ({})", self.name(), shown(given));
        match (self.work, given) {
            (Work::Remove, [DataType::List(item), _]) => Ok(vec![given[0].clone(), item.data_type().clone()]),
            (Work::Holds | Work::Meets, [DataType::List(one), DataType::List(other)]) => {
                let both = [one, other].map(|item| item.data_type());
                let mixed = both.iter().all(|of| !of.is_null()) && is_text(both[0]) != is_text(both[1]);
                match comparison_coercion(both[0], both[1]).filter(|_| !mixed) {
                    Some(common) => Ok(vec![list_of(common); 2]),
                    None => refused(),
                }
            }
            _ => refused(),
        }
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(if self.work == Work::Remove { args[0].clone() } else { DataType::Boolean })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        invoke(args, |args| match self.work {
            Work::Holds => shared(args, |mut wanted, there| wanted.all(there)),
            Work::Meets => shared(args, |mut wanted, there| wanted.any(there)),
            Work::Remove => removed(args),
        })
    }
}

fn shown(types: &[DataType]) -> String {
    types.iter().map(|of| of.to_string()).collect::<Vec<_>>().join(", ")
}

fn list(args: &Args, column: usize) -> DfResult<&ListArray> {
    args.columns[column].as_list_opt::<i32>().map_or_else(|| bad("no list"), Ok)
}

/// Where the items of a row are.
fn items(list: &ListArray, row: usize) -> Range<usize> {
    list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
}

/// Values as bytes that are equal where they are.
fn bytes(arrays: &[&ArrayRef]) -> DfResult<Vec<Rows>> {
    let converter = RowConverter::new(vec![SortField::new(arrays[0].data_type().clone())])?;
    Ok(arrays.iter().map(|array| converter.convert_columns(&[ArrayRef::clone(array)])).collect::<Result<_, _>>()?)
}

/// Asks `decides` of the second list's items which of them are in the first.
fn shared(
    args: &Args,
    decides: impl Fn(Box<dyn Iterator<Item = usize>>, &mut dyn FnMut(usize) -> bool) -> bool,
) -> DfResult<ArrayRef> {
    let (list, other) = (list(args, 0)?, self::list(args, 1)?);
    let [there, wanted] = &bytes(&[list.values(), other.values()])?[..] else { return bad("two lists") };
    let of_row = |row| {
        let own = items(list, row);
        let mut is_there =
            |at: usize| other.values().is_valid(at) && own.clone().any(|own| there.row(own) == wanted.row(at));
        Ok(Some(decides(Box::new(items(other, row)), &mut is_there)))
    };
    Ok(Arc::new(args.each::<BooleanArray, _>(of_row)?))
}

fn removed(args: &Args) -> DfResult<ArrayRef> {
    let list = list(args, 0)?;
    let [there, gone] = &bytes(&[list.values(), &args.columns[1]])?[..] else { return bad("a list and an item") };
    let (mut kept, mut ends) = (Vec::new(), vec![0]);
    for row in 0..args.rows {
        let own = if list.is_valid(row) { items(list, row) } else { 0..0 };
        kept.extend(own.filter(|at| there.row(*at) != gone.row(row)).map(|at| at as u32));
        ends.push(kept.len() as i32);
    }
    let values = take(list.values(), &UInt32Array::from(kept), None)?;
    made(values, ends, list.nulls().cloned())
}

fn made(values: ArrayRef, ends: Vec<i32>, nulls: Option<NullBuffer>) -> DfResult<ArrayRef> {
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(item, OffsetBuffer::new(ends.into()), values, nulls)?))
}

/// Each item of lists as another type.
pub(super) fn items_as(lists: &ArrayRef, to: &DataType) -> DfResult<ArrayRef> {
    let Some(lists) = lists.as_list_opt::<i32>() else { return bad("no list") };
    let item = Arc::new(Field::new_list_field(to.clone(), true));
    let values = cast_of(lists.values(), to)?;
    Ok(Arc::new(ListArray::try_new(item, lists.offsets().clone(), values, lists.nulls().cloned())?))
}

/// `{a,"b c",NULL}` as lists of `item`.
pub(super) fn read(texts: &StringArray, item: &DataType) -> DfResult<ArrayRef> {
    let (mut values, mut ends): (Vec<Option<String>>, Vec<i32>) = (Vec::new(), vec![0]);
    for text in texts.iter() {
        match text.map(|text| (text, parts(text.trim()))) {
            Some((text, None)) => return bad(format_args!("`{text}` is no list")),
            Some((_, Some(parts))) => values.extend(parts),
            None => {}
        }
        ends.push(values.len() as i32);
    }
    let values: ArrayRef = Arc::new(StringArray::from(values));
    made(cast_of(&values, item)?, ends, texts.nulls().cloned())
}

/// The items in braces, lists within them as they are written.
fn parts(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let (mut parts, mut part, mut quoted, mut depth) = (Vec::new(), String::new(), false, 0);
    let mut characters = inner.chars();
    let mut within = false;
    let done = |part: &mut String, quoted: bool| {
        let text = std::mem::take(part);
        let text = if quoted { text } else { text.trim().to_string() };
        match quoted {
            false if text.is_empty() => None,
            false if text.eq_ignore_ascii_case("null") => Some(None),
            _ => Some(Some(text)),
        }
    };
    while let Some(character) = characters.next() {
        match character {
            '\\' if depth == 0 => part.push(characters.next()?),
            '\\' => part.extend([character, characters.next()?]),
            '"' if depth > 0 => {
                within = !within;
                part.push(character);
            }
            '"' => {
                // What stands around the quotes is space.
                (within, quoted) = (!within, true);
                if within {
                    part.clear();
                }
            }
            _ if within => part.push(character),
            '{' | '}' => {
                depth += if character == '{' { 1 } else { -1 };
                part.push(character);
            }
            ',' if depth == 0 => parts.push(done(&mut part, std::mem::take(&mut quoted))?),
            // Behind quotes.
            c if quoted && c.is_whitespace() => {}
            other => part.push(other),
        }
    }
    if within || depth != 0 {
        return None;
    }
    if !(parts.is_empty() && !quoted && part.trim().is_empty()) {
        parts.push(done(&mut part, quoted)?);
    }
    Some(parts)
}
