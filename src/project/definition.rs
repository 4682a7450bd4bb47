//! The fingerprint of a model's meaning: SQL with comments and white space normalised, and its parents.
//!
//! Text inside quotes counts to the byte; outside of them a comment is white space and white space is
//! one blank. Upper and lower case differ: folding them would need a parser, and a hash that changes
//! too often only costs a re-plan, while one that changes too rarely publishes stale rows.

use super::model::Relation;
use xxhash_rust::xxh3::xxh3_128;

pub fn hash(sql: &str, parents: &[(String, Relation)]) -> String {
    let mut text = normalise(sql);
    for (name, relation) in parents {
        text.push_str(&format!("\0{name}\0{relation}"));
    }
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

fn normalise(sql: &str) -> String {
    // With `E'\\''` in play one cannot tell where strings end without the server's settings.
    if sql.contains("\\'") {
        return sql.to_string();
    }
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        let (token, kept) = token(rest, next);
        if kept {
            out.push_str(token);
        } else if !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
        rest = &rest[token.len()..];
    }
    out.truncate(out.trim_end().len());
    out
}

/// The text from here up to where the state changes, and whether it is kept as it stands.
fn token(rest: &str, next: char) -> (&str, bool) {
    if next.is_whitespace() {
        return (&rest[..rest.len() - rest.trim_start().len()], false);
    }
    if rest.starts_with("--") {
        return (&rest[..rest.find('\n').unwrap_or(rest.len())], false);
    }
    if rest.starts_with("/*") {
        return (&rest[..comment_end(rest)], false);
    }
    if next == '\'' || next == '"' {
        return (&rest[..quote_end(rest, next)], true);
    }
    if let Some(end) = dollar_end(rest) {
        return (&rest[..end], true);
    }
    (&rest[..next.len_utf8()], true)
}

/// Comments nest in Postgres.
fn comment_end(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn quote_end(text: &str, quote: char) -> usize {
    text[1..].find(quote).map_or(text.len(), |at| at + 2)
}

/// `$tag$ … $tag$`; a tag never starts with a digit, so that `$1` stays a parameter.
fn dollar_end(text: &str) -> Option<usize> {
    let tag_end = 1 + text.strip_prefix('$')?.find('$')?;
    let tag = &text[..=tag_end];
    let name = &tag[1..tag_end];
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    Some(text[tag.len()..].find(tag).map_or(text.len(), |at| at + 2 * tag.len()))
}
