//! Text: characters are counted, never bytes.

use super::casts::text_of;
use super::own::{Args, Function, Kind, bad};
use crate::row::list_of;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use std::sync::Arc;

use Kind::{Any, Integer, List, Text};

const TEXT: fn(&[DataType]) -> DataType = |_| DataType::Utf8;
const INT: fn(&[DataType]) -> DataType = |_| DataType::Int32;

/// Postgres makes no text longer than this.
const BYTES_MAX: i64 = 1 << 30;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "split_part",
        aliases: &[],
        takes: &[&[Text, Text, Integer]],
        gives: TEXT,
        work: split_part,
        does: "part `n` of a text between delimiters, from the end if negative; an error if 0",
        differs: "takes an empty delimiter for one between all characters",
    },
    Function {
        name: "substr",
        aliases: &["substring"],
        takes: &[&[Text, Integer], &[Text, Integer, Integer], &[Text, Text]],
        gives: TEXT,
        work: substring,
        does: "characters from a place on, at most so many, or what a regular expression finds",
        differs: "takes no regular expression, and fails where the place is negative",
    },
    Function {
        name: "overlay",
        aliases: &[],
        takes: &[&[Text, Text, Integer], &[Text, Text, Integer, Integer]],
        gives: TEXT,
        work: |args| {
            texts(args, |row| {
                let (text, other, from) = (args.text(0, row), args.text(1, row), args.integer(2, row));
                let Some(before) = from.checked_sub(1).and_then(|count| usize::try_from(count).ok()) else {
                    return bad(format_args!("nothing is laid over a text from place {from} on"));
                };
                let count = if args.len() > 3 { args.integer(3, row) } else { other.chars().count() as i64 };
                let after = usize::try_from(from.saturating_sub(1).saturating_add(count)).unwrap_or(0);
                let begin = text.chars().take(before);
                Ok(begin.chain(other.chars()).chain(text.chars().skip(after)).collect::<String>())
            })
        },
        does: "`overlay(text placing other from place for count)`: in the place of so many characters",
        differs: "fails with letters of several bytes",
    },
    Function {
        name: "left",
        aliases: &[],
        takes: &[&[Text, Integer]],
        gives: TEXT,
        work: left,
        does: "the first `n` characters, or all but the last `-n`",
        differs: "the same",
    },
    Function {
        name: "right",
        aliases: &[],
        takes: &[&[Text, Integer]],
        gives: TEXT,
        work: right,
        does: "the last `n` characters, or all but the first `-n`",
        differs: "the same",
    },
    Function {
        name: "lpad",
        aliases: &[],
        takes: &[&[Text, Integer], &[Text, Integer, Text]],
        gives: TEXT,
        work: |args| pad(args, true),
        does: "filled at the left to so many characters, or cut to them",
        differs: "the same for these; others of its own are left out",
    },
    Function {
        name: "rpad",
        aliases: &[],
        takes: &[&[Text, Integer], &[Text, Integer, Text]],
        gives: TEXT,
        work: |args| pad(args, false),
        does: "filled at the right to so many characters, or cut to them",
        differs: "the same for these; others of its own are left out",
    },
    Function {
        name: "concat",
        aliases: &[],
        takes: &[&[Any]],
        gives: TEXT,
        work: |args| Ok(Arc::new(concat(args, None)?)),
        does: "all arguments as text, NULLs left out; `true` is `t`",
        differs: "prints numbers and timestamps in its own way",
    },
    Function {
        name: "concat_ws",
        aliases: &[],
        takes: &[&[Text, Any]],
        gives: TEXT,
        work: |args| Ok(Arc::new(concat(args, Some(0))?)),
        does: "the same with the first argument between them; NULL if that is",
        differs: "prints numbers and timestamps in its own way",
    },
    Function {
        name: "chr",
        aliases: &[],
        takes: &[&[Integer]],
        gives: TEXT,
        work: chr,
        does: "the character of this number; an error for 0 and where there is none",
        differs: "gives a character for 0",
    },
    Function {
        name: "repeat",
        aliases: &[],
        takes: &[&[Text, Integer]],
        gives: TEXT,
        work: repeat,
        does: "a text so many times; empty if negative",
        differs: "fails for negative numbers",
    },
    Function {
        name: "initcap",
        aliases: &[],
        takes: &[&[Text]],
        gives: TEXT,
        work: initcap,
        does: "each word with a capital first; words are of letters and digits",
        differs: "takes letters outside of ASCII for no part of a word",
    },
    Function {
        name: "replace",
        aliases: &[],
        takes: &[&[Text, Text, Text]],
        gives: TEXT,
        work: replace,
        does: "every occurrence replaced; an empty text occurs nowhere",
        differs: "finds the empty text between all characters",
    },
    Function {
        name: "length",
        aliases: &["char_length", "character_length"],
        takes: &[&[Text]],
        gives: INT,
        work: |args| {
            Ok(Arc::new(args.each::<Int32Array, _>(|row| Ok(Some(args.text(0, row).chars().count() as i32)))?))
        },
        does: "how many characters",
        differs: "the same, of wider arguments",
    },
    Function {
        name: "len",
        aliases: &[],
        takes: &[&[Text], &[List]],
        gives: INT,
        work: |args| match args.columns[0].as_list_opt::<i32>() {
            Some(lists) => Ok(Arc::new(args.each::<Int32Array, _>(|row| Ok(Some(lists.value_length(row))))?)),
            None => Ok(Arc::new(args.each::<Int32Array, _>(|row| Ok(Some(args.text(0, row).chars().count() as i32)))?)),
        },
        does: "how many characters, or items of a list; no function of Postgres'",
        differs: "none of lists",
    },
    Function {
        name: "string_to_array",
        aliases: &["string_to_list"],
        takes: &[&[Text, Text], &[Text, Text, Text]],
        gives: |_| list_of(DataType::Utf8),
        work: string_to_array,
        does: "the parts of a text between delimiters, its characters where that is NULL; what is the third argument is NULL",
        differs: "makes one empty part of an empty text, which has none",
    },
    Function {
        name: "array_to_string",
        aliases: &["list_to_string", "array_join", "list_join"],
        takes: &[&[Any]],
        gives: TEXT,
        work: array_to_string,
        does: "items of a list as text with a delimiter between; NULLs are left out, or as the third argument says",
        differs: "prints numbers and timestamps in its own way",
    },
];

