//! Projects that cannot be read: each fault by its own name, found before a source or the disk is touched.

use crate::support::driftless::Project;
use crate::transcript::Transcript;
use crate::{ORDERS, recorded};

#[test]
fn a_project_that_cannot_be_read_is_refused_with_its_place() {
    let mut told = Transcript::new("projects");
    let mut refused = |words, project: &Project| {
        told.hide(project.path().display(), "PROJECT");
        told.refuses(words, project, project.driftless().arg("run").arg("--once"));
    };

    refused("a directory that holds no project", &Project::empty());

    let project = recorded(&[ORDERS]);
    project.write("dbt_project.yml", "name: shop\nversion: \"1.0.0\"\nmodel-paths: [models\nprofile: shop\n");
    refused("bad YAML in dbt_project.yml", &project);

    let project = recorded(&[ORDERS]);
    project
        .write("models/_models.yml", "version: 2\nmodels:\n  - name: orders_seen\n   description: one space short\n");
    refused("bad YAML in a property file", &project);

    let project = recorded(&[ORDERS]);
    project.write("models/_models.yml", "version: 2\nmodels:\n  - name: orders_seen\n    name: twice\n");
    refused("a key that stands twice", &project);

    let project = recorded(&[ORDERS, ("b.sql", "select id\nfrom {{ ref('order_seen') }}\n")]);
    refused("a ref to nothing, with something near", &project);

    let project = recorded(&[ORDERS, ("b.sql", "select id\nfrom {{ ref('invoices') }}\n")]);
    refused("a ref to nothing", &project);

    let project = recorded(&[("a.sql", "select id\nfrom   {{ source('shop', 'ordres') }}\n")]);
    refused("a table that its source does not declare", &project);

    let project = recorded(&[("a.sql", "select id from {{ source('shopp', 'orders') }}\n")]);
    refused("a source that nobody declares", &project);

    let project = recorded(&[("a.sql", "select {{ nothing_of(1) }} as id\n")]);
    refused("a macro that is not there", &project);

    let project = recorded(&[("a.sql", "select 1 as id\n{% if true %}\n")]);
    refused("a block that is never closed", &project);

    let project =
        recorded(&[("a.sql", "select id from {{ ref('b') }}\n"), ("b.sql", "select id from {{ ref('a') }}\n")]);
    refused("models that read each other", &project);

    let project = recorded(&[ORDERS]);
    project
        .write("dbt_project.yml", "name: shop\nversion: \"1.0.0\"\nprofile: \"{{ env_var('NO_SUCH_VARIABLE') }}\"\n");
    refused("an environment variable that is not set", &project);
    told.end();
}

#[test]
fn a_driftless_yml_that_cannot_serve_is_refused_before_anything_is_touched() {
    let mut told = Transcript::new("driftless_yml");
    let mut refused = |words, text: Option<&str>| {
        let project = recorded(&[ORDERS]);
        match text {
            Some(text) => project.write("driftless.yml", text),
            None => std::fs::remove_file(project.path().join("driftless.yml")).expect("just written"),
        }
        told.hide(project.path().display(), "PROJECT");
        told.refuses(words, &project, project.driftless().arg("run").arg("--once"));
    };
    refused("no driftless.yml", None);
    refused("bad YAML", Some("sources:\n  shop: {replay: shop.jsonl\n"));
    refused("a key that nobody knows", Some("sources:\n  shop: {replay: shop.jsonl}\ncommit_evry: 1s\n"));
    refused("a kind of source that nobody knows", Some("sources:\n  shop: {oracle: \"oracle://u:secret@h/d\"}\n"));
    refused("a source of two kinds", Some("sources:\n  shop: {replay: shop.jsonl, postgres: \"postgres://h/d\"}\n"));
    refused("a source of no kind", Some("sources:\n  shop: {}\n"));
    refused("a source that models need and nobody placed", Some("sources: {}\n"));
    refused("a source placed under a wrong name", Some("sources:\n  shp: {replay: shop.jsonl}\n"));
    refused(
        "an environment variable that is not set",
        Some("sources:\n  shop:\n    postgres: \"{{ env_var('NO_SUCH_URL') }}\"\n"),
    );
    refused(
        "an address that cannot be read",
        Some("sources:\n  shop: {postgres: \"postgresql://me:secret@h:port/d\"}\n"),
    );
    refused(
        "an address that asks for TLS",
        Some("sources:\n  shop: {postgres: \"postgresql://me:secret@h/d?sslmode=require\"}\n"),
    );
    refused("a MySQL address without a database", Some("sources:\n  shop: {mysql: \"mysql://me:secret@h:3306\"}\n"));
    refused("a duration without a meaning", Some("sources:\n  shop: {replay: shop.jsonl}\ncommit_every: soon\n"));
    refused("no workers", Some("sources:\n  shop: {replay: shop.jsonl}\nworkers: 0\n"));
    refused("a recorded log that is not there", Some("sources:\n  shop: {replay: nowhere/shop.jsonl}\n"));
    told.end();
}

#[test]
fn a_state_directory_that_cannot_serve_is_refused() {
    let mut told = Transcript::new("state");
    let project = recorded(&[ORDERS]);
    told.hide(project.path().display(), "PROJECT");
    project.write("a_file", "not a directory\n");
    let mut refused = |words, state: &str| {
        project.write("driftless.yml", &format!("sources:\n  shop: {{replay: shop.jsonl}}\nstate: {state}\n"));
        told.refuses(words, &project, project.driftless().args(["run", "--once"]));
    };
    refused("a file in its place", "a_file");
    refused("a file above it", "a_file/state");
    refused("where nobody may write", "/proc/driftless");
    project.write("driftless.yml", "sources:\n  shop: {replay: shop.jsonl}\nwarehouse: a_file/warehouse\n");
    told.refuses("a warehouse below a file", &project, project.driftless().args(["run", "--once"]));
    project.write("driftless.yml", "sources:\n  shop: {replay: shop.jsonl}\nstate: mine\n");
    project.write("mine/rocks/thesis.txt", "precious\n");
    told.case("somebody else's directory", project.driftless().args(["run", "--once"]));
    assert_eq!(std::fs::read_to_string(project.path().join("mine/rocks/thesis.txt")).expect("kept"), "precious\n");
    told.end();
}

#[test]
fn a_second_daemon_is_told_of_the_first() {
    let mut told = Transcript::new("second");
    let project = recorded(&[ORDERS]);
    told.hide(project.path().display(), "PROJECT");
    let mut first = project.driftless().arg("run").start();
    first.wait_for_words("published", std::time::Duration::from_secs(30));
    told.hide(format!("process {}", first.pid()), "process PID");
    let second = told.case("a second daemon on the same state directory", project.driftless().arg("run"));
    assert_eq!(second.code, Some(1));
    assert!(first.status().is_none(), "the first goes on");
    told.end();
}
