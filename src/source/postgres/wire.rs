//! The replication connection: frames of pgoutput in, status out.
//!
//! The only file that names the transport of `pg_walstream`. It runs replication commands, reads
//! CopyData frames and tells keepalives from data; it knows nothing of transactions. Another transport
//! (pgwire-replication, libpq) needs only the four calls of [`Wire`].
//!
//! It uses the connection, not the crate's stream: that one creates a missing slot by itself and decides
//! on its own when to report.

use super::connect::{SETTINGS, Server};
use crate::error::{Error, Result};
use bytes::{Buf, Bytes};
use pg_walstream::{CancellationToken, PgReplicationConnection, ReplicationError, parse_keepalive_message};
use std::fmt;

pub struct Wire {
    connection: PgReplicationConnection,
    never: CancellationToken,
}

/// What the server sends while it streams.
pub enum Frame {
    /// One pgoutput message, and how far the server's log reached with it.
    Data { log_end: u64, message: Bytes },
    /// Everything before `log_end` has been sent.
    Keepalive { log_end: u64, answer_now: bool },
}

/// A slot just made, and the picture of the database that belongs to it.
pub struct NewSlot {
    pub position: u64,
    /// Good until the next command on the connection that made the slot.
    pub snapshot: String,
}

impl Wire {
    pub async fn connect(server: &Server) -> Result<Wire, Broken> {
        let connection = PgReplicationConnection::connect_async(&server.replication_url()).await?;
        let mut wire = Wire { connection, never: CancellationToken::new() };
        for setting in SETTINGS {
            wire.connection.exec_async(&format!("SET {setting}")).await?;
        }
        Ok(wire)
    }

    /// Waits until every transaction that was open has ended: that is when a slot has a consistent start.
    pub async fn create_slot(&mut self, slot: &str) -> Result<NewSlot, Broken> {
        let sql = format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput EXPORT_SNAPSHOT");
        let answer = self.connection.exec_async(&sql).await?;
        let position = answer.get_value(0, 1).and_then(|text| parse_lsn(&text));
        match (position, answer.get_value(0, 2)) {
            (Some(position), Some(snapshot)) => Ok(NewSlot { position, snapshot }),
            _ => Err(Broken::garbled("the answer to CREATE_REPLICATION_SLOT")),
        }
    }

    pub async fn stream(&mut self, slot: &str, from: u64, options: &[(&str, &str)]) -> Result<(), Broken> {
        Ok(self.connection.start_replication_async(slot, from, options).await?)
    }

    /// Safe to drop while it waits: what was read stays in the connection's buffer.
    pub async fn next(&mut self) -> Result<Frame, Broken> {
        loop {
            let mut frame = self.connection.get_copy_data_async(&self.never).await?;
            match frame.first() {
                Some(b'w') if frame.len() >= 25 => {
                    frame.advance(1);
                    let log_end = frame.get_u64().max(frame.get_u64());
                    frame.advance(8);
                    return Ok(Frame::Data { log_end, message: frame });
                }
                Some(b'k') => {
                    let keepalive = parse_keepalive_message(&frame)?;
                    return Ok(Frame::Keepalive { log_end: keepalive.wal_end, answer_now: keepalive.reply_requested });
                }
                Some(_) => return Err(Broken::garbled("a frame of the replication stream")),
                None => continue,
            }
        }
    }

    /// Tells the server what has arrived and what is durable; 0 for `durable` says nothing about it.
    pub async fn report(&mut self, arrived: u64, durable: u64, answer: bool) -> Result<(), Broken> {
        Ok(self.connection.send_standby_status_update(arrived, durable, durable, answer).await?)
    }
}

/// Why the wire cannot go on.
#[derive(Debug)]
pub struct Broken {
    /// The server's SQLSTATE, where it said one.
    pub code: Option<String>,
    /// Whether a new connection may do better.
    pub mendable: bool,
    message: String,
}

impl Broken {
    fn garbled(what: &str) -> Broken {
        Broken { code: None, mendable: false, message: format!("{what} is not what Postgres sends") }
    }

    /// Another backend still reads from the slot.
    pub fn slot_is_active(&self) -> bool {
        self.code.as_deref() == Some("55006")
    }

    pub fn into_error(self) -> Error {
        if self.mendable { Error::retry(self.message) } else { Error::operator(self.message) }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ReplicationError> for Broken {
    fn from(error: ReplicationError) -> Broken {
        let message = error.to_string();
        // The crate keeps the SQLSTATE only as the bracketed head of its message.
        let code = message.split_once('[').and_then(|(_, rest)| rest.get(..5).filter(|_| rest[5..].starts_with(']')));
        let code = code.map(str::to_string);
        // A server's error in a class that the crate calls neither is tried again, but not for ever: whoever
        // reconnects first checks slot and publication, and says there what is wrong.
        let mendable = !error.is_permanent();
        Broken { code, mendable, message }
    }
}

/// `16/B374D848` as a number.
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}