pub(super) fn texts(args: &Args, mut text: impl FnMut(usize) -> DfResult<String>) -> DfResult<ArrayRef> {
    Ok(Arc::new(args.each::<StringArray, _>(|row| text(row).map(Some))?))
}

fn split_part(args: &Args) -> DfResult<ArrayRef> {
    texts(args, |row| {
        let (text, delimiter, n) = (args.text(0, row), args.text(1, row), args.integer(2, row));
        let place = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
        let part = match n {
            0 => return bad("`split_part` counts from 1, or from -1 backwards, and was asked for 0"),
            _ if delimiter.is_empty() => (place == 1).then_some(text),
            1.. => text.split(delimiter).nth(place - 1),
            _ => {
                let parts: Vec<&str> = text.split(delimiter).collect();
                parts.len().checked_sub(place).map(|at| parts[at])
            }
        };
        Ok(part.unwrap_or_default().to_string())
    })
}

fn substring(args: &Args) -> DfResult<ArrayRef> {
    if args.data_type(1) == &DataType::Utf8 {
        return super::regexp::found(args);
    }
    texts(args, |row| {
        let (text, from) = (args.text(0, row), args.integer(1, row));
        let until = match args.len() {
            2 => i64::MAX,
            _ => match args.integer(2, row) {
                length @ ..0 => return bad(format_args!("`substring` was asked for {length} characters")),
                length => from.saturating_add(length),
            },
        };
        let from = from.max(1);
        let skip = usize::try_from(from - 1).unwrap_or(usize::MAX);
        let take = usize::try_from(until.saturating_sub(from)).unwrap_or(0);
        Ok(text.chars().skip(skip).take(take).collect())
    })
}

/// `n` characters, or all but `-n` of so many.
fn of_characters(n: i64, count: usize) -> usize {
    let size = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    if n < 0 { count.saturating_sub(size) } else { size.min(count) }
}

fn left(args: &Args) -> DfResult<ArrayRef> {
    texts(args, |row| {
        let text = args.text(0, row);
        let take = of_characters(args.integer(1, row), text.chars().count());
        Ok(text.chars().take(take).collect())
    })
}

fn right(args: &Args) -> DfResult<ArrayRef> {
    texts(args, |row| {
        let text = args.text(0, row);
        let count = text.chars().count();
        Ok(text.chars().skip(count - of_characters(args.integer(1, row), count)).collect())
    })
}

fn pad(args: &Args, at_left: bool) -> DfResult<ArrayRef> {
    texts(args, |row| {
        let (text, size) = (args.text(0, row), args.integer(1, row).max(0));
        if size > BYTES_MAX {
            return bad(format_args!("a text of {size} characters is too long"));
        }
        let fill = if args.len() > 2 { args.text(2, row) } else { " " };
        let (size, count) = (size as usize, text.chars().count());
        let filling: String = fill.chars().cycle().take(size.saturating_sub(count)).collect();
        let text: String = text.chars().take(size).collect();
        Ok(if at_left { filling + &text } else { text + &filling })
    })
}

