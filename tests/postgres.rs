//! Postgres as a source, against a real server: what it tells equals what the database holds, nothing twice
//! and nothing missing, and what cannot be followed is refused with a way out.

mod support;

use arrow::datatypes::{DataType, TimeUnit};
use driftless::error::{Error, Who};
use driftless::row::{Change, Codec, Datum, JSON, NewRow, Position, Row, Table, TableName};
use driftless::source::postgres::{Postgres, Settings};
use driftless::source::{Event, Outlet, Source, Tail};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};
use support::postgres::{GUARDED_PASSWORD, GUARDED_ROLE, Postgres as Server, Session};
use support::wait_for;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(40);

/// One server for the tests that run at the same time; the last to leave ends it.
fn server() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|broken| broken.into_inner());
    if let Some(server) = shared.upgrade() {
        return server;
    }
    // Little memory for decoding, so that large transactions are streamed before they commit; little
    // patience with a silent reader.
    let settings = [("logical_decoding_work_mem", "64kB"), ("wal_sender_timeout", "3s"), ("max_connections", "200")];
    let server = Arc::new(Server::with(&settings));
    *shared = Arc::downgrade(&server);
    server
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime can be made")
    })
}

/// A database of its own within the server, and the source that follows it.
struct Shop {
    server: Arc<Server>,
    name: &'static str,
    session: Session,
}

impl Shop {
    fn new(name: &'static str, sql: &str) -> Shop {
        let server = server();
        let session = server.create_database(name, sql);
        Shop { server, name, session }
    }

    fn session(&self) -> Session {
        self.server.session(self.name)
    }

    fn source(&self) -> Postgres {
        source(&self.server.url(self.name), self.name)
    }

    fn describe(&self, table: &str) -> Result<Table, Error> {
        let names = [TableName::new("public", table)];
        runtime().block_on(self.source().describe(&names)).map(|mut tables| tables.remove(0))
    }

    fn present(&self) -> Position {
        runtime().block_on(self.source().present()).expect("the server says how far it is")
    }

    fn start(&self, tables: &[&str], resume: Option<Position>) -> Following {
        self.try_start(tables, resume, 1024).expect("the source starts")
    }

    fn try_start(&self, tables: &[&str], resume: Option<Position>, waiting: usize) -> Result<Following, Error> {
        let mut source = self.source();
        let names: Vec<TableName> = tables.iter().map(|t| TableName::new("public", *t)).collect();
        let tables = runtime().block_on(source.describe(&names))?;
        let tables: Vec<Table> = tables.iter().map(|table| table.pruned(|column| column != "unused")).collect();
        let (queue, events) = mpsc::channel(waiting);
        let starting = Box::new(source).start(tables.clone(), resume, Outlet::new(0, queue));
        Ok(Following { tail: runtime().block_on(starting)?, events, tables })
    }

    fn slot(&mut self, column: &str) -> Option<String> {
        let slot = format!("driftless_{}", self.name);
        self.session.value(&format!("SELECT {column} FROM pg_replication_slots WHERE slot_name = '{slot}'"))
    }

    fn model(&self, following: &Following) -> Model {
        Model::new(&following.tables)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // A slot left behind would hold log of a server that other tests still use.
        if !std::thread::panicking() {
            runtime().block_on(self.source().forget()).expect("slot and publication can be dropped");
            assert_eq!(self.slot("slot_name"), None);
        }
    }
}

fn source(url: &str, name: &str) -> Postgres {
    let own = format!("driftless_{name}");
    Postgres::new(Settings { url: url.into(), name: "shop".into(), slot: own.clone(), publication: own })
        .expect("the url is right")
}

/// A source at work.
struct Following {
    tail: Tail,
    events: mpsc::Receiver<(usize, Event)>,
    tables: Vec<Table>,
}

impl Following {
    fn next(&mut self) -> Event {
        let next = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
        runtime().block_on(next).expect("an event comes").expect("the source lives").1
    }

    /// Everything up to `position`.
    fn until(&mut self, position: &Position) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next();
            let reached = match &event {
                Event::Failed(error) => panic!("the source failed: {error}"),
                other => at(other).is_some_and(|here| here.reaches(position)),
            };
            events.push(event);
            if reached {
                return events;
            }
        }
    }

    fn failure(&mut self) -> Error {
        loop {
            if let Event::Failed(error) = self.next() {
                return error;
            }
        }
    }

    fn show(&self, events: &[Event]) -> Vec<String> {
        events.iter().filter_map(|event| show(&self.tables, event)).collect()
    }

    fn stop(self) {
        runtime().block_on(self.tail.stop());
    }
}

fn at(event: &Event) -> Option<&Position> {
    match event {
        Event::CopyDone { position } | Event::Transaction { position, .. } | Event::Idle { position } => Some(position),
        Event::Copied { .. } | Event::Failed(_) => None,
    }
}

/// One line per event that carries rows.
fn show(tables: &[Table], event: &Event) -> Option<String> {
    let codec = |table: usize| Codec::new(tables[table].schema.clone());
    let key = |table: usize, row: &Row| key_codec(&tables[table]).show(row);
    let change = |(table, change): &(usize, Change)| match change {
        Change::Insert(row) => format!("+ {}", codec(*table).show(row)),
        Change::Update { old_key, new } => {
            let old = old_key.as_ref().map_or(String::new(), |old| format!("{} -> ", key(*table, old)));
            match new {
                NewRow::Whole(row) => format!("~ {old}{}", codec(*table).show(row)),
                NewRow::Patch(cells) => {
                    let cells = cells.iter().map(|c| c.as_ref().map_or("same".to_string(), Datum::to_string));
                    format!("~ {old}{}", cells.collect::<Vec<_>>().join(" "))
                }
            }
        }
        Change::Delete { key: row } => format!("- {}", key(*table, row)),
        Change::Truncate => format!("truncate {}", tables[*table].name.name),
    };
    match event {
        Event::Copied { table, rows } => {
            let rows: Vec<String> = rows.iter().map(|row| codec(*table).show(row)).collect();
            Some(format!("copied {}", rows.join("; ")))
        }
        Event::Transaction { changes, .. } => Some(changes.iter().map(change).collect::<Vec<_>>().join("; ")),
        _ => None,
    }
}

