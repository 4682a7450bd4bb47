//! What each verb prints when nothing is wrong, and how calls that are not understood end.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::driftless::Project;
use crate::transcript::Transcript;
use crate::{ORDERS, recorded};

#[test]
fn help_is_understood_by_who_knows_dbt() {
    let mut told = Transcript::new("help");
    let project = Project::empty();
    told.case("no verb", project.driftless()).expect_code(2);
    told.case("help", project.driftless().arg("--help")).expect_code(0);
    for verb in ["run", "compile", "ls", "plan", "verify", "status", "demo"] {
        told.case(&format!("help of {verb}"), project.driftless().args([verb, "--help"])).expect_code(0);
    }
    told.case("an unknown verb", project.driftless().arg("rnu")).expect_code(2);
    told.case("an unknown flag", project.driftless().args(["run", "--full-refersh"])).expect_code(2);
    told.case("a flag without its value", project.driftless().args(["run", "--target"])).expect_code(2);
    told.case("a value that is not one of them", project.driftless().args(["ls", "--output", "xml"])).expect_code(2);
    told.case("a level of talk that is none", project.driftless().args(["ls", "--log-level", "loud"])).expect_code(2);
    let vars = ["ls", "--vars", "{a: [}"];
    told.refuses("variables that are no YAML", &recorded(&[ORDERS]), project.driftless().args(vars));
    told.end();
}

#[test]
fn ls_names_models_as_dbt_does() {
    let mut told = Transcript::new("ls");
    let project = Project::example();
    let ls = |args: &[&str]| project.driftless().arg("ls").args(args.iter().copied());
    told.case("selectors", ls(&[])).expect_code(0);
    told.case("names", ls(&["--output", "name"])).expect_code(0);
    told.case("paths", ls(&["--output", "path"])).expect_code(0);
    told.case("JSON", ls(&["--output", "json", "--select", "payment_totals", "stg_orders"])).expect_code(0);
    told.case("JSON, asked for in the way of every verb", ls(&["--json", "-s", "payment_totals"])).expect_code(0);
    told.case("ancestors", ls(&["--select", "+payment_totals"])).expect_code(0);
    told.case("descendants of a source", ls(&["--select", "source:billing+"])).expect_code(0);
    told.case(
        "an intersection, less something",
        ls(&["-s", "path:models/marts,+order_payments+", "--exclude", "daily_revenue"]),
    )
    .expect_code(0);
    told.case("nothing", ls(&["--select", "no_such_model"])).expect_code(0);
    told.case("nothing left", ls(&["--exclude", "shop"])).expect_code(0);
    told.refuses("a method that is none", &project, ls(&["--select", "colour:red"]));
    told.end();
}

#[test]
fn compile_renders_the_models_and_keeps_them_where_dbt_does() {
    let mut told = Transcript::new("compile");
    let project = Project::example();
    told.hide(project.path().display(), "PROJECT");
    let compile = project.driftless().args(["compile", "--select", "stg_orders", "payment_totals"]);
    told.case("two models", compile).expect_code(0);
    let compiled = project.path().join("target/compiled/shop/models/marts/payment_totals.sql");
    let text = std::fs::read_to_string(compiled).expect("compile wrote it");
    assert!(text.contains("int_money_moves\"") && !text.contains("{{"), "{text}");
    told.case("for machines", project.driftless().args(["compile", "--json", "-s", "country_buyers"])).expect_code(0);
    told.case("nothing", project.driftless().args(["compile", "-s", "no_such_model"])).expect_code(0);
    std::fs::remove_dir_all(project.path().join("target")).expect("compile wrote it");
    project.write("target", "a file\n");
    told.refuses("where a file stands", &project, project.driftless().args(["compile", "-s", "stg_orders"]));
    told.end();
}

