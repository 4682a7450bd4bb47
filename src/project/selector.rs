//! Which models are meant: dbt's `--select` and `--exclude`.
//!
//! ```text
//!   argument  ─ split at blanks ─► union of criteria
//!   criterion ─ split at commas ─► intersection of parts
//!   part      = [@ | [n]+] [method:] value [+[n]]
//! ```
//!
//! Sources and seeds take part, since one selects models by what they read; only models come out.

use super::Project;
use super::nearest::did_you_mean;
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The ids of all selected nodes.
pub fn select(project: &Project, select: &[String], exclude: &[String]) -> Result<BTreeSet<String>> {
    let members = Members::of(project);
    let mut chosen: BTreeSet<usize> = match select.iter().all(|argument| argument.trim().is_empty()) {
        true => (0..members.all.len()).collect(),
        false => members.union(select)?,
    };
    for excluded in members.union(exclude)? {
        chosen.remove(&excluded);
    }
    Ok(chosen.into_iter().map(|at| members.all[at].id.to_string()).collect())
}

struct Members<'a> {
    /// The project's own package.
    own: &'a str,
    all: Vec<Member<'a>>,
    parents: Vec<BTreeSet<usize>>,
    children: Vec<BTreeSet<usize>>,
}

struct Member<'a> {
    id: &'a str,
    kind: &'static str,
    package: &'a str,
    fqn: &'a [String],
    path: &'a Path,
    config: &'a super::config::Config,
}

