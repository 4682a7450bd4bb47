//! The built binary on a project of its own, in a temporary directory that goes with it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::keeper::Leash;
use super::{repository, wait_for};

pub struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    /// An empty directory: not a project yet.
    pub fn empty() -> Self {
        Project {
            dir: tempfile::Builder::new().prefix("driftless-project-").tempdir().expect("a directory can be made"),
        }
    }

    /// A project `shop` of the models given (`marts/a.sql` → text), its sources as in `driftless.yml`.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let project = Self::empty();
        project.write("dbt_project.yml", "name: shop\nversion: \"1.0.0\"\nconfig-version: 2\nprofile: shop\n");
        project.take("driftless.yml");
        project.take("models/staging/_sources.yml");
        for (path, text) in files {
            project.write(&format!("models/{path}"), text);
        }
        project
    }

    /// The example at the top of the repository.
    pub fn example() -> Self {
        let project = Self::empty();
        for path in ["dbt_project.yml", "driftless.yml", "models"] {
            project.take(path);
        }
        project
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }
    pub fn catalog(&self) -> PathBuf {
        self.state().join("catalog.db")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("inside the project")).expect("the project is ours");
        std::fs::write(path, text).expect("the project is ours");
    }

    fn take(&self, path: &str) {
        let target = self.path().join(path);
        std::fs::create_dir_all(target.parent().expect("inside the project")).expect("the project is ours");
        super::keeper::run(Command::new("cp").arg("-rT").arg(repository().join(path)).arg(target));
    }

    /// A run of the binary in this project: `project.driftless().env("SHOP_URL", url).arg("plan").finish()`.
    pub fn driftless(&self) -> Driftless {
        Driftless { dir: self.path().to_path_buf(), args: vec![], envs: vec![] }
    }
}

pub struct Driftless {
    dir: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
}

impl Driftless {
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// As one would type it.
    pub fn line(&self) -> String {
        let words = self.args.iter().map(|arg| {
            let arg = arg.to_string_lossy();
            if arg.contains(' ') { format!(" '{arg}'") } else { format!(" {arg}") }
        });
        format!("driftless{}", words.collect::<String>())
    }

    /// Starts it and lets it run.
    pub fn start(self) -> Daemon {
        // Files, since nobody empties a pipe while the test does other things; each start has its own,
        // outside the project, in which bad input must leave nothing.
        let talk = tempfile::Builder::new().prefix("driftless-talk-").tempdir().expect("a directory can be made");
        let file = |name| File::create(talk.path().join(name)).expect("the directory is ours");
        let child = Command::new(env!("CARGO_BIN_EXE_driftless"))
            .args(&self.args)
            .envs(self.envs)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("the binary starts");
        let leash = Leash::on(child.id());
        Daemon { child, leash, talk, status: None }
    }

    /// Runs it to its end, which must come within two minutes.
    pub fn finish(self) -> Finished {
        let args = self.args.clone();
        let mut daemon = self.start();
        let status = daemon.wait(&format!("the end of {args:?}"), Duration::from_secs(120));
        Finished { code: status.code(), stdout: daemon.stdout(), stderr: daemon.stderr() }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    /// None if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// A running binary; killed when dropped, and when the test is.
pub struct Daemon {
    child: Child,
    leash: Leash,
    talk: tempfile::TempDir,
    status: Option<ExitStatus>,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    pub fn stdout(&self) -> String {
        self.said("stdout")
    }
    pub fn stderr(&self) -> String {
        self.said("stderr")
    }

    fn said(&self, name: &str) -> String {
        let said = std::fs::read(self.talk.path().join(name)).expect("the file is ours");
        String::from_utf8_lossy(&said).into_owned()
    }

    /// None while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("the child is ours");
            if self.status.is_some() {
                self.leash.release();
            }
        }
        self.status
    }

    /// Asks until there is an answer; panics with the daemon's words if it leaves first or takes too long.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
        let start = std::time::Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            let status = self.status();
            if status.is_some() || start.elapsed() > deadline {
                let end = status.map_or_else(|| format!("not in {deadline:?}"), |s| format!("the daemon left: {s}"));
                panic!("{what}: {end}\nstdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Until it has said `words` on stderr.
    #[track_caller]
    pub fn wait_for_words(&mut self, words: &str, deadline: Duration) {
        let path = self.talk.path().join("stderr");
        self.wait_for(&format!("{words:?} on stderr"), deadline, || {
            let said = std::fs::read(&path).ok()?;
            String::from_utf8_lossy(&said).contains(words).then_some(())
        });
    }

    /// Until it leaves by itself.
    pub fn wait(&mut self, what: &str, deadline: Duration) -> ExitStatus {
        wait_for(what, deadline, || self.status())
    }

    /// kill -9, and gone when this returns.
    pub fn kill(&mut self) -> ExitStatus {
        // Not by number: `Child` knows whether the number is still its own.
        let _ = self.child.kill();
        self.wait("the end after SIGKILL", Duration::from_secs(10))
    }

    /// SIGTERM (or `INT`), and its exit code once it has cleaned up.
    pub fn signal(&mut self, signal: &str, deadline: Duration) -> ExitStatus {
        if self.status().is_none() {
            super::keeper::run(Command::new("sh").args([
                "-c",
                "kill -s \"$1\" \"$2\"",
                "kill",
                signal,
                &self.pid().to_string(),
            ]));
        }
        self.wait(&format!("the end after {signal}"), deadline)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.status().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.leash.release();
        }
    }
}
