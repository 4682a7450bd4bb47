//! Servers that cannot be followed: each reason by its own name, and nothing left at the server.

use crate::ORDERS;
use crate::support::driftless::Project;
use crate::support::keeper::free_port;
use crate::support::mariadb::MariaDb;
use crate::support::postgres::{GUARDED_PASSWORD, GUARDED_ROLE, Postgres};
use crate::support::shop::{BILLING, SHOP};
use crate::transcript::Transcript;

fn at_url(files: &[(&str, &str)]) -> Project {
    let project = Project::with(files);
    project.write("driftless.yml", "sources:\n  shop: {postgres: \"{{ env_var('SHOP_URL') }}\"}\n  billing: {mysql: \"{{ env_var('BILLING_URL', '') }}\"}\n");
    project
}

#[test]
fn a_postgres_that_cannot_be_followed_is_refused_and_keeps_no_slot() {
    let mut told = Transcript::new("postgres");
    let postgres = Postgres::start();
    told.hide(postgres.port(), "PORT");
    let mut session = postgres.create_database("shop", SHOP);
    session.execute("create table notes (id int, note text); create view open_orders as select * from orders; alter role guarded noreplication");
    let mut refused = |words, project: &Project, url: String| {
        told.hide(project.path().display(), "PROJECT");
        told.refuses(words, project, project.driftless().args(["run", "--once"]).env("SHOP_URL", url));
        let slots = session.value("select count(*) from pg_replication_slots");
        let publications = session.value("select count(*) from pg_publication");
        assert_eq!((slots.as_deref(), publications.as_deref()), (Some("0"), Some("0")), "{words}");
    };
    let project = at_url(&[ORDERS]);
    let nobody = free_port();
    refused("a password that is wrong", &project, postgres.url_as(GUARDED_ROLE, "secret", "shop"));
    refused("no password", &project, format!("postgresql://{GUARDED_ROLE}@127.0.0.1:{}/shop", postgres.port()));
    refused("no right to replicate", &project, postgres.url_as(GUARDED_ROLE, GUARDED_PASSWORD, "shop"));
    refused("a role that is not there", &project, postgres.url_as("nobody", "secret", "shop"));
    refused("a database that is not there", &project, postgres.url("shopp"));

    let declared = |table: &str| {
        let project = at_url(&[("a.sql", &format!("select id from {{{{ source('shop', '{table}') }}}}\n"))]);
        project.write(
            "models/staging/_sources.yml",
            &format!("version: 2\nsources:\n  - name: shop\n    schema: public\n    tables:\n      - name: {table}\n"),
        );
        project
    };
    refused("a table without a primary key", &declared("notes"), postgres.url("shop"));
    refused("a view", &declared("open_orders"), postgres.url("shop"));
    refused("a table that is not there, with one near", &declared("order"), postgres.url("shop"));
    refused("a table that is not there", &declared("invoices"), postgres.url("shop"));

    let project = at_url(&[ORDERS]);
    project.write("a_file", "");
    project.write("driftless.yml", "sources:\n  shop: {postgres: \"{{ env_var('SHOP_URL') }}\"}\nstate: a_file\n");
    refused("a state directory that cannot be written", &project, postgres.url("shop"));

    told.hide(nobody, "NOBODY");
    let project = at_url(&[ORDERS]);
    let url = format!("postgresql://me:secret@127.0.0.1:{nobody}/shop");
    told.refuses("nobody there", &project, project.driftless().args(["run", "--once"]).env("SHOP_URL", &url));
    let run = project.driftless().args(["run", "--once", "--json"]).env("SHOP_URL", url);
    told.refuses("nobody there, for machines", &project, run);
    let plan =
        project.driftless().args(["plan"]).env("SHOP_URL", format!("postgresql://me:secret@127.0.0.1:{nobody}/shop"));
    told.refuses("nobody there for a plan", &project, plan);
    told.end();
}

#[test]
fn a_postgres_without_logical_decoding_is_refused() {
    let mut told = Transcript::new("wal_level");
    let postgres = Postgres::with(&[("wal_level", "replica")]);
    told.hide(postgres.port(), "PORT");
    postgres.create_database("shop", SHOP);
    let project = at_url(&[ORDERS]);
    let run = project.driftless().args(["run", "--once"]).env("SHOP_URL", postgres.url("shop"));
    told.refuses("wal_level is not logical", &project, run);
    told.end();
}

#[test]
fn a_mariadb_that_cannot_be_followed_is_refused() {
    let mut told = Transcript::new("mariadb");
    let mariadb = MariaDb::start();
    told.hide(mariadb.port(), "PORT");
    let mut session = mariadb.create_database("billing", BILLING);
    session.execute("create table notes (id int, note text)");
    session.execute(
        "create user guarded@'127.0.0.1' identified by 'open sesame'; grant select on billing.* to guarded@'127.0.0.1'",
    );
    let paid = ("a.sql", "select id, amount from {{ source('billing', 'payments') }}\n");
    let mut refused = |words, project: &Project, url: &str| {
        told.hide(project.path().display(), "PROJECT");
        let run = project.driftless().args(["run", "--once"]).env("SHOP_URL", "postgres://h/d").env("BILLING_URL", url);
        told.refuses(words, project, run);
    };
    let at = |who: &str, database: &str| format!("mysql://{who}@127.0.0.1:{}/{database}", mariadb.port());
    let project = at_url(&[paid]);
    refused("a password that is wrong", &project, &at("guarded:secret", "billing"));
    refused("no right to replicate", &project, &at("guarded:open%20sesame", "billing"));
    refused("a database that is not there", &project, &at("root", "biling"));
    let project = at_url(&[("a.sql", "select id from {{ source('billing', 'notes') }}\n")]);
    project
        .write("models/staging/_sources.yml", "version: 2\nsources:\n  - name: billing\n    tables: [{name: notes}]\n");
    refused("a table without a primary key", &project, &at("root", "billing"));
    let project = at_url(&[("a.sql", "select id from {{ source('billing', 'payment') }}\n")]);
    project.write(
        "models/staging/_sources.yml",
        "version: 2\nsources:\n  - name: billing\n    tables: [{name: payment}]\n",
    );
    refused("a table that is not there, with one near", &project, &at("root", "billing"));
    let nobody = free_port();
    let url = format!("mysql://me:secret@127.0.0.1:{nobody}/billing");
    refused("nobody there", &at_url(&[paid]), &url);
    told.hide(nobody, "NOBODY");
    told.end();
}

#[test]
fn the_plan_of_the_example() {
    let mut told = Transcript::new("plan");
    let (postgres, mariadb) = (Postgres::start(), MariaDb::start());
    postgres.create_database("shop", SHOP);
    mariadb.create_database("billing", BILLING);
    let project = Project::example();
    let plan = || {
        let plan = project.driftless().arg("plan");
        plan.env("SHOP_URL", postgres.url("shop")).env("BILLING_URL", mariadb.url("billing"))
    };
    told.case("in text", plan()).expect_code(0);
    told.case("for machines", plan().args(["--json", "--select", "country_buyers"])).expect_code(0);
    assert!(!project.state().exists(), "a plan makes nothing");
    told.end();
}
