//! Private Postgres and MariaDB servers: own directories, free ports on loopback, gone with the demo.
//!
//! They are spoken to with their own client programs, `psql` and `mariadb`, as a person would: the demo
//! stands outside of the daemon, and shares no code with its sources.

use super::Stop;
use super::keeper::{Afterwards, Keeper, as_user, free_port, root, run};
use crate::error::{Doing, Error, Result};
use crate::world;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const SHOP: &str = include_str!("../../../scripts/seed/shop.sql");
const BILLING: &str = include_str!("../../../scripts/seed/billing.sql");

/// The first Postgres that can be followed.
const POSTGRES_MIN: u32 = 12;
const ANSWERS_AFTER: Duration = Duration::from_secs(60);
/// How often another port is tried when somebody was faster.
const PORTS_MAX: usize = 4;

/// The programs that are needed.
pub struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
    psql: PathBuf,
    mariadb_install_db: PathBuf,
    mariadbd: PathBuf,
    mariadb: PathBuf,
}

impl Programs {
    /// All of them, or the name of the first that is missing.
    pub fn find() -> Result<Programs, &'static str> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let versions = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let newest = versions.filter(|version| *version >= POSTGRES_MIN).max();
        let bin = newest.map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
        // Debian keeps mariadbd in /usr/sbin, which is not on everybody's path.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> =
            bin.into_iter().chain(std::env::split_paths(&path)).chain(["/usr/sbin".into()]).collect();
        let find = |name: &'static str| folders.iter().map(|f| f.join(name)).find(|p| p.is_file()).ok_or(name);
        if root() {
            find("setpriv")?;
        }
        Ok(Programs {
            initdb: find("initdb")?,
            postgres: find("postgres")?,
            psql: find("psql")?,
            mariadb_install_db: find("mariadb-install-db")?,
            mariadbd: find("mariadbd")?,
            mariadb: find("mariadb")?,
        })
    }
}

/// Both servers, seeded.
pub struct Servers {
    pub shop: Server,
    pub billing: Server,
}

impl Servers {
    /// Side by side, since most of it is waiting.
    pub fn start(programs: &Programs, dir: &Path, afterwards: Afterwards, stop: &Stop) -> Result<Servers> {
        let (shop, billing) = std::thread::scope(|scope| {
            let shop = scope.spawn(|| {
                let shop = started(|| postgres(programs, dir, afterwards, stop))?;
                shop.run(SHOP).map(|()| shop)
            });
            let billing = scope.spawn(|| {
                let billing = started(|| mariadb(programs, dir, afterwards, stop))?;
                billing.run(BILLING).map(|()| billing)
            });
            (shop.join(), billing.join())
        });
        let died = |_| Error::bug("a thread that starts a server died");
        let shop = shop.map_err(died)?.doing("start a private Postgres");
        let billing = billing.map_err(died)?.doing("start a private MariaDB");
        Ok(Servers { shop: shop?, billing: billing? })
    }
}

/// A server at work.
pub struct Server {
    pub url: String,
    client: Vec<String>,
    keeper: Keeper,
}

