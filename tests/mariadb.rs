//! MariaDB as a source, against a real server: what is copied, what is streamed and what the server prints
//! are the same rows, and each thing that it refuses is refused in words.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use driftless::error::{Error, Result};
use driftless::row::{Change, Codec, Datum, NewRow, Position, Row, Table, TableName};
use driftless::source::mysql::{MySql, Settings};
use driftless::source::{Event, Outlet, Source, Tail};
use support::mariadb::{MariaDb, Session};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

fn source(url: &str) -> Result<Box<MySql>> {
    let settings = Settings { url: url.to_string(), name: "shop".to_string(), pipeline: "test".to_string() };
    MySql::new(settings).map(Box::new)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made")
}

fn names(tables: &[&str]) -> Vec<TableName> {
    tables.iter().map(|t| TableName::new("shop", *t)).collect()
}

fn describe(url: &str, tables: &[&str]) -> Result<Vec<Table>> {
    runtime().block_on(async { source(url)?.describe(&names(tables)).await })
}

/// What it takes to go on: the server, the tables, their rows, the position.
type Stopped = (String, Vec<Table>, Vec<BTreeMap<Row, Row>>, Option<Position>);

/// A source at work, and its tables as they follow from what it told.
struct Follower {
    runtime: Runtime,
    events: mpsc::Receiver<(usize, Event)>,
    tail: Option<Tail>,
    url: String,
    tables: Vec<Table>,
    rows: Vec<BTreeMap<Row, Row>>,
    position: Option<Position>,
    /// What each transaction changed, in words.
    transactions: Vec<Vec<String>>,
}

impl Follower {
    fn start(mariadb: &MariaDb, tables: &[&str]) -> Follower {
        let url = mariadb.url("shop");
        let tables = describe(&url, tables).expect("can be described");
        Follower::resume(url, tables, Vec::new(), None).expect("starts")
    }

    fn resume(
        url: String,
        tables: Vec<Table>,
        mut rows: Vec<BTreeMap<Row, Row>>,
        position: Option<Position>,
    ) -> Result<Follower> {
        let runtime = runtime();
        let (sender, events) = mpsc::channel(64);
        let start = source(&url)?.start(tables.clone(), position.clone(), Outlet::new(0, sender));
        let tail = Some(runtime.block_on(start)?);
        rows.resize(tables.len(), BTreeMap::new());
        let mut follower = Follower { runtime, events, tail, url, tables, rows, position, transactions: Vec::new() };
        while follower.position.is_none() {
            follower.take()?;
        }
        Ok(follower)
    }

