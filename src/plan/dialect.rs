//! SQL as it is read: Postgres', with `select * except (a)` and `exclude (a)`, structs as
//! `{'a': 1}` and `struct(1 as a)`, and each argument of a call read once.
//!
//! That of sqlparser 0.61 reads each twice, as it may have a name: nested calls take twice as long with each level.

use super::refusal::tokens;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use std::any::TypeId;
use std::borrow::Cow;

/// The same SQL, each word in its place, without `lateral` before a function: it means nothing there, and sqlparser takes
/// no `with ordinality` behind it.
pub fn readable(sql: &str) -> Cow<'_, str> {
    const WORD: &str = "lateral";
    let has = |word: &str| sql.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    if !has(WORD) || !has("ordinality") {
        return Cow::Borrowed(sql);
    }
    let mut lines: Vec<Vec<char>> = sql.split('\n').map(|line| line.chars().collect()).collect();
    for pair in tokens(sql).windows(2) {
        let [(Token::Word(word), line, column), (Token::Word(_), ..)] = pair else { continue };
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(WORD) {
            lines[line - 1][column - 1..column - 1 + WORD.len()].fill(' ');
        }
    }
    let lines: Vec<String> = lines.into_iter().map(String::from_iter).collect();
    Cow::Owned(lines.join("\n"))
}

#[derive(Debug)]
pub struct Postgres;

const ITS: PostgreSqlDialect = PostgreSqlDialect {};

macro_rules! as_its {
    ($($question:ident),* $(,)?) => {
        $(fn $question(&self) -> bool {
            ITS.$question()
        })*
    };
}

impl Dialect for Postgres {
    fn dialect(&self) -> TypeId {
        ITS.dialect()
    }
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }
    fn supports_select_wildcard_except(&self) -> bool {
        true
    }
    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }
    fn supports_dictionary_syntax(&self) -> bool {
        true
    }
    fn supports_struct_literal(&self) -> bool {
        true
    }

    fn identifier_quote_style(&self, name: &str) -> Option<char> {
        ITS.identifier_quote_style(name)
    }
    fn is_delimited_identifier_start(&self, c: char) -> bool {
        ITS.is_delimited_identifier_start(c)
    }
    fn is_identifier_start(&self, c: char) -> bool {
        ITS.is_identifier_start(c)
    }
    fn is_identifier_part(&self, c: char) -> bool {
        ITS.is_identifier_part(c)
    }
    fn is_custom_operator_part(&self, c: char) -> bool {
        ITS.is_custom_operator_part(c)
    }
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        ITS.get_next_precedence(parser)
    }
    fn prec_value(&self, of: Precedence) -> u8 {
        ITS.prec_value(of)
    }
    fn parse_statement(&self, parser: &mut Parser) -> Option<Result<Statement, ParserError>> {
        ITS.parse_statement(parser)
    }
    as_its!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_listen_notify,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_geometric_types,
        supports_set_names,
        supports_alter_column_type_using,
        supports_notnull_operator,
        supports_interval_options,
    );
}
