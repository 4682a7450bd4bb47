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
        if self.line == 0 {
            if let Some((line, column, width)) = find_words(sql, words) {
                (self.line, self.column, self.width) = (line, column, width);
            }
        }
        self
    }

    /// What DataFusion says of SQL that it cannot parse, bind or type.
    pub fn from_datafusion(error: &DataFusionError, sql: &str) -> Refusal {
        let text = error.strip_backtrace();
        let mut refusal = Refusal::new(plainly(&text), "correct the SQL of the model");
        if let Some(span) = error.diagnostic().and_then(|d| d.span) {
            refusal.reason = error.diagnostic().map_or(refusal.reason, |d| d.message.clone());
            refusal.line = span.start.line as usize;
            refusal.column = span.start.column as usize;
            let same_line = span.start.line == span.end.line;
            refusal.width = if same_line { (span.end.column - span.start.column) as usize } else { 1 };
        } else if let Some((line, column)) = place_in_message(&text) {
            refusal.line = line;
            refusal.column = column;
            refusal.width = token_width(sql, line, column);
            if let Some(at) = refusal.reason.find(" at Line:") {
                refusal.reason.truncate(at);
            }
        } else if let Some(name) = text.split('\'').nth(1) {
            // Unknown functions and relations come without a span, but with their name in quotes.
            let last = name.rsplit('.').next().unwrap_or(name);
            refusal = refusal.at_words(sql, &[last]);
        }
        refusal
    }
}

/// The message without the layers it came through, in our letters.
fn plainly(text: &str) -> String {
    let prefixes = [
        "Error during planning: ",
        "SQL error: ",
        "Schema error: ",
        "type_coercion",
        "caused by",
        "Invalid function ",
        "This feature is not implemented: ",
        "Optimizer rule ",
    ];
    let mut text = text.trim();
    while let Some(rest) = prefixes[..3].iter().find_map(|p| text.strip_prefix(p)) {
        text = rest.trim();
    }
    let text = text.strip_prefix("ParserError(\"").and_then(|t| t.strip_suffix("\")")).unwrap_or(text);
    let text = text.strip_prefix(prefixes[6]).unwrap_or(text);
    let text = text.lines().map(str::trim).filter(|l| !l.is_empty() && !prefixes.contains(l));
    let text = text.collect::<Vec<_>>().join(" ");
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

fn place_in_message(text: &str) -> Option<(usize, usize)> {
    let rest = &text[text.find("Line: ")? + 6..];
    let (line, rest) = rest.split_once(", Column: ")?;
    let column: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((line.parse().ok()?, column.parse().ok()?))
}

fn tokens(sql: &str) -> Vec<(Token, usize, usize)> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().unwrap_or_default();
    let words = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_)));
    words.map(|t| (t.token, t.span.start.line as usize, t.span.start.column as usize)).collect()
}

fn token_width(sql: &str, line: usize, column: usize) -> usize {
    let found = tokens(sql).into_iter().find(|(_, l, c)| (*l, *c) == (line, column));
    found.map_or(1, |(token, _, _)| token.to_string().chars().count().max(1))
}

fn find_words(sql: &str, words: &[&str]) -> Option<(usize, usize, usize)> {
    let tokens = tokens(sql);
    let value = |token: &Token| match token {
        Token::Word(word) => word.value.clone(),
        other => other.to_string(),
    };
    let at = tokens
        .windows(words.len())
        .position(|window| window.iter().zip(words).all(|((token, _, _), word)| value(token).eq_ignore_ascii_case(word)))?;
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
