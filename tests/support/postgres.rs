//! A private Postgres: its own directory, a free port on loopback, gone with the test.
//!
//! Starts in a few tenths of a second from a cached data directory. Everybody may come in without a
//! password except [`GUARDED_ROLE`], who needs one and has no right to replicate.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::keeper::{Keeper, as_user, directory, free_port, from_template, keep, run};
use super::wait_for;

pub const GUARDED_ROLE: &str = "guarded";
pub const GUARDED_PASSWORD: &str = "open sesame";

const SETTINGS: &[(&str, &str)] = &[
    ("wal_level", "logical"),
    ("max_replication_slots", "50"),
    ("max_wal_senders", "50"),
    ("max_connections", "100"),
    ("timezone", "UTC"),
    // Traffic makes a deadlock in a hundred transactions; at Postgres' own second each, 20,000
    // transactions took 166 s instead of 13 s.
    ("deadlock_timeout", "10ms"),
    ("log_line_prefix", "%m [%p] "),
    // The machine does not crash during a test; tests that make the server crash say `fsync = on`.
    ("fsync", "off"),
    ("shared_buffers", "64MB"),
];

const ACCESS: &str = "\
host  all          guarded  127.0.0.1/32  scram-sha-256
host  replication  guarded  127.0.0.1/32  scram-sha-256
local all          all                    trust
host  all          all      127.0.0.1/32  trust
host  replication  all      127.0.0.1/32  trust
";

pub struct Postgres {
    keeper: Keeper,
    port: u16,
    dir: PathBuf,
}

impl Postgres {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With settings of the server that differ from ours: `&[("wal_level", "replica")]`.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        for _ in 0..4 {
            if let Some(postgres) = Self::attempt(settings) {
                return postgres;
            }
        }
        panic!("postgres lost its port to somebody else four times");
    }

    /// None if somebody took the port before the server did.
    fn attempt(settings: &[(&str, &str)]) -> Option<Self> {
        let (dir, port, bin) = (directory("driftless-postgres-"), free_port(), newest());
        let data = dir.join("data");
        from_template(&format!("pgtemplate-{}", bin.version), &data, |data| {
            let init = ["initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"];
            let mut init: Vec<String> = init.map(String::from).into();
            init[0] = bin.path("initdb");
            init.push(data.display().to_string());
            let init = as_user("postgres", &dir, init);
            run(Command::new(&init[0]).args(&init[1..]).current_dir(&dir));
        });
        let mut text = String::new();
        for (name, value) in SETTINGS.iter().chain(settings) {
            text += &format!("{name} = '{value}'\n");
        }
        std::fs::write(data.join("postgresql.auto.conf"), text).expect("the data directory is ours");
        std::fs::write(data.join("pg_hba.conf"), ACCESS).expect("the data directory is ours");
        run(Command::new("chmod").args(["0700"]).arg(&data));

        let command = [
            &bin.path("postgres"),
            "-D",
            &data.display().to_string(),
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-k",
            &dir.display().to_string(),
        ];
        let command = as_user("postgres", &dir, command.map(String::from).into());
        // SIGQUIT: leave at once, children included, without a last checkpoint.
        let mut postgres = Postgres { keeper: keep(&dir, "QUIT", &command), port, dir };
        if !postgres.ready() {
            return None;
        }
        postgres.session("postgres").execute(&format!(
            "create role {GUARDED_ROLE} login password '{GUARDED_PASSWORD}'; grant pg_read_all_data to {GUARDED_ROLE}"
        ));
        Some(postgres)
    }

    fn ready(&mut self) -> bool {
        let url = self.url("postgres");
        wait_for("postgres to answer", Duration::from_secs(30), || {
            if Session::open(&url).is_ok() {
                return Some(true);
            }
            if self.keeper.alive() {
                return None;
            }
            let log = self.keeper.log();
            assert!(log.contains("Address already in use"), "postgres does not start:\n{log}");
            Some(false)
        })
    }

    /// `postgresql://postgres@127.0.0.1:port/database`
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// For a role and password other than the superuser's.
    pub fn url_as(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgresql://{role}:{}@127.0.0.1:{}/{database}", password.replace(' ', "%20"), self.port)
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
        self.session("postgres").execute(&format!("create database \"{name}\""));
        let mut session = self.session(name);
        session.execute(sql);
        session
    }

    /// Stops the server in order, with its last checkpoint; [`Postgres::start_again`] on the same port.
    pub fn stop(&mut self) {
        self.keeper.end("INT").expect("the server ends");
    }
    /// Ends the server as a crash does: it has to recover from its log.
    pub fn crash(&mut self) {
        self.keeper.end("QUIT").expect("the server ends");
    }
    pub fn start_again(&mut self) {
        self.keeper.start_again().expect("the server starts again");
        assert!(self.ready(), "postgres does not start again:\n{}", self.log());
    }
}

/// One connection, without async at the caller's. SQL in, text out.
pub struct Session {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Session {
    pub fn open(url: &str) -> Result<Self, tokio_postgres::Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls))?;
        // Driven whenever `block_on` runs; its errors come back through the client.
        runtime.spawn(connection);
        Ok(Session { runtime, client })
    }

    pub fn try_execute(&mut self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.runtime.block_on(self.client.batch_execute(sql))
    }

    pub fn execute(&mut self, sql: &str) {
        self.try_execute(sql).unwrap_or_else(|e| panic!("{}\nin: {sql}", describe(&e)));
    }

    /// All rows, each value as Postgres prints it.
    pub fn query(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.try_query(sql).unwrap_or_else(|message| panic!("{message}\nin: {sql}"))
    }

    /// The same, or what Postgres says against it.
    pub fn try_query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let messages = self.runtime.block_on(self.client.simple_query(sql)).map_err(|e| describe(&e))?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows.map(|row| (0..row.len()).map(|i| row.get(i).map(String::from)).collect()).collect())
    }

    /// The first value of the first row.
    pub fn value(&mut self, sql: &str) -> Option<String> {
        self.query(sql).into_iter().next().and_then(|row| row.into_iter().next()).flatten()
    }

    /// Names and types of a query's columns.
    pub fn columns(&mut self, sql: &str) -> Vec<(String, String)> {
        let statement = self.runtime.block_on(self.client.prepare(sql));
        let statement = statement.unwrap_or_else(|e| panic!("{}\nin: {sql}", describe(&e)));
        statement.columns().iter().map(|c| (c.name().to_string(), c.type_().name().to_string())).collect()
    }
}

/// tokio-postgres prints "db error" and keeps the reason in its source.
pub fn describe(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |e| format!("{} ({})", e.message(), e.code().code()))
}

struct Installed {
    bin: PathBuf,
    version: u32,
}

impl Installed {
    fn path(&self, program: &str) -> String {
        self.bin.join(program).display().to_string()
    }
}

fn newest() -> Installed {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let usable = |version: &u32| Path::new(&format!("/usr/lib/postgresql/{version}/bin/postgres")).exists();
    let version = versions.filter(|version| *version >= 12).filter(usable).max();
    let version = version.expect("a Postgres server of 12 or later in /usr/lib/postgresql: run `make setup`");
    Installed { bin: format!("/usr/lib/postgresql/{version}/bin").into(), version }
}
