//! What went wrong in a template, said as our own error with the user's file, line and column.

use super::blocks::position;
use crate::error::{Error, Place};
use crate::project::files::Text;
use crate::project::nearest::did_you_mean;
use minijinja::{ErrorKind, Value};
use std::fmt;

/// A text that templates are made of, and where in its file the template begins.
#[derive(Clone, Debug)]
pub struct Origin {
    pub text: Text,
    pub line: usize,
    pub column: usize,
}

/// A sentence of ours on its way through the template engine.
#[derive(Debug)]
struct Spoken {
    what: String,
    hint: Option<String>,
}

/// The value of `{{ return(…) }}`, which leaves a macro as an error would.
#[derive(Debug)]
pub struct Returned(pub Value);

pub fn spoken(what: impl Into<String>, hint: Option<String>) -> minijinja::Error {
    let what = what.into();
    minijinja::Error::new(ErrorKind::InvalidOperation, what.clone()).with_source(Spoken { what, hint })
}

/// `origin` finds where a template began; `template` is its text; `known` are the names one could have meant.
pub fn explain<'a>(
    error: &minijinja::Error,
    template: &str,
    origin: &Origin,
    known: impl IntoIterator<Item = &'a str>,
) -> Error {
    let range = error.range().unwrap_or(0..0);
    let snippet = template.get(range.clone()).unwrap_or_default();
    let (what, hint) = words(error, snippet, known);
    let error = Error::operator(what).at(place(error, template, origin));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn words<'a>(
    error: &minijinja::Error,
    snippet: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> (String, Option<String>) {
    if let Some(spoken) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Spoken>()) {
        return (spoken.what.clone(), spoken.hint.clone());
    }
    let detail = error.detail().unwrap_or_default();
    let name = snippet.split('(').next().unwrap_or_default().trim();
    let uncallable = detail.contains("is not callable") && detail.contains("is undefined");
    match error.kind() {
        ErrorKind::SyntaxError | ErrorKind::BadEscape => (format!("bad jinja: {detail}"), None),
        ErrorKind::UnknownFunction => (format!("unknown macro `{name}`"), did_you_mean(name, known)),
        _ if uncallable => (format!("unknown macro `{name}`"), did_you_mean(name, known)),
        ErrorKind::UndefinedError if detail.is_empty() => (format!("unknown variable `{snippet}`"), None),
        ErrorKind::UndefinedError => {
            let name = detail.split('`').nth(1).unwrap_or(snippet);
            (format!("unknown variable `{name}`"), did_you_mean(name, known))
        }
        kind if detail.is_empty() => (format!("{kind}"), None),
        _ => (detail.to_string(), None),
    }
}

fn place(error: &minijinja::Error, template: &str, origin: &Origin) -> Place {
    let text = &origin.text;
    let (line, column, width) = match error.range() {
        Some(range) if template.is_char_boundary(range.start) => {
            let (line, column) = position(template, range.start.min(template.len()));
            let marked = template.get(range).unwrap_or_default();
            (line, column, marked.lines().next().unwrap_or_default().chars().count())
        }
        _ => (error.line().unwrap_or(1), 0, 0),
    };
    let column = if line == 1 && column > 0 { column + origin.column - 1 } else { column };
    Place::within(&text.file, &text.text, line + origin.line - 1, column, width)
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Spoken {}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`return` outside of a macro")
    }
}

impl std::error::Error for Returned {}
