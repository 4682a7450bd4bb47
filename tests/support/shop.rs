//! The example's two databases, as they begin.

use std::fmt::Write;

use super::{mariadb, postgres};

pub const SHOP: &str = include_str!("../../scripts/seed/shop.sql");
pub const BILLING: &str = include_str!("../../scripts/seed/billing.sql");

/// Billing's tables as Postgres would declare them.
const BILLING_IN_POSTGRES: &str = "
create schema if not exists billing;
create table if not exists billing.payments (
    id bigint primary key, order_id bigint, method varchar(20), amount numeric(12, 2), paid_at timestamp
);
create table if not exists billing.refunds (
    id bigint primary key, payment_id bigint, amount numeric(12, 2), refunded_at timestamp
);
truncate billing.payments, billing.refunds;
";

/// Copies billing, as it stands, into schema `billing` of a Postgres database: where one oracle is to
/// answer for both sources.
pub fn mirror_billing(from: &mut mariadb::Session, to: &mut postgres::Session) {
    to.execute(BILLING_IN_POSTGRES);
    for table in ["payments", "refunds"] {
        let rows = from.query(&format!("select * from {table}"));
        for rows in rows.chunks(1_000) {
            let mut insert = format!("insert into billing.{table} values ");
            for (i, row) in rows.iter().enumerate() {
                insert += if i == 0 { "(" } else { "),(" };
                for (j, value) in row.iter().enumerate() {
                    insert += if j == 0 { "" } else { "," };
                    match value {
                        Some(text) => write!(insert, "'{}'", text.replace('\'', "''")).expect("writing to a string"),
                        None => insert += "null",
                    }
                }
            }
            to.execute(&(insert + ")"));
        }
    }
}
