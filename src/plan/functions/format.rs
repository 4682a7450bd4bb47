//! `format('%s has %L', a, b)`, and text as SQL writes it.

use super::own::{Args, Function, Kind, bad};
use super::text::{as_output, texts};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use Kind::{Any, Text};

const TEXT: fn(&[DataType]) -> DataType = |_| DataType::Utf8;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "format",
        aliases: &[],
        takes: &[&[Text], &[Text, Any]],
        gives: TEXT,
        work: format,
        does: "arguments in the places of `%s` (as they are), `%I` (names) and `%L` (literals); `%2$s` and `%-10s` too",
        differs: "none",
    },
    Function {
        name: "quote_literal",
        aliases: &[],
        takes: &[&[Text], &[Any]],
        gives: TEXT,
        work: |args| {
            let values = as_output(&args.columns[0])?;
            texts(args, |row| Ok(literal(values.as_string::<i32>().value(row))))
        },
        does: "a value as SQL writes it",
        differs: "none",
    },
    Function {
        name: "quote_ident",
        aliases: &[],
        takes: &[&[Text]],
        gives: TEXT,
        work: |args| texts(args, |row| Ok(name(args.text(0, row)))),
        does: "a name as SQL writes it, in quotes where it needs them",
        differs: "none",
    },
];

fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// Words that Postgres keeps for itself, or takes for types and functions only.
const RESERVED: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary bit \
    boolean both case cast char character check coalesce collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal \
    default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full \
    grant greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull \
    join lateral leading least left like limit localtime localtimestamp national natural nchar none normalize not \
    notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision primary \
    real references returning right row select session_user setof similar smallint some substring symmetric table \
    tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose \
    when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot \
    xmlserialize xmltable ";

fn name(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    match begins && text.chars().all(is_plain) && !RESERVED.contains(&format!(" {text} ")) {
        true => text.into(),
        false => format!("\"{}\"", text.replace('"', "\"\"")),
    }
}

fn format(args: &Args) -> DfResult<ArrayRef> {
    let values = args.columns[1..].iter().map(as_output).collect::<DfResult<Vec<_>>>()?;
    let of_row = |row: usize| {
        let value = |place: usize| match values.get(place) {
            Some(of) => Ok(of.is_valid(row).then(|| of.as_string::<i32>().value(row))),
            None => bad("`format` has too few arguments"),
        };
        let known = args.columns[0].is_valid(row);
        known.then(|| formatted(args.text(0, row), value)).transpose()
    };
    Ok(Arc::new((0..args.rows).map(of_row).collect::<DfResult<StringArray>>()?))
}

/// `%[place$][-][width]s`: the places of values count from 0 here.
fn formatted<'a>(pattern: &str, value: impl Fn(usize) -> DfResult<Option<&'a str>>) -> DfResult<String> {
    let (mut text, mut next) = (String::new(), 0);
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        if characters.next_if_eq(&'%').is_some() {
            text.push('%');
            continue;
        }
        let mut width = number(&mut characters);
        let mut place = None;
        if characters.next_if_eq(&'$').is_some() {
            place = width.take();
        }
        let mut at_left = false;
        while characters.next_if_eq(&'-').is_some() {
            at_left = true;
        }
        // A value of its own may say how wide.
        if characters.next_if_eq(&'*').is_some() {
            let of = number(&mut characters);
            if of.is_some() && characters.next_if_eq(&'$').is_none() {
                return bad(format_args!("`{pattern}` is no format"));
            }
            let given = value(taken(of, &mut next)?)?.unwrap_or("0");
            let Ok(given) = given.parse::<i32>() else { return bad(format_args!("`{given}` is no width")) };
            (at_left, width) = (at_left || given < 0, Some(given.unsigned_abs() as usize));
        } else {
            width = width.or(number(&mut characters));
        }
        let kind = characters.next();
        let value = value(taken(place, &mut next)?)?;
        let shown = match (kind, value) {
            (Some('s'), value) => value.unwrap_or_default().to_string(),
            (Some('L'), value) => value.map_or("NULL".into(), literal),
            (Some('I'), Some(value)) => name(value),
            (Some('I'), None) => return bad("NULL is no name for `%I`"),
            _ => return bad(format_args!("`{pattern}` is no format")),
        };
        let filling = " ".repeat(width.unwrap_or(0).min(WIDTH_MAX).saturating_sub(shown.chars().count()));
        text.extend(if at_left { [shown, filling] } else { [filling, shown] });
    }
    Ok(text)
}

/// Nobody prints wider than this.
const WIDTH_MAX: usize = 1 << 20;

/// The place that is asked for, from 1, or else the next; from 0.
fn taken(asked: Option<usize>, next: &mut usize) -> DfResult<usize> {
    let place = match asked {
        None => *next,
        Some(0) => return bad("`format` counts its arguments from 1"),
        Some(place) => place - 1,
    };
    *next = place + 1;
    Ok(place)
}

fn number(characters: &mut Peekable<Chars>) -> Option<usize> {
    let mut digits = String::new();
    while let Some(digit) = characters.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse().ok()
}