fn key_codec(table: &Table) -> Codec {
    Codec::new(table.schema.project(&table.key).expect("the key is within the schema").into())
}

/// What a database would hold that had lived through the events, and not one of them twice.
struct Model {
    tables: Vec<Table>,
    rows: Vec<BTreeMap<Row, Row>>,
    position: Option<Position>,
    transactions: usize,
}

impl Model {
    fn new(tables: &[Table]) -> Model {
        Model { tables: tables.into(), rows: vec![BTreeMap::new(); tables.len()], position: None, transactions: 0 }
    }

    fn take(&mut self, event: Event) {
        if let Some(position) = at(&event) {
            let grown = self.position.as_ref().is_none_or(|old| position.reaches(old) && position != old);
            assert!(grown, "{:?} after {:?}", position, self.position);
            self.position = Some(position.clone());
        }
        match event {
            Event::Copied { table, rows } => rows.into_iter().for_each(|row| self.insert(table, row)),
            Event::Transaction { changes, committed_us, .. } => {
                assert!(!changes.is_empty());
                assert!((driftless::world::now_us() - committed_us).abs() < 600_000_000, "committed a while ago");
                self.transactions += 1;
                changes.into_iter().for_each(|(table, change)| self.change(table, change));
            }
            Event::CopyDone { .. } | Event::Idle { .. } => {}
            Event::Failed(error) => panic!("the source failed: {error}"),
        }
    }

    fn change(&mut self, table: usize, change: Change) {
        match change {
            Change::Insert(row) => self.insert(table, row),
            Change::Delete { key } => {
                self.rows[table].remove(&key).expect("what is deleted was there");
            }
            Change::Truncate => self.rows[table].clear(),
            Change::Update { old_key, new } => {
                let codec = Codec::new(self.tables[table].schema.clone());
                let key = &self.tables[table].key;
                let new_key = match &new {
                    NewRow::Whole(row) => codec.project(row, key),
                    NewRow::Patch(cells) => {
                        assemble(&key.iter().map(|i| cells[*i].clone().expect("a key is whole")).collect::<Vec<_>>())
                    }
                };
                let old_key = old_key.unwrap_or_else(|| new_key.clone());
                let old = self.rows[table].remove(&old_key).expect("what is updated was there");
                let row = match new {
                    NewRow::Whole(row) => row,
                    NewRow::Patch(cells) => {
                        let cells = cells.into_iter().zip(codec.datums(&old)).map(|(new, old)| new.unwrap_or(old));
                        assemble(&cells.collect::<Vec<_>>())
                    }
                };
                self.insert(table, row);
            }
        }
    }

    fn insert(&mut self, table: usize, row: Row) {
        let key = Codec::new(self.tables[table].schema.clone()).project(&row, &self.tables[table].key);
        assert_eq!(self.rows[table].insert(key, row), None, "a row told twice");
    }

    /// The rows of a table with columns `id bigint, v text, n numeric(12,2)`.
    fn shown(&self, table: usize) -> Vec<String> {
        let codec = Codec::new(self.tables[table].schema.clone());
        self.rows[table].values().map(|row| codec.show(row)).collect()
    }
}

fn assemble(cells: &[Datum]) -> Row {
    let mut writer = driftless::row::RowWriter::default();
    cells.iter().for_each(|cell| writer.push(cell));
    writer.finish()
}

/// What [`Model::shown`] should give for table `t`.
fn selected(session: &mut Session) -> Vec<String> {
    let sql = "SELECT 'id=' || id || ' v=' || coalesce('\"' || v || '\"', 'NULL') || ' n=' || \
               coalesce((n * 100)::bigint::text, 'NULL') FROM t ORDER BY id";
    session.query(sql).into_iter().map(|row| row[0].clone().expect("no part is NULL")).collect()
}

const T: &str = "CREATE TABLE t (id bigint PRIMARY KEY, v text, n numeric(12,2));";

