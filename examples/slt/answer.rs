//! Rows as sqllogictest writes them, and whether they are those that were expected.

use super::script::Sort;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// A batch as rows of texts.
pub fn rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<Vec<String>> = batch
        .columns()
        .iter()
        .map(|column| {
            let formatter = ArrayFormatter::try_new(column, &options).expect("every type of a row has a text");
            let value = |at: usize| match column.as_list_opt::<i32>().filter(|lists| lists.is_valid(at)) {
                Some(lists) => list(&lists.value(at)),
                None => text(formatter.value(at).to_string(), column.data_type()),
            };
            (0..column.len()).map(value).collect()
        })
        .collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

/// As Postgres writes it: `{1,NULL,"a b"}`.
fn list(items: &ArrayRef) -> String {
    if let Some(lists) = items.as_list_opt::<i32>() {
        let items = lists.iter().map(|items| items.map_or("NULL".into(), |items| list(&items)));
        return format!("{{{}}}", items.collect::<Vec<_>>().join(","));
    }
    let formatter = ArrayFormatter::try_new(items, &FormatOptions::default()).expect("every type of a row has a text");
    let item = |at: usize| {
        let item = match items.data_type() {
            _ if items.is_null(at) => return "NULL".into(),
            DataType::Boolean => return if items.as_boolean().value(at) { "t".into() } else { "f".into() },
            DataType::Utf8 => items.as_string::<i32>().value(at).to_string(),
            of => text(formatter.value(at).to_string(), of),
        };
        let plain = |c: char| !c.is_whitespace() && !"{},\"\\".contains(c);
        match !item.is_empty() && !item.eq_ignore_ascii_case("null") && item.chars().all(plain) {
            true => item,
            false => format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")),
        }
    };
    format!("{{{}}}", (0..items.len()).map(item).collect::<Vec<_>>().join(","))
}

fn text(value: String, of: &DataType) -> String {
    match of {
        DataType::Utf8 if value.is_empty() => "(empty)".into(),
        DataType::Timestamp(_, _) => {
            let value = value.replacen('T', " ", 1);
            let (time, zone) = value.strip_suffix('Z').map_or((value.as_str(), ""), |time| (time, "+00"));
            let time = if time.contains('.') { time.trim_end_matches('0').trim_end_matches('.') } else { time };
            format!("{time}{zone}")
        }
        _ => value,
    }
}

/// What differs from the expected lines: a line holds a row, or one value of it.
pub fn difference(rows: &[Vec<String>], sort: Sort, expected: &[String]) -> Option<String> {
    let mut found: Vec<String> = match sort {
        Sort::Values => rows.iter().flatten().map(|value| plain(value)).collect(),
        _ => rows.iter().map(|row| plain(&row.join(" "))).collect(),
    };
    let mut wanted: Vec<String> = expected.iter().map(|line| plain(line)).collect();
    if sort != Sort::Values && wanted.len() != found.len() && wanted.len() == rows.iter().map(Vec::len).sum::<usize>() {
        // One value in each line.
        found = rows.iter().map(|row| row.iter().map(|value| plain(value)).collect::<Vec<_>>().join(" ")).collect();
        let width = rows.first().map_or(1, Vec::len).max(1);
        wanted = wanted.chunks(width).map(|row| row.join(" ")).collect();
    }
    if sort != Sort::None {
        found.sort();
        wanted.sort();
    }
    let same = |found: &String, wanted: &String| equal(found, wanted) || equal(&braced(found), &braced(wanted));
    let same = found.len() == wanted.len() && found.iter().zip(&wanted).all(|(found, wanted)| same(found, wanted));
    (!same).then(|| format!("expected\n{}\nfound\n{}", listed(&wanted), listed(&found)))
}

fn listed(lines: &[String]) -> String {
    let shown = lines.iter().take(20).map(|line| format!("  {line}"));
    let more = (lines.len() > 20).then(|| format!("  … {} in all", lines.len()));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}

fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Others write lists in brackets.
fn braced(line: &str) -> String {
    line.replace('[', "{").replace(']', "}").replace(", ", ",")
}

/// Word by word: numbers by value, those with a fraction as far as doubles go; truth values in their several spellings.
fn equal(found: &str, wanted: &str) -> bool {
    let (found, wanted): (Vec<&str>, Vec<&str>) = (found.split(' ').collect(), wanted.split(' ').collect());
    found.len() == wanted.len() && found.iter().zip(&wanted).all(|(found, wanted)| same(found, wanted))
}

fn same(found: &str, wanted: &str) -> bool {
    if found == wanted {
        return true;
    }
    let truth = |word: &str| match word {
        "t" | "true" => Some(true),
        "f" | "false" => Some(false),
        _ => None,
    };
    if let (Some(found), Some(wanted)) = (truth(found), truth(wanted)) {
        return found == wanted;
    }
    let whole = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match (found.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(_), Ok(_)) if whole(found) && whole(wanted) => false,
        (Ok(found), Ok(wanted)) if found.is_nan() || wanted.is_nan() => found.is_nan() && wanted.is_nan(),
        (Ok(found), Ok(wanted)) => found == wanted || (found - wanted).abs() <= 1e-9 * found.abs().max(wanted.abs()),
        _ => found.trim_end_matches(":00") == wanted.trim_end_matches(":00") && found.contains("+00"),
    }
}
