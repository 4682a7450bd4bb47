//! Queries, and what chance makes of them: a case is one query with a few changes of its words.

use crate::life::Dice;
use std::path::Path;

/// Numbers and texts at which things break.
const EXTREMES: [&str; 24] = [
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "2147483648",
    "99999999999999999999999999999999999999",
    "340282366920938463463374607431768211456",
    "0.00000000000000000000000000000000000001",
    "1e308",
    "-1e400",
    "null",
    "''",
    "'\u{1F980}'",
    "'%_\\'",
    "'9999-12-31'",
    "'-infinity'",
    "timestamp '0001-01-01 00:00:00'",
    "timestamp '294276-12-31 23:59:59'",
    "interval '1000000 years'",
    "interval '-1 month 40 days'",
    "cast(null as numeric(38, 10))",
    "array[]",
    "true",
];

pub struct Corpus {
    /// Those that are planned as they stand, each as words.
    queries: Vec<Vec<String>>,
    /// Of all.
    words: Vec<String>,
}

impl Corpus {
    /// The queries of `tests/sql/*.slt` and the views of `tests/slt/*.slt`.
    pub fn read(mut is_planned: impl FnMut(&str) -> bool) -> Corpus {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let mut files: Vec<_> =
            ["sql", "slt"].iter().flat_map(|folder| tests.join(folder).read_dir()).flatten().collect();
        files.retain(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|kind| kind == "slt")));
        let mut files: Vec<_> = files.into_iter().map(|file| file.expect("it is read").path()).collect();
        files.sort();
        let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("it is text"));
        let texts: Vec<String> = texts.flat_map(|text| queries(&text)).collect();
        let all = texts.iter().flat_map(|query| words(query)).filter(|word| !word.trim().is_empty()).collect();
        let queries: Vec<Vec<String>> =
            texts.iter().filter(|query| is_planned(query)).map(|query| words(query)).collect();
        assert!(queries.len() > 300, "the corpus is where it was: {}", queries.len());
        Corpus { queries, words: all }
    }

    pub fn mutated(&self, dice: &mut Dice) -> String {
        let mut query = dice.pick(&self.queries).clone();
        for _ in 0..1 + dice.below(3) {
            self.mutate(&mut query, dice);
        }
        query.concat()
    }

    fn mutate(&self, query: &mut Vec<String>, dice: &mut Dice) {
        let solid: Vec<usize> = (0..query.len()).filter(|at| !query[*at].trim().is_empty()).collect();
        if solid.is_empty() {
            return;
        }
        let (at, to) = (*dice.pick(&solid), *dice.pick(&solid));
        let alike = |a: &str, b: &str| class(a) == class(b);
        match dice.below(12) {
            0 => query.swap(at, to),
            1 => drop(query.remove(at)),
            2 => query.insert(at, format!("{} ", query[at])),
            3 => query[at] = dice.pick(&self.words).clone(),
            4 => {
                // From here on another query, from a word of the kind on.
                let other = dice.pick(&self.queries);
                let from = other.iter().position(|word| *word == query[at]).unwrap_or(other.len());
                query.truncate(at);
                query.extend_from_slice(&other[from..]);
            }
            5 => {
                let set = dice.pick(&["union", "union all", "except", "intersect all"]);
                query.push(format!("\n{set}\n"));
                query.extend(dice.pick(&self.queries).iter().cloned());
            }
            6 => {
                query.insert(0, "select * from (".into());
                query.push(format!(
                    ") as w{}",
                    dice.pick(&["", " where a > 1", " order by 1 limit 3", " join t on true"])
                ));
            }
            7 | 8 => {
                let literals = solid.iter().filter(|at| matches!(class(&query[**at]), Class::Number | Class::Text));
                let literals: Vec<usize> = literals.copied().collect();
                if !literals.is_empty() {
                    query[*dice.pick(&literals)] = dice.pick(&EXTREMES).to_string();
                }
            }
            // One name for another, one sign for another: what is still a query, and means something else.
            _ => {
                let other = self.words[dice.below(self.words.len() as u64) as usize..].iter().chain(&self.words);
                if let Some(word) = other.into_iter().find(|word| alike(word, &query[at])) {
                    query[at] = word.clone();
                }
            }
        }
    }
}

#[derive(PartialEq)]
enum Class {
    Keyword,
    Name,
    Number,
    Text,
    Sign,
}

fn class(word: &str) -> Class {
    const KEYWORDS: &str = " select from where group order by having limit offset join left right full inner on using as and or not in \
        is null case when then else end union all with recursive over partition rows range between exists distinct cast ";
    match word.chars().next() {
        Some(first) if first.is_alphabetic() && KEYWORDS.contains(&format!(" {word} ")) => Class::Keyword,
        Some(first) if first.is_alphabetic() || first == '"' || first == '_' => Class::Name,
        Some(first) if first.is_ascii_digit() => Class::Number,
        Some('\'') => Class::Text,
        _ => Class::Sign,
    }
}

/// The queries of a file: of each block what follows `select` or `with` at the beginning of a line or of a view.
fn queries(text: &str) -> Vec<String> {
    let query = |block: &str| {
        let lines = block.lines().filter(|line| !line.starts_with('#')).take_while(|line| *line != "----");
        let text = lines.collect::<Vec<_>>().join("\n");
        let text = text
            .split_once("create view ")
            .map_or(text.as_str(), |(_, view)| view.split_once(" as ").map_or("", |of| of.1));
        let begin = text.starts_with("select") || text.starts_with("with");
        begin.then(|| text.to_string())
    };
    text.split("\n\n").filter_map(query).collect()
}

/// Words, numbers, texts, signs, and the blanks between them.
fn words(sql: &str) -> Vec<String> {
    let kind = |c: char| match c {
        c if c.is_whitespace() => 0,
        c if c.is_alphanumeric() || c == '_' || c == '.' => 1,
        _ => 2,
    };
    let mut words: Vec<String> = Vec::new();
    let mut quoted = false;
    let mut last = None;
    for c in sql.chars() {
        let joins = quoted || last == Some(kind(c)) && kind(c) < 2;
        match words.last_mut().filter(|_| joins) {
            Some(word) => word.push(c),
            None => words.push(c.to_string()),
        }
        if c == '\'' {
            quoted = !quoted;
        }
        last = Some(if quoted { 1 } else { kind(c) });
    }
    words
}

/// A reason without what is particular to a query.
pub fn kind(reason: &str) -> String {
    let parts = reason.split('`').enumerate().map(|(at, part)| if at % 2 == 1 { "…" } else { part });
    parts.collect::<Vec<_>>().join("`").chars().filter(|c| !c.is_ascii_digit()).take(90).collect()
}
