//! The ledger's decisions, as scripts: what was staged, what the catalog says, what is to be done.

use driftless::commit::ledger::{Ledger, Seen, Verdict, recover};
use driftless::commit::{Staged, StagedTable};
use driftless::error::Who;
use driftless::row::{Cut, Moment};

/// Each line: what the catalog says of tables `a`, `b` (`old`, `new`, `absent`, another location, or with `>`
/// before it a location whose history holds ours), then what follows.
const RECOVERY: &str = "
    old          => publish
    old old      => publish
    new          => done
    new new      => done
    new old      => corrupt: the catalog shows Moment 7 in table `s.a` and not in table `s.b`
    x            => operator: somebody else committed to table `s.a`: the catalog shows x; Moment 7 was to replace a-old
    old x        => operator: somebody else committed to table `s.b`: the catalog shows x; Moment 7 was to replace b-old
    new >x       => operator: somebody else committed to table `s.b` after Moment 7: the catalog shows x in place of b-new, which replaced b-old
    absent       => operator: table `s.a` is gone from the catalog; Moment 7 was to replace a-old
";

#[test]
fn after_a_crash_the_catalog_decides() {
    for line in RECOVERY.lines().filter(|l| !l.trim().is_empty()) {
        let (catalog, wanted) = line.split_once("=>").expect("a line of the script");
        let words: Vec<&str> = catalog.split_whitespace().collect();
        let names = &["a", "b"][..words.len()];
        let seen: Vec<Seen> = names.iter().zip(&words).map(|(name, word)| seen(name, word)).collect();
        let found = match recover(&staged(names), &seen) {
            Ok(Verdict::Publish) => "publish".to_string(),
            Ok(Verdict::Done) => "done".to_string(),
            Err(e) => {
                assert!(e.remedy().is_some(), "{e} gives no hint");
                format!("{}: {}", format!("{:?}", e.who()).to_lowercase(), e.what())
            }
        };
        assert_eq!(found, wanted.trim(), "{line}");
    }
}

#[test]
fn a_moment_without_tables_is_published_again_without_harm() {
    assert_eq!(recover(&staged(&[]), &[]).expect("nothing can be foreign"), Verdict::Publish);
}

/// Each line: a step and a Moment, and whether the ledger takes it.
const STEPS: &str = "
    mint 3         ok
    mint 4         ok
    staged 3       bug
    staged 4       ok
    mint 5         bug
    acknowledged 4 bug
    published 4    ok
    published 4    ok
    acknowledged 4 ok
    mint 4         bug
    published 5    bug
    mint 5         ok
    published 5    bug
    staged 5       ok
    acknowledged 3 ok
    acknowledged 5 bug
    published 5    ok
";

#[test]
fn a_moment_goes_out_step_by_step() {
    let mut ledger = Ledger::resume(Some(Moment(2)));
    assert!(ledger.mint(Moment(2)).is_err(), "what the catalog shows is not minted again");
    for line in STEPS.lines().filter(|l| !l.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let moment = Moment(words[1].parse().expect("a number"));
        let taken = match words[0] {
            "mint" => ledger.mint(moment),
            "staged" => ledger.staged(moment),
            "published" => ledger.published(moment),
            "acknowledged" => ledger.acknowledged(moment),
            other => panic!("no such step: {other}"),
        };
        match taken {
            Ok(()) => assert_eq!(words[2], "ok", "{line}"),
            Err(e) => assert_eq!((words[2], e.who()), ("bug", Who::Bug), "{line}: {e}"),
        }
    }
}

fn seen(name: &str, word: &str) -> Seen {
    match word {
        "absent" => Seen::Absent,
        "old" | "new" => Seen::At(format!("{name}-{word}")),
        other => match other.strip_prefix('>') {
            Some(beyond) => Seen::Beyond(beyond.into()),
            None => Seen::At(other.into()),
        },
    }
}

fn staged(names: &[&str]) -> Staged {
    let table = |name: &&str| StagedTable {
        namespace: "s".into(),
        table: name.to_string(),
        old_location: format!("{name}-old"),
        new_location: format!("{name}-new"),
        snapshot_id: 1,
        superseded: Vec::new(),
        retained: Vec::new(),
    };
    Staged { moment: Moment(7), cut: Cut::default(), tables: names.iter().map(table).collect() }
}
