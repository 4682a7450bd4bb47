//! A private MariaDB with a row binlog: its own directory, a free port on loopback, gone with the test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row, Value};

use super::keeper::{Keeper, as_user, directory, free_port, from_template, keep, run};
use super::wait_for;

/// What a source needs (rows, all columns, their names), then what makes a private server small and quick.
const SETTINGS: &[&str] = &[
    "--server-id=1",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--gtid-strict-mode=ON",
    "--character-set-server=utf8mb4",
    "--default-time-zone=+00:00",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=32M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-lock-wait-timeout=5",
    "--performance-schema=OFF",
];

/// The log file's size stands in the data directory, so making it and serving it must say the same.
const SMALL_LOG: &str = "--innodb-log-file-size=8M";

pub struct MariaDb {
    keeper: Keeper,
    port: u16,
    dir: PathBuf,
}

impl MariaDb {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With options of the server that differ from ours: `&["--binlog-format=STATEMENT"]`.
    pub fn with(options: &[&str]) -> Self {
        for _ in 0..4 {
            if let Some(mariadb) = Self::attempt(options) {
                return mariadb;
            }
        }
        panic!("mariadbd lost its port to somebody else four times");
    }

    /// None if somebody took the port before the server did.
    fn attempt(options: &[&str]) -> Option<Self> {
        let (dir, port) = (directory("driftless-mariadb-"), free_port());
        let data = dir.join("data");
        // Its own: a server that starts clears away what others have in a directory that they share.
        let tmpdir = format!("--tmpdir={}", dir.display());
        from_template(&format!("mariadbtemplate-{}", version()), &data, |data| {
            std::fs::create_dir(data).expect("the directory is ours");
            let mut init: Vec<String> =
                ["mariadb-install-db", "--no-defaults", "--skip-test-db"].map(String::from).into();
            init.push("--auth-root-authentication-method=normal".into());
            init.push(SMALL_LOG.into());
            init.push(format!("--datadir={}", data.display()));
            init.push(tmpdir.clone());
            let init = as_user("mysql", &dir, init);
            run(Command::new(&init[0]).args(&init[1..]).current_dir(&dir));
        });
        let mut command: Vec<String> = vec!["mariadbd".into(), "--no-defaults".into()];
        command.push(format!("--datadir={}", data.display()));
        command.push(tmpdir);
        command.push(format!("--socket={}", dir.join("socket").display()));
        command.push(format!("--pid-file={}", dir.join("mariadbd.pid").display()));
        command.push(format!("--port={port}"));
        command.push(SMALL_LOG.into());
        command.extend(SETTINGS.iter().chain(options).map(|option| option.to_string()));
        let command = as_user("mysql", &dir, command);
        let mut mariadb = MariaDb { keeper: keep(&dir, "KILL", &command), port, dir };
        mariadb.ready().then_some(mariadb)
    }

    fn ready(&mut self) -> bool {
        let url = self.url("");
        wait_for("mariadbd to answer", Duration::from_secs(30), || {
            if Session::open(&url).is_ok() {
                return Some(true);
            }
            if self.keeper.alive() {
                return None;
            }
            let log = self.keeper.log();
            assert!(log.contains("Address already in use"), "mariadbd does not start:\n{log}");
            Some(false)
        })
    }

    /// `mysql://root@127.0.0.1:port/database`
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }
    pub fn pid(&self) -> u32 {
        self.keeper.pid()
    }
    /// The directory of everything the server has, its unix socket included.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    pub fn log(&self) -> String {
        self.keeper.log()
    }

    pub fn session(&self, database: &str) -> Session {
        Session::open(&self.url(database)).unwrap_or_else(|e| panic!("connect to `{database}`: {e}"))
    }

    /// Makes a database and runs `sql` in it.
    pub fn create_database(&self, name: &str, sql: &str) -> Session {
        self.session("").execute(&format!("create database `{name}`"));
        let mut session = self.session(name);
        session.execute(sql);
        session
    }

    /// Stops the server in order; [`MariaDb::start_again`] on the same port.
    pub fn stop(&mut self) {
        self.keeper.end("TERM").expect("the server ends");
    }
    pub fn crash(&mut self) {
        self.keeper.end("KILL").expect("the server ends");
    }
    pub fn start_again(&mut self) {
        self.keeper.start_again().expect("the server starts again");
        assert!(self.ready(), "mariadbd does not start again:\n{}", self.log());
    }
}

/// One connection, without async at the caller's. SQL in, text out.
pub struct Session {
    runtime: tokio::runtime::Runtime,
    connection: Option<Conn>,
}

impl Session {
    pub fn open(url: &str) -> Result<Self, mysql_async::Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let options = Opts::from_url(url).unwrap_or_else(|e| panic!("{url}: {e}"));
        let connection = Some(runtime.block_on(Conn::new(options))?);
        Ok(Session { runtime, connection })
    }

    /// One statement or several, apart by semicolons.
    pub fn try_execute(&mut self, sql: &str) -> Result<(), mysql_async::Error> {
        let connection = self.connection.as_mut().expect("open until dropped");
        self.runtime.block_on(async {
            let mut answers = connection.query_iter(sql).await?;
            // Later statements of the text report their errors with their own answer.
            while !answers.is_empty() {
                answers.collect::<Row>().await?;
            }
            Ok(())
        })
    }

    pub fn execute(&mut self, sql: &str) {
        self.try_execute(sql).unwrap_or_else(|e| panic!("{e}\nin: {sql}"));
    }

    /// All rows, each value as MariaDB prints it.
    pub fn query(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let connection = self.connection.as_mut().expect("open until dropped");
        let rows: Result<Vec<Row>, _> = self.runtime.block_on(connection.query(sql));
        let rows = rows.unwrap_or_else(|e| panic!("{e}\nin: {sql}"));
        let text = |value| match value {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(String::from_utf8(bytes).expect("the connection speaks utf8")),
            other => panic!("the text protocol gave {other:?}"),
        };
        rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect()
    }

    /// The first value of the first row.
    pub fn value(&mut self, sql: &str) -> Option<String> {
        self.query(sql).into_iter().next().and_then(|row| row.into_iter().next()).flatten()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Dropping a `Conn` spawns its farewell, which needs a runtime around it.
        if let Some(connection) = self.connection.take() {
            let _ = self.runtime.block_on(connection.disconnect());
        }
    }
}

/// "10.11", from `mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for …`
fn version() -> String {
    let said = run(Command::new("mariadbd").args(["--no-defaults", "--version"]));
    let version = said.split("Ver ").nth(1).expect("mariadbd tells its version");
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}
