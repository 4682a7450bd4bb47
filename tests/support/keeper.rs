//! Processes that end with the test, whatever ends the test.
//!
//! ```text
//!  test process ──holds the write end of a pipe──► sh (own process group) ──child──► server
//! ```
//!
//! The shell reads commands from the pipe and sees its end when the test drops the [`Keeper`], panics,
//! exits or is killed by SIGKILL: then it ends the server, waits for it and removes its directory. One way
//! out for all cases, so each test tries the way that matters. A Ctrl-C at the terminal or a runner that
//! kills the test's process group does not reach the shell, since it has a group of its own.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::wait_for;

/// $1 is the directory, $2 the signal that ends the server at the last, the rest its command line.
/// A server that ignores its signal for five seconds is killed.
const SCRIPT: &str = r#"
dir=$1 last=$2; shift 2
end() {
    [ -n "$pid" ] || return
    kill -s "$1" "$pid" 2>/dev/null
    (sleep 5; kill -s KILL "$pid") >/dev/null 2>&1 & impatient=$!
    wait "$pid" 2>/dev/null
    kill -s KILL "$impatient" 2>/dev/null; wait "$impatient" 2>/dev/null
    pid=; rm -f "$dir/pid"
}
while read -r command signal; do
    case $command in
        start) "$@" </dev/null >>"$dir/log" 2>&1 & pid=$!; echo "$pid" >"$dir/pid.new"; mv "$dir/pid.new" "$dir/pid" ;;
        end) end "$signal" ;;
    esac
done
end "$last"
rm -rf "$dir"
"#;

/// A server and its directory, both gone when this is.
pub struct Keeper {
    shell: Child,
    orders: Option<ChildStdin>,
    dir: PathBuf,
}

impl Keeper {
    /// Takes over `dir`, in which the server's `log` and `pid` appear, and starts the server.
    pub fn start(dir: &Path, last_signal: &str, command: &[String]) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(dir)
            .arg(last_signal)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let orders = shell.stdin.take();
        let mut keeper = Keeper { shell, orders, dir: dir.to_path_buf() };
        keeper.start_again();
        keeper
    }

    /// Ends the server by a signal and returns when it is gone; its directory stays.
    pub fn end(&mut self, signal: &str) {
        self.order(&format!("end {signal}"));
        let pid = self.dir.join("pid");
        wait_for("the end of a server", Duration::from_secs(20), || (!pid.exists()).then_some(()));
    }

    pub fn start_again(&mut self) {
        self.order("start");
        let pid = self.dir.join("pid");
        wait_for("the pid of a server", Duration::from_secs(20), || pid.exists().then_some(()));
    }

    pub fn pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.dir.join("pid")).expect("the server is running");
        pid.trim().parse().expect("the shell wrote a pid")
    }

    /// False once the server has left, even if nobody has asked for its exit code yet.
    pub fn alive(&self) -> bool {
        alive(self.pid())
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join("log")).unwrap_or_default()).into_owned()
    }

    fn order(&mut self, order: &str) {
        let pipe = self.orders.as_mut().expect("open until dropped");
        writeln!(pipe, "{order}").expect("the shell listens as long as we live");
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.shell.wait();
    }
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

/// Whether a process runs; one that has exited and waits to be asked for its code does not.
pub fn alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name, in parentheses, may hold anything; the state follows the last parenthesis.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A temporary directory that the keeper will remove.
pub fn directory(prefix: &str) -> PathBuf {
    tempfile::Builder::new().prefix(prefix).tempdir().expect("a temporary directory can be made").keep()
}

/// A port of 127.0.0.1 that nobody held a moment ago. Somebody may take it before the server does, so
/// whoever starts a server tries again with another.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Database servers refuse to run as root. Puts `user` before a command line and gives it `dir`.
pub fn as_user(user: &str, dir: &Path, command: Vec<String>) -> Vec<String> {
    if !root() {
        return command;
    }
    run(Command::new("chown").arg("-R").arg(format!("{user}:")).arg(dir));
    let mut whole: Vec<String> =
        ["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"].map(String::from).into();
    whole.extend(command);
    whole
}

fn root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
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