impl<'a> Members<'a> {
    fn of(project: &'a Project) -> Members<'a> {
        let models = project.models.iter().map(|m| ("model", &m.unique_id, &m.package, &m.fqn, &m.path, &m.config));
        let seeds = project.seeds.iter().map(|s| ("seed", &s.unique_id, &s.package, &s.fqn, &s.path, &s.config));
        let sources = project.sources.iter().map(|s| ("source", &s.unique_id, &s.package, &s.fqn, &s.path, &s.config));
        let all: Vec<Member<'_>> = models
            .chain(seeds)
            .chain(sources)
            .map(|(kind, id, package, fqn, path, config)| Member { id, kind, package, fqn, path, config })
            .collect();
        let position: BTreeMap<&str, usize> = all.iter().enumerate().map(|(at, member)| (member.id, at)).collect();
        let mut parents = vec![BTreeSet::new(); all.len()];
        let mut children = vec![BTreeSet::new(); all.len()];
        for (at, model) in project.models.iter().enumerate() {
            let sources = project.sources.iter().filter(|s| model.depends_on_sources.contains(&s.reference()));
            let ids = model.depends_on_models.iter().chain(&model.depends_on_seeds).map(String::as_str);
            for parent in ids.chain(sources.map(|s| s.unique_id.as_str())).filter_map(|id| position.get(id)) {
                parents[at].insert(*parent);
                children[*parent].insert(at);
            }
        }
        Members { own: &project.name, all, parents, children }
    }

    fn union(&self, arguments: &[String]) -> Result<BTreeSet<usize>> {
        let mut chosen = BTreeSet::new();
        for criterion in arguments.iter().flat_map(|argument| argument.split_whitespace()) {
            let mut parts = criterion.split(',').filter(|part| !part.is_empty());
            let Some(first) = parts.next() else { continue };
            let mut both = self.part(first)?;
            for part in parts {
                let other = self.part(part)?;
                both.retain(|at| other.contains(at));
            }
            chosen.extend(both);
        }
        Ok(chosen)
    }

    fn part(&self, text: &str) -> Result<BTreeSet<usize>> {
        let part = Part::parse(text)?;
        let matching: BTreeSet<usize> = (0..self.all.len()).filter(|at| self.matches(&part, *at)).collect();
        let mut chosen = matching.clone();
        if part.at {
            let below = self.walk(&matching, &self.children, usize::MAX);
            chosen.extend(self.walk(&below, &self.parents, usize::MAX));
        }
        if let Some(steps) = part.up {
            chosen.extend(self.walk(&matching, &self.parents, steps));
        }
        if let Some(steps) = part.down {
            chosen.extend(self.walk(&matching, &self.children, steps));
        }
        Ok(chosen)
    }

    /// `from` and all within `steps` along `edges`.
    fn walk(&self, from: &BTreeSet<usize>, edges: &[BTreeSet<usize>], steps: usize) -> BTreeSet<usize> {
        let (mut reached, mut rim) = (from.clone(), from.clone());
        for _ in 0..steps.min(self.all.len()) {
            rim = rim.iter().flat_map(|at| edges[*at].iter().copied()).filter(|at| !reached.contains(at)).collect();
            if rim.is_empty() {
                break;
            }
            reached.extend(&rim);
        }
        reached
    }

    fn matches(&self, part: &Part, at: usize) -> bool {
        let member = &self.all[at];
        let (value, file_name) = (part.value.as_str(), member.path.file_name().unwrap_or_default().to_string_lossy());
        match &part.method {
            Method::Fqn => member.kind != "source" && names(member.fqn, value),
            Method::Tag => member.config.tags().iter().any(|tag| wild(value, tag)),
            Method::Path => member.kind != "source" && under(member.path, value) || *member.path == *Path::new(value),
            Method::File => wild(value, &file_name) || wild(value, file_name.split('.').next().unwrap_or_default()),
            Method::Package => match value {
                "this" => member.package == self.own,
                name => wild(name, member.package),
            },
            Method::ResourceType => value == member.kind,
            Method::Source => member.kind == "source" && is_source(member, value),
            Method::Config(keys) => configured(member.config.values(), keys, value),
        }
    }
}

enum Method {
    Fqn,
    Tag,
    Path,
    File,
    Package,
    ResourceType,
    Source,
    Config(Vec<String>),
}

struct Part {
    at: bool,
    up: Option<usize>,
    down: Option<usize>,
    method: Method,
    value: String,
}

const METHODS: [&str; 8] = ["fqn", "tag", "path", "file", "package", "resource_type", "source", "config"];

impl Part {
    fn parse(text: &str) -> Result<Part> {
        let fault = |what: String| Error::operator(format!("bad selector `{text}`: {what}"));
        let (at, rest) = match text.strip_prefix('@') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (up, rest) = match rest.split_once('+') {
            Some((steps, rest)) if steps.chars().all(|c| c.is_ascii_digit()) => (Some(depth(steps)), rest),
            _ => (None, rest),
        };
        let (down, rest) = match rest.rsplit_once('+') {
            Some((rest, steps)) if steps.chars().all(|c| c.is_ascii_digit()) => (Some(depth(steps)), rest),
            _ => (None, rest),
        };
        if at && down.is_some() {
            return Err(fault("`@` already takes the children".to_string()).hint("leave out either `@` or `+`"));
        }
        let (method, value) = match rest.split_once(':') {
            Some((method, value)) => {
                (Part::method(method).map_err(|unknown| unknown.doing(format!("read the selector `{text}`")))?, value)
            }
            // As in dbt: what looks like a path is one.
            None if rest.contains(['/', '\\']) => (Method::Path, rest),
            None if [".sql", ".csv", ".py"].iter().any(|ending| rest.ends_with(ending)) => (Method::File, rest),
            None => (Method::Fqn, rest),
        };
        if value.is_empty() {
            return Err(fault("it names nothing".to_string()).hint("name a model, a `tag:` or a `path:`"));
        }
        Ok(Part { at, up, down, method, value: value.to_string() })
    }

