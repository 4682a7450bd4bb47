//! A dataflow and the place where its state is kept: it lives, is killed, and goes on from its last checkpoint.
#![allow(dead_code, reason = "each test binary compiles all of this and uses a part")]

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use driftless::error::Result;
use driftless::flow::Flow;
use driftless::plan::{Compiled, Relation};
use driftless::row::{Clock, Codec, Cut, Diff, Moment, Row, Rows, Table};
use driftless::state::{Arrangements, Batch, BlockStore, Bodies, Body, Checkpoint, FORMAT, Store};

pub fn relation(name: &str) -> Relation {
    Relation { database: "db".into(), schema: "public".into(), name: name.into() }
}

/// Chance from a seed: the same on every machine.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// So much memory may bodies take: none, a little, all they want.
    pub fn budget(&mut self) -> usize {
        *self.pick(&[0, 1 << 16, usize::MAX])
    }
}

/// What columns of random tables are, as often as they stand here.
pub const TYPES: [DataType; 10] = [
    DataType::Int32,
    DataType::Int32,
    DataType::Int64,
    DataType::Utf8,
    DataType::Utf8,
    DataType::Decimal128(12, 2),
    DataType::Float64,
    DataType::Timestamp(TimeUnit::Microsecond, None),
    DataType::Date32,
    DataType::Boolean,
];

/// How a clock goes on from one Moment to the next.
#[derive(Clone, Copy, Debug)]
pub enum Tick {
    By(i64),
    /// To when something is due, as was said, or so much beside it.
    Due(i64),
}

impl Tick {
    pub fn of(dice: &mut Dice) -> Tick {
        match dice.below(8) {
            0 => Tick::By(0),
            1 => Tick::By(1),
            2 => Tick::By(dice.below(7_200_000_000) as i64),
            3 => Tick::By(dice.below(40 * 86_400_000_000) as i64),
            other => Tick::Due(other as i64 % 3 - 1),
        }
    }

    pub fn from(self, clock: Clock, due: Option<Clock>) -> Clock {
        match (self, due) {
            (Tick::By(by), _) => Clock(clock.0 + by),
            (Tick::Due(beside), Some(due)) => clock.max(Clock(due.0 + beside)),
            (Tick::Due(_), None) => Clock(clock.0 + 86_400_000_000),
        }
    }
}

/// Where state is kept from one life to the next.
pub enum Place {
    Disk(tempfile::TempDir),
    Memory(Arc<Memory>),
}