#[test]
fn every_type_reads_alike_from_copy_and_stream() {
    let mut shop = Shop::new(
        "types",
        "CREATE TYPE mood AS ENUM ('sad', 'so so');
         CREATE DOMAIN price AS numeric(8,3);
         CREATE DOMAIN dear AS price CHECK (value > 0);
         CREATE TYPE pair AS (a int, b text);
         CREATE TABLE kinds (
           id int PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric(20,4), bare numeric,
           deep numeric(60,2), wide numeric(3,-2), tiny numeric(2,5), t text, vc varchar(9), c char(5), name name,
           bytes bytea, d date, tm time, ttz timetz, ts timestamp, tz timestamptz, iv interval, u uuid, j json,
           jb jsonb, m mood, ai int[], at text[], r int4range, ip inet, mac macaddr, bits bit varying, dom dear,
           comp pair, x xml, o oid, \"weird \"\"name\"\" ü\" text, made int GENERATED ALWAYS AS (i4 / 2) STORED);",
    );
    let values = [
        "true, -32768, 2147483647, -9223372036854775808, 1.1, 0.1, 12345678.1234, 1e30, 1.10, 12300, 0.00012,
         E'tab\\there\\nline\\\\back \\x7f \"é🙂', 'ab', 'ab', 'nm', '\\x00ff5c0a', '0044-03-15 BC', '23:59:59.999999',
         '01:02:03+04', '1999-12-31 23:59:59.5', '2024-02-29 12:00:00+05:30', '1 year 2 days 03:04:05.6',
         'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\":  1}', '{\"b\": 2, \"a\": 1}', 'so so', '{1,NULL,3}',
         '{\"a b\",\"c\\\"\"}', '[1,5)', '192.168.0.1/24', '08:00:2b:01:02:03', '101', 7.5, '(1,\"x y\")', '<a>b</a>', 42, 'w'",
        "false, 0, 0, 0, 'NaN', '-Infinity', -0.0001, 'NaN', 0, -100, 0, '', '', '', '', '', '5874897-12-31', '00:00',
         '00:00+00', '0001-01-01 00:00:00 BC', '4713-01-01 00:00:00+00 BC', '-1 mons', '00000000-0000-0000-0000-000000000000',
         'null', 'null', 'sad', '{}', '{}', 'empty', '::1/64', '00:00:00:00:00:00', '', 1, '(,)', '<a/>', 0, '\\N'",
        "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
         NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    ];
    // What the session prints must not follow how the database likes to print.
    shop.session.execute(
        "ALTER DATABASE types SET datestyle = 'German'; ALTER DATABASE types SET timezone = 'Asia/Kolkata';
         ALTER DATABASE types SET intervalstyle = 'iso_8601'; ALTER DATABASE types SET bytea_output = 'escape';
         ALTER DATABASE types SET extra_float_digits = -5; SET bytea_output = 'hex'; SET extra_float_digits = 3",
    );
    let insert = |session: &mut Session, from: usize| {
        for (i, values) in values.iter().enumerate() {
            session.execute(&format!("INSERT INTO kinds VALUES ({}, {values})", from + i));
        }
    };
    insert(&mut shop.session, 0);
    let mut following = shop.start(&["kinds"], None);
    let table = following.tables[0].clone();
    insert(&mut shop.session, 10);
    let mut model = shop.model(&following);
    following.until(&shop.present()).into_iter().for_each(|event| model.take(event));
    following.stop();

    let codec = Codec::new(table.schema.clone());
    let rows: Vec<Vec<Datum>> = model.rows[0].values().map(|row| codec.datums(row)).collect();
    assert_eq!(rows.len(), 6);
    for i in 0..3 {
        // As text, since NaN is not equal to itself as a Datum.
        let (copied, streamed) = (&rows[i][1..], &rows[i + 3][1..]);
        assert_eq!(format!("{copied:?}"), format!("{streamed:?}"));
        assert_eq!((&rows[i][0], &rows[i + 3][0]), (&Datum::Int32(i as i32), &Datum::Int32(i as i32 + 10)));
    }
    assert!(rows[2][1..].iter().all(|datum| *datum == Datum::Null));
    let us = |n: i64| n * 1_000_000;
    let texts = |i: usize| rows[i].iter().filter_map(|d| if let Datum::Text(t) = d { Some(t.clone()) } else { None });
    let scalars =
        |i: usize| -> Vec<Datum> { rows[i].iter().filter(|d| !matches!(d, Datum::Text(_))).cloned().collect() };
    assert_eq!(
        scalars(0),
        [
            Datum::Int32(0),
            Datum::Bool(true),
            Datum::Int32(-32768),
            Datum::Int32(i32::MAX),
            Datum::Int64(i64::MIN),
            Datum::Float32(1.1),
            Datum::Float64(0.1),
            Datum::Decimal(123_456_781_234),
            Datum::Decimal(12_300),
            Datum::Decimal(12),
            Datum::Bytes(vec![0, 255, b'\\', b'\n']),
            Datum::Date(-735_160),
            Datum::Time(us(86_400) - 1),
            Datum::Timestamp(us(946_684_799) + 500_000),
            Datum::Timestamp(us(1_709_188_200)),
            Datum::Uuid(*b"\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11"),
            Datum::Decimal(7_500),
        ]
    );
    // Postgres's own text is the second voice.
    let text_columns: Vec<String> = (table.schema.fields().iter())
        .filter(|f| matches!(f.data_type(), DataType::Utf8 | &JSON))
        .map(|f| format!("\"{}\"::text", f.name().replace('"', "\"\"")))
        .collect();
    shop.session.execute("SET datestyle = 'ISO'; SET timezone = 'UTC'; SET intervalstyle = 'postgres'");
    for i in 0..2 {
        let sql = format!("SELECT {} FROM kinds WHERE id = {i}", text_columns.join(", "));
        let expected: Vec<String> = shop.session.query(&sql).remove(0).into_iter().flatten().collect();
        assert_eq!(texts(i).collect::<Vec<_>>(), expected);
    }
    // A calendar other than ours agrees on the far dates.
    let days = |i: usize| rows[i][table.schema.index_of("d").expect("a column")].clone();
    for i in 0..2 {
        let sql = format!("SELECT d - date '1970-01-01' FROM kinds WHERE id = {i}");
        assert_eq!(days(i), Datum::Date(shop.session.value(&sql).expect("a number").parse().expect("a number")));
    }
    let type_of = |name: &str| table.schema.field_with_name(name).expect("a column").data_type().clone();
    assert_eq!(type_of("tz"), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    assert_eq!(type_of("dom"), DataType::Decimal128(8, 3));
    assert_eq!(type_of("wide"), DataType::Decimal128(5, 0));
    assert_eq!(type_of("deep"), DataType::Utf8);
    assert!(table.schema.field_with_name("made").is_err(), "generated columns are not in the stream");
}

#[test]
fn a_value_without_a_row_form_is_named_never_nulled() {
    let mut shop =
        Shop::new("noform", "CREATE TABLE t (id int PRIMARY KEY, d date); INSERT INTO t VALUES (1, 'infinity')");
    let error = shop.start(&["t"], None).failure();
    assert_eq!(error.who(), Who::Operator);
    assert_eq!(error.what(), "column `d` of table `public.t` holds `infinity`, which no Date32 can be");
    shop.session.execute("DELETE FROM t");
    let mut following = shop.start(&["t"], None);
    shop.session.execute("INSERT INTO t VALUES (2, '-infinity')");
    assert_eq!(following.failure().what(), "column `d` of table `public.t` holds `-infinity`, which no Date32 can be");
}

#[test]
fn transactions_are_whole_and_what_was_rolled_back_is_never_seen() {
    let mut shop = Shop::new("whole", &format!("{T} INSERT INTO t VALUES (0, 'old', 1.5)"));
    let mut following = shop.start(&["t"], None);
    let mut other = shop.session();
    other.execute("BEGIN; INSERT INTO t VALUES (1, 'first to begin, last to commit', NULL)");
    shop.session.execute("BEGIN; INSERT INTO t VALUES (2, 'rolled back', 0); ROLLBACK");
    shop.session.execute(
        "BEGIN; INSERT INTO t VALUES (3, 'a', 0); SAVEPOINT s; INSERT INTO t VALUES (4, 'undone', 0); \
         SAVEPOINT u; INSERT INTO t VALUES (5, 'undone', 0); ROLLBACK TO s; INSERT INTO t VALUES (6, 'b', 0); \
         SAVEPOINT v; UPDATE t SET v = 'c' WHERE id = 6; RELEASE v; DELETE FROM t WHERE id = 0; COMMIT",
    );
    other.execute("COMMIT");
    let events = following.until(&shop.present());
    assert_eq!(
        following.show(&events),
        [
            "copied id=0 v=\"old\" n=150",
            "+ id=3 v=\"a\" n=0; + id=6 v=\"b\" n=0; ~ id=6 v=\"c\" n=0; - id=0",
            "+ id=1 v=\"first to begin, last to commit\" n=NULL",
        ]
    );
    following.stop();
}

#[test]
fn large_transactions_are_streamed_and_told_whole() {
    let mut shop = Shop::new("large", T);
    let mut following = shop.start(&["t"], None);
    let mut model = shop.model(&following);
    let fill = |from: usize, to: usize| {
        format!("INSERT INTO t SELECT i, repeat('x', 90), i FROM generate_series({from}, {to}) i;")
    };
    let mut other = shop.session();
    other.execute(&format!("BEGIN; {}", fill(1, 3000)));
    // Two open at once, in chunks, one undone; and savepoints undone within what has long been sent.
    shop.session.execute(&format!("BEGIN; {} ROLLBACK", fill(10_001, 13_000)));
    other.execute(&format!(
        "SAVEPOINT a; {} SAVEPOINT b; {} ROLLBACK TO a; {} SAVEPOINT c; {} RELEASE c; UPDATE t SET v = 'y' WHERE id % 7 = 0;",
        fill(3001, 5000),
        fill(5001, 7000),
        fill(4001, 4500),
        fill(8001, 9000),
    ));
    shop.session.execute("INSERT INTO t VALUES (20000, 'small, between the chunks', 0)");
    other.execute("COMMIT");
    let events = following.until(&shop.present());
    events.into_iter().for_each(|event| model.take(event));
    assert_eq!(model.transactions, 2);
    assert_eq!(model.shown(0), selected(&mut shop.session));
    following.stop();
    // The counters come a little late; without them the test would prove nothing about streaming.
    let sql =
        format!("SELECT stream_count > 1 FROM pg_stat_replication_slots WHERE slot_name = 'driftless_{}'", shop.name);
    wait_for("the server to have streamed", PATIENCE, || {
        (shop.session.value(&sql).as_deref() == Some("t")).then_some(())
    });
}

#[test]
fn what_a_streamed_transaction_does_to_a_shape_counts_once_it_has_committed() {
    let mut shop =
        Shop::new("shapes", &format!("{T} CREATE TABLE side (id int PRIMARY KEY, unused int, v text, d date)"));
    let mut following = shop.start(&["t", "side"], None);
    let mut model = shop.model(&following);
    let mut other = shop.session();
    let fill = |columns: &str, from: usize| {
        format!(
            "INSERT INTO side ({columns}, v) SELECT i, repeat('s', 90) FROM generate_series({from}, {from} + 2000) i;"
        )
    };
    // It could not be followed, nor could the value be read; but neither came to be.
    other.execute(&format!(
        "BEGIN; {} ALTER TABLE side DROP COLUMN v, ADD COLUMN v text, ADD COLUMN late int;",
        fill("id", 1)
    ));
    other.execute(&fill("id", 3001));
    shop.session.execute("INSERT INTO t VALUES (2, 'meanwhile', 2)");
    other.execute("ALTER TABLE side DROP COLUMN d;");
    other.execute(&fill("id", 6001));
    other.execute("ROLLBACK");
    other.execute(&format!(
        "BEGIN; {} SAVEPOINT s; INSERT INTO side VALUES (5, 5, 'v', 'infinity');",
        fill("id", 10_001)
    ));
    other.execute(&format!("{} ROLLBACK TO s; {} COMMIT", fill("id", 20_001), fill("id", 30_001)));
    shop.session.execute("INSERT INTO side VALUES (1, 0, 'old shape', '1970-01-02')");
    other.execute(&format!(
        "BEGIN; {} ALTER TABLE side DROP COLUMN unused; {} COMMIT",
        fill("id", 40_001),
        fill("id", 50_001)
    ));
    shop.session
        .execute("INSERT INTO side VALUES (2, 'new shape', '1970-01-03'); INSERT INTO t VALUES (3, 'after', 3)");
    following.until(&shop.present()).into_iter().for_each(|event| model.take(event));
    assert_eq!(model.shown(0), selected(&mut shop.session));
    let sql = "SELECT 'id=' || id || ' v=\"' || v || '\" d=' || coalesce((d - date '1970-01-01')::text, 'NULL') FROM side ORDER BY id";
    let expected: Vec<String> = shop.session.query(sql).into_iter().flatten().flatten().collect();
    assert_eq!(expected.len(), 2 + 4 * 2001);
    assert_eq!(model.shown(1), expected);
    following.stop();
}

#[test]
fn updates_carry_old_keys_patches_and_truncates_come_in_order() {
    let mut shop = Shop::new(
        "updates",
        "CREATE TABLE u (b text, x int, big text, a int, PRIMARY KEY (a, b)); ALTER TABLE u ALTER big SET STORAGE EXTERNAL;
         CREATE TABLE f (id int PRIMARY KEY, big text); ALTER TABLE f ALTER big SET STORAGE EXTERNAL;
         ALTER TABLE f REPLICA IDENTITY FULL; CREATE TABLE unkept (id int PRIMARY KEY);",
    );
    let mut following = shop.start(&["u", "f"], None);
    assert_eq!(following.tables[0].key, [3, 0]);
    shop.session.execute("INSERT INTO u VALUES ('k', 1, repeat('t', 9000), 1)");
    shop.session.execute("UPDATE u SET x = 2");
    shop.session.execute("UPDATE u SET a = 7, x = 3");
    shop.session.execute("UPDATE u SET big = 'short', a = a");
    shop.session
        .execute("UPDATE u SET b = 'm'; TRUNCATE u, f, unkept; INSERT INTO u VALUES ('n', 0, NULL, 0); DELETE FROM u");
    shop.session.execute(
        "INSERT INTO f VALUES (1, repeat('t', 4000)); UPDATE f SET id = 2; UPDATE f SET big = 's'; DELETE FROM f",
    );
    let events = following.until(&shop.present());
    let (long, longer) = ("t".repeat(4000), "t".repeat(9000));
    assert_eq!(
        following.show(&events),
        [
            format!("+ b=\"k\" x=1 big=\"{longer}\" a=1"),
            "~ \"k\" 2 same 1".to_string(),
            "~ a=1 b=\"k\" -> \"k\" 3 same 7".to_string(),
            "~ b=\"k\" x=3 big=\"short\" a=7".to_string(),
            "~ a=7 b=\"k\" -> b=\"m\" x=3 big=\"short\" a=7; truncate u; truncate f; + b=\"n\" x=0 big=NULL a=0; - a=0 b=\"n\"".to_string(),
            format!("+ id=1 big=\"{long}\"; ~ id=1 -> id=2 big=\"{long}\"; ~ id=2 big=\"s\"; - id=2"),
        ]
    );
    following.stop();
}

/// Changes rows of its own range until told to stop, in every way a client may.
fn write(mut session: Session, writer: u64, stop: &AtomicBool) {
    let mut seed = writer.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut dice = move |sides: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % sides
    };
    let mut next = writer * 1_000_000;
    while !stop.load(Ordering::Relaxed) {
        let own = |dice: u64| {
            format!("id = (SELECT id FROM t WHERE id / 1000000 = {writer} ORDER BY id OFFSET {dice} LIMIT 1)")
        };
        let mut sql = String::from("BEGIN;");
        for _ in 0..=dice(4) {
            next += 1;
            sql += &match dice(9) {
                0..=2 => format!("INSERT INTO t VALUES ({next}, 'v{next}', {next} % 1000 / 100.0);"),
                3 => format!("UPDATE t SET v = v || '+' WHERE {};", own(dice(50))),
                4 => format!("UPDATE t SET id = {next} WHERE {};", own(dice(50))),
                5 => format!("DELETE FROM t WHERE {};", own(dice(50))),
                6 => format!(
                    "SAVEPOINT s; INSERT INTO t VALUES ({next}, 'undone', 0); DELETE FROM t WHERE {}; ROLLBACK TO s;",
                    own(dice(50))
                ),
                7 => format!(
                    "INSERT INTO t VALUES ({next}, repeat('long', 2500), NULL); UPDATE t SET n = 1 WHERE id = {next};"
                ),
                _ => {
                    let (from, to) = (next, next + dice(1500));
                    next = to;
                    let back = if dice(2) == 0 { "ROLLBACK TO big;" } else { "" };
                    format!(
                        "SAVEPOINT big; INSERT INTO t SELECT i, repeat('b', 50), 0 FROM generate_series({from}, {to}) i; {back}"
                    )
                }
            };
        }
        sql += if dice(6) == 0 { "ROLLBACK;" } else { "COMMIT;" };
        session.execute(&sql);
    }
}

#[test]
fn a_resumed_source_tells_nothing_twice_and_leaves_nothing_out() {
    let mut shop =
        Shop::new("resume", &format!("{T} INSERT INTO t SELECT i, 'seed', 0 FROM generate_series(1, 20000) i"));
    shop.session.execute("ALTER TABLE t ALTER v SET STORAGE EXTERNAL");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (1..=3)
        .map(|writer| {
            let (session, stop) = (shop.session(), stop.clone());
            std::thread::spawn(move || write(session, writer, &stop))
        })
        .collect();
    let mut following = shop.start(&["t"], None);
    let mut model = shop.model(&following);
    loop {
        let event = following.next();
        let copied = matches!(event, Event::CopyDone { .. });
        model.take(event);
        if copied {
            break;
        }
    }
    for round in 0..8 {
        for _ in 0..30 {
            model.take(following.next());
        }
        let position = model.position.clone();
        match round % 4 {
            // Dropped with events still on their way, as a crash would.
            0 => drop(following),
            1 => following.stop(),
            2 => {
                following.tail.acknowledge(position.clone().expect("told"));
                following.stop();
            }
            // The server hangs up; the source mends that by itself.
            _ => {
                shop.session.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'driftless_resume' AND active");
                continue_with(&mut following, &mut model, 60);
                drop(following);
            }
        }
        following = shop.start(&["t"], model.position.clone());
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().expect("a writer ends well"));
    following.until(&shop.present()).into_iter().for_each(|event| model.take(event));
    assert!(model.transactions > 100, "{} transactions prove little", model.transactions);
    assert_eq!(model.shown(0), selected(&mut shop.session));
    following.stop();
}

fn continue_with(following: &mut Following, model: &mut Model, events: usize) {
    for _ in 0..events {
        model.take(following.next());
    }
}

#[test]
fn the_server_never_hears_of_more_than_was_acknowledged() {
    let mut shop = Shop::new("acks", T);
    let mut following = shop.start(&["t"], None);
    let begun = shop.slot("confirmed_flush_lsn");
    let mut positions = Vec::new();
    for id in 0..5 {
        shop.session.execute(&format!("INSERT INTO t VALUES ({id}, '', 0)"));
        let events = following.until(&shop.present());
        positions.extend(events.iter().filter_map(at).cloned());
    }
    // Idle as it is, the server is told nothing by itself.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(shop.slot("confirmed_flush_lsn"), begun);
    let middle = positions[positions.len() / 2].clone();
    following.tail.acknowledge(middle.clone());
    wait_for("the acknowledgement to arrive", PATIENCE, || {
        (shop.slot("confirmed_flush_lsn") == Some(middle.to_string())).then_some(())
    });
    shop.session.execute("INSERT INTO t VALUES (9, '', 0)");
    let last = shop.present();
    let told = following.until(&last).iter().rev().find_map(at).cloned().expect("told");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(shop.slot("confirmed_flush_lsn"), Some(middle.to_string()));
    // A stop takes the last word along.
    following.tail.acknowledge(told.clone());
    following.stop();
    assert_eq!(shop.slot("confirmed_flush_lsn"), Some(told.to_string()));
    let error = shop.try_start(&["t"], Some(middle.clone()), 8).err().expect("let go of");
    assert_eq!(
        error.what(),
        format!("position {middle} is lost: slot `driftless_acks` has already let go of it, it stands at {told}")
    );
    assert!(error.remedy().is_some_and(|hint| hint.contains("remove the state directory")));
}

#[test]
fn an_idle_server_reaches_the_present_at_once() {
    let mut shop = Shop::new("idle", &format!("{T} CREATE TABLE unkept (id int)"));
    let mut following = shop.start(&["t"], None);
    for round in 0..30 {
        // Commits that nobody waited for are the past as well; sizes differ so as to meet page ends.
        let size = round * 37;
        shop.session
            .execute(&format!("SET synchronous_commit = off; INSERT INTO t VALUES ({round}, repeat('x', {size}), 0)"));
        shop.session.execute("INSERT INTO unkept VALUES (1)");
        let asked = Instant::now();
        let present = shop.present();
        let events = following.until(&present);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        assert_eq!(events.iter().filter(|e| matches!(e, Event::Transaction { .. })).count(), 1, "round {round}");
    }
    let position = shop.present();
    following.until(&position);
    following.stop();
    // With nothing but its own position ahead, too.
    let mut following = shop.start(&["t"], Some(position));
    let asked = Instant::now();
    let present = shop.present();
    assert!(following.until(&present).iter().all(|event| matches!(event, Event::Idle { .. })));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    following.stop();
}

#[test]
fn a_slow_daemon_does_not_cost_the_connection() {
    let mut shop = Shop::new("slow", T);
    let mut following = shop.try_start(&["t"], None, 1).expect("starts");
    let mut model = shop.model(&following);
    model.take(following.next());
    shop.session.execute(
        "DO $$ BEGIN FOR i IN 1..200 LOOP INSERT INTO t VALUES (i, repeat('x', 3000), 0); COMMIT; END LOOP; END $$",
    );
    model.take(following.next());
    let pid = shop.slot("active_pid");
    // Twice as long as the server waits for a sign of life.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(shop.slot("active_pid"), pid);
    following.until(&shop.present()).into_iter().for_each(|event| model.take(event));
    assert_eq!(model.shown(0), selected(&mut shop.session));
    following.stop();
}

#[test]
fn a_source_outlives_a_crash_of_its_server() {
    let mut server = Server::start();
    let mut session = server.create_database("crash", T);
    let mut source = source(&server.url("crash"), "crash");
    let tables = runtime().block_on(source.describe(&[TableName::new("public", "t")])).expect("described");
    let (queue, events) = mpsc::channel(64);
    let tail = runtime().block_on(Box::new(source).start(tables.clone(), None, Outlet::new(0, queue))).expect("starts");
    let mut following = Following { tail, events, tables };
    session.execute("INSERT INTO t VALUES (1, 'before', 1)");
    let mut model = Model::new(&following.tables);
    for _ in 0..2 {
        model.take(following.next());
    }
    server.crash();
    server.start_again();
    let mut session = server.session("crash");
    session.execute("INSERT INTO t VALUES (2, 'after', 2)");
    while model.shown(0).len() < 2 {
        model.take(following.next());
    }
    assert_eq!(model.shown(0), selected(&mut session));
    following.stop();
}

#[test]
fn changes_of_shape_are_lived_through_or_named() {
    let mut shop = Shop::new("ddl", T);
    let mut following = shop.start(&["t"], None);
    shop.session.execute("ALTER TABLE t ADD COLUMN more text DEFAULT 'm'; INSERT INTO t VALUES (1, 'a', 1)");
    shop.session.execute("ALTER TABLE t ALTER v TYPE varchar(100); INSERT INTO t VALUES (2, 'b', 2)");
    let events = following.until(&shop.present());
    assert_eq!(following.show(&events), ["+ id=1 v=\"a\" n=100", "+ id=2 v=\"b\" n=200"]);
    shop.session.execute("ALTER TABLE t ALTER n TYPE numeric(14,3); INSERT INTO t VALUES (3, 'c', 3)");
    let error = following.failure();
    assert_eq!(error.what(), "column `n` of table `public.t` has changed its type");
    assert_eq!(error.who(), Who::Operator);

    let mut following = shop.start(&["t"], None);
    shop.session.execute("ALTER TABLE t DROP COLUMN v; INSERT INTO t VALUES (4, 4)");
    assert_eq!(following.failure().what(), "column `v` of table `public.t` is gone");

    let mut following = shop.start(&["t"], None);
    shop.session.execute("ALTER TABLE t RENAME TO renamed; INSERT INTO renamed VALUES (5, 5)");
    assert_eq!(following.failure().what(), "table `public.t` is now named `public.renamed`");

    shop.session.execute("DROP TABLE renamed; CREATE TABLE t (id int PRIMARY KEY, j json)");
    let mut following = shop.start(&["t"], None);
    // Both are text to us, but the values have been written anew without a word in the stream.
    shop.session.execute("ALTER TABLE t ALTER j TYPE jsonb; INSERT INTO t VALUES (1, '{}')");
    assert_eq!(following.failure().what(), "column `j` of table `public.t` has changed its type");

    let mut following = shop.start(&["t"], None);
    shop.session.execute("ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO t VALUES (2, '{}')");
    assert_eq!(following.failure().what(), "the replica identity of table `public.t` is no longer its primary key");
}

#[test]
fn what_cannot_be_followed_is_refused_with_a_way_out() {
    let mut shop = Shop::new(
        "refusals",
        "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE keyless (id int); CREATE VIEW seen AS SELECT 1 AS x;
         CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY); CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE nobody (id int PRIMARY KEY); ALTER TABLE nobody REPLICA IDENTITY NOTHING;
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
         CREATE SCHEMA sales; CREATE TABLE sales.invoices (id int PRIMARY KEY); CREATE TABLE Private (id int PRIMARY KEY);
         CREATE ROLE reader LOGIN REPLICATION; GRANT SELECT ON orders TO reader;
         CREATE TABLE secret (id int PRIMARY KEY); ALTER TABLE secret ENABLE ROW LEVEL SECURITY; GRANT SELECT ON secret TO reader;",
    );
    let refused = |error: Result<Table, Error>| {
        let error = error.expect_err("refused");
        assert_eq!(error.who(), Who::Operator);
        assert_eq!(error.steps(), ["describe source `shop`"]);
        (error.what().to_string(), error.remedy().expect("a way out").to_string())
    };
    let address = format!("127.0.0.1:{}", shop.server.port());
    let pair = |what: &str, hint: &str| (what.to_string(), hint.to_string());
    let missing = |name: &str| format!("there is no table `public.{name}` at `{address}`");
    assert_eq!(refused(shop.describe("ordres")), (missing("ordres"), "did you mean `public.orders`?".into()));
    assert_eq!(refused(shop.describe("invoices")), (missing("invoices"), "did you mean `sales.invoices`?".into()));
    assert_eq!(
        refused(shop.describe("keyless")),
        pair(
            "table `public.keyless` has no primary key, so its rows cannot be told apart",
            "add one: `ALTER TABLE \"public\".\"keyless\" ADD PRIMARY KEY (…)`"
        )
    );
    assert!(refused(shop.describe("seen")).0.starts_with("`public.seen` is a view"));
    assert_eq!(refused(shop.describe("unlogged")).1, "run `ALTER TABLE \"public\".\"unlogged\" SET LOGGED`");
    assert_eq!(refused(shop.describe("parts")).0, "table `public.parts` is partitioned, which cannot be followed yet");
    assert_eq!(
        refused(shop.describe("parent")).0,
        "other tables inherit from `public.parent`, which cannot be followed yet"
    );
    assert_eq!(
        refused(shop.describe("nobody")),
        pair(
            "the replica identity of table `public.nobody` is not its primary key",
            "run `ALTER TABLE \"public\".\"nobody\" REPLICA IDENTITY DEFAULT`"
        )
    );

    let describe_at = |url: &str, table: &str| {
        let mut source = source(url, "refusals");
        runtime().block_on(source.describe(&[TableName::new("public", table)])).map(|mut tables| tables.remove(0))
    };
    let guarded = |password: &str, database: &str| shop.server.url_as(GUARDED_ROLE, password, database);
    assert_eq!(
        refused(describe_at(&guarded("wrong", "refusals"), "orders")),
        (
            format!("the server at `{address}` refuses the password of user `guarded`"),
            "set PGPASSWORD to the right password".into()
        )
    );
    assert_eq!(
        refused(describe_at(&format!("postgresql://guarded@{address}/refusals"), "orders")),
        (format!("the server at `{address}` asks for a password of user `guarded`"), "set PGPASSWORD".into())
    );
    assert_eq!(
        refused(describe_at(&guarded(GUARDED_PASSWORD, "refusals"), "orders")),
        (
            format!("user `guarded` may not read the stream of changes at `{address}`"),
            "run `ALTER ROLE \"guarded\" REPLICATION` as a superuser".into()
        )
    );
    assert_eq!(
        refused(describe_at(&shop.server.url("nowhere"), "orders")),
        (
            format!("the server at `{address}` has no database `nowhere`"),
            "name an existing database at the end of the url".into()
        )
    );
    let as_reader = format!("postgresql://reader@{address}/refusals");
    assert_eq!(
        refused(describe_at(&as_reader, "private")),
        pair(
            "user `reader` may not read table `public.private`",
            "run `GRANT USAGE ON SCHEMA \"public\" TO \"reader\"; GRANT SELECT ON \"public\".\"private\" TO \"reader\"`"
        )
    );
    assert_eq!(
        refused(describe_at(&as_reader, "secret")),
        pair(
            "row security hides rows of table `public.secret` from user `reader`",
            "run `ALTER ROLE \"reader\" BYPASSRLS`"
        )
    );
    // Nobody there is no mistake of the operator's for good: it may come.
    let error = describe_at("postgresql://u:hush@127.0.0.1:1/d", "orders").expect_err("nobody there");
    assert_eq!(error.who(), Who::Retry);
    assert!(error.to_string().starts_with("no Postgres server answers at `127.0.0.1:1`: "), "{error}");
    assert!(!format!("{error:?}").contains("hush"));

    // The right to read is not the right to publish: the SQL for its owner is printed, and then it works.
    let start_as_reader = || {
        let mut source = source(&as_reader, "refusals");
        let tables = runtime().block_on(source.describe(&[TableName::new("public", "orders")])).expect("described");
        let (queue, events) = mpsc::channel(8);
        let tail = runtime().block_on(Box::new(source).start(tables.clone(), None, Outlet::new(0, queue)));
        tail.map(|tail| Following { tail, events, tables })
    };
    let error = start_as_reader().err().expect("may not publish");
    let hint = error.remedy().expect("a way out");
    assert_eq!(
        hint,
        "run as the owner of the tables: `CREATE PUBLICATION \"driftless_refusals\" FOR TABLE ONLY \"public\".\"orders\"`"
    );
    let statement = hint.split('`').nth(1).expect("in backticks").to_string();
    shop.session.execute(&statement);
    let mut following = start_as_reader().expect("may follow");
    following.until(&shop.present());
    following.stop();
}