    fn method(name: &str) -> Result<Method> {
        Ok(match name.split('.').collect::<Vec<_>>()[..] {
            ["fqn"] => Method::Fqn,
            ["tag"] => Method::Tag,
            ["path"] => Method::Path,
            ["file"] => Method::File,
            ["package"] => Method::Package,
            ["resource_type"] => Method::ResourceType,
            ["source"] => Method::Source,
            ["config", ref keys @ ..] if !keys.is_empty() => {
                Method::Config(keys.iter().map(|key| key.to_string()).collect())
            }
            _ => {
                let error = Error::operator(format!("unknown selection method `{name}`"));
                let known = METHODS.map(|method| format!("`{method}`")).join(", ");
                let first = name.split('.').next().unwrap_or_default();
                let hint = did_you_mean(first, METHODS).unwrap_or_else(|| format!("the methods are {known}"));
                return Err(error.hint(hint));
            }
        })
    }
}

fn depth(steps: &str) -> usize {
    // Digits too many for a number reach further than any graph.
    if steps.is_empty() { usize::MAX } else { steps.parse().unwrap_or(usize::MAX) }
}

/// dbt's rule: the name alone, or a dotted prefix of the fqn with or without the package; from the first
/// wildcard on the rest of both is compared as one pattern.
fn names(fqn: &[String], value: &str) -> bool {
    let matches = |fqn: &[String]| {
        let flat: Vec<&str> = fqn.iter().flat_map(|part| part.split('.')).collect();
        let wanted: Vec<&str> = value.split('.').collect();
        if flat.len() < wanted.len() {
            return false;
        }
        for (at, part) in wanted.iter().enumerate() {
            if part.contains(['*', '?', '[']) {
                return wild(&wanted[at..].join("."), &flat[at..].join("."));
            }
            if flat[at] != *part {
                return false;
            }
        }
        true
    };
    fqn.last().is_some_and(|name| wild(value, name)) || matches(fqn) || fqn.len() > 1 && matches(&fqn[1..])
}

fn is_source(member: &Member<'_>, value: &str) -> bool {
    let (source, table) = match member.fqn {
        [.., source, table] => (source.as_str(), table.as_str()),
        _ => return false,
    };
    match value.split('.').collect::<Vec<_>>()[..] {
        [wanted] => wild(wanted, source),
        [first, second] => wild(first, source) && wild(second, table),
        [package, first, second] => wild(package, member.package) && wild(first, source) && wild(second, table),
        _ => false,
    }
}

/// The file itself, a folder above it, or a pattern of either.
fn under(path: &Path, value: &str) -> bool {
    let value = value.trim_start_matches("./").trim_end_matches(['/', '\\']);
    path.ancestors()
        .filter_map(|ancestor| ancestor.to_str())
        .filter(|text| !text.is_empty())
        .any(|text| wild_path(value, text))
}

fn configured(config: &serde_json::Map<String, Value>, keys: &[String], wanted: &str) -> bool {
    let mut found = keys.first().and_then(|key| config.get(key));
    for key in keys.iter().skip(1) {
        found = found.and_then(|value| value.get(key));
    }
    let is = |value: &Value| match value {
        Value::String(text) => wild(wanted, text),
        Value::Bool(value) => wanted.eq_ignore_ascii_case(if *value { "true" } else { "false" }),
        Value::Number(number) => number.to_string() == wanted,
        _ => false,
    };
    match found {
        Some(Value::Array(values)) => values.iter().any(is),
        Some(Value::Object(map)) => map.contains_key(wanted),
        Some(value) => is(value),
        // What nobody set is what dbt takes it to be.
        None => keys == ["materialized"] && wanted == "view",
    }
}

/// Python's fnmatch: `*`, `?`, `[a-z]`, `[!a-z]`; `*` matches across anything.
fn wild(pattern: &str, text: &str) -> bool {
    glob(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>(), None)
}

/// The same for paths: `*` stays within a folder, `**` does not.
fn wild_path(pattern: &str, text: &str) -> bool {
    glob(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>(), Some('/'))
}

fn glob(pattern: &[char], text: &[char], fence: Option<char>) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', '*', '/', rest @ ..] if fence == Some('/') => {
            let mut starts = (0..=text.len()).filter(|at| *at == 0 || text[at - 1] == '/');
            starts.any(|at| glob(rest, &text[at..], fence))
        }
        ['*', '*', rest @ ..] => (0..=text.len()).any(|skip| glob(rest, &text[skip..], fence)),
        ['*', rest @ ..] => {
            let free = text.iter().position(|c| Some(*c) == fence).unwrap_or(text.len());
            (0..=free).any(|skip| glob(rest, &text[skip..], fence))
        }
        ['?', rest @ ..] => matches!(text, [_, tail @ ..] if glob(rest, tail, fence)),
        ['[', set @ ..] if set.contains(&']') => {
            let end = set.iter().position(|c| *c == ']').expect("the guard has seen it");
            let (negated, set_chars) = match &set[..end] {
                ['!', rest @ ..] => (true, rest),
                all => (false, all),
            };
            matches!(text, [c, tail @ ..] if in_set(set_chars, *c) != negated && glob(&set[end + 1..], tail, fence))
        }
        [c, rest @ ..] => matches!(text, [d, tail @ ..] if c == d && glob(rest, tail, fence)),
    }
}

fn in_set(set: &[char], c: char) -> bool {
    match set {
        [] => false,
        [low, '-', high, rest @ ..] => (*low..=*high).contains(&c) || in_set(rest, c),
        [one, rest @ ..] => *one == c || in_set(rest, c),
    }
}