    /// Stops without a word to the server but what a dropped connection says.
    fn stop(mut self) -> Stopped {
        let tail = self.tail.take().expect("stopped once");
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, tail.stop()).await }).expect("stops");
        (self.url.clone(), self.tables.clone(), std::mem::take(&mut self.rows), self.position.clone())
    }

    fn present(&self) -> Position {
        let mut source = source(&self.url).expect("was parsed before");
        self.runtime.block_on(source.present()).expect("the server answers")
    }

    /// Takes events until all that is committed by now has been told.
    fn catch_up(&mut self) {
        let present = self.present();
        while !self.position.as_ref().is_some_and(|p| p.reaches(&present)) {
            self.take().unwrap_or_else(|e| panic!("{e}"));
        }
    }

    fn failure(&mut self) -> Error {
        loop {
            if let Err(error) = self.take() {
                return error;
            }
        }
    }

    fn take(&mut self) -> Result<()> {
        let next = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.events.recv()).await });
        match next.expect("told in time").expect("the source lives").1 {
            Event::Copied { table, rows } => {
                assert!(rows.len() <= 1000);
                for row in rows {
                    let key = self.key(table, &row);
                    assert!(self.rows[table].insert(key, row).is_none(), "copied twice");
                }
            }
            Event::CopyDone { position } => self.position = Some(position),
            Event::Idle { position } => {
                assert!(self.position.as_ref().is_none_or(|p| position.reaches(p)), "went back");
                self.position = Some(position);
            }
            Event::Transaction { changes, position, committed_us } => {
                assert!(self.position.as_ref().is_none_or(|p| position.reaches(p) && position != *p), "told twice");
                assert!((driftless::world::now_us() - committed_us).abs() < 600_000_000);
                let told = changes.into_iter().map(|(table, change)| self.apply(table, change)).collect();
                self.transactions.push(told);
                self.position = Some(position);
            }
            Event::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Panics where a change does not fit what came before: a row twice, a row missing.
    fn apply(&mut self, table: usize, change: Change) -> String {
        let codec = Codec::new(self.tables[table].schema.clone());
        let key_codec = Codec::new(
            self.tables[table].schema.project(&self.tables[table].key).expect("indices of this schema").into(),
        );
        match change {
            Change::Insert(row) => {
                let key = self.key(table, &row);
                let said = format!("+{}", codec.show(&row));
                assert!(self.rows[table].insert(key, row).is_none(), "inserted twice: {said}");
                said
            }
            Change::Update { old_key, new: NewRow::Whole(row) } => {
                let key = self.key(table, &row);
                let said =
                    format!("{}={}", old_key.as_ref().map_or(String::new(), |k| key_codec.show(k)), codec.show(&row));
                let old = self.rows[table].remove(old_key.as_ref().unwrap_or(&key));
                assert!(old.is_some(), "updated, but not there: {said}");
                assert!(self.rows[table].insert(key, row).is_none(), "updated onto another: {said}");
                said
            }
            Change::Update { new: NewRow::Patch(_), .. } => panic!("a full image is whole"),
            Change::Delete { key } => {
                let said = format!("-{}", key_codec.show(&key));
                assert!(self.rows[table].remove(&key).is_some(), "deleted, but not there: {said}");
                said
            }
            Change::Truncate => {
                self.rows[table].clear();
                "truncate".to_string()
            }
        }
    }

    fn key(&self, table: usize, row: &Row) -> Row {
        Codec::new(self.tables[table].schema.clone()).project(row, &self.tables[table].key)
    }

    /// The rows of a table as text, in the order of its key.
    fn texts(&self, table: usize) -> Vec<Vec<Option<String>>> {
        let schema = &self.tables[table].schema;
        let codec = Codec::new(schema.clone());
        let scale = |i: usize| match schema.field(i).data_type() {
            arrow::datatypes::DataType::Decimal128(_, scale) => *scale as usize,
            _ => 0,
        };
        let text = |(i, datum): (usize, Datum)| match datum {
            Datum::Null => None,
            Datum::Text(text) => Some(text),
            Datum::Bytes(bytes) => Some(bytes.iter().map(|b| format!("{b:02X}")).collect()),
            // As the server prints what is far from one.
            Datum::Float64(v) if v != 0.0 && v.abs() < 1e-14 => Some(format!("{v:e}")),
            Datum::Decimal(v) if scale(i) > 0 => {
                let digits = format!("{:0width$}", v.unsigned_abs(), width = scale(i) + 1);
                let (whole, part) = digits.split_at(digits.len() - scale(i));
                Some(format!("{}{whole}.{part}", if v < 0 { "-" } else { "" }))
            }
            other => Some(other.to_string()),
        };
        let row = |row: &Row| codec.datums(row).into_iter().enumerate().map(text).collect();
        self.rows[table].values().map(row).collect()
    }
}

