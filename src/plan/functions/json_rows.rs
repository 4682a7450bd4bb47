//! Lists out of JSON: `from` unnests them where SQL has a function of many rows, as `jsonb_array_elements`.

use super::json_value::{kind, members, parts, plain, valid};
use super::own::{Args, Function, Kind, bad};
use crate::row::{JSON, list_of};
use arrow::array::{ArrayRef, GenericStringBuilder, ListBuilder, OffsetSizeTrait};
use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use std::sync::Arc;

use Kind::Text;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "json_items",
        aliases: &[],
        takes: &[&[Text]],
        gives: |_| list_of(JSON),
        work: |args| lists::<i64>(args, |json| Ok(items(json)?.into_iter().map(|item| Some(item.into())).collect())),
        does: "`jsonb_array_elements(x)`: the items of an array",
        differs: "none",
    },
    Function {
        name: "json_items_text",
        aliases: &[],
        takes: &[&[Text]],
        gives: |_| list_of(DataType::Utf8),
        work: |args| lists::<i32>(args, |json| items(json)?.into_iter().map(plain).collect()),
        does: "`jsonb_array_elements_text(x)`: the same as text",
        differs: "none",
    },
    Function {
        name: "json_names",
        aliases: &[],
        takes: &[&[Text]],
        gives: |_| list_of(DataType::Utf8),
        work: |args| lists::<i32>(args, |json| Ok(object(json)?.into_iter().map(|(name, _)| Some(name)).collect())),
        does: "`jsonb_object_keys(x)`, and the `key` of `jsonb_each(x)`: the names of an object's members",
        differs: "none",
    },
    Function {
        name: "json_values",
        aliases: &[],
        takes: &[&[Text]],
        gives: |_| list_of(JSON),
        work: |args| {
            lists::<i64>(args, |json| Ok(object(json)?.into_iter().map(|(_, value)| Some(value.into())).collect()))
        },
        does: "the `value` of `jsonb_each(x)`",
        differs: "none",
    },
    Function {
        name: "json_values_text",
        aliases: &[],
        takes: &[&[Text]],
        gives: |_| list_of(DataType::Utf8),
        work: |args| lists::<i32>(args, |json| object(json)?.into_iter().map(|(_, value)| plain(value)).collect()),
        does: "the `value` of `jsonb_each_text(x)`",
        differs: "none",
    },
];

fn lists<O: OffsetSizeTrait>(args: &Args, of: impl Fn(&str) -> DfResult<Vec<Option<String>>>) -> DfResult<ArrayRef> {
    let mut lists = ListBuilder::new(GenericStringBuilder::<O>::new());
    for row in 0..args.rows {
        match args.is_null(0, row) {
            true => lists.append_null(),
            false => lists.append_value(of(valid(args.text(0, row))?)?),
        }
    }
    Ok(Arc::new(lists.finish()))
}

fn items(json: &str) -> DfResult<Vec<&str>> {
    if kind(json) == "array" { Ok(parts(json)) } else { bad(format_args!("`{json}` is no array")) }
}

fn object(json: &str) -> DfResult<Vec<(String, &str)>> {
    if kind(json) == "object" { members(json) } else { bad(format_args!("`{json}` is no object")) }
}
