//! The server: where it is, how to reach it, and what its errors mean to whoever must act.
//!
//! Every connection speaks UTF-8, counts time in UTC and pads nothing, whatever the account's defaults say.
//! Messages name host, port and account, never the password.

use crate::error::{Error, Result};
use mysql_async::{Conn, Error as Fault, Opts, OptsBuilder};
use std::time::Duration;

/// Longer than any handshake, shorter than a person's patience.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// What one packet may hold: the protocol's own bound. Asking the server costs a round trip and gives the
/// bound of ordinary clients, which the binlog may exceed.
const PACKET_BYTES_MAX: usize = 1 << 30;

#[derive(Clone)]
pub(super) struct Server {
    opts: Opts,
    name: String,
    address: String,
    account: String,
}

impl Server {
    pub(super) fn parse(url: &str, password: Option<String>, name: &str) -> Result<Server> {
        let hint = "write it as mysql://user@host:3306/database, with the password in MYSQL_PWD";
        // The cause is not kept: it may quote the URL, and with it the password.
        let bad = || Error::operator(format!("`url` of source `{name}` is not a MariaDB address")).hint(hint);
        let opts = match url.strip_prefix("mariadb://") {
            Some(rest) => Opts::from_url(&format!("mysql://{rest}")),
            None => Opts::from_url(url),
        }
        .map_err(|_| bad())?;
        if opts.db_name().is_none_or(str::is_empty) {
            return Err(Error::operator(format!("`url` of source `{name}` names no database")).hint(hint));
        }
        let address = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
        let account = opts.user().unwrap_or_default().to_string();
        let password = opts.pass().map(str::to_string).filter(|p| !p.is_empty()).or(password);
        // The timeouts let a slow reader hold a result for an hour, as a first copy under back-pressure does.
        let init = [
            "SET NAMES utf8mb4",
            "SET SESSION time_zone = '+00:00', sql_mode = ''",
            "SET SESSION net_write_timeout = 3600, wait_timeout = 28800",
        ];
        let opts = OptsBuilder::from_opts(opts)
            .pass(password)
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            .init(init.map(str::to_string).to_vec());
        Ok(Server { opts: opts.into(), name: name.to_string(), address, account })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) async fn connect(&self) -> Result<Conn> {
        match tokio::time::timeout(CONNECT_MAX, Conn::new(self.opts.clone())).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(fault)) => Err(self.explain(fault)),
            Err(_) => Err(self.unreachable().because("no answer in 10 s")),
        }
    }

    /// Says goodbye, so that the server does not count the connection as aborted.
    pub(super) async fn close(&self, conn: Conn) {
        // A connection that broke while it was closed is closed.
        let _ = tokio::time::timeout(CONNECT_MAX, conn.disconnect()).await;
    }

    /// Who must act on a fault of the client, and how.
    pub(super) fn explain(&self, fault: Fault) -> Error {
        let (address, account, name) = (&self.address, &self.account, &self.name);
        let Fault::Server(error) = &fault else {
            return self.unreachable().because(fault);
        };
        let explained = match error.code {
            1045 | 1698 => Error::operator(format!("wrong password or unknown account `{account}` at `{address}`"))
                .hint(format!("set MYSQL_PWD, or the account in `url` of source `{name}`")),
            1044 | 1049 => {
                let database = self.opts.db_name().unwrap_or_default();
                let what = match error.code {
                    1049 => format!("no database `{database}` at `{address}`"),
                    _ => format!("account `{account}` may not use database `{database}` at `{address}`"),
                };
                Error::operator(what).hint(format!("name a database it can read in `url` of source `{name}`"))
            }
            1142 | 1143 | 1227 => Error::operator(format!("account `{account}` at `{address}` lacks a right"))
                .hint("grant the right that the server names"),
            1129 | 1130 => Error::operator(format!("`{address}` refuses connections from this host"))
                .hint(format!("let account `{account}` connect from here")),
            // Too many connections, shutdown, lock wait, deadlock, killed: the same call may pass later.
            1040 | 1053 | 1203 | 1205 | 1213 | 1226 | 1317 | 1927 => {
                Error::retry(format!("`{address}` broke off")).hint("nothing to do unless this goes on")
            }
            _ => Error::operator(format!("`{address}` refused")).hint("look the server's message up in its manual"),
        };
        explained.because(fault)
    }

    fn unreachable(&self) -> Error {
        Error::retry(format!("cannot talk to MariaDB at `{}`", self.address))
            .hint(format!("check that it runs there and that `url` of source `{}` names its host and port", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_its_password() {
        for url in ["mysql://me:secret@:x/db", "nonsense secret", "mysql://me:secret@host", "mysql://me:secret@h/d?a=b"]
        {
            let error = Server::parse(url, None, "shop").err().expect("refused");
            let said = format!("{error} {:?} {error:?}", error.remedy());
            assert!(said.contains("`url` of source `shop`") && !said.contains("secret"), "{said}");
        }
        assert!(Server::parse("mariadb://me@host/db", Some("p".into()), "shop").is_ok());
    }
}
