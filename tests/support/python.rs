//! A Python process behind a pipe: one JSON request a line, one JSON answer a line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

pub struct Python {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Python {
    /// Runs a script of `tests/support`.
    pub fn start(script: &str) -> Python {
        let home = || Path::new(&std::env::var_os("HOME").expect("HOME is set")).join(".cache");
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, Into::into);
        let mut process = Command::new(cache.join("driftless/venv/bin/python"))
            .arg(format!("{}/tests/support/{script}", env!("CARGO_MANIFEST_DIR")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts: run `make setup`");
        // No leash: at the end of its input it leaves by itself.
        let (requests, answers) = (process.stdin.take(), process.stdout.take());
        Python { process, requests, answers: BufReader::new(answers.expect("piped")) }
    }

    pub fn ask(&mut self, request: &Value) -> Value {
        let requests = self.requests.as_mut().expect("open until dropped");
        writeln!(requests, "{request}").expect("Python listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("Python answers");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in the answer {line:?}"));
        if let Some(error) = answer["error"].as_str() {
            panic!("{request}: {error}");
        }
        answer
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.process.wait();
    }
}