impl Place {
    pub fn disk() -> Place {
        Place::Disk(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn memory() -> Place {
        Place::Memory(Arc::default())
    }
}

/// Blocks as RocksDB keeps them, but quicker to open.
#[derive(Default)]
pub struct Memory {
    blocks: Mutex<BTreeMap<u64, Vec<u8>>>,
    named: Mutex<Option<(Heads, Clock)>>,
    /// The last checkpoint may name them.
    dead: Mutex<Vec<u64>>,
}

/// For each arrangement, for each worker, the batches' heads.
type Heads = BTreeMap<String, Vec<Vec<u64>>>;

impl Memory {
    fn blocks(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Vec<u8>>> {
        self.blocks.lock().expect("nobody dies holding it")
    }

    /// Clears away what no checkpoint names.
    fn clear_unnamed(&self) {
        let (named, mut blocks) = (self.named.lock().expect("nobody dies holding it"), self.blocks());
        let heads = named.iter().flat_map(|(named, _)| named.values().flatten().flatten());
        let mut live: HashSet<u64> = heads.copied().collect();
        for head in live.clone() {
            live.extend(Batch::names(&blocks[&head]).expect("it is whole"));
        }
        blocks.retain(|id, _| live.contains(id));
        // Their numbers are given again.
        self.dead.lock().expect("nobody dies holding it").clear();
    }

    fn arrangements(&self, bodies: &Arc<Bodies>) -> Option<(Arrangements, Clock)> {
        let (named, clock) = self.named.lock().expect("nobody dies holding it").clone()?;
        let batch = |id: u64| Arc::new(Batch::restore(id, bodies).expect("it is there"));
        let mut arrangements = Arrangements::default();
        for (name, workers) in named {
            let batches = |heads: Vec<u64>| heads.into_iter().map(batch).collect();
            arrangements.by_name.insert(name, workers.into_iter().map(batches).collect());
        }
        Some((arrangements, clock))
    }

    fn write(&self, arrangements: &Arrangements, clock: Clock, bodies: &Arc<Bodies>) {
        let dead = std::mem::take(&mut *self.dead.lock().expect("nobody dies holding it"));
        let mut named = Heads::new();
        for (name, workers) in &arrangements.by_name {
            let head = |batch: &Arc<Batch>| batch.stored(bodies).expect("memory takes all");
            let workers = workers.iter().map(|batches| batches.iter().flat_map(head).collect());
            named.insert(name.clone(), workers.collect());
        }
        *self.named.lock().expect("nobody dies holding it") = Some((named, clock));
        for id in dead {
            self.blocks().remove(&id);
        }
    }
}

impl BlockStore for Memory {
    fn put(&self, body: Vec<u8>) -> Result<u64> {
        let mut blocks = self.blocks();
        let id = blocks.keys().next_back().map_or(1, |last| last + 1);
        blocks.insert(id, body);
        Ok(id)
    }

    fn get(&self, id: u64) -> Result<Body<'_>> {
        Ok(Box::new(self.blocks().get(&id).unwrap_or_else(|| panic!("block {id} is gone")).clone()))
    }

    fn forget(&self, id: u64) {
        self.dead.lock().expect("nobody dies holding it").push(id);
    }
}

/// A dataflow from its start to its end.
pub struct Life {
    pub flow: Flow,
    bodies: Arc<Bodies>,
    store: Kept,
}

enum Kept {
    Rocks(Arc<Store>),
    Memory(Arc<Memory>),
}

impl Life {
    /// Goes on from the last checkpoint in `place`, or begins anew where there is none.
    pub fn start(place: &Place, models: &[Compiled], tables: &[Table], workers: usize, budget: usize) -> Life {
        let (store, bodies, from) = match place {
            Place::Disk(dir) => {
                let store = Arc::new(Store::open(dir.path()).expect("it opens"));
                let bodies = Bodies::new(Some(store.clone()), budget);
                let kept = store.checkpoint().expect("readable");
                let from = kept.map(|kept| (store.arrangements(&bodies).expect("readable"), kept.clock));
                (Kept::Rocks(store), bodies, from)
            }
            Place::Memory(memory) => {
                memory.clear_unnamed();
                let bodies = Bodies::new(Some(memory.clone()), budget);
                let from = memory.arrangements(&bodies);
                (Kept::Memory(memory.clone()), bodies, from)
            }
        };
        let flow = Flow::start(models, tables, workers, &bodies, from).expect("it starts");
        Life { flow, bodies, store }
    }

    /// Keeps what the last Moment that closed has left.
    pub fn checkpoint(&self, moment: Moment, clock: Clock) {
        let mut arrangements = Arrangements::default();
        self.flow.pin(&mut arrangements).expect("workers live");
        match &self.store {
            Kept::Rocks(store) => {
                let (format, cut, tables) = (FORMAT, Cut::default(), Vec::new());
                let checkpoint = Checkpoint { format, moment, clock, cut, tables, maintained: None, staged: None };
                store.write(&checkpoint, &arrangements, &self.bodies).expect("it is written");
            }
            Kept::Memory(memory) => memory.write(&arrangements, clock, &self.bodies),
        }
    }

    /// All that was only in memory is gone.
    pub fn end(self) {
        drop((self.flow, self.bodies));
        // A merge may be under way still; `Place` holds a memory too.
        let others = || match &self.store {
            Kept::Rocks(store) => Arc::strong_count(store) - 1,
            Kept::Memory(memory) => Arc::strong_count(memory) - 2,
        };
        while others() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// A multiset of rows.
pub type Counted = BTreeMap<Row, Diff>;

pub fn add(to: &mut Counted, rows: &Rows) {
    for (row, diff) in rows.iter() {
        *to.entry(Row::from(row)).or_default() += diff;
    }
    to.retain(|_, diff| *diff != 0);
}

pub fn counted(batch: &RecordBatch) -> Counted {
    let mut rows = Counted::new();
    let encoded = Codec::new(batch.schema()).encode(batch);
    encoded.into_iter().for_each(|row| *rows.entry(row).or_default() += 1);
    rows
}

pub fn decoded(schema: &SchemaRef, rows: &Counted) -> RecordBatch {
    let each = rows.iter().flat_map(|(row, count)| std::iter::repeat_n(row, (*count).max(0) as usize));
    Codec::new(schema.clone()).decode(each)
}

/// Whether these are the same rows, apart from some columns.
pub fn equal_but_for(columns: &[usize], codec: &Codec, some: &Counted, others: &Counted) -> bool {
    let compared: Vec<usize> = (0..codec.schema().fields().len()).filter(|column| !columns.contains(column)).collect();
    let without = |rows: &Counted| {
        let mut without = Counted::new();
        rows.iter().for_each(|(row, count)| *without.entry(codec.project(row, &compared)).or_default() += count);
        without
    };
    if columns.is_empty() { some == others } else { without(some) == without(others) }
}

pub fn show(codec: &Codec, rows: &Counted) -> String {
    let line = |(row, diff): (&Row, &Diff)| format!("  {diff} × {}\n", codec.show(row));
    rows.iter().map(line).collect()
}

/// What is running, for the last words of a panic.
pub static RUNNING: Mutex<String> = Mutex::new(String::new());

/// A panic tells of its case; and the death of a worker, for which the others would wait for ever, ends the process.
pub fn tell_of_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tell(info);
        eprintln!("in {}", RUNNING.lock().expect("nobody dies holding it"));
        if std::thread::current().name().is_some_and(|name| name.starts_with("timely")) {
            std::process::exit(1);
        }
    }));
}
