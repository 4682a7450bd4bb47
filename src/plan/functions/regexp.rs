//! Regular expressions: Rust's, written as Postgres writes them. There are no back references in patterns, and no
//! looking ahead or behind.

use super::own::{Args, Function, Kind, bad};
use super::text::texts;
use arrow::array::{ArrayRef, BooleanArray, Int32Array, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use datafusion::functions::regex::compile_regex;
use datafusion::logical_expr::Expr;
use std::ops::Range;
use std::sync::Arc;

use Kind::{Integer, Text};

const TEXT: fn(&[DataType]) -> DataType = |_| DataType::Utf8;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "regexp_replace",
        aliases: &[],
        takes: &[&[Text, Text, Text], &[Text, Text, Text, Text]],
        gives: TEXT,
        work: replace,
        does: "the first match replaced, every one with `g`; `\\1` is a group, `\\&` the match",
        differs: "reads `$1` as a group, and has no `\\&`; a line's end is no character",
    },
    Function {
        name: "regexp_like",
        aliases: &["regexp_matches"],
        takes: &[&[Text, Text], &[Text, Text, Text]],
        gives: |_| DataType::Boolean,
        work: |args| {
            let mut patterns = Patterns::default();
            let value = |row| {
                let flags = if args.len() > 2 { args.text(2, row) } else { "" };
                Ok(Some(patterns.first(args.text(1, row), flags, args.text(0, row))?.is_some()))
            };
            Ok(Arc::new(args.each::<BooleanArray, _>(value)?))
        },
        does: "whether there is a match",
        differs: "a line's end is no character",
    },
    Function {
        name: "regexp_match",
        aliases: &[],
        takes: &[&[Text, Text], &[Text, Text, Text]],
        gives: |_| DataType::new_list(DataType::Utf8, true),
        work: groups,
        does: "the groups of the first match; where the pattern has none, the match",
        differs: "leaves out groups that match nothing; takes flags of NULL for none",
    },
    Function {
        name: "regexp_substr",
        aliases: &["regexp_extract"],
        takes: &[
            &[Text, Text],
            &[Text, Text, Integer],
            &[Text, Text, Integer, Integer],
            &[Text, Text, Integer, Integer, Text],
            &[Text, Text, Integer, Integer, Text, Integer],
        ],
        gives: TEXT,
        work: substring,
        does: "the match, from a place on, of this number, with flags, and of it a group",
        differs: "none",
    },
    Function {
        name: "regexp_count",
        aliases: &[],
        takes: &[&[Text, Text], &[Text, Text, Integer], &[Text, Text, Integer, Text]],
        gives: |_| DataType::Int32,
        work: |args| {
            let mut patterns = Patterns::default();
            let value = |row| {
                let pattern = patterns.get(args.text(1, row), if args.len() > 3 { args.text(3, row) } else { "" })?;
                let from = if args.len() > 2 { args.integer(2, row) } else { 1 };
                Ok(Some(pattern(behind(args.text(0, row), from)?, usize::MAX).len() as i32))
            };
            Ok(Arc::new(args.each::<Int32Array, _>(value)?))
        },
        does: "how many matches there are",
        differs: "gives 0 for NULL",
    },
    Function {
        name: "regexp_split_to_array",
        aliases: &["string_split_regex"],
        takes: &[&[Text, Text], &[Text, Text, Text]],
        gives: |_| DataType::new_list(DataType::Utf8, true),
        work: split,
        does: "what stands between matches",
        differs: "none",
    },
    Function {
        name: "similar_to",
        aliases: &[],
        takes: &[&[Text, Text]],
        gives: |_| DataType::Boolean,
        work: |args| {
            let mut patterns = Patterns::default();
            let value = |row| {
                let pattern = format!("^(?:{})$", args.text(1, row).replace('%', ".*").replace('_', "."));
                Ok(Some(patterns.first(&pattern, "", args.text(0, row))?.is_some()))
            };
            Ok(Arc::new(args.each::<BooleanArray, _>(value)?))
        },
        does: "`text similar to pattern`: all of it, `%` and `_` as in `like`",
        differs: "takes `%` and `_` for themselves",
    },
];

