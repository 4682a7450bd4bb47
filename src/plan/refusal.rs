//! Why a model cannot be maintained: what, where in its compiled SQL, and the way out.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    pub hint: String,
    /// In the compiled SQL, from 1; 0 where no place is known.
    pub line: usize,
    pub column: usize,
    /// Characters to underline.
    pub width: usize,
}

impl Refusal {
    pub fn new(reason: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), hint: hint.into(), line: 0, column: 0, width: 0 }
    }

    /// Points at the first place where `sql` has these words one after another, if there is one.
    pub fn at_words(mut self, sql: &str, words: &[&str]) -> Refusal {
        if self.line == 0
            && let Some((line, column, width)) = find_words(sql, words)
        {
            (self.line, self.column, self.width) = (line, column, width);
        }
        self
    }

    /// What DataFusion says of SQL that it cannot parse, bind or type.
    pub fn from_datafusion(error: &DataFusionError, sql: &str) -> Refusal {
        let text = error.strip_backtrace();
        if let Some(refusal) = foreseen(&text, sql) {
            return refusal;
        }
        let mut refusal = Refusal::new(plainly(&text), "correct the SQL of the model");
        let meant = error.diagnostic().and_then(|d| d.notes.first().map(|note| note.message.clone()));
        let meant = meant.as_deref().and_then(|note| note.strip_prefix("possible column "));
        if let Some(name) = meant.or_else(|| text.split_once("Did you mean '")?.1.split('\'').next()) {
            let bare: Vec<&str> = name.rsplit('.').take(2).collect();
            refusal.hint = format!("did you mean `{}`?", bare.into_iter().rev().collect::<Vec<_>>().join("."));
        }
        if let Some(span) = error.diagnostic().and_then(|d| d.span) {
            refusal.reason = error.diagnostic().map_or(refusal.reason, |d| plainly(&d.message));
            refusal.line = span.start.line as usize;
            refusal.column = span.start.column as usize;
            let same_line = span.start.line == span.end.line;
            refusal.width = if same_line { (span.end.column - span.start.column) as usize } else { 1 };
        } else if let Some((line, column)) = place_in_message(&text) {
            if let Some(at) = refusal.reason.find(" at Line:") {
                refusal.reason.truncate(at);
            }
            let found = refusal.reason.rsplit_once("found: ").map(|(_, word)| word.to_string());
            (refusal.line, refusal.column, refusal.width) = token_at(sql, line, column, found.as_deref());
        } else if let Some(name) = text.split('\'').nth(1) {
            // Unknown functions and relations come without a span, but with their name in quotes.
            let last = name.rsplit('.').next().unwrap_or(name);
            refusal = refusal.at_words(sql, &[last]);
        }
        refusal
    }
}

pub(super) const NOTHING: &str = "there is no statement";
pub(super) const MORE_THAN_ONE: &str = "there is more than one statement";
/// Behind the names of two types.
pub(super) const NEVER_MEET: &str = "are neither compared nor put into one column";

/// What would be said in words that mean nothing to who wrote the model.
fn foreseen(text: &str, sql: &str) -> Option<Refusal> {
    const WRITES: [&str; 9] = ["insert", "update", "delete", "merge", "create", "drop", "alter", "truncate", "copy"];
    let words = tokens(sql);
    let first = words.first().map(|(token, _, _)| token.to_string().to_lowercase());
    let not_one = |hint: &str| Refusal::new("a model must be one select", hint);
    if let Some(first) = first.filter(|first| WRITES.contains(&first.as_str())) {
        return Some(not_one("move statements that write out of the model").at_words(sql, &[&first]));
    }
    if text.contains(NOTHING) {
        return Some(not_one("write one into the file, or disable the model: `{{ config(enabled=false) }}`"));
    }
    if text.contains("RecursionLimitExceeded") {
        return Some(Refusal::new(super::deep::too_deep(), super::deep::HINT));
    }
    if text.contains(MORE_THAN_ONE) {
        return Some(not_one("remove what follows the first `;`").at_words(sql, &[";"]));
    }
    if let Some((types, _)) = text.split_once(NEVER_MEET) {
        let types = types.rsplit(": ").next().unwrap_or(types);
        return Some(Refusal::new(format!("{types}{NEVER_MEET}"), "cast one of them: `x::text`, `x::bigint`"));
    }
    if text.contains("The subquery should only return one column") {
        let reason = "`(a, b) in (select …)` is maintained only under `and` and `or` of `where`, and not with `not`";
        let hint = "write it as `exists (select … where x = a and y = b)`, and `not in` as `not exists`";
        return Some(Refusal::new(reason, hint).at_words(sql, &[")", "not", "in"]).at_words(sql, &[")", "in"]));
    }
    if text.contains("Cannot automatically convert ") && text.contains(" to Null") {
        let reason = "a column that is NULL in the first select of a recursion has no type";
        return Some(Refusal::new(reason, "cast it, `cast(null as bigint)` for one").at_words(sql, &["null"]));
    }
    let twice = text.split_once("unqualified field name ")?.1.split_once(" which would be ambiguous")?.0;
    let name = twice.trim_matches('"');
    let reason = format!("column `{name}` appears twice in the result");
    let refusal = Refusal::new(reason, "give one of them another name with `as`");
    Some(refusal.at_words(sql, &["as", name]).at_words(sql, &[name]))
}

