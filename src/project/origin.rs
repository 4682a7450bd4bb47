//! From a place in compiled SQL back to the user's file.
//!
//! Lines that Jinja left alone are aligned first; a line that it changed is looked for between its
//! aligned neighbours, by the text around its `{{ … }}`. Not promised: the exact place of text that a
//! macro made; that is answered with the line that called it, as near as can be told.

/// A place in the raw file: line and column from 1, and how much to underline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

pub fn trace(raw: &str, compiled: &str, line: usize, column: usize) -> Found {
    let raws: Vec<&str> = raw.lines().collect();
    let lines: Vec<&str> = compiled.lines().collect();
    let Some(wanted) = line.checked_sub(1).and_then(|at| lines.get(at)) else { return Found::start() };
    let same = |at: usize| Found { line: at + 1, column: column.max(1), width: 1 };
    let mut twins = raws.iter().enumerate().filter(|(_, text)| *text == wanted && !wanted.trim().is_empty());
    if let (Some((at, _)), None) = (twins.next(), twins.next()) {
        return same(at);
    }
    let aligned = align(&raws, &lines);
    if let Some(at) = aligned[line - 1] {
        return same(at);
    }
    // Between the aligned neighbours stands what became this line; elsewhere only if nothing there fits.
    let before = aligned[..line - 1].iter().rev().find_map(|at| *at).map_or(0, |at| at + 1);
    let after = aligned[line..].iter().find_map(|at| *at).unwrap_or(raws.len());
    let near = before..after.max(before);
    let far = (0..raws.len()).filter(|at| !near.contains(at));
    let best = |candidates: &mut dyn Iterator<Item = usize>| {
        let fits = candidates.filter_map(|at| fit(raws[at], wanted, column).map(|(kept, found)| (kept, at, found)));
        fits.max_by_key(|(kept, at, _)| (*kept, std::cmp::Reverse(*at)))
    };
    if let Some((_, at, (column, width))) = best(&mut near.clone()).or_else(|| best(&mut far.into_iter())) {
        return Found { line: at + 1, column, width };
    }
    // A macro made it: the first tag after what the lines before it came from.
    let since = lines.iter().zip(&aligned).take(line - 1).rev().take_while(|(_, at)| at.is_none());
    let mut earlier: Vec<&str> = since.map(|(text, _)| *text).collect();
    earlier.reverse();
    let mut from = near.start;
    for text in earlier {
        if let Some(at) =
            (from.saturating_sub(1).max(near.start)..near.end).find(|at| fit(raws[*at], text, 1).is_some())
        {
            from = at + 1;
        }
    }
    let tagged = |open: &str| (from..near.end).find(|at| raws[*at].contains(open));
    match tagged("{{").or_else(|| tagged("{%")).or(from.checked_sub(1)).filter(|at| *at < raws.len()) {
        Some(at) => Found { line: at + 1, column: indent(raws[at]) + 1, width: raws[at].trim().chars().count().max(1) },
        None => Found::start(),
    }
}

impl Found {
    fn start() -> Found {
        Found { line: 1, column: 1, width: 1 }
    }
}

/// Does `compiled` read as `raw` with something put in place of each tag? Then how many characters the
/// two share, and where `column` of the one lies in the other.
fn fit(raw: &str, compiled: &str, column: usize) -> Option<(usize, (usize, usize))> {
    let pieces = pieces(raw);
    let kept: usize = pieces.iter().filter(|piece| !piece.tag).map(|piece| piece.text.trim().chars().count()).sum();
    if kept == 0 || !pieces.iter().any(|piece| piece.tag) {
        return None;
    }
    let target = byte_of(compiled, column);
    let (mut at, mut found) = (0, None);
    for (index, piece) in pieces.iter().enumerate() {
        let start = raw[..piece.start].chars().count();
        if !piece.tag {
            if !compiled[at..].starts_with(piece.text) {
                return None;
            }
            if (at..at + piece.text.len()).contains(&target) {
                found = found.or(Some((start + compiled[at..target].chars().count() + 1, 1)));
            }
            at += piece.text.len();
            continue;
        }
        let end = match pieces.get(index + 1) {
            None => compiled.len(),
            Some(next) if next.tag => at,
            Some(next) if index + 2 == pieces.len() => {
                compiled.len().checked_sub(next.text.len()).filter(|end| *end >= at)?
            }
            Some(next) => at + compiled[at..].find(next.text)?,
        };
        if !compiled.is_char_boundary(end) {
            return None;
        }
        if (at..end).contains(&target) {
            found = found.or(Some((start + 1, piece.text.chars().count())));
        }
        at = end;
    }
    if at != compiled.len() {
        return None;
    }
    Some((kept, found.unwrap_or((raw.chars().count() + 1, 1))))
}

struct Piece<'a> {
    start: usize,
    text: &'a str,
    tag: bool,
}

/// A line cut at its Jinja tags.
fn pieces(raw: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let rest = &raw[at..];
        let opens = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min();
        let (length, tag) = match opens {
            Some(0) => {
                let close =
                    ["}}", "%}", "#}"][["{{", "{%", "{#"].iter().position(|o| rest.starts_with(o)).unwrap_or(0)];
                (rest.find(close).map_or(rest.len(), |end| end + close.len()), true)
            }
            Some(open) => (open, false),
            None => (rest.len(), false),
        };
        pieces.push(Piece { start: at, text: &raw[at..at + length], tag });
        at += length;
    }
    pieces
}

/// For each compiled line the raw line it is equal to, in one longest common subsequence.
fn align(raws: &[&str], lines: &[&str]) -> Vec<Option<usize>> {
    let mut aligned = vec![None; lines.len()];
    let head = raws.iter().zip(lines).take_while(|(raw, line)| raw == line).count();
    let tail = raws[head..].iter().rev().zip(lines[head..].iter().rev()).take_while(|(raw, line)| raw == line).count();
    for (at, slot) in aligned.iter_mut().enumerate().take(head) {
        *slot = Some(at);
    }
    for at in 0..tail {
        aligned[lines.len() - 1 - at] = Some(raws.len() - 1 - at);
    }
    let (raws, lines) = (&raws[head..raws.len() - tail], &lines[head..lines.len() - tail]);
    // Beyond this the table costs more than a better guess is worth: macros made most of that SQL.
    if raws.len() * lines.len() > 4_000_000 {
        return aligned;
    }
    let width = lines.len() + 1;
    let mut longest = vec![0u32; (raws.len() + 1) * width];
    for i in (0..raws.len()).rev() {
        for j in (0..lines.len()).rev() {
            longest[i * width + j] = match raws[i] == lines[j] {
                true => longest[(i + 1) * width + j + 1] + 1,
                false => longest[(i + 1) * width + j].max(longest[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < raws.len() && j < lines.len() {
        if raws[i] == lines[j] {
            aligned[head + j] = Some(head + i);
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    aligned
}

fn indent(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

fn byte_of(line: &str, column: usize) -> usize {
    line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(byte, _)| byte)
}
