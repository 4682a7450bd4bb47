//! Scalar functions, casts and operators as Postgres has them, where DataFusion 53.1 differs or has none.
//!
//! ```text
//!  SQL ──written──► SQL ──operators──► expressions ──casts──► expressions of DataFusion's and of our own
//!       what cannot      `->`, dates       text and numbers into
//!       be bound so      and intervals     each other
//! ```
//!
//! [`table`] names every function of our own; `FUNCTIONS.md` is made from it. Each is immutable, gives NULL where an
//! argument is NULL unless it says otherwise, and an error, which names the value, where Postgres raises one.

mod alike;
mod bucket;
mod calendar;
mod casts;
mod checked;
mod expressions;
mod format;
pub(super) mod intervals;
mod json;
mod json_changed;
mod json_made;
mod json_rows;
mod json_value;
mod list;
mod literals;
mod number;
mod operators;
mod own;
mod parse;
mod parts;
mod pattern;
pub(super) mod quantified;
mod regexp;
mod spelled;
mod text;
mod time;
mod types;
mod written;

pub(super) use alike::is_total;
pub(super) use casts::Casts;
pub(super) use checked::shown;
pub(super) use operators::Operators;
pub(super) use regexp::unknown_pattern;
pub(super) use spelled::filled;
pub(super) use types::Types;
pub(super) use written::rewrite;

use datafusion::logical_expr::ScalarUDF;
use own::{Function, Own};
use std::fmt::Write;
use std::sync::Arc;

/// All functions of our own that SQL may name, family by family.
fn table() -> [(&'static str, &'static [Function]); 10] {
    [
        ("Text", text::FUNCTIONS),
        ("Formats", format::FUNCTIONS),
        ("Numbers", number::FUNCTIONS),
        ("Buckets", bucket::FUNCTIONS),
        ("Dates and times", time::FUNCTIONS),
        ("JSON", json::FUNCTIONS),
        ("JSON of values", json_made::FUNCTIONS),
        ("JSON as lists", json_rows::FUNCTIONS),
        ("JSON of JSON", json_changed::FUNCTIONS),
        ("Regular expressions", regexp::FUNCTIONS),
    ]
}

/// The same, in the place of DataFusion's of these names.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let own = |function: &'static Function| Arc::new(ScalarUDF::new_from_impl(Own::new(function)));
    table()
        .into_iter()
        .flat_map(|(_, functions)| functions)
        .map(own)
        .chain(alike::functions())
        .chain(quantified::functions())
        .chain(list::functions())
        .collect()
}

/// `FUNCTIONS.md`.
pub fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    for (family, functions) in table() {
        let _ = write!(text, "\n## {family}\n\n| function | what it does | DataFusion's own |\n|---|---|---|\n");
        for function in functions {
            let names: Vec<String> =
                [function.name].iter().chain(function.aliases).map(|name| format!("`{name}`")).collect();
            let cell = |words: &str| words.replace('|', "\\|");
            let _ = writeln!(text, "| {} | {} | {} |", names.join(", "), cell(function.does), cell(function.differs));
        }
    }
    for (title, rows) in [("Operators", operators::TABLE), ("Casts", casts::TABLE), ("Syntax", written::TABLE)] {
        let _ = write!(text, "\n## {title}\n\n| written | meaning |\n|---|---|\n");
        for (written, meaning) in rows {
            let _ = writeln!(text, "| `{}` | {meaning} |", written.replace('|', "\\|"));
        }
    }
    let _ = write!(text, "\n## Other names\n\n| written | meaning |\n|---|---|\n");
    for (written, meaning) in spelled::rows() {
        let _ = writeln!(text, "| `{written}` | {} |", meaning.replace('|', "\\|").replace('\n', " "));
    }
    text
}

const INTRODUCTION: &str = "\
<!-- Written by `UPDATE=1 cargo test --release --test functions`. -->
# Scalar functions

SQL means what Postgres means by it. Most functions are DataFusion's, which are the same; those below are our own, since
DataFusion's differ or there are none. `tests/functions.rs` asks a Postgres for every expression in
`tests/sql/functions/*.txt`; what still differs stands with its reason in `tests/sql/functions/differences`.
";