/// Rules of ours that an error comes through.
const RULES: [&str; 2] = ["types", "casts"];

/// The message without the layers it came through, in our letters.
fn plainly(text: &str) -> String {
    let prefixes = [
        "Error during planning: ",
        "SQL error: ",
        "Schema error: ",
        "type_coercion",
        "caused by",
        "This feature is not implemented: ",
        "Optimizer rule ",
    ];
    let mut text = text.trim();
    while let Some(rest) = prefixes[..3].iter().find_map(|p| text.strip_prefix(p)) {
        text = rest.trim();
    }
    for layer in ["ParserError(\"", "TokenizerError(\""] {
        text = text.strip_prefix(layer).map_or(text, |t| t.strip_suffix("\")").unwrap_or(t));
    }
    let text = text.strip_prefix(prefixes[5]).unwrap_or(text);
    let is_layer = |line: &str| prefixes.contains(&line) || RULES.contains(&line);
    let text = text.lines().map(str::trim).filter(|l| !l.is_empty() && !is_layer(l));
    let text = text.map(|l| l.strip_prefix("Execution error: ").unwrap_or(l));
    let text = text.filter(|l| !l.starts_with("Did you mean ")).collect::<Vec<_>>().join(" ");
    let text = text.split(" No function matches the given name").next().unwrap_or_default();
    let text = text.replace("Invalid function ", "there is no function ").replace("NativeType::", "");
    let mut chars = text.trim_end_matches('.').chars();
    let text: String = chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect());
    backticked(&text)
}

/// Names in quotes become names in backticks.
fn backticked(text: &str) -> String {
    let parts: Vec<&str> = text.split('\'').collect();
    if parts.len().is_multiple_of(2) {
        return text.to_string();
    }
    parts.join("`")
}

fn place_in_message(text: &str) -> Option<(usize, usize)> {
    let rest = &text[text.find("Line: ")? + 6..];
    let (line, rest) = rest.split_once(", Column: ")?;
    let column: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// Words and signs, each with its line and column.
pub(super) fn tokens(sql: &str) -> Vec<(Token, usize, usize)> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().unwrap_or_default();
    let words = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_)));
    words.map(|t| (t.token, t.span.start.line as usize, t.span.start.column as usize)).collect()
}

/// The token at a place, with its width; the one before it where that is the one which was `found`.
fn token_at(sql: &str, line: usize, column: usize, found: Option<&str>) -> (usize, usize, usize) {
    let tokens = tokens(sql);
    let Some(at) = tokens.iter().position(|(_, l, c)| (*l, *c) == (line, column)) else { return (line, column, 1) };
    let is_found = |at: usize| found.is_none_or(|found| tokens[at].0.to_string() == found);
    let at = if !is_found(at) && at > 0 && is_found(at - 1) { at - 1 } else { at };
    let (token, line, column) = &tokens[at];
    (*line, *column, token.to_string().chars().count().max(1))
}

fn find_words(sql: &str, words: &[&str]) -> Option<(usize, usize, usize)> {
    let tokens = tokens(sql);
    let value = |token: &Token| match token {
        Token::Word(word) => word.value.clone(),
        other => other.to_string(),
    };
    let at = tokens.windows(words.len()).position(|window| {
        window.iter().zip(words).all(|((token, _, _), word)| value(token).eq_ignore_ascii_case(word))
    })?;
    let (_, line, column) = tokens[at];
    let (last, last_line, last_column) = &tokens[at + words.len() - 1];
    let end = last_column + last.to_string().chars().count();
    Some((line, column, if *last_line == line { end - column } else { words[0].len() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whatever_their_case_and_spacing() {
        let sql = "select 1\nfrom a\nleft   join b on true";
        let refusal = Refusal::new("x", "y").at_words(sql, &["LEFT", "JOIN"]);
        assert_eq!((refusal.line, refusal.column, refusal.width), (3, 1, 11));
    }
}
