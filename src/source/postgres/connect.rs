//! The way to the server: one URL in, SQL sessions and the address of the replication stream out.
//!
//! Two clients must agree on one server: tokio-postgres for SQL and COPY, and the replication client of
//! `wire`. So the URL is read once, here, and both are told the same host, port, user, password, database.
//! The password never stands in a message. TLS is not spoken yet: a URL that asks for it is refused rather
//! than served in the clear.

use crate::error::{Error, Result, Who};
use std::time::Duration;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

/// What both ways of reading a row must print alike, and what must not depend on the role's own settings.
pub const SETTINGS: [&str; 12] = [
    "DateStyle = 'ISO, YMD'",
    "IntervalStyle = 'postgres'",
    "TimeZone = 'UTC'",
    "extra_float_digits = 3",
    "bytea_output = 'hex'",
    "xmloption = 'content'",
    // Names of types and relations are printed in full where a regclass or its like is a value.
    "search_path = 'pg_catalog'",
    // A policy that hides rows must fail loudly, not shorten the copy.
    "row_security = off",
    "statement_timeout = 0",
    "lock_timeout = 0",
    "idle_in_transaction_session_timeout = 0",
    // `present` relies on its commit being on disk, and must not wait for standbys.
    "synchronous_commit = local",
];

const CONNECT_SECONDS_MAX: u64 = 10;

/// One server and database, and how to log in.
#[derive(Clone)]
pub struct Server {
    config: Config,
    host: String,
    port: u16,
    user: String,
    database: String,
}

impl Server {
    pub fn parse(url: &str) -> Result<Server> {
        let hint = "write it as `postgres://user@host:5432/database`, the password in PGPASSWORD";
        let wrong = |what: String| Err(Error::operator(what).hint(hint));
        if let Some(setting) = tls_setting(url) {
            return tls_refused(setting);
        }
        let mut config: Config = match url.parse() {
            Ok(config) => config,
            Err(e) => return wrong(format!("the url of the Postgres source cannot be read: {}", cause(e))),
        };
        if config.get_ssl_mode() == SslMode::Require {
            return tls_refused("sslmode=require");
        }
        // Otherwise the replication client might speak TLS where the SQL client cannot.
        config.ssl_mode(SslMode::Disable);
        let host = match (config.get_hosts(), config.get_hostaddrs()) {
            ([Host::Tcp(host)], _) => host.clone(),
            ([], [address]) => address.to_string(),
            ([], []) => "localhost".to_string(),
            ([Host::Unix(_)], _) => {
                return wrong("the url names a Unix socket, but a replication stream is read over TCP".to_string());
            }
            _ => return wrong("the url names several hosts, but a stream is read from one".to_string()),
        };
        if config.get_hosts().is_empty() {
            config.host(&host);
        }
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let Some(user) = config.get_user().map(str::to_string).or_else(|| std::env::var("PGUSER").ok()) else {
            return wrong("the url names no user".to_string());
        };
        config.user(&user);
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        let database = config.get_dbname().unwrap_or(&user).to_string();
        config.dbname(&database);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX));
        }
        if config.get_application_name().is_none() {
            config.application_name("driftless");
        }
        Ok(Server { config, host, port, user, database })
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A session for SQL, under [`SETTINGS`].
    pub async fn sql(&self) -> Result<Client> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(|e| self.refused(e))?;
        tokio::spawn(async move {
            // Whoever waits for an answer is told of the same error.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to postgres ended");
            }
        });
        let settings: String = SETTINGS.iter().map(|s| format!("SET {s};")).collect();
        client.batch_execute(&settings).await.map_err(failed)?;
        Ok(client)
    }

    /// How the replication client is told of the same server.
    pub fn replication_url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let password = self.config.get_password().map(|p| format!(":{}", percent(p))).unwrap_or_default();
        format!(
            "postgresql://{}{password}@{host}:{}/{}?replication=database&sslmode=disable&connect_timeout={}",
            percent(self.user.as_bytes()),
            self.port,
            percent(self.database.as_bytes()),
            self.config.get_connect_timeout().map_or(CONNECT_SECONDS_MAX, |t| t.as_secs().max(1)),
        )
    }

    /// Says why the server did not let us in.
    fn refused(&self, error: tokio_postgres::Error) -> Error {
        let (address, user, database) = (self.address(), &self.user, &self.database);
        let code = error.code().cloned();
        let message = cause(error);
        match code {
            Some(code) if code == SqlState::INVALID_PASSWORD => {
                Error::operator(format!("the server at `{address}` refuses the password of user `{user}`"))
                    .hint("set PGPASSWORD to the right password")
            }
            Some(code) if code == SqlState::INVALID_CATALOG_NAME => {
                Error::operator(format!("the server at `{address}` has no database `{database}`"))
                    .hint("name an existing database at the end of the url")
            }
            Some(code) if code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Error::operator(format!("the server at `{address}` does not let user `{user}` in: {message}"))
                    .hint("create the role, or add a line for it to pg_hba.conf")
            }
            Some(code) => {
                let who = if passes(&code) { Who::Retry } else { Who::Operator };
                Error::new(who, format!("the server at `{address}` does not let us in: {message}"))
            }
            None if message.contains("password missing") => {
                Error::operator(format!("the server at `{address}` asks for a password of user `{user}`"))
                    .hint("set PGPASSWORD")
            }
            None => Error::retry(format!("no Postgres server answers at `{address}`: {message}"))
                .hint("start the server, or mend host and port in the url"),
        }
    }
}

