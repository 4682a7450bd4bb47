//! The demo, whole: it verifies, it can be had twice, and nothing is left of it however it ends.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::support::driftless::{Daemon, Project};
use crate::support::wait_for;
use crate::transcript::Transcript;
use crate::{ORDERS, recorded};

/// The example, where the servers' users may enter.
fn stage() -> Project {
    let project = Project::example();
    std::fs::set_permissions(project.path(), PermissionsExt::from_mode(0o755)).expect("the project is ours");
    project
}

/// Processes that work in or speak of this directory.
fn left(project: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("linux").flatten() {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let inside = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(project));
        if !line.is_empty() && (inside || line.contains(&project.display().to_string())) {
            found.push(line);
        }
    }
    found
}

fn wait_for_server(demo: &mut Daemon, project: &Project, name: &str) {
    let pid = project.path().join("state/demo").join(name).join("pid");
    demo.wait_for(name, Duration::from_secs(60), || pid.exists().then_some(()));
}

#[test]
fn a_demo_on_real_servers_verifies_and_leaves_only_its_tables() {
    let project = stage();
    let demo = project.driftless().args(["demo", "--seconds", "5"]).finish().expect_code(0);
    assert!(demo.stdout.contains("13 of 13 models equal") && demo.stdout.contains("iceberg_scan('"), "{demo:#?}");
    assert!(demo.stderr.contains("starting a private Postgres and a private MariaDB"), "{demo:#?}");
    assert_eq!(left(project.path()), Vec::<String>::new());
    let stage = project.path().join("state/demo");
    assert!(
        !stage.join("postgres").exists() && !stage.join("mariadb").exists() && stage.join("state/warehouse").exists()
    );
    let scan = demo.stdout.split("iceberg_scan('").nth(1).and_then(|rest| rest.split('\'').next());
    assert!(Path::new(scan.expect("a command")).is_file(), "{}", demo.stdout);
}

#[test]
fn a_demo_without_servers_replays_recorded_logs_and_can_be_had_twice() {
    let project = stage();
    let run =
        |seconds: &str| project.driftless().args(["demo", "--seconds", seconds]).env("DRIFTLESS_DEMO_SERVERS", "none");
    for _ in 0..2 {
        let demo = run("3").finish().expect_code(0);
        assert!(demo.stdout.contains("13 of 13 models equal"), "{demo:#?}");
        assert!(demo.stderr.contains("the sources are recorded logs of changes"), "{demo:#?}");
    }
    let verdict = run("3").arg("--json").finish().expect_code(0);
    let verdict: serde_json::Value = serde_json::from_str(&verdict.stdout).expect("one document and nothing else");
    assert_eq!(verdict["models"].as_array().map(Vec::len), Some(13));

    let mut told = Transcript::new("demo");
    told.hide(project.path().display(), "PROJECT");
    let mut first = run("600").start();
    first.wait_for_words("transactions written", Duration::from_secs(30));
    told.case("a second demo beside the first", run("3")).expect_code(1);
    assert_eq!(first.signal("TERM", Duration::from_secs(30)).code(), Some(1));
    told.case("nothing selected", run("3").args(["-s", "no_such_model"])).expect_code(0);
    let other = recorded(&[ORDERS]);
    other.write(
        "models/staging/_sources.yml",
        "version: 2\nsources: [{name: shop, schema: public, tables: [{name: orders}]}]\n",
    );
    told.refuses("another project", &other, other.driftless().arg("demo"));
    told.end();
}

#[test]
fn a_demo_that_is_interrupted_or_killed_leaves_no_process() {
    let project = stage();
    let start = || project.driftless().args(["demo", "--seconds", "600"]).start();

    let mut demo = start();
    wait_for_server(&mut demo, &project, "postgres");
    assert_eq!(demo.signal("INT", Duration::from_secs(60)).code(), Some(1), "{}", demo.stderr());
    assert!(demo.stderr().ends_with("interrupted; nothing is left running\n"), "{}", demo.stderr());
    assert_eq!(left(project.path()), Vec::<String>::new(), "while it starts");

    let mut demo = start();
    demo.wait_for_words("transactions written", Duration::from_secs(60));
    assert_eq!(demo.signal("INT", Duration::from_secs(30)).code(), Some(1), "{}", demo.stderr());
    assert_eq!(left(project.path()), Vec::<String>::new(), "while it writes");

    let mut demo = start();
    demo.wait_for_words("transactions written", Duration::from_secs(60));
    assert!(left(project.path()).iter().any(|line| line.contains("mariadbd")), "the servers are found while they run");
    demo.kill();
    wait_for("the end of all", Duration::from_secs(20), || left(project.path()).is_empty().then_some(()));
}
