//! The daemon's door for other processes on the machine: a socket in the state directory.
//!
//! One request, one line of JSON; one answer, one line of JSON. Who may write to the state directory may ask.

use super::audit::Verdict;
use super::config::Config;
use super::status::Status;
use crate::error::{Error, Result};
use crate::state::{Bodies, Size, Store};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

const SOCKET: &str = "control.sock";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    Status,
    /// Of these models; of all where none is named.
    Verify(Vec<String>),
    State,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Status(Status),
    Verdict(Verdict),
    State(StateReport),
    Failed(String),
}

/// What the arrangements take, and the store's files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateReport {
    pub arrangements: Vec<Size>,
    pub files_bytes: u64,
}

/// What somebody waits for that only the engine can tell.
pub enum Wanted {
    Verdict { only: Vec<String>, reply: oneshot::Sender<Result<Verdict>> },
    State { reply: oneshot::Sender<StateReport> },
}

/// Asks the daemon of `state`; `None` where none listens there.
pub fn ask(state: &Path, request: &Request) -> Result<Option<Answer>> {
    let Ok(place) = Place::of(state) else { return Ok(None) };
    let Ok(stream) = UnixStream::connect(&place.path) else { return Ok(None) };
    let broken = |e: std::io::Error| Error::retry("the daemon went away while it was asked").because(e);
    let line = serde_json::to_string(request).map_err(|e| Error::bug("a request is plain data").because(e))?;
    writeln!(&stream, "{line}").map_err(broken)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).map_err(broken)?;
    let answer = serde_json::from_str(&answer);
    answer.map(Some).map_err(|e| Error::retry("the daemon's answer cannot be read").because(e))
}

/// What the running daemon holds, or what the last one left.
pub fn state(config: &Config) -> Result<StateReport> {
    match ask(&config.state, &Request::State)? {
        Some(Answer::State(report)) => return Ok(report),
        Some(Answer::Failed(why)) => return Err(Error::operator(why).doing("ask the running daemon")),
        Some(_) => return Err(Error::bug("the daemon answered another question")),
        None => {}
    }
    let store = Arc::new(Store::open_left(&config.state)?);
    let bodies = Bodies::new(Some(store.clone()), config.memory_bytes);
    let arrangements = store.arrangements(&bodies)?.sizes();
    Ok(StateReport { arrangements, files_bytes: store.disk_bytes() })
}

/// Listens until dropped; takes the place of a socket that a killed daemon left.
pub struct Door {
    place: Place,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    /// Must be called by the holder of the state directory's lock.
    pub fn open(state: &Path, status: Arc<Mutex<Status>>, wanted: mpsc::Sender<Wanted>) -> Result<Door> {
        let place = Place::of(state).map_err(|e| closed(state, e))?;
        let _ = std::fs::remove_file(&place.path);
        let listener = tokio::net::UnixListener::bind(&place.path).map_err(|e| closed(state, e))?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, status.clone(), wanted.clone()));
            }
        });
        Ok(Door { place, task })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.place.path);
    }
}

async fn serve(stream: tokio::net::UnixStream, status: Arc<Mutex<Status>>, wanted: mpsc::Sender<Wanted>) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    if tokio::io::BufReader::new(reader).read_line(&mut line).await.is_err() {
        return;
    }
    let answer = match serde_json::from_str(&line) {
        Err(error) => Answer::Failed(format!("not a request: {error}")),
        Ok(Request::Status) => match status.lock() {
            Ok(status) => Answer::Status(status.clone()),
            Err(_) => Answer::Failed("the daemon is failing".into()),
        },
        Ok(Request::Verify(only)) => {
            let (reply, verdict) = oneshot::channel();
            let _ = wanted.send(Wanted::Verdict { only, reply }).await;
            match verdict.await {
                Ok(Ok(verdict)) => Answer::Verdict(verdict),
                Ok(Err(error)) => Answer::Failed(error.to_string()),
                Err(_) => Answer::Failed("the daemon stopped before it was done".into()),
            }
        }
        Ok(Request::State) => {
            let (reply, report) = oneshot::channel();
            let _ = wanted.send(Wanted::State { reply }).await;
            let stopped = |_| Answer::Failed("the daemon stopped before it was done".into());
            report.await.map_or_else(stopped, Answer::State)
        }
    };
    if let Ok(line) = serde_json::to_string(&answer) {
        // Who asked may have gone; that is theirs to know.
        let _ = writer.write_all(format!("{line}\n").as_bytes()).await;
    }
}

/// The socket's path. A socket's name may have 107 bytes and no more, whatever the depth of the state
/// directory: a longer one is reached through the open directory itself.
struct Place {
    path: PathBuf,
    _dir: Option<File>,
}

impl Place {
    fn of(state: &Path) -> std::io::Result<Place> {
        let path = state.join(SOCKET);
        if path.as_os_str().len() <= 100 {
            return Ok(Place { path, _dir: None });
        }
        let dir = File::open(state)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()));
        Ok(Place { path, _dir: Some(dir) })
    }
}

fn closed(state: &Path, error: std::io::Error) -> Error {
    Error::operator(format!("cannot listen in the state directory `{}`", state.display()))
        .because(error)
        .hint("set `state:` in driftless.yml to a local directory")
}