impl Server {
    /// A connection: SQL to its stdin. It ends with its input, and at the first error.
    pub fn client(&self) -> Command {
        let mut command = Command::new(&self.client[0]);
        command.args(&self.client[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Settings of who runs us are for other servers than ours; a Ctrl-C is for us to act on.
        for name in ["PGOPTIONS", "PGSERVICE", "PGPASSWORD", "PGSSLMODE", "MYSQL_PWD"] {
            command.env_remove(name);
        }
        command.process_group(0);
        command
    }

    fn run(&self, sql: &str) -> Result<()> {
        let program = &self.client[0];
        let failed = |e| Error::operator(format!("cannot run `{program}`")).because(e);
        let mut child = self.client().spawn().map_err(failed)?;
        let mut stdin = child.stdin.take().expect("piped above");
        // Where it left early, its exit code and its words say more than a broken pipe.
        let _ = stdin.write_all(sql.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            return Err(Error::operator(format!("`{program}` failed, {}", output.status)).because(said));
        }
        Ok(())
    }

    /// Until it answers; `None` if somebody took its port before it did.
    fn ready(self, stop: &Stop) -> Result<Option<Server>> {
        let begun = world::instant();
        loop {
            stop.check()?;
            let answer = self.run("select 1;");
            if answer.is_ok() {
                return Ok(Some(self));
            }
            if !self.keeper.alive() {
                let log = self.keeper.log();
                if log.contains("Address already in use") {
                    return Ok(None);
                }
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(Error::operator("the server does not start").because(last));
            }
            if begun.elapsed() > ANSWERS_AFTER {
                let what = format!("the server does not answer within {} s", ANSWERS_AFTER.as_secs());
                return Err(answer.err().map_or(Error::operator(what.clone()), |e| Error::operator(what).because(e)));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn started(attempt: impl Fn() -> Result<Option<Server>>) -> Result<Server> {
    for _ in 0..PORTS_MAX {
        if let Some(server) = attempt()? {
            return Ok(server);
        }
    }
    Err(Error::retry("the server lost its port to somebody else again and again"))
}

fn postgres(programs: &Programs, dir: &Path, afterwards: Afterwards, stop: &Stop) -> Result<Option<Server>> {
    let (dir, port) = (home(dir, "postgres", "postgres")?, free_port()?);
    let data = dir.join("data").display().to_string();
    let text = |path: &Path| path.display().to_string();
    let init = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D", &data];
    in_home("postgres", &dir, &programs.initdb, &init)?;
    stop.check()?;
    let settings = [
        "wal_level=logical",
        "listen_addresses=127.0.0.1",
        "timezone=UTC",
        // Whatever ends the demo, the next one begins with an empty server.
        "fsync=off",
        // A socket's name may have 107 bytes and no more, and the directory is as deep as it is.
        "unix_socket_directories=",
    ];
    let mut command = vec![text(&programs.postgres), "-D".into(), data, "-p".into(), port.to_string()];
    command.extend(settings.iter().flat_map(|setting| ["-c".to_string(), setting.to_string()]));
    let command = as_user("postgres", &dir, command)?;
    // SIGQUIT: leave at once, children included, without a last checkpoint.
    let keeper = Keeper::start(&dir, "QUIT", afterwards, &command)?;
    let client = |database: &str| {
        let url = format!("postgresql://postgres@127.0.0.1:{port}/{database}");
        let client = [&text(&programs.psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &url].map(String::from);
        (url.clone(), Vec::from(client))
    };
    let (url, whole) = client("postgres");
    let Some(server) = (Server { url, client: whole, keeper }).ready(stop)? else { return Ok(None) };
    server.run("create database shop;")?;
    let (url, client) = client("shop");
    Ok(Some(Server { url, client, keeper: server.keeper }))
}

fn mariadb(programs: &Programs, dir: &Path, afterwards: Afterwards, stop: &Stop) -> Result<Option<Server>> {
    let (dir, port) = (home(dir, "mariadb", "mysql")?, free_port()?);
    let data = dir.join("data");
    std::fs::create_dir(&data).map_err(|e| unwritable(&data, e))?;
    let datadir = format!("--datadir={}", data.display());
    // The log file's size stands in the data directory, so making it and serving it must say the same.
    let small_log = "--innodb-log-file-size=8M";
    // Its own: a server that starts clears away what others have in a directory that they share.
    let tmpdir = format!("--tmpdir={}", dir.display());
    let init =
        ["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", small_log, &datadir, &tmpdir];
    in_home("mysql", &dir, &programs.mariadb_install_db, &init)?;
    stop.check()?;
    let port_option = format!("--port={port}");
    let pid_file = format!("--pid-file={}", dir.join("mariadbd.pid").display());
    let settings = [
        "--no-defaults",
        &datadir,
        &tmpdir,
        small_log,
        &port_option,
        &pid_file,
        // In the data directory, by a name that is short however deep that is.
        "--socket=socket",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        // What a source needs: rows, all their columns, and the names of these.
        "--server-id=1",
        "--log-bin=binlog",
        "--binlog-format=ROW",
        "--binlog-row-image=FULL",
        "--binlog-row-metadata=FULL",
        "--character-set-server=utf8mb4",
        "--default-time-zone=+00:00",
        "--innodb-buffer-pool-size=64M",
        "--innodb-flush-log-at-trx-commit=0",
        "--performance-schema=OFF",
    ];
    let command = std::iter::once(programs.mariadbd.display().to_string()).chain(settings.map(String::from));
    let command = as_user("mysql", &dir, command.collect())?;
    let keeper = Keeper::start(&dir, "KILL", afterwards, &command)?;
    let client = |database: &str| {
        let port = port.to_string();
        let program = programs.mariadb.display().to_string();
        let client =
            [&program, "--no-defaults", "--protocol=tcp", "-h", "127.0.0.1", "-P", &port, "-u", "root", database];
        client.into_iter().map(String::from).filter(|word| !word.is_empty()).collect::<Vec<_>>()
    };
    let url = format!("mysql://root@127.0.0.1:{port}/billing");
    let Some(server) = (Server { url: url.clone(), client: client(""), keeper }).ready(stop)? else { return Ok(None) };
    server.run("create database billing;")?;
    Ok(Some(Server { url, client: client("billing"), keeper: server.keeper }))
}

/// A fresh directory for one server: below the demo's where the server's user can go there, else below the
/// system's temporary directory (a clone in `/root` is closed to everybody else).
fn home(dir: &Path, name: &str, user: &str) -> Result<PathBuf> {
    let make = |dir: PathBuf| {
        let made = std::fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(|e| unwritable(&dir, e)).map(|()| dir)
    };
    let wanted = dir.join(name);
    if wanted.exists() {
        std::fs::remove_dir_all(&wanted).map_err(|e| unwritable(&wanted, e))?;
    }
    let wanted = make(wanted)?;
    let enter = vec![
        "test".to_string(),
        "-x".into(),
        wanted.display().to_string(),
        "-a".into(),
        "-O".into(),
        wanted.display().to_string(),
    ];
    let enter = as_user(user, &wanted, enter)?;
    if run(Command::new(&enter[0]).args(&enter[1..])).is_ok() {
        return Ok(wanted);
    }
    std::fs::remove_dir_all(&wanted).map_err(|e| unwritable(&wanted, e))?;
    let elsewhere = std::env::temp_dir().join(format!("driftless-demo-{name}-{}", world::unique_name()));
    tracing::warn!(instead = %elsewhere.display(), "user `{user}` cannot enter `{}`", wanted.display());
    make(elsewhere)
}

/// Runs a program that sets up a server's directory, as the server's user.
fn in_home(user: &str, dir: &Path, program: &Path, args: &[&str]) -> Result<()> {
    let command = std::iter::once(program.display().to_string()).chain(args.iter().map(|arg| arg.to_string()));
    let command = as_user(user, dir, command.collect())?;
    run(Command::new(&command[0]).args(&command[1..]).current_dir(dir)).map(drop)
}

fn unwritable(dir: &Path, error: std::io::Error) -> Error {
    Error::operator(format!("cannot write `{}`", dir.display())).because(error)
}
