//! Processes that end with us, whatever ends us.
//!
//! ```text
//!  this process ──holds the write end of a pipe──► sh (own process group) ──child──► server
//! ```
//!
//! The shell reads commands from the pipe and sees its end when we drop the [`Keeper`], panic, exit or are
//! killed by SIGKILL: then it ends the server, waits for it and removes its directory. One way out for all
//! cases, so each end tries the way that matters. A Ctrl-C at the terminal, or whoever kills our process
//! group, does not reach the shell, since it has a group of its own. The tests keep their servers with it too.

use crate::error::{Error, Result};
use crate::world;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// $1 is the directory, $2 the signal that ends the server at the last, $3 whether the directory stays, the
/// rest the command line. A server that ignores its signal for five seconds is killed.
const SCRIPT: &str = r#"
dir=$1 last=$2 keep=$3; shift 3
end() {
    [ -n "$pid" ] || return
    kill -s "$1" "$pid" 2>/dev/null
    (nap=; trap '[ -z "$nap" ] || kill "$nap"; exit' TERM; sleep 5 & nap=$!
     wait "$nap"; kill -s KILL "$pid") >/dev/null 2>&1 & impatient=$!
    wait "$pid" 2>/dev/null
    kill -s TERM "$impatient" 2>/dev/null; wait "$impatient" 2>/dev/null
    pid=; rm -f "$dir/pid"
}
while read -r command signal; do
    case $command in
        start) "$@" </dev/null >>"$dir/log" 2>&1 & pid=$!; echo "$pid" >"$dir/pid.new"; mv "$dir/pid.new" "$dir/pid" ;;
        end) end "$signal" ;;
    esac
done
end "$last"
[ "$keep" = keep ] || rm -rf "$dir"
"#;

/// Longer than any server takes to go.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of the directory when the server has ended for good.
#[derive(Clone, Copy, PartialEq)]
pub enum Afterwards {
    Remove,
    Keep,
}

/// A server and its directory.
pub struct Keeper {
    shell: Child,
    orders: Option<ChildStdin>,
    dir: PathBuf,
}

impl Keeper {
    /// Takes over `dir`, in which the server's `log` and `pid` appear, and starts the server.
    pub fn start(dir: &Path, last_signal: &str, afterwards: Afterwards, command: &[String]) -> Result<Keeper> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(dir)
            .arg(last_signal)
            .arg(if afterwards == Afterwards::Keep { "keep" } else { "remove" })
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| Error::operator("cannot start `sh`").because(e))?;
        let orders = shell.stdin.take();
        let mut keeper = Keeper { shell, orders, dir: dir.to_path_buf() };
        keeper.start_again()?;
        Ok(keeper)
    }

    /// Ends the server by a signal and returns when it is gone; its directory stays.
    pub fn end(&mut self, signal: &str) -> Result<()> {
        self.order(&format!("end {signal}"))?;
        let pid = self.dir.join("pid");
        wait_until("the end of a server", || !pid.exists())
    }

    pub fn start_again(&mut self) -> Result<()> {
        self.order("start")?;
        let pid = self.dir.join("pid");
        wait_until("the pid of a server", || pid.exists())
    }

    /// 0 where it does not run.
    pub fn pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.dir.join("pid")).unwrap_or_default();
        pid.trim().parse().unwrap_or(0)
    }

    /// False once the server has left, even if nobody has asked for its exit code yet.
    pub fn alive(&self) -> bool {
        alive(self.pid())
    }

    /// All that the server has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join("log")).unwrap_or_default()).into_owned()
    }

    fn order(&mut self, order: &str) -> Result<()> {
        let mut pipe = self.orders.as_ref().expect("open until dropped");
        writeln!(pipe, "{order}").map_err(|e| Error::operator("the shell that keeps a server is gone").because(e))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.shell.wait();
    }
}

/// Whether a process runs; one that has exited and waits to be asked for its code does not.
pub fn alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name, in parentheses, may hold anything; the state follows the last parenthesis.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A port of 127.0.0.1 that nobody held a moment ago. Somebody may take it before the server does, so
/// whoever starts a server tries again with another.
pub fn free_port() -> Result<u16> {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|e| Error::operator("loopback has no free port").because(e))
}

/// Database servers refuse to run as root. Puts `user` before a command line and gives it `dir`.
pub fn as_user(user: &str, dir: &Path, command: Vec<String>) -> Result<Vec<String>> {
    if !root() {
        return Ok(command);
    }
    run(Command::new("chown").arg("-R").arg(format!("{user}:")).arg(dir))?;
    let drop = ["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"];
    Ok(drop.into_iter().map(String::from).chain(command).collect())
}

pub fn root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// Runs to the end, apart from the terminal's signals; fails with all it said unless it went well.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).process_group(0).output();
    let output = output.map_err(|e| Error::operator(format!("cannot start `{program}`")).because(e))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(Error::operator(format!("`{program}` failed, {}", output.status)).because(said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn wait_until(what: &str, mut so: impl FnMut() -> bool) -> Result<()> {
    let begun = world::instant();
    while !so() {
        if begun.elapsed() > PATIENCE {
            return Err(Error::operator(format!("waited {} s in vain for {what}", PATIENCE.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