const EVERY_TYPE: &str = "
    create table t (
      id int primary key, ti tinyint, tu tinyint unsigned, si smallint, su smallint unsigned, mi mediumint,
      mu mediumint unsigned, i int, iu int unsigned, b bigint, bu bigint unsigned, y year, after_year int unsigned,
      d5 decimal(5,2), d38 decimal(38,10), du decimal(10,0) unsigned, d65 decimal(65,30), f float, g double,
      da date, dt datetime, dt1 datetime(1), dt6 datetime(6), ts timestamp null, ts3 timestamp(3) null, ts6 timestamp(6) null,
      tm time, tm2 time(2), tm6 time(6), c char(10), v varchar(20), v300 varchar(300), tx text, lt longtext,
      la varchar(20) character set latin1, asc_ char(4) character set ascii, u3 varchar(9) character set utf8mb3,
      e enum('a','it''s','','é'), s set('x','y','z'), el enum('ä','b') character set latin1, j json,
      bi binary(4), vb varbinary(8), bl blob, b1 bit, b9 bit(9), b64 bit(64),
      virt int as (i + 1) virtual, stor int as (i + 2) stored, last varchar(5)
    );";

const EVERY_VALUE: &str = "
    insert into t values
      (1, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808,
       18446744073709551615, 1901, 4294967295, -999.99, -1234567890123456789012345678.0123456789, 4294967295,
       -12345678901234567890123456789012345.000000000000000000000000000001, -1.5, 2.2250738585072014e-308,
       '0001-01-01', '9999-12-31 23:59:59', '1969-12-31 23:59:59.9', '2024-02-29 12:34:56.789012',
       '1970-01-01 00:00:01', '2024-02-29 12:34:56.789', '2038-01-19 03:14:07.999999',
       '-838:59:59', '-00:00:00.01', '-12:34:56.000001', ' pad  ', 'trail  ', repeat('é', 300), 'text', '日本😀',
       'Größe €', 'abcd', 'žluť', 'it''s', 'x,z', 'ä', '{\"a\": [1, null]}',
       x'01000000', x'0100', x'00ff00', 1, b'101010101', 18446744073709551615, default, default, 'end'),
      (2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2155, 0, 0, 0, 0, 0, 0, 0, '1970-01-01', '1970-01-01', '1970-01-01',
       '1970-01-01', null, '1970-01-01 00:00:00.5', '1970-01-01 00:00:00.5', 0, 0, 0, '', '', '', '', '',
       '', '', '', '', '', 'b', '0', '', '', '', 0, 0, 0, default, default, ''),
      (3, 1, 1, 1, 1, -70000, 70000, 1, 1, 1, 1, 0, 1, 1.5, 0.0000000001, 1, 0.5, 16777216, 0.1,
       '2000-02-29', '2000-02-29 01:02:03', '2000-02-29 01:02:03.5', '2000-02-29 01:02:03.000001',
       '2024-06-30 22:00:00', '2024-06-30 22:00:00.001', '2024-06-30 22:00:00.000001', '838:59:59', '00:00:00.99',
       '838:59:58.999999', 'c', 'v', repeat('x', 299), repeat('t', 60000), repeat('l', 70000), 'ÿ', 'a', 'ü',
       'é', 'x', 'b', '[]', x'ffffffff', x'00', x'', 0, 511, 1, default, default, 'z');
    insert into t (id) values (-4);";

/// Every column as numbers or text that does not depend on how a client shows it.
const EVERY_TEXT: &str = "
    select id, ti, tu, si, su, mi, mu, i, iu, b, bu, y + 0, after_year, d5, d38, du, d65, f + 0e0, g,
      datediff(da, '1970-01-01'), timestampdiff(microsecond, '1970-01-01', dt),
      timestampdiff(microsecond, '1970-01-01', dt1), timestampdiff(microsecond, '1970-01-01', dt6),
      timestampdiff(microsecond, '1970-01-01', ts), timestampdiff(microsecond, '1970-01-01', ts3),
      timestampdiff(microsecond, '1970-01-01', ts6), cast(time_to_sec(tm) * 1000000 as signed),
      cast(time_to_sec(tm2) * 1000000 as signed), cast(time_to_sec(tm6) * 1000000 as signed),
      c, v, v300, tx, lt, la, asc_, u3, e, s, el, j, hex(bi), hex(vb), hex(bl), b1 + 0, b9 + 0, b64 + 0,
      virt, stor, last from t order by id";

