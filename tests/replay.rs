//! The recorded log as a source: lines as text in, events out.

use driftless::row::{Change, Codec, Datum, NewRow, Position, Row, Table, TableName};
use driftless::source::replay::{Replay, Settings};
use driftless::source::{Event, Outlet, Source, Tail};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

const HEADER: &str = r#"{"tables":[{"schema":"public","name":"orders","columns":[{"name":"id","type":"bigint"},{"name":"amount","type":"numeric(12,2)"},{"name":"note","type":"text"}],"key":["id"]},{"schema":"public","name":"other","columns":[{"name":"id","type":"int"}],"key":["id"]}]}"#;

/// A log in a folder of its own.
struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    fn new(lines: &[&str]) -> Written {
        let written = Written { folder: tempfile::tempdir().expect("a temporary folder") };
        written.append(lines);
        written
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shop.jsonl")
    }

    fn append(&self, lines: &[&str]) -> u64 {
        let mut file = std::fs::File::options().create(true).append(true).open(self.path()).expect("opens");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        file.write_all(text.as_bytes()).expect("writes");
        file.metadata().expect("is there").len()
    }

    fn replay(&self) -> driftless::error::Result<Replay> {
        Replay::new(Settings { path: self.folder.path().into(), name: "shop".into() })
    }
}

/// A replay at work.
struct Playing {
    tail: Tail,
    events: mpsc::Receiver<(usize, Event)>,
    table: Table,
}

impl Playing {
    async fn start(written: &Written, resume: Option<Position>) -> Playing {
        let mut replay = written.replay().expect("the log is read");
        let tables = replay.describe(&[orders()]).await.expect("declared");
        let (queue, events) = mpsc::channel(8);
        let table = tables[0].clone();
        let tail = Box::new(replay).start(tables, resume, Outlet::new(3, queue)).await.expect("starts");
        Playing { tail, events, table }
    }

    async fn next(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_secs(5), self.events.recv());
        let (source, event) = next.await.expect("an event comes").expect("the source lives");
        assert_eq!(source, 3);
        self.show(event)
    }

    fn show(&self, event: Event) -> String {
        let codec = Codec::new(self.table.schema.clone());
        let key = Codec::new(self.table.schema.project(&self.table.key).expect("a key").into());
        let change = |change: &Change| match change {
            Change::Insert(row) => format!("+ {}", codec.show(row)),
            Change::Update { old_key, new } => {
                let old = old_key.as_ref().map_or(String::new(), |old| format!("{} -> ", key.show(old)));
                match new {
                    NewRow::Whole(row) => format!("~ {old}{}", codec.show(row)),
                    NewRow::Patch(cells) => {
                        let cells: Vec<String> =
                            cells.iter().map(|c| c.as_ref().map_or("same".to_string(), Datum::to_string)).collect();
                        format!("~ {old}{}", cells.join(" "))
                    }
                }
            }
            Change::Delete { key: row } => format!("- {}", key.show(row)),
            Change::Truncate => "truncate".to_string(),
        };
        match event {
            Event::Copied { rows, .. } => {
                format!("copied {}", rows.iter().map(|r| codec.show(r)).collect::<Vec<_>>().join("; "))
            }
            Event::CopyDone { .. } => "copy done".into(),
            Event::Transaction { changes, committed_us, .. } => {
                let changes: Vec<String> = changes.iter().map(|(_, c)| change(c)).collect();
                format!("at {committed_us}: {}", changes.join("; "))
            }
            Event::Idle { position } => format!("idle at {position}"),
            Event::Failed(error) => format!("failed: {error}"),
        }
    }
}

fn orders() -> TableName {
    TableName::new("public", "orders")
}

