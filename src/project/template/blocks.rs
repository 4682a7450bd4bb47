//! Top-level blocks of a file: `{% macro %}`, `{% test %}`, `{% docs %}` and their like, cut out as text.
//!
//! dbt gives every macro of every file one common name space and knows tags that Jinja does not, so a
//! macro file is never run as a whole: each block becomes a template of its own that remembers where in
//! the file it began.

use crate::error::{Error, Place, Result};
use crate::project::files::Text;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub kind: Kind,
    /// The macro's name; for a test `test_<name>`.
    pub name: String,
    /// The block with its tags, as Jinja reads it; for docs only what stands between the tags.
    pub text: String,
    /// Where the block begins in the file, counted from 1.
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Macro,
    Docs,
    /// Blocks that nobody here runs: materializations, snapshots, operations.
    Other,
}

pub fn blocks(file: &Text) -> Result<Vec<Block>> {
    let text = file.text.as_str();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(tag) = next_tag(text, at) {
        at = tag.end;
        if !BLOCKS.contains(&tag.word) {
            continue;
        }
        let Some(end) = closing(text, &tag) else {
            let (line, column) = position(text, tag.start);
            let width = text[tag.start..tag.end].lines().next().unwrap_or_default().chars().count();
            return Err(Error::operator(format!("the block `{}` is never closed", tag.word))
                .at(Place::within(&file.file, text, line, column, width))
                .hint(format!("close it with `{{% end{} %}}`", tag.word)));
        };
        found.push(block(text, &tag, &end));
        at = end.end;
    }
    Ok(found)
}

/// Line and column, both from 1, of a byte of `text`.
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

const BLOCKS: [&str; 8] = ["macro", "test", "data_test", "docs", "materialization", "snapshot", "operation", "raw"];

struct Tag<'a> {
    start: usize,
    end: usize,
    word: &'a str,
    /// What follows the word inside the tag.
    rest: &'a str,
}

fn block(text: &str, tag: &Tag<'_>, end: &Tag<'_>) -> Block {
    let (line, column) = position(text, tag.start);
    let bare: String = tag.rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let whole = &text[tag.start..end.end];
    let (kind, name, text) = match tag.word {
        "macro" => (Kind::Macro, bare, whole.to_string()),
        "test" | "data_test" => {
            let body = &text[tag.end..end.start];
            let close = if text[..tag.end].ends_with("-%}") { "-%}" } else { "%}" };
            let open = if text[end.start..].starts_with("{%-") { "{%-" } else { "{%" };
            let template = format!("{{% macro test_{}{close}{body}{open} endmacro %}}", tag.rest);
            (Kind::Macro, format!("test_{bare}"), template)
        }
        "docs" => (Kind::Docs, bare, text[tag.end..end.start].trim().to_string()),
        _ => (Kind::Other, bare, String::new()),
    };
    Block { kind, name, text, line, column }
}

/// The tag that closes `tag`; macros may stand inside macros.
fn closing<'a>(text: &'a str, tag: &Tag<'_>) -> Option<Tag<'a>> {
    let verbatim = matches!(tag.word, "docs" | "raw");
    let end = format!("end{}", tag.word);
    let (mut at, mut depth) = (tag.end, 1);
    loop {
        let next = if verbatim { next_plain_tag(text, at)? } else { next_tag(text, at)? };
        at = next.end;
        if next.word == end {
            depth -= 1;
        } else if next.word == tag.word && !verbatim {
            depth += 1;
        } else if next.word == "raw" && !verbatim {
            at = closing(text, &next)?.end;
        }
        if depth == 0 {
            return Some(next);
        }
    }
}

/// The next `{% … %}`, stepping over comments and expressions.
fn next_tag(text: &str, from: usize) -> Option<Tag<'_>> {
    let mut at = from;
    loop {
        at += text[at..].find('{')?;
        let rest = &text[at..];
        if rest.starts_with("{#") {
            at += rest.find("#}")? + 2;
        } else if rest.starts_with("{{") {
            at = tag_end(text, at + 2, "}}")?;
        } else if rest.starts_with("{%") {
            return tag_at(text, at);
        } else {
            at += 1;
        }
    }
}

/// The next `{% … %}` where everything else is plain text.
fn next_plain_tag(text: &str, from: usize) -> Option<Tag<'_>> {
    tag_at(text, from + text[from..].find("{%")?)
}

fn tag_at(text: &str, start: usize) -> Option<Tag<'_>> {
    let end = tag_end(text, start + 2, "%}")?;
    let inner = text[start + 2..end - 2].trim_matches(['-', '+']).trim();
    let word_end = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
    Some(Tag { start, end, word: &inner[..word_end], rest: inner[word_end..].trim_start() })
}

/// Past the `close` that does not stand in a string.
fn tag_end(text: &str, from: usize, close: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut quote) = (from, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'\'' | b'"')) => quote = Some(byte),
            (None, _) if bytes[at..].starts_with(close.as_bytes()) => return Some(at + close.len()),
            _ => {}
        }
        at += 1;
    }
    None
}