#[test]
fn every_type_is_the_same_copied_streamed_and_printed() {
    for (metadata, checksum) in [("FULL", "CRC32"), ("MINIMAL", "NONE"), ("NO_LOG", "CRC32")] {
        let mariadb =
            MariaDb::with(&[&format!("--binlog-row-metadata={metadata}"), &format!("--binlog-checksum={checksum}")]);
        let mut session = mariadb.create_database("shop", EVERY_TYPE);
        // The account's own zone and mode must not matter.
        session.execute("set global time_zone = '+05:00', global sql_mode = 'PAD_CHAR_TO_FULL_LENGTH'");
        let mut streamed = Follower::start(&mariadb, &["t"]);
        session.execute("set names utf8mb4, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'");
        session.execute(EVERY_VALUE);
        streamed.catch_up();
        let texts = streamed.texts(0);
        // A server has one follower of a name: the next would put it off, sooner or later.
        let (_, tables, streamed, _) = streamed.stop();
        let copied = Follower::start(&mariadb, &["t"]);
        let copied_texts = copied.texts(0);
        let (_, _, copied, _) = copied.stop();
        let printed = session.query(EVERY_TEXT);
        assert_eq!(printed.len(), 4);
        for (row, (told, printed)) in texts.iter().zip(&printed).enumerate() {
            for (i, (told, printed)) in told.iter().zip(printed).enumerate() {
                let column = tables[0].schema.field(i).name();
                assert_eq!(told, printed, "{metadata}: `{column}` of row {row}, streamed and printed");
            }
        }
        for (i, (a, b)) in texts.iter().zip(&copied_texts).enumerate() {
            for (j, (a, b)) in a.iter().zip(b).enumerate() {
                let column = tables[0].schema.field(j).name();
                assert_eq!(a, b, "{metadata}: `{column}` of row {i}, streamed and copied");
            }
        }
        assert_eq!(streamed, copied, "{metadata}");
        // Columns that no model uses are passed over.
        let few = vec![tables[0].pruned(|c| matches!(c, "mi" | "after_year" | "last"))];
        let mut few = Follower::resume(mariadb.url("shop"), few, Vec::new(), None).expect("starts");
        session.execute("update t set last = 'other', mi = -1 where id = 1; delete from t where id = 3");
        few.catch_up();
        let printed = session.query("select id, mi, after_year, last from t order by id");
        assert_eq!(few.texts(0), printed, "{metadata}");
    }
}

#[test]
fn transactions_are_whole_and_what_was_rolled_back_is_never_told() {
    let mariadb = MariaDb::start();
    let mut session = mariadb.create_database(
        "shop",
        "create table a (id int primary key, n int); create table b (k1 varchar(9), k2 int, n int, primary key (k2, k1));
         create table other (id int primary key) engine = myisam; insert into a values (1, 1), (2, 2)",
    );
    let mut follower = Follower::start(&mariadb, &["a", "b"]);
    session.execute(
        "begin; insert into a values (3, 3); insert into b values ('x', 1, 1); update a set n = 9 where id = 1; commit;
         begin; insert into a values (4, 4); rollback;
         begin; insert into a values (5, 5); savepoint s; insert into a values (6, 6); rollback to s;
                insert into a values (7, 7); commit;
         begin; insert into a values (8, 8); savepoint s; insert into a values (9, 9); insert into other values (1);
                rollback to s; insert into a values (10, 10); commit;
         begin; insert into a values (11, 11); insert into other values (2); rollback;
         update b set k1 = 'y' where k2 = 1;
         update a set id = id + 100 where id > 6 order by id desc;
         delete from a where id = 2;
         replace into a values (1, 10);
         insert into a values (1, 0) on duplicate key update n = 11;
         begin; truncate table b; insert into b values ('z', 3, 3); commit;
         insert into other values (3)",
    );
    follower.catch_up();
    let told: Vec<String> = follower.transactions.iter().map(|t| t.join(" ; ")).collect();
    assert_eq!(
        told,
        [
            "+id=3 n=3 ; +k1=\"x\" k2=1 n=1 ; =id=1 n=9",
            "+id=5 n=5 ; +id=7 n=7",
            "+id=8 n=8 ; +id=10 n=10",
            "k2=1 k1=\"x\"=k1=\"y\" k2=1 n=1",
            "id=10=id=110 n=10 ; id=8=id=108 n=8 ; id=7=id=107 n=7",
            "-id=2",
            "=id=1 n=10",
            "=id=1 n=11",
            "truncate",
            "+k1=\"z\" k2=3 n=3",
        ]
    );
    assert_eq!(follower.texts(0), session.query("select id, n from a order by id"));
}

