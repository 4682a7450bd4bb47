//! The vocabulary that all folders speak: what a row is, when it is, and where it came from.
//!
//! - [`Row`]: one row as bytes that compare as its values do, column after column ([`codec`]).
//! - [`Rows`]: many rows in one buffer, with their diffs: what flows, and what becomes a block at rest.
//! - [`Datum`]: one value, at the edges where values are made or shown.
//! - [`Table`]: the shape of a source table: columns that models use, and which of them are the key.
//! - [`Change`]: what a source says happened to a row; [`Delta`]: what that means, rows with a diff.
//! - [`Moment`], [`Clock`], [`Position`], [`Cut`]: our time, what the clock says then, a source's place, and every
//!   source's place at a Moment.
//! - [`Direction`], [`Sorted`]: rows in an order of one's choice, as bytes.
//! - [`Fingerprint`]: an order-free hash of a multiset of rows.
//!
//! Invariant: the bytes of two rows of one schema are equal if and only if their SQL values are equal as
//! GROUP BY sees them: NULL equals NULL, NaN equals NaN, -0.0 equals 0.0, decimals by value, text by bytes, lists
//! item by item, structs field by field.
//!
//! This folder imports nothing of ours but `error`. Arrow's schema is our schema: columns, names, types.

mod cell;
mod change;
mod codec;
mod column;
mod datum;
mod fingerprint;
mod moment;
mod order;
mod rows;
mod table;
mod types;

pub use cell::{RowWriter, append};
pub use change::{Change, Delta, Diff, NewRow, consolidate};
pub use codec::{Codec, Row};
pub use column::Cells;
pub use datum::Datum;
pub use fingerprint::Fingerprint;
pub use moment::{Clock, Cut, Gtid, Moment, Position};
pub use order::{Direction, Sorted};
pub use rows::{Rows, begins, compare, lead, word};
pub use table::{Table, TableName};
pub use types::{JSON, check_types, list_of, map_of, struct_of, type_name, type_named};
