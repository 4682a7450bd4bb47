//! What the program says, held to a file: `tests/cli/<name>.txt`, rewritten by `UPDATE=1`.
//!
//! Each case is a heading in words, the call, its exit code where that is not 0, and all it said: stdout as
//! it is, stderr behind `! `. What differs from run to run (directories, ports, times, ids) is hidden by name.

use std::path::Path;

use crate::support::driftless::{Driftless, Finished, Project};
use crate::support::repository;

pub struct Transcript {
    name: &'static str,
    text: String,
    hidden: Vec<(String, String)>,
}

impl Transcript {
    pub fn new(name: &'static str) -> Self {
        Transcript { name, text: String::new(), hidden: Vec::new() }
    }

    /// From now on `what` is written as `mark`.
    pub fn hide(&mut self, what: impl ToString, mark: &str) {
        self.hidden.push((what.to_string(), mark.to_string()));
    }

    pub fn case(&mut self, words: &str, run: Driftless) -> Finished {
        let line = run.line();
        let finished = run.finish();
        self.text += &format!("## {words}\n$ {line}\n");
        match finished.code {
            Some(0) => {}
            Some(code) => self.text += &format!("exit {code}\n"),
            None => self.text += "ended by a signal\n",
        }
        self.text += &finished.stdout;
        for line in finished.stderr.lines() {
            self.text += format!("! {}", untimed(line)).trim_end();
            self.text += "\n";
        }
        self.text += "\n";
        finished
    }

    /// A call in `project` that must fail with 1 and leave everything as it was.
    #[track_caller]
    pub fn refuses(&mut self, words: &str, project: &Project, run: Driftless) {
        let before = listing(project.path());
        let finished = self.case(words, run);
        assert_eq!(finished.code, Some(1), "{words}: {finished:#?}");
        assert_eq!(listing(project.path()), before, "{words}: something was written");
    }

    #[track_caller]
    pub fn end(self) {
        let mut text = self.text;
        self.hidden.iter().for_each(|(what, mark)| text = text.replace(what, mark));
        let file = repository().join("tests/cli").join(self.name).with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            return std::fs::write(file, text).expect("the repository is ours");
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        let (mut old, mut new) = (expected.lines(), text.lines());
        let mut line = 0;
        loop {
            line += 1;
            match (old.next(), new.next()) {
                (None, None) => return,
                (old, new) if old == new => {}
                (old, new) => panic!(
                    "{}:{line}: expected {old:?}\n{:>w$} found {new:?}\n(UPDATE=1 rewrites the file)\n\n{text}",
                    file.display(),
                    "",
                    w = file.display().to_string().len()
                ),
            }
        }
    }
}

/// A log line without its time.
fn untimed(line: &str) -> &str {
    match line.split_once("Z ") {
        Some((time, rest)) if time.len() > 19 && time.starts_with("20") => rest.trim_start(),
        _ => line,
    }
}

/// Every file and directory below `dir`, with its size.
fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("the directory is ours").flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("just listed"));
        let size = if kind.is_dir() { 0 } else { entry.metadata().map_or(0, |m| m.len()) };
        found.push(format!("{} {size}", path.display()));
        if kind.is_dir() {
            found.extend(listing(&path));
        }
    }
    found.sort();
    found
}