/// Why a pattern that is written in SQL cannot be taken, if it stands there and cannot.
pub(in crate::plan) fn unknown_pattern(e: &Expr) -> Option<String> {
    let Expr::ScalarFunction(call) = e else { return None };
    let name = call.func.name();
    let is_one = name == "substr" || name != "similar_to" && FUNCTIONS.iter().any(|function| function.name == name);
    let Expr::Literal(pattern, _) = call.args.get(1).filter(|_| is_one)? else { return None };
    let pattern = pattern.try_as_str().flatten()?;
    finder(pattern, "").is_err().then(|| pattern.to_string())
}

/// The places of a match and of its groups.
type Match = Vec<Option<Range<usize>>>;
/// The first so many matches in a text.
type Finder = Box<dyn Fn(&str, usize) -> Vec<Match>>;

/// The last pattern, since most often it is the same for all rows.
#[derive(Default)]
struct Patterns {
    last: Option<(String, String, Finder)>,
}

impl Patterns {
    fn get(&mut self, pattern: &str, flags: &str) -> DfResult<&Finder> {
        let same = self.last.as_ref().is_some_and(|(p, f, _)| p == pattern && f == flags);
        let (pattern, flags, finder) = match self.last.take() {
            Some(last) if same => last,
            _ => (pattern.to_string(), flags.to_string(), finder(pattern, flags)?),
        };
        Ok(&self.last.insert((pattern, flags, finder)).2)
    }

    fn first(&mut self, pattern: &str, flags: &str, text: &str) -> DfResult<Option<Match>> {
        Ok(self.get(pattern, flags)?(text, 1).pop())
    }
}

fn finder(pattern: &str, flags: &str) -> DfResult<Finder> {
    let (mut by_line, mut others) = ("s", String::new());
    for flag in flags.chars() {
        match flag {
            'i' | 'x' => others.push(flag),
            'n' | 'm' => by_line = "m",
            'w' => by_line = "sm",
            'p' => by_line = "",
            'c' => others.retain(|other| other != 'i'),
            's' | 'g' | 'e' => {}
            other => return bad(format_args!("`{other}` is no flag of regular expressions")),
        }
    }
    let Ok(compiled) = compile_regex(&translated(pattern), Some(&format!("{by_line}{others}"))) else {
        return bad(format_args!("`{pattern}` is no regular expression that is known here"));
    };
    Ok(Box::new(move |text, most| {
        let matches = compiled.captures_iter(text).take(most);
        matches.map(|found| found.iter().map(|group| group.map(|group| group.range())).collect()).collect()
    }))
}

/// Postgres' names for the edges of words and texts.
fn translated(pattern: &str) -> String {
    let (mut rust, mut escaped) = (String::new(), false);
    for character in pattern.chars() {
        match (escaped, character) {
            (false, '\\') => escaped = true,
            (false, other) => rust.push(other),
            (true, other) => {
                escaped = false;
                match other {
                    'm' => rust.push_str(r"\b{start}"),
                    'M' => rust.push_str(r"\b{end}"),
                    'y' => rust.push_str(r"\b"),
                    'Y' => rust.push_str(r"\B"),
                    'Z' => rust.push_str(r"\z"),
                    other => rust.extend(['\\', other]),
                }
            }
        }
    }
    if escaped { rust + "\\" } else { rust }
}

fn part(text: &str, found: &Match, group: usize) -> Option<String> {
    let range = found.get(group)?.clone()?;
    Some(text[range].to_string())
}

