//! Processes that end with the test, whatever ends the test: servers by the keeper of `driftless demo`, the
//! binary by a leash.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use driftless::cli::demo::keeper::{self, Afterwards};
#[allow(unused_imports, reason = "each test binary uses a part")]
pub use driftless::cli::demo::keeper::{Keeper, alive};

/// A server and its directory, both gone when the keeper is.
pub fn keep(dir: &Path, last_signal: &str, command: &[String]) -> Keeper {
    Keeper::start(dir, last_signal, Afterwards::Remove, command).expect("the server starts")
}

/// Kills a process that the test started itself, should the test end without having seen it end.
pub struct Leash {
    shell: Child,
    line: Option<ChildStdin>,
}

impl Leash {
    pub fn on(pid: u32) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", "read -r released && exit; kill -s KILL \"$1\"", "leash", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let line = shell.stdin.take();
        Leash { shell, line }
    }

    /// The process has been waited for: its number may belong to somebody else by now.
    pub fn release(&mut self) {
        if let Some(mut line) = self.line.take() {
            let _ = line.write_all(b"released\n");
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.line = None;
        let _ = self.shell.wait();
    }
}

/// A temporary directory that the keeper will remove.
pub fn directory(prefix: &str) -> PathBuf {
    tempfile::Builder::new().prefix(prefix).tempdir().expect("a temporary directory can be made").keep()
}

pub fn free_port() -> u16 {
    keeper::free_port().expect("loopback has free ports")
}

pub fn as_user(user: &str, dir: &Path, command: Vec<String>) -> Vec<String> {
    keeper::as_user(user, dir, command).expect("the directory is ours to give")
}

/// Runs to the end, and panics with all it said unless it went well.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed, {}:\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Copies a directory made once by `make` and kept in the cache, since making it takes seconds.
pub fn from_template(name: &str, target: &Path, make: impl FnOnce(&Path)) {
    let template = super::cache().join(name);
    if template.exists() {
        return copy(&template, target);
    }
    make(target);
    // Copied aside and renamed, so that no other process ever sees a part; the loser of a race throws
    // its copy away.
    let ours = super::cache().join(format!("{name}.{}", std::process::id()));
    copy(target, &ours);
    if std::fs::rename(&ours, &template).is_err() {
        let _ = std::fs::remove_dir_all(&ours);
    }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").args(["-r", "--reflink=auto", "--sparse=always", "-T"]).arg(from).arg(to));
}