/// A statement that failed: who must act follows from its SQLSTATE.
pub fn failed(error: tokio_postgres::Error) -> Error {
    let who = match error.code() {
        Some(code) if !passes(code) => Who::Operator,
        _ => Who::Retry,
    };
    Error::new(who, cause(error))
}

pub fn refused_for_rights(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

pub fn in_use(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::OBJECT_IN_USE)
}

/// A name as SQL takes it whatever it is made of.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Errors that time may mend: the server starts, stops, or is full.
fn passes(code: &SqlState) -> bool {
    matches!(&code.code()[..2], "08" | "40" | "53" | "57" | "58") || *code == SqlState::OBJECT_IN_USE
}

/// The innermost message; tokio-postgres's own says only "db error".
fn cause(error: tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_string();
    }
    let outer = error.to_string();
    error.into_source().map_or(outer, |inner| inner.to_string())
}

/// Settings that neither client may silently ignore.
fn tls_setting(url: &str) -> Option<&'static str> {
    ["sslmode=verify-full", "sslmode=verify-ca", "sslrootcert", "sslcert", "sslkey"]
        .into_iter()
        .find(|setting| url.replace(' ', "").contains(setting))
}

fn tls_refused(setting: &str) -> Result<Server> {
    Err(Error::operator(format!("the url asks for TLS (`{setting}`), which the Postgres source does not speak yet"))
        .hint("reach the server over a private network or a tunnel, with `sslmode=disable`"))
}

fn percent(bytes: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    bytes.iter().map(|b| if plain(b) { (*b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clients_are_told_the_same() {
        let server = Server::parse("postgres://us%40er:p%40ss%2Fw:d@[::1]:5433/my%20db").expect("parses");
        assert_eq!(
            server.replication_url(),
            "postgresql://us%40er:p%40ss%2Fw%3Ad@[::1]:5433/my%20db?replication=database&sslmode=disable&connect_timeout=10"
        );
        let server = Server::parse("host=db.example user=u").expect("parses");
        assert_eq!((server.address().as_str(), server.database.as_str()), ("db.example:5432", "u"));
    }

    #[test]
    fn a_url_that_cannot_be_served_is_refused_without_its_password() {
        for url in [
            "postgres://u:secret@h:port/d",
            "postgres://u:secret@h/d?sslmode=verify-full",
            "postgres://u:secret@h/d?sslmode=require",
            "postgres://u:secret@h/d?colour=red",
            "postgres://u:secret@a,b/d",
            "host=/var/run/postgresql user=u password=secret",
            "not a url",
        ] {
            let error = Server::parse(url).err().expect("refused");
            assert_eq!(error.who(), Who::Operator, "{url}");
            assert!(!format!("{error} {:?}", error.remedy()).contains("secret"), "{error}");
        }
    }
}