#[test]
fn an_idle_server_is_seen_to_be_idle() {
    let mariadb = MariaDb::start();
    let mut session =
        mariadb.create_database("shop", "create table t (id int primary key); create table other (id int primary key)");
    let mut follower = Follower::start(&mariadb, &["t"]);
    follower.catch_up();
    // Other tables, another domain, a statement without rows: none of ours, all of it told.
    session.execute(
        "insert into other values (1); set gtid_domain_id = 7; insert into other values (2);
         set gtid_domain_id = 0; create table third (id int)",
    );
    let start = std::time::Instant::now();
    follower.catch_up();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(follower.transactions.is_empty());
    let present = follower.present();
    assert_eq!(follower.position, Some(present));
    follower.stop();
}

#[test]
fn a_position_resumes_with_nothing_twice_and_nothing_missing() {
    let mut mariadb =
        MariaDb::with(&["--max-binlog-size=64K", "--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"]);
    let mut session = mariadb.create_database(
        "shop",
        "create table t (id int primary key auto_increment, n int, who varchar(20));
         insert into t (n, who) select seq, 'first' from seq_1_to_3500",
    );
    let url = mariadb.url("shop");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = |domain: u32| {
        let (url, stop) = (url.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut session = Session::open(&url).expect("connects");
            session.execute(&format!("set gtid_domain_id = {domain}"));
            let mut i = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                i += 1;
                // Writers may meet on a row, and one of them is told to try again: that is theirs.
                let _ = session.try_execute(&format!(
                    "begin; insert into t (n, who) values ({i}, 'w{domain}'), ({i}, 'v{domain}');
                     update t set n = n + 1 where id = {};
                     {}
                     delete from t where id = {}; {}",
                    1 + i * 7 % 3000,
                    if i % 5 == 0 { "savepoint s; delete from t where id % 97 = 3; rollback to s;" } else { "" },
                    i * 13 % 3000,
                    if i % 3 == 0 { "rollback" } else { "commit" }
                ));
                let _ = session.try_execute("rollback");
            }
        })
    };
    let writers: Vec<_> = (0..3).map(writer).collect();
    let mut follower = Follower::start(&mariadb, &["t"]);
    for _ in 0..8 {
        for _ in 0..60 {
            follower.take().expect("goes on");
        }
        let (url, tables, rows, position) = follower.stop();
        follower = Follower::resume(url, tables, rows, position).expect("resumes");
    }
    // Cut by the server: the source mends that itself.
    for round in 0..4 {
        let dumps = session.query("select id from information_schema.processlist where command = 'Binlog Dump'");
        for dump in dumps.iter().flatten().flatten() {
            let _ = session.try_execute(&format!("kill {dump}"));
        }
        for _ in 0..40 {
            follower.take().unwrap_or_else(|e| panic!("round {round}: {e}"));
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writers.into_iter().for_each(|w| w.join().expect("a writer ends"));
    follower.catch_up();
    let texts = |session: &mut Session| session.query("select id, n, who from t order by id");
    assert!(follower.transactions.len() > 50, "the writers wrote");
    assert_eq!(follower.texts(0), texts(&mut session));
    // The whole server goes and comes back.
    drop(session);
    mariadb.crash();
    mariadb.start_again();
    let mut session = mariadb.session("shop");
    session.execute("insert into t (n, who) values (0, 'after')");
    follower.catch_up();
    assert_eq!(follower.texts(0), texts(&mut session));
}

#[test]
fn changes_of_a_table_that_is_used_are_taken_up_or_said() {
    for metadata in ["FULL", "NO_LOG"] {
        let mariadb = MariaDb::with(&[&format!("--binlog-row-metadata={metadata}")]);
        let mut session =
            mariadb.create_database("shop", "create table t (id int primary key, a varchar(5), b int, c int)");
        let tables = describe(&mariadb.url("shop"), &["t"]).expect("can be described");
        let tables = vec![tables[0].pruned(|c| c != "c")];
        let mut follower = Follower::resume(mariadb.url("shop"), tables.clone(), Vec::new(), None).expect("starts");
        for sql in [
            "insert into t values (1, 'x', 1, 1); alter table t add column z int default 5;
             insert into t values (2, 'y', 2, 2, 2);",
            "alter table t modify a varchar(300); alter table t add index (b);
             insert into t values (3, repeat('z', 299), 3, 3, 3)",
        ] {
            session.execute(sql);
            // Without names in the binlog, rows between two changes of columns can only be read at once.
            if metadata == "NO_LOG" {
                follower.catch_up();
            }
        }
        follower.catch_up();
        session.execute(
            "alter table t drop column c, add column early int first; insert into t (id, a, b) values (4, 'q', 4)",
        );
        follower.catch_up();
        assert_eq!(follower.texts(0), session.query("select id, a, b from t order by id"), "{metadata}");
        follower.stop();
        session.execute("set sql_mode = ''; create table kept like t; insert into kept select * from t");
        for (sql, says) in [
            ("alter table t modify b bigint", "column `b` of table `shop.t` was dropped or changed"),
            ("alter table t change b bb int", "column `b` of table `shop.t` was dropped or changed"),
            ("alter table t drop column b", "column `b` of table `shop.t` was dropped or changed"),
            ("alter table t modify a varchar(2)", "column `a` of table `shop.t` was dropped or changed"),
            (
                "alter ignore table t add unique (a)",
                "ALTER IGNORE changed rows of table `shop.t`, which the binlog does not tell",
            ),
            (
                "alter table t drop primary key, add primary key (b, id)",
                "the primary key of table `shop.t` has changed",
            ),
            ("rename table t to t2; create table t like t2", "table `shop.t` was dropped or renamed"),
            ("drop table t", "table `shop.t` was dropped or renamed"),
        ] {
            let mut follower = Follower::start(&mariadb, &["t"]);
            session.execute(sql);
            let error = follower.failure();
            assert_eq!(error.what(), says, "{metadata}: {sql}");
            assert!(error.remedy().is_some() && error.who() == driftless::error::Who::Operator);
            follower.stop();
            session.execute("drop table if exists t, t2; create table t like kept; insert into t select * from kept");
        }
    }
}

#[test]
fn what_the_binlog_cannot_tell_is_refused() {
    let mariadb = MariaDb::start();
    let mut session = mariadb.create_database("shop", "create table t (id int primary key, n int, at date)");
    let mut cases = vec![
        (
            "set session binlog_format = statement; update t set n = 1",
            "table `shop.t` was changed outside the row format",
        ),
        (
            "set session binlog_row_image = minimal; update t set n = 5 where id = 1",
            "a change of table `shop.t` came without its column `id`",
        ),
        (
            "set global log_bin_compress_min_len = 10; set global log_bin_compress = on; insert into t select seq, 7, '2024-01-01' from seq_10_to_90",
            "the binlog is compressed, which cannot be read yet",
        ),
        (
            "set session sql_mode = ''; insert into t values (4, 4, 0)",
            "column `at` of table `shop.t` holds a date that no calendar has",
        ),
        (
            "xa start 'x'; insert into t values (5, 5, null); xa end 'x'; xa prepare 'x'; xa commit 'x'",
            "an XA transaction changed a table that is followed",
        ),
        ("drop database shop", "database `shop` was dropped"),
    ];
    for (sql, says) in cases.drain(..) {
        session.execute("delete from t; insert into t values (1, 1, null)");
        let mut follower = Follower::start(&mariadb, &["t"]);
        let mut other = mariadb.session("shop");
        other.execute(sql);
        let error = follower.failure();
        assert_eq!(error.what(), says, "{sql}");
        assert!(error.remedy().is_some(), "{sql}");
        session.execute("set global log_bin_compress = off");
    }
}

#[test]
fn a_position_that_the_server_has_lost_is_said_plainly() {
    let mariadb = MariaDb::start();
    let mut session = mariadb.create_database("shop", "create table t (id int primary key)");
    let follower = Follower::start(&mariadb, &["t"]);
    let (url, tables, rows, position) = follower.stop();
    session.execute("insert into t values (1); flush binary logs; insert into t values (2); flush binary logs");
    // The server keeps a log until its engine has made it durable, and says nothing.
    support::wait_for("the server to purge", PATIENCE, || {
        let logs = session.query("show binary logs");
        let last = logs.last().and_then(|row| row[0].clone()).expect("a binlog is there");
        session.execute(&format!("purge binary logs to '{last}'"));
        (session.query("show binary logs").len() == 1).then_some(())
    });
    let mut follower = Follower::resume(url.clone(), tables.clone(), rows, position).expect("starts");
    let error = follower.failure();
    assert!(error.what().contains("no longer has its binlog after `0-1-"), "{error}");
    assert!(error.remedy().is_some_and(|h| h.contains("copy source `shop` anew")));
    let other = Follower::resume(url, tables, Vec::new(), Some(Position::Lsn(7))).err().expect("refused");
    assert_eq!(other.what(), "position `0/7` of source `shop` is not one of MariaDB");
}

/// Who must act, what is wrong, and the hint.
fn said(result: Result<impl Sized>) -> (String, String) {
    let error = result.err().expect("refused");
    let whole = format!("{error} {:?} {error:?}", error.remedy());
    assert!(!whole.contains("s3cret"), "{whole}");
    (error.what().to_string(), error.remedy().expect("one hint").to_string())
}

#[test]
fn each_refusal_says_what_and_how_to_lift_it() {
    let mariadb = MariaDb::start();
    let mut session = mariadb.create_database(
        "shop",
        "create table orders (id int primary key, n int); create table keyless (n int);
         create table versioned (id int primary key) with system versioning; create view seen as select * from orders;
         create table old (id int primary key) engine = myisam;
         create table child (id int primary key, p int, constraint fk foreign key (p) references orders (id) on delete cascade);
         create table parented (id int primary key, p int, constraint fk2 foreign key (p) references orders (id));
         create table odd (id int primary key, g point, u uuid, k varchar(9) character set cp1251, n int);
         create table odd_key (id uuid primary key);
         create user poor@'127.0.0.1' identified by 's3cret'; grant select on shop.orders to poor@'127.0.0.1';
         create user half@'127.0.0.1' identified by 's3cret'; grant replication slave on *.* to half@'127.0.0.1';
         grant select on shop.* to half@'127.0.0.1';
         create user fair@'127.0.0.1' identified by 's3cret';
         grant replication slave, binlog monitor on *.* to fair@'127.0.0.1'; grant select (id) on shop.orders to fair@'127.0.0.1';",
    );
    let (url, port) = (mariadb.url("shop"), mariadb.port());
    let at = format!("`127.0.0.1:{port}`");
    let user = |name: &str| format!("mysql://{name}:s3cret@127.0.0.1:{port}/shop");
    let one = |tables: &[&str]| said(describe(&url, tables));
    let pair = |what: &str, hint: &str| (what.replace("`AT`", &at), hint.to_string());

    assert_eq!(
        one(&["ordesr"]),
        pair("no table `shop.ordesr` at `AT`, or no right to see it", "did you mean `orders`?")
    );
    assert_eq!(
        one(&["keyless"]),
        pair("table `shop.keyless` has no primary key", "ALTER TABLE `shop`.`keyless` ADD PRIMARY KEY (…)")
    );
    assert_eq!(one(&["old"]).0, "table `shop.old` has engine MyISAM, which has no consistent snapshot");
    assert_eq!(one(&["versioned"]).0, "`shop.versioned` is a system versioned, which a binlog does not hold");
    assert_eq!(one(&["seen"]).0, "`shop.seen` is a view, which a binlog does not hold");
    assert_eq!(
        one(&["child"]).0,
        "foreign key `fk` of table `shop.child` has ON DELETE CASCADE, whose changes no binlog holds"
    );
    assert_eq!(
        one(&["odd_key"]).0,
        "column `id` of table `shop.odd_key` has type `uuid`, and is part of its primary key"
    );
    let held = |table: &Table| table.schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    let tables = describe(&url, &["odd", "parented"]).expect("described");
    assert_eq!(held(&tables[0]), ["id", "n"]);
    assert!(!tables[0].schema.field(0).is_nullable() && tables[0].schema.field(1).is_nullable());

    let refused = |url: &str| said(describe(url, &["orders"]));
    assert_eq!(
        refused(&format!("mysql://poor:wrong-s3cret@127.0.0.1:{port}/shop")),
        pair(
            "wrong password or unknown account `poor` at `AT`",
            "set MYSQL_PWD, or the account in `url` of source `shop`"
        )
    );
    assert_eq!(refused(&mariadb.url("shpo")).0, pair("no database `shpo` at `AT`", "").0);
    assert_eq!(refused(&mariadb.url("")).0, "`url` of source `shop` names no database");
    assert_eq!(refused("mysql://root:s3cret@127.0.0.1:1/shop").0, "cannot talk to MariaDB at `127.0.0.1:1`");
    assert_eq!(
        refused(&user("poor")),
        pair(
            "account `poor@127.0.0.1` at `AT` lacks the right REPLICATION SLAVE",
            "GRANT REPLICATION SLAVE ON *.* TO 'poor'@'127.0.0.1'"
        )
    );
    assert_eq!(refused(&user("half")).1, "GRANT BINLOG MONITOR ON *.* TO 'half'@'127.0.0.1'");

    for (setting, what, hint) in [
        ("binlog_format = 'MIXED'", "writes its binlog by MIXED, not by row", "SET GLOBAL binlog_format = ROW"),
        ("binlog_row_image = 'MINIMAL'", "writes MINIMAL row images, not FULL", "SET GLOBAL binlog_row_image = FULL"),
        (
            "log_bin_compress = 1",
            "compresses its binlog, which cannot be read yet",
            "SET GLOBAL log_bin_compress = OFF",
        ),
    ] {
        session.execute(&format!("set global {setting}"));
        assert_eq!(refused(&url), pair(&format!("`AT` {what}"), hint));
        session.execute(hint);
    }
    let tables = describe(&user("fair"), &["orders"]).expect("sees the columns that it may");
    assert_eq!(held(&tables[0]), ["id"]);

    let silent = MariaDb::with(&["--skip-log-bin"]);
    silent.create_database("shop", "create table orders (id int primary key)");
    assert!(refused(&silent.url("shop")).0.ends_with("writes no binlog"));
    let filtered = MariaDb::with(&["--binlog-ignore-db=shop"]);
    filtered.create_database("shop", "create table orders (id int primary key)");
    assert!(
        refused(&filtered.url("shop")).0.ends_with("keeps database `shop` out of its binlog by `binlog_ignore_db`")
    );
}
