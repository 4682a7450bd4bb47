//! The program as people meet it: what each call prints, how it ends, and that bad input leaves nothing.
//!
//! The texts themselves stand in `tests/cli/*.txt`, to be read like a manual.

#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/projects.rs"]
mod projects;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/servers.rs"]
mod servers;
#[path = "cli/signals.rs"]
mod signals;
mod support;
#[path = "cli/transcript.rs"]
mod transcript;
#[path = "cli/verbs.rs"]
mod verbs;

use support::driftless::Project;

/// What a recorded log declares of the shop.
const SHOP_LOG: &str = concat!(
    r#"{"tables":[{"schema":"public","name":"orders","columns":[{"name":"id","type":"bigint"},"#,
    r#"{"name":"customer_id","type":"int"},{"name":"status","type":"text"},{"name":"ordered_at","type":"timestamptz"}],"key":["id"]},"#,
    r#"{"schema":"public","name":"customers","columns":[{"name":"id","type":"int"},{"name":"name","type":"text"},"#,
    r#"{"name":"score","type":"double precision"}],"key":["id"]}]}"#,
    "\n",
    r#"{"source":{"schema":"public","table":"customers"},"op":"r","after":{"id":1,"name":"Ada","score":1.5}}"#,
    "\n",
    r#"{"source":{"schema":"public","table":"orders"},"op":"r","after":{"id":7,"customer_id":1,"status":"paid","ordered_at":"2024-03-01 10:00:00+00"}}"#,
    "\n",
);

/// A project of these models whose source `shop` is a recorded log: no server needed.
fn recorded(files: &[(&str, &str)]) -> Project {
    let project = Project::with(files);
    project.write("driftless.yml", "sources:\n  shop: {replay: shop.jsonl}\ncommit_every: 1s\n");
    project.write("shop.jsonl", SHOP_LOG);
    project
}

const ORDERS: (&str, &str) = ("orders_seen.sql", "select id, status from {{ source('shop', 'orders') }}\n");
