//! The few statements that a row binlog holds as text and that matter to whoever follows rows.
//!
//! Only as much is read as it takes to know which tables are meant: verbs and names, around comments,
//! strings and version hints. What is not understood is [`Statement::Other`], which changes no rows of a
//! table: those would be row events, or a statement caught by [`Statement::Rows`].

use crate::row::TableName;

#[derive(Debug, PartialEq)]
pub(super) enum Statement {
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    Truncate(TableName),
    Alter(Alter),
    /// These tables are gone, or other tables took their names.
    Gone(Vec<TableName>),
    SchemaGone(String),
    /// Rows changed and told as a statement: the session left the row format. Every name it mentions.
    Rows(Vec<String>),
    Other,
}

#[derive(Debug, PartialEq)]
pub(super) struct Alter {
    pub(super) table: TableName,
    /// A second table whose rows change places with a partition.
    pub(super) exchanged: Option<TableName>,
    pub(super) renames_table: bool,
    /// The clause that takes or brings rows without telling them: `DROP PARTITION` and its like.
    pub(super) moves_rows: Option<String>,
    /// Columns may have been dropped, renamed, retyped, or put between others.
    pub(super) moves_columns: bool,
}

impl Statement {
    pub(super) fn parse(sql: &str, schema: &str) -> Statement {
        let tokens = tokens(sql);
        let mut words = Words { tokens: &tokens, schema };
        // SET STATEMENT variable = value FOR …
        if words.eats("SET") && words.eats("STATEMENT") {
            while !words.tokens.is_empty() && !words.eats("FOR") {
                words.skip();
            }
        } else {
            words.tokens = &tokens;
        }
        words.statement().unwrap_or(Statement::Other)
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    /// In backticks or double quotes.
    Name(String),
    Sign(char),
}

/// What is left of a statement.
struct Words<'a> {
    tokens: &'a [Token],
    schema: &'a str,
}

impl Words<'_> {
    fn statement(&mut self) -> Option<Statement> {
        let Some(Token::Word(verb)) = self.tokens.first() else { return None };
        let verb = verb.to_ascii_uppercase();
        self.skip();
        Some(match verb.as_str() {
            "COMMIT" => Statement::Commit,
            "SAVEPOINT" => Statement::Savepoint(self.name()?),
            "ROLLBACK" if self.eats("TO") => {
                self.eats("SAVEPOINT");
                Statement::RollbackTo(self.name()?)
            }
            "ROLLBACK" => Statement::Rollback,
            "TRUNCATE" => {
                self.eats("TABLE");
                Statement::Truncate(self.table()?)
            }
            "ALTER" => Statement::Alter(self.alter()?),
            "RENAME" => {
                (self.eats("TABLE") || self.eats("TABLES")).then_some(())?;
                Statement::Gone(self.tables())
            }
            "DROP" if self.eats("DATABASE") || self.eats("SCHEMA") => {
                self.if_exists();
                Statement::SchemaGone(self.name()?)
            }
            "DROP" => {
                (self.eats("TABLE") || self.eats("TABLES")).then_some(())?;
                Statement::Gone(self.tables())
            }
            "CREATE" => {
                (self.eats("OR") && self.eats("REPLACE") && self.eats("TABLE")).then_some(())?;
                Statement::Gone(vec![self.table()?])
            }
            "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "WITH" => {
                let name = |token: &Token| match token {
                    Token::Word(name) | Token::Name(name) => Some(name.clone()),
                    Token::Sign(_) => None,
                };
                Statement::Rows(self.tokens.iter().filter_map(name).collect())
            }
            _ => return None,
        })
    }

    fn alter(&mut self) -> Option<Alter> {
        self.eats("ONLINE");
        let ignore = self.eats("IGNORE");
        self.eats("TABLE").then_some(())?;
        self.if_exists();
        let table = self.table()?;
        let mut alter = Alter {
            table,
            exchanged: None,
            renames_table: false,
            // Drops whatever rows a new key finds twice.
            moves_rows: ignore.then(|| "ALTER IGNORE".to_string()),
            moves_columns: false,
        };
        while !self.tokens.is_empty() {
            if self.eats("RENAME") {
                let inside = ["COLUMN", "INDEX", "KEY"].iter().any(|w| self.eats(w));
                alter.renames_table |= !inside;
                alter.moves_columns |= inside;
            } else if self.eats("EXCHANGE") {
                alter.moves_rows.get_or_insert("EXCHANGE PARTITION".into());
            } else if self.eats("WITH") && self.eats("TABLE") {
                alter.exchanged = self.table();
            } else if let Some(verb) =
                ["DROP", "TRUNCATE", "DISCARD", "IMPORT", "CONVERT"].into_iter().find(|w| self.eats(w))
            {
                let rows = ["PARTITION", "TABLESPACE"].into_iter().find(|w| self.eats(w));
                match rows {
                    Some(what) => {
                        alter.moves_rows.get_or_insert(format!("{verb} {what}"));
                    }
                    None => alter.moves_columns |= verb == "DROP",
                }
            } else if ["CHANGE", "MODIFY", "FIRST", "AFTER"].iter().any(|w| self.eats(w)) {
                alter.moves_columns = true;
            } else {
                self.skip();
            }
        }
        Some(alter)
    }

    fn skip(&mut self) {
        self.tokens = self.tokens.get(1..).unwrap_or_default();
    }

    fn eats(&mut self, word: &str) -> bool {
        let eaten = matches!(self.tokens.first(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        if eaten {
            self.skip();
        }
        eaten
    }

    fn if_exists(&mut self) {
        if self.eats("IF") {
            self.eats("EXISTS");
        }
    }

    fn name(&mut self) -> Option<String> {
        let (Token::Word(name) | Token::Name(name)) = self.tokens.first()? else { return None };
        let name = name.clone();
        self.skip();
        Some(name)
    }

    fn table(&mut self) -> Option<TableName> {
        let first = self.name()?;
        if self.tokens.first() != Some(&Token::Sign('.')) {
            return Some(TableName::new(self.schema, first));
        }
        self.skip();
        Some(TableName::new(first, self.name()?))
    }

    /// Every table in a list, whatever stands between them.
    fn tables(&mut self) -> Vec<TableName> {
        self.if_exists();
        let mut tables = Vec::new();
        while !self.tokens.is_empty() {
            match self.table() {
                Some(table) => tables.push(table),
                None => self.skip(),
            }
            self.eats("TO");
        }
        tables
    }
}

/// Words, names and signs, without comments and strings. The text of a version hint (`/*!50100 … */`,
/// `/*M! … */`) is part of the statement.
fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = if rest.starts_with("/*!") || rest.starts_with("/*M!") {
            let text = &rest[rest.find('!').expect("just seen") + 1..];
            text.trim_start_matches(|c: char| c.is_ascii_digit())
        } else if let Some(after) = rest.strip_prefix("*/") {
            after
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else if c == '#' || rest.starts_with("-- ") || rest.starts_with("--\n") {
            rest.find('\n').map_or("", |end| &rest[end + 1..])
        } else if c == '\'' {
            string(after, c, true).1
        } else if c == '`' || c == '"' {
            let (name, after) = string(after, c, false);
            tokens.push(Token::Name(name));
            after
        } else if c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii() {
            let word = |c: char| !(c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii());
            let (word, after) = rest.split_at(rest.find(word).unwrap_or(rest.len()));
            tokens.push(Token::Word(word.to_string()));
            after
        } else {
            if !c.is_whitespace() {
                tokens.push(Token::Sign(c));
            }
            after
        };
    }
    tokens
}

