//! SQL as it is read: Postgres', with `select * except (a)` and `exclude (a)`, structs as
//! `{'a': 1}` and `struct(1 as a)`, and each argument of a call read once.
//!
//! That of sqlparser 0.61 reads each twice, as it may have a name: nested calls take twice as long with each level. And it
//! knows words that Postgres does not.

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError, Whitespace};
use std::any::TypeId;

/// The words and signs of SQL. `top` is a name as any other; and `lateral` goes before a function, which is lateral as it
/// is, since sqlparser knows no `with ordinality` behind it.
pub fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    let mut tokens = Tokenizer::new(&Postgres, sql).tokenize_with_location()?;
    let is = |token: &Token, keyword| matches!(token, Token::Word(word) if word.keyword == keyword);
    let mut next = None;
    for at in (0..tokens.len()).rev() {
        let is_call = matches!(next, Some(Token::Word(_)));
        let token = &mut tokens[at].token;
        if is(token, Keyword::LATERAL) && is_call {
            *token = Token::Whitespace(Whitespace::Space);
        } else if is(token, Keyword::TOP)
            && let Token::Word(word) = token
        {
            word.keyword = Keyword::NoKeyword;
        }
        if !matches!(token, Token::Whitespace(_)) {
            next = Some(token.clone());
        }
    }
    Ok(tokens)
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
        match parser.peek_keyword(Keyword::TABLE) {
            true => Some(parser.parse_query().map(Statement::Query)),
            false => ITS.parse_statement(parser),
        }
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