#[tokio::test]
async fn a_log_is_told_as_copy_and_whole_transactions_and_followed_as_it_grows() {
    let written = Written::new(&[
        HEADER,
        r#"{"source":{"schema":"public","table":"orders"},"op":"r","after":{"id":1,"amount":"1.50","note":null}}"#,
        r#"{"source":{"schema":"public","table":"orders"},"op":"r","after":{"id":2,"amount":"2","note":"b"}}"#,
        r#"{"source":{"schema":"public","table":"orders","txId":7,"ts_ms":5},"op":"c","before":null,"after":{"id":3,"amount":0.25,"note":"c"}}"#,
        r#"{"source":{"schema":"public","table":"other","txId":7,"ts_ms":5},"op":"c","after":{"id":1}}"#,
        r#"{"source":{"schema":"public","table":"orders","txId":7,"ts_ms":5},"op":"d","before":{"id":1},"after":null}"#,
        r#"{"source":{"schema":"public","table":"orders","txId":8,"ts_ms":6},"op":"u","before":{"id":2},"after":{"id":9,"amount":"2.00","note":"b"}}"#,
    ]);
    let mut playing = Playing::start(&written, None).await;
    assert_eq!(playing.next().await, "copied id=1 amount=150 note=NULL; id=2 amount=200 note=\"b\"");
    assert_eq!(playing.next().await, "copy done");
    assert_eq!(playing.next().await, "at 5000: + id=3 amount=25 note=\"c\"; - id=1");
    assert_eq!(playing.next().await, "at 6000: ~ id=2 -> id=9 amount=200 note=\"b\"");
    written.append(&[
        r#"{"source":{"schema":"public","table":"orders","txId":9,"ts_ms":7},"op":"u","before":{"id":9},"after":{"id":9,"amount":"3.00","note":"__debezium_unavailable_value"}}"#,
        r#"{"source":{"schema":"public","table":"orders","txId":9,"ts_ms":7},"op":"t"}"#,
    ]);
    assert_eq!(playing.next().await, "at 7000: ~ 9 300 same; truncate");
    let end =
        written.append(&[r#"{"source":{"schema":"public","table":"other","txId":10},"op":"c","after":{"id":2}}"#]);
    assert_eq!(playing.next().await, format!("idle at {end}"));
    playing.tail.stop().await;
}

#[tokio::test]
async fn a_log_resumes_behind_the_transaction_last_told_and_reaches_its_present() {
    let line = |id: i64| {
        format!(
            r#"{{"source":{{"schema":"public","table":"orders","txId":{id},"ts_ms":1}},"op":"c","after":{{"id":{id},"amount":null,"note":""}}}}"#
        )
    };
    let written = Written::new(&[HEADER]);
    let middle = written.append(&[&line(1)]);
    let end = written.append(&[&line(2)]);
    let present = written.replay().expect("reads").present().await.expect("a position");
    assert_eq!(present, Position::Offset(end));
    let mut playing = Playing::start(&written, Some(Position::Offset(middle))).await;
    let (_, event) = playing.events.recv().await.expect("an event");
    let Event::Transaction { position, changes, .. } = event else { panic!("{event:?}") };
    assert_eq!((position, changes.len()), (present, 1));
    assert_ne!(changes[0].1, Change::Insert(Row::empty()));
}

#[tokio::test]
async fn errors_name_file_and_line() {
    let ends = |lines: &'static [&'static str]| async move {
        let written = Written::new(lines);
        let mut playing = Playing::start(&written, None).await;
        loop {
            let event = playing.next().await;
            if let Some(error) = event.strip_prefix("failed: ") {
                return error.replace(&format!("{}/", written.folder.path().display()), "");
            }
        }
    };
    assert!(ends(&[HEADER, "{"]).await.starts_with("shop.jsonl:2: the line is not JSON: "));
    assert_eq!(
        ends(&[HEADER, "", r#"{"source":{"schema":"public","table":"orders"},"op":"c","after":{"id":1}}"#]).await,
        "shop.jsonl:3: the line holds no value of column `amount` of table `public.orders`"
    );
    assert_eq!(
        ends(&[HEADER, r#"{"source":{"schema":"public","table":"orders"},"op":"d","before":{"id":"x"}}"#]).await,
        "shop.jsonl:2: column `id` of table `public.orders` holds `x`, which is no Int64"
    );
    assert_eq!(
        ends(&[HEADER, r#"{"source":{"schema":"public","table":"orders"},"op":"x"}"#]).await,
        "shop.jsonl:2: `op` is none of `c`, `u`, `d`, `r`, `t`"
    );
    let bare = Written::new(&["{}"]);
    let error = bare.replay().err().expect("no declaration");
    assert!(error.to_string().contains("shop.jsonl:1: the log does not declare its tables"), "{error}");
    let declared = Written::new(&[HEADER]);
    let error = declared.replay().expect("reads").describe(&[TableName::new("public", "order")]).await;
    assert_eq!(error.expect_err("not declared").remedy(), Some("did you mean `public.orders`?"));
    std::fs::write(Path::new(&declared.path()), "").expect("empties");
    let (queue, _events) = mpsc::channel(1);
    let tables = Written::new(&[HEADER]).replay().expect("reads").describe(&[orders()]).await.expect("declared");
    std::fs::write(declared.folder.path().join("schema.json"), HEADER).expect("writes");
    let replay = Box::new(declared.replay().expect("reads"));
    let error = replay.start(tables, Some(Position::Offset(9)), Outlet::new(0, queue)).await.err().expect("too short");
    assert!(error.to_string().ends_with("position 9 is lost: the log holds only 0 bytes"), "{error}");
}