/// What stands before the closing `quote`, which is doubled (or escaped) inside, and what follows it.
fn string(rest: &str, quote: char, escapes: bool) -> (String, &str) {
    let mut text = String::new();
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            text.extend(chars.next().map(|(_, c)| c));
        } else if c != quote {
            text.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            text.push(c);
        } else {
            return (text, &rest[at + c.len_utf8()..]);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(sql: &str) -> Statement {
        Statement::parse(sql, "shop")
    }

    fn alter(sql: &str) -> Alter {
        match parse(sql) {
            Statement::Alter(alter) => alter,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn tables_are_found_around_comments_quotes_and_hints() {
        let orders = TableName::new("shop", "orders");
        for sql in [
            "truncate orders",
            "TRUNCATE TABLE `orders`",
            "/* app */ TRUNCATE -- all\n TABLE shop . `orders` /* done */",
            "SET STATEMENT max_statement_time=5 FOR truncate table orders",
            "/*!40000 TRUNCATE TABLE orders */",
        ] {
            assert_eq!(parse(sql), Statement::Truncate(orders.clone()), "{sql}");
        }
        assert_eq!(parse("truncate `a``b`.`c`"), Statement::Truncate(TableName::new("a`b", "c")));
        assert_eq!(
            parse("RENAME TABLE orders TO old, x.new TO orders"),
            Statement::Gone(vec![
                orders.clone(),
                TableName::new("shop", "old"),
                TableName::new("x", "new"),
                orders.clone()
            ])
        );
        assert_eq!(
            parse("DROP TABLE IF EXISTS `orders` /* generated by server */"),
            Statement::Gone(vec![orders.clone()])
        );
        assert_eq!(parse("drop schema shop"), Statement::SchemaGone("shop".into()));
        assert_eq!(parse("create or replace table orders (id int)"), Statement::Gone(vec![orders]));
        assert_eq!(parse("DROP TEMPORARY TABLE orders"), Statement::Other);
        assert_eq!(parse("create table if not exists orders (id int)"), Statement::Other);
        assert_eq!(parse("ROLLBACK TO `s`"), Statement::RollbackTo("s".into()));
        assert_eq!(parse(""), Statement::Other);
    }

    #[test]
    fn an_alter_says_what_it_may_move() {
        assert!(!alter("ALTER TABLE orders ADD COLUMN x int DEFAULT 1 COMMENT 'DROP PARTITION'").moves_columns);
        assert!(alter("alter table orders add x int after id").moves_columns);
        assert!(alter("alter online table if exists orders modify x bigint").moves_columns);
        assert!(alter("alter table orders rename column a to b").moves_columns);
        assert!(!alter("alter table orders rename column a to b").renames_table);
        assert!(alter("alter table orders rename to o2").renames_table);
        assert_eq!(alter("alter table orders drop partition p0").moves_rows.as_deref(), Some("DROP PARTITION"));
        let exchange = alter("alter table other exchange partition p with table orders");
        assert_eq!(exchange.exchanged, Some(TableName::new("shop", "orders")));
        assert!(exchange.moves_rows.is_some());
    }
}
