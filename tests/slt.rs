//! The sqllogictest runner (`examples/slt`) over the files of `tests/slt`, and over one that is wrong at each record.

#[path = "../examples/slt/main.rs"]
#[allow(dead_code, reason = "its main is not ours")]
mod slt;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slt");

fn run(arguments: &[&str]) -> slt::Sum {
    slt::run(arguments.iter().map(|argument| argument.to_string())).expect("the files are there")
}

fn pass(options: &[&str]) {
    let sum = run(&[options, &[FOLDER]].concat());
    assert!(sum.failures.is_empty(), "{sum}");
    assert!(sum.passed > 2_000, "{sum}");
    let reasons: Vec<&String> = sum.unsupported.keys().collect();
    assert!(matches!(reasons.as_slice(), [why] if why.contains("`random` is drawn where")), "{sum}");
}

#[test]
fn the_files_of_the_folder_pass() {
    pass(&["--workers", "1"]);
}

#[test]
fn the_files_of_the_folder_pass_with_more_workers() {
    pass(&["--workers", "3", "--seed", "1"]);
}

#[test]
fn the_files_of_the_folder_pass_with_another_seed() {
    pass(&["--workers", "2", "--seed", "2"]);
}

const WRONG: &str = "
statement error
create table t (a int, b double precision)

statement count 3
insert into t values (1, 1.5), (2, null)

query IR
select * from t order by a
----
1 1.5
2 0

query I
select a from t where a = 1
----
2

query I
select a from t
----

statement ok
select c from t

statement ok
insert into u values (1)

query error
select a from t

query RI
select b, a from t where a = 1
----
1.6 1
";

#[test]
fn each_wrong_record_is_told_with_its_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("wrong.slt");
    std::fs::write(&file, WRONG).expect("written");
    let sum = run(&[&file.display().to_string()]);
    let lines: Vec<&str> = sum.failures.iter().filter_map(|failure| failure.split(':').nth(1)).collect();
    assert_eq!(lines, ["2", "5", "8", "14", "19", "23", "26", "29", "32"], "{sum}");
    assert_eq!(sum.passed, 0, "{sum}");
}