fn replace(args: &Args) -> DfResult<ArrayRef> {
    let mut patterns = Patterns::default();
    texts(args, |row| {
        let (text, by) = (args.text(0, row), args.text(2, row));
        let flags = if args.len() > 3 { args.text(3, row) } else { "" };
        let most = if flags.contains('g') { usize::MAX } else { 1 };
        let (mut replaced, mut from) = (String::new(), 0);
        for found in patterns.get(args.text(1, row), flags)?(text, most) {
            let whole = found[0].clone().unwrap_or_default();
            replaced.push_str(&text[from..whole.start]);
            from = whole.end;
            let mut characters = by.chars();
            while let Some(character) = characters.next() {
                match (character, if character == '\\' { characters.next() } else { None }) {
                    ('\\', Some('&')) => replaced.push_str(&text[whole.clone()]),
                    ('\\', Some(digit)) if digit.is_ascii_digit() => {
                        let group = digit as usize - '0' as usize;
                        replaced.push_str(&part(text, &found, group).unwrap_or_default());
                    }
                    ('\\', Some('\\') | None) => replaced.push('\\'),
                    ('\\', Some(other)) => replaced.extend(['\\', other]),
                    (other, _) => replaced.push(other),
                }
            }
        }
        Ok(replaced + &text[from..])
    })
}

/// `substring(text from pattern)`: the first group if there is one, else the match.
pub(super) fn found(args: &Args) -> DfResult<ArrayRef> {
    let mut patterns = Patterns::default();
    let value = |row| {
        let text = args.text(0, row);
        let found = patterns.first(args.text(1, row), "", text)?;
        Ok(found.and_then(|found| part(text, &found, usize::from(found.len() > 1))))
    };
    Ok(Arc::new(args.each::<StringArray, _>(value)?))
}

/// The text from this character on.
fn behind(text: &str, from: i64) -> DfResult<&str> {
    match usize::try_from(from) {
        Ok(from @ 1..) => Ok(text.char_indices().nth(from - 1).map_or("", |(at, _)| &text[at..])),
        _ => bad(format_args!("characters count from 1, and {from} was asked for")),
    }
}

fn substring(args: &Args) -> DfResult<ArrayRef> {
    let mut patterns = Patterns::default();
    let value = |row| {
        let given = |column: usize, otherwise| if args.len() > column { args.integer(column, row) } else { otherwise };
        let flags = if args.len() > 4 { args.text(4, row) } else { "" };
        let (text, number) = (behind(args.text(0, row), given(2, 1))?, given(3, 1));
        let (Ok(number @ 1..), Ok(group)) = (usize::try_from(number), usize::try_from(given(5, 0))) else {
            return bad(format_args!("matches count from 1, and {number} was asked for"));
        };
        let found = patterns.get(args.text(1, row), flags)?(text, number);
        Ok(found.get(number - 1).and_then(|found| part(text, found, group)))
    };
    Ok(Arc::new(args.each::<StringArray, _>(value)?))
}

fn groups(args: &Args) -> DfResult<ArrayRef> {
    let mut patterns = Patterns::default();
    lists(args, |row, flags| {
        let text = args.text(0, row);
        let found = patterns.first(args.text(1, row), flags, text)?;
        // Without groups it is the match.
        Ok(found.map(|found| (usize::from(found.len() > 1)..found.len()).map(|at| part(text, &found, at)).collect()))
    })
}

fn split(args: &Args) -> DfResult<ArrayRef> {
    let mut patterns = Patterns::default();
    lists(args, |row, flags| {
        let (text, mut parts, mut from) = (args.text(0, row), Vec::new(), 0);
        for found in patterns.get(args.text(1, row), flags)?(text, usize::MAX) {
            let whole = found[0].clone().unwrap_or_default();
            // Nothing is split off at the ends where the pattern finds nothing there.
            if !whole.is_empty() || (whole.start > from && whole.end < text.len()) {
                parts.push(Some(text[from..whole.start].to_string()));
                from = whole.end;
            }
        }
        parts.push(Some(text[from..].to_string()));
        Ok(Some(parts))
    })
}

type Texts = Vec<Option<String>>;

/// A list for each row, by its number and flags.
fn lists(args: &Args, mut list: impl FnMut(usize, &str) -> DfResult<Option<Texts>>) -> DfResult<ArrayRef> {
    let value = |row| list(row, if args.len() > 2 { args.text(2, row) } else { "" });
    let mut lists = ListBuilder::new(StringBuilder::new());
    args.each::<Vec<Option<Texts>>, _>(value)?.into_iter().for_each(|list| lists.append_option(list));
    Ok(Arc::new(lists.finish()))
}