#[test]
fn a_server_that_does_not_log_enough_is_refused() {
    let server = Server::with(&[("wal_level", "replica")]);
    let mut source = source(&server.url("postgres"), "replica");
    let error = runtime().block_on(source.describe(&[])).expect_err("refused");
    let address = format!("127.0.0.1:{}", server.port());
    assert_eq!(
        error.what(),
        format!("the server at `{address}` has `wal_level = replica`, so its changes cannot be read")
    );
    assert_eq!(error.remedy(), Some("run `ALTER SYSTEM SET wal_level = logical` and restart the server"));
}

#[test]
fn a_position_that_is_lost_is_said_and_nothing_is_deleted() {
    let mut shop = Shop::new("lost", &format!("{T} CREATE TABLE more (id int PRIMARY KEY)"));
    let mut following = shop.start(&["t"], None);
    let position = shop.present();
    following.until(&position);
    following.stop();
    let lost = |shop: &Shop, tables: &[&str], position: Position| {
        let error = shop.try_start(tables, Some(position), 8).err().expect("refused");
        assert_eq!(error.who(), Who::Operator);
        assert!(error.remedy().is_some_and(|hint| hint.contains("remove the state directory")), "{error}");
        error.what().to_string()
    };
    assert_eq!(
        lost(&shop, &["t", "more"], position.clone()),
        "publication `driftless_lost` does not name table `public.more`, so changes of it were missed"
    );
    let ahead = Position::Lsn(1 << 60);
    assert!(
        lost(&shop, &["t"], ahead.clone()).starts_with(&format!("position {ahead} is lost: the server's log ends at "))
    );
    shop.session.execute("DROP PUBLICATION driftless_lost");
    assert_eq!(lost(&shop, &["t"], position.clone()), "publication `driftless_lost` is gone, so changes were missed");
    shop.session.execute("CREATE PUBLICATION driftless_lost FOR TABLE t WHERE (id > 5)");
    let error = shop.try_start(&["t"], Some(position.clone()), 8).err().expect("refused");
    assert_eq!(error.what(), "publication `driftless_lost` filters the rows of table `public.t`");
    shop.session.execute("ALTER PUBLICATION driftless_lost SET TABLE t");
    assert!(shop.slot("slot_name").is_some());
    shop.session.execute("SELECT pg_drop_replication_slot('driftless_lost')");
    assert_eq!(
        lost(&shop, &["t"], position.clone()),
        format!("position {position} is lost: slot `driftless_lost` is not there")
    );
    shop.session.execute("SELECT pg_create_logical_replication_slot('driftless_lost', 'test_decoding')");
    let error = shop.try_start(&["t"], None, 8).err().expect("refused");
    assert!(error.what().starts_with("slot `driftless_lost` belongs to something else"), "{error}");
    shop.session.execute("SELECT pg_drop_replication_slot('driftless_lost')");
}

#[test]
fn a_slot_that_goes_away_under_way_ends_the_stream() {
    let mut shop = Shop::new("gone", T);
    let mut following = shop.start(&["t"], None);
    following.until(&shop.present());
    shop.session.execute(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'driftless_gone'; ",
    );
    wait_for("the slot to be free", PATIENCE, || {
        shop.session.try_execute("SELECT pg_drop_replication_slot('driftless_gone')").ok()
    });
    let error = following.failure();
    assert!(error.what().ends_with("is lost: slot `driftless_gone` is not there"), "{error}");
}

#[test]
fn a_slot_in_use_is_waited_for_and_then_named() {
    let mut shop = Shop::new("busy", T);
    let mut first = shop.start(&["t"], None);
    let position = shop.present();
    first.until(&position);
    let pid = shop.slot("active_pid").expect("at work");
    let begun = Instant::now();
    let error = shop.try_start(&["t"], Some(position), 8).err().expect("in use");
    assert!(begun.elapsed() > Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(error.what(), format!("slot `driftless_busy` is in use by pid {pid}"));
    first.stop();
}