#[test]
fn a_run_a_status_and_a_verify_without_a_daemon() {
    let mut told = Transcript::new("once");
    let project = recorded(&[ORDERS]);
    told.hide(project.path().display(), "PROJECT");
    let call = |args: &[&str]| project.driftless().args(args.iter().copied());
    told.case("status before the first run", call(&["status"])).expect_code(0);
    assert!(!project.state().exists(), "status makes nothing");
    told.refuses("verify before the first run", &project, call(&["verify"]));
    told.refuses("verify before the first run, for machines", &project, call(&["verify", "--json"]));
    told.case("a run of nothing", call(&["run", "--once", "-s", "no_such_model"])).expect_code(0);
    assert!(!project.state().exists(), "a run of nothing makes nothing");
    told.case("a run", call(&["run", "--once", "--log-level", "warn"])).expect_code(0);
    let status = call(&["status", "--json"]).finish().expect_code(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("one document");
    let snapshot = &status["models"][0]["published"];
    assert_eq!(snapshot["rows"], 1, "{status}");
    told.hide(&snapshot["snapshot_id"], "SNAPSHOT");
    told.hide(snapshot["fingerprint"].as_str().expect("text"), "FINGERPRINT");
    let metadata = status["models"][0]["metadata"].as_str().and_then(|path| path.rsplit('/').next());
    told.hide(metadata.expect("a metadata file"), "METADATA");
    told.case("status after it", call(&["status"])).expect_code(0);
    told.case("status after it, for machines", call(&["status", "--json"])).expect_code(0);
    told.case("verify after it", call(&["verify"])).expect_code(0);
    told.case("verify after it, for machines", call(&["verify", "--json"])).expect_code(0);
    told.case("verify of nothing", call(&["verify", "-s", "no_such_model"])).expect_code(0);
    told.end();
}

/// Every kind of operator that keeps something, some of it for two models.
const KEEPS: [(&str, &str); 7] = [
    (
        "joined.sql",
        "select o.id, c.name from {{ source('shop', 'orders') }} as o\n\
         left join {{ source('shop', 'customers') }} as c on o.customer_id = c.id and o.status <> c.name\n",
    ),
    (
        "placed.sql",
        "select o.id, o.status, c.name from {{ source('shop', 'orders') }} as o\n\
         join {{ source('shop', 'customers') }} as c on o.customer_id = c.id\n",
    ),
    (
        "counted.sql",
        "select c.name, count(*) as orders, count(distinct o.status) as states, sum(c.score) as score\n\
         from {{ source('shop', 'orders') }} as o join {{ source('shop', 'customers') }} as c on o.customer_id = c.id\n\
         group by c.name\n",
    ),
    (
        "latest.sql",
        "select * from (select id, status, row_number() over (partition by status order by id desc) as place\n\
         from {{ source('shop', 'orders') }}) as q where place = 1\n",
    ),
    (
        "unknown.sql",
        "select id from {{ source('shop', 'orders') }} where customer_id not in (select id from {{ source('shop', 'customers') }})\n",
    ),
    ("recent.sql", "select id from {{ source('shop', 'orders') }} where ordered_at > now() - interval '1 day'\n"),
    (
        "reached.sql",
        "with recursive r as (select id, 1 as n from {{ source('shop', 'orders') }}\n\
         union select id, n + 1 from r where n < 3) select id, n from r\n",
    ),
];

#[test]
fn a_plan_names_what_a_run_keeps_and_who_shares_it() {
    let mut told = Transcript::new("keeps");
    let project = recorded(&KEEPS);
    let call = |args: &[&str]| project.driftless().args(args.iter().copied());
    told.case("before the first run", call(&["plan"])).expect_code(0);
    call(&["run", "--once", "--log-level", "warn"]).finish().expect_code(0);
    told.case("after it", call(&["plan", "--select", "joined"])).expect_code(0);
    told.case("after it, for machines", call(&["plan", "--json", "--select", "recent"])).expect_code(0);

    let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a document a line");
    let state = json(&call(&["state", "--json"]).finish().expect_code(0).stdout);
    let plans = call(&["plan", "--json"]).finish().expect_code(0).stdout;
    let (mut planned, mut in_trees, mut shared) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for plan in plans.lines().map(json) {
        named(&plan["plan"], &mut in_trees);
        for kept in plan["state"].as_array().expect("a list") {
            let name = kept["name"].as_str().expect("a name").to_string();
            if let [other, ..] = kept["shared_with"].as_array().expect("a list").as_slice() {
                shared.insert((plan["model"].to_string(), other.to_string()));
            }
            planned.insert(name, kept["now"]["rows"].as_u64());
        }
    }
    let kept = state["arrangements"].as_array().expect("a list").iter();
    let kept = kept.map(|size| (size["name"].as_str().expect("a name").to_string(), size["rows"].as_u64()));
    // Those of models begin with a relation's name; others are of tables, and of what waits.
    let kept: BTreeMap<String, Option<u64>> = kept.filter(|(name, _)| name.starts_with('"')).collect();
    assert_eq!(planned, kept, "what is planned is what is kept");
    assert_eq!(in_trees, kept.into_keys().collect(), "each has a node that reads it");
    let pair = |a: &str, b: &str| (format!("\"{a}\""), format!("\"{b}\""));
    assert_eq!(shared, [pair("joined", "placed"), pair("placed", "joined")].into());
    told.end();
}

/// The arrangements that a tree of nodes names.
fn named(node: &serde_json::Value, names: &mut BTreeSet<String>) {
    names.extend(
        node["arrangements"].as_array().expect("a list").iter().filter_map(|name| name.as_str().map(str::to_string)),
    );
    node["inputs"].as_array().expect("a list").iter().for_each(|input| named(input, names));
}