fn concat(args: &Args, between: Option<usize>) -> DfResult<StringArray> {
    let parts = args.columns[between.map_or(0, |at| at + 1)..].iter().map(as_output);
    let parts = parts.collect::<DfResult<Vec<_>>>()?;
    let text = |row| {
        let between = match between {
            Some(at) if args.is_null(at, row) => return None,
            Some(at) => args.text(at, row),
            None => "",
        };
        let known = parts.iter().map(|part| part.as_string::<i32>());
        let known = known.filter(|part| part.is_valid(row)).map(|part| part.value(row));
        Some(known.collect::<Vec<_>>().join(between))
    };
    Ok((0..args.rows).map(text).collect())
}

/// As text, with `t` and `f` for booleans: what Postgres prints, not what a cast gives.
pub(super) fn as_output(array: &ArrayRef) -> DfResult<ArrayRef> {
    match array.data_type() {
        DataType::Boolean => {
            let words = array.as_boolean().iter().map(|is| is.map(|is| if is { "t" } else { "f" }));
            Ok(Arc::new(words.collect::<StringArray>()))
        }
        _ => text_of(array),
    }
}

fn chr(args: &Args) -> DfResult<ArrayRef> {
    texts(args, |row| {
        let number = args.integer(0, row);
        match u32::try_from(number).ok().filter(|number| *number > 0).and_then(char::from_u32) {
            Some(character) => Ok(character.to_string()),
            None => bad(format_args!("there is no character of number {number}")),
        }
    })
}

fn repeat(args: &Args) -> DfResult<ArrayRef> {
    texts(args, |row| {
        let (text, times) = (args.text(0, row), args.integer(1, row).max(0));
        match times.checked_mul(text.len() as i64) {
            Some(size) if size <= BYTES_MAX => Ok(if size == 0 { String::new() } else { text.repeat(times as usize) }),
            _ => bad(format_args!("a text repeated {times} times is too long")),
        }
    })
}

fn initcap(args: &Args) -> DfResult<ArrayRef> {
    texts(args, |row| {
        let (mut text, mut within) = (String::new(), false);
        for character in args.text(0, row).chars() {
            if within {
                text.extend(character.to_lowercase())
            } else {
                text.extend(character.to_uppercase())
            }
            within = character.is_alphanumeric();
        }
        Ok(text)
    })
}

fn replace(args: &Args) -> DfResult<ArrayRef> {
    texts(args, |row| {
        let (text, from, to) = (args.text(0, row), args.text(1, row), args.text(2, row));
        Ok(if from.is_empty() { text.to_string() } else { text.replace(from, to) })
    })
}

fn string_to_array(args: &Args) -> DfResult<ArrayRef> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..args.rows {
        if args.is_null(0, row) {
            lists.append_null();
            continue;
        }
        let text = args.text(0, row);
        let null = (args.len() > 2 && !args.is_null(2, row)).then(|| args.text(2, row));
        let mut part = |part: &str| lists.values().append_option((Some(part) != null).then_some(part));
        match (!args.is_null(1, row)).then(|| args.text(1, row)) {
            _ if text.is_empty() => {}
            None => text.chars().for_each(|c| part(c.encode_utf8(&mut [0; 4]))),
            Some("") => part(text),
            Some(delimiter) => text.split(delimiter).for_each(part),
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

fn array_to_string(args: &Args) -> DfResult<ArrayRef> {
    let text = |column: usize| -> DfResult<ArrayRef> { text_of(&args.columns[column]) };
    let (Some(list), 2..=3) = (args.columns[0].as_list_opt::<i32>(), args.len()) else {
        return bad("`array_to_string` takes a list, a delimiter, and a text for NULLs");
    };
    let delimiters = text(1)?;
    let for_null = if args.len() > 2 { Some(text(2)?) } else { None };
    let of_row = |row: usize| -> DfResult<Option<String>> {
        if args.is_null(0, row) || args.is_null(1, row) {
            return Ok(None);
        }
        let for_null = for_null.as_ref().map(|texts| texts.as_string::<i32>());
        let for_null = for_null.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row));
        let items = as_output(&list.value(row))?;
        let items = items.as_string::<i32>().iter().filter_map(|item| item.or(for_null));
        Ok(Some(items.collect::<Vec<_>>().join(delimiters.as_string::<i32>().value(row))))
    };
    Ok(Arc::new((0..args.rows).map(of_row).collect::<DfResult<StringArray>>()?))
}
