//! The work that Driftless and its peers are measured on: tables, queries, and changes, all from one seed.
//!
//! A row is a function of (seed, position, version), so the workload remembers of each live row only its
//! version, one byte; what a process weighs beside that is its engine. Positions are the order of loading:
//! customers first, then facts as they happen, an order before its lineitems, an auction before its bids.
//!
//! A change is one `(row, ±1)`. Each update of a row is two changes, the old row out and the new row in, and
//! a batch is simply the next so many changes: with batches of one, a row is away between two batches.
//!
//! It has no dependency and speaks only integers, so that every engine can be given the same rows and asked
//! for the same checksum. It does not promise realism: columns are narrow, NOT NULL, and independent.
#![allow(dead_code, unused_imports, reason = "each program that includes this file uses its own part of it")]

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Sum and count by shop: a thousand large groups.
    Q1,
    /// Join with customers, then sum and count by region.
    Q2,
    /// TPC-H Q3: two joins, sums, the ten best.
    Q3,
    /// The latest order of each customer.
    Top1,
    /// Nexmark 3: who sells in three states and one category.
    Nexmark3,
    /// Nexmark 4: the winning bids' sum and count by category.
    Nexmark4,
    /// Nexmark 5: the auctions with most bids in each hopping window.
    Nexmark5,
    /// Nexmark 7: the highest bids of each tumbling window.
    Nexmark7,
    /// Nexmark 8: who came and sold in the same tumbling window.
    Nexmark8,
}

/// `order_date` and `ship_date` are days since 1992-01-01; this is 1995-03-15, TPC-H's own.
pub const Q3_DATE: i32 = 1169;
pub const Q3_SEGMENT: i32 = 1;
pub const Q3_LIMIT: usize = 10;
pub const SHOPS: u64 = 1000;
pub const REGIONS: u64 = 25;
pub const SEGMENTS: u64 = 5;
pub const LINES_PER_ORDER: usize = 4;
pub const ORDERS_PER_CUSTOMER: usize = 10;
const ORDER_DAYS: u64 = 2405;

/// Nexmark's windows, in milliseconds of event time, of which a second has ten thousand events.
pub const WINDOW_MS: i64 = 10_000;
pub const HOP_MS: i64 = 2_000;
pub const HOPS_PER_WINDOW: i64 = WINDOW_MS / HOP_MS;
pub const NEXMARK_CATEGORY: i32 = 10;
/// States are numbers; Oregon, Idaho and California are those below this one.
pub const NEXMARK_STATES: i32 = 3;
const EVENTS_PER_MS: u64 = 10;
const EVENTS_PER_EPOCH: u64 = 50;

impl Query {
    pub const ALL: [Query; 9] = [
        Query::Q1,
        Query::Q2,
        Query::Q3,
        Query::Top1,
        Query::Nexmark3,
        Query::Nexmark4,
        Query::Nexmark5,
        Query::Nexmark7,
        Query::Nexmark8,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Query::Q1 => "q1",
            Query::Q2 => "q2",
            Query::Q3 => "q3",
            Query::Top1 => "top1",
            Query::Nexmark3 => "nexmark3",
            Query::Nexmark4 => "nexmark4",
            Query::Nexmark5 => "nexmark5",
            Query::Nexmark7 => "nexmark7",
            Query::Nexmark8 => "nexmark8",
        }
    }

    pub fn named(name: &str) -> Option<Query> {
        Query::ALL.into_iter().find(|query| query.name() == name)
    }

    /// The tables that the query reads; no others are generated.
    pub fn tables(self) -> &'static [Table] {
        match self {
            Query::Q1 | Query::Top1 => &[Table::Orders],
            Query::Q2 => &[Table::Customers, Table::Orders],
            Query::Q3 => &[Table::Customers, Table::Orders, Table::Lineitems],
            Query::Nexmark3 | Query::Nexmark8 => &[Table::Persons, Table::Auctions],
            Query::Nexmark4 => &[Table::Auctions, Table::Bids],
            Query::Nexmark5 | Query::Nexmark7 => &[Table::Bids],
        }
    }

    /// What is asked, with `/` as integer division. The columns come in the order that `Checksum` takes them.
    pub fn sql(self) -> &'static str {
        match self {
            Query::Q1 => "select shop, sum(total) as total, count(*) as orders from orders group by shop",
            Query::Q2 => {
                "select c.region, sum(o.total) as total, count(*) as orders
from orders o join customers c on o.customer_id = c.id
group by c.region"
            }
            Query::Q3 => {
                "select o.id, o.order_date, o.ship_priority, sum(l.price * (100 - l.discount)) as revenue
from customers c
join orders o on o.customer_id = c.id
join lineitems l on l.order_id = o.id
where c.segment = 1 and o.order_date < 1169 and l.ship_date > 1169
group by o.id, o.order_date, o.ship_priority
order by revenue desc, o.order_date, o.id
limit 10"
            }
            Query::Top1 => {
                "select id, customer_id, shop, order_date, ship_priority, total from (
  select *, row_number() over (partition by customer_id order by order_date desc, id desc) as place from orders
) placed where place = 1"
            }
            Query::Nexmark3 => {
                "select p.name, p.city, p.state, a.id
from auctions a join persons p on a.seller = p.id
where a.category = 10 and p.state < 3"
            }
            Query::Nexmark4 => {
                "select category, sum(final) as total, count(*) as auctions from (
  select a.id, a.category, max(b.price) as final
  from auctions a join bids b on a.id = b.auction
  where b.date_time >= a.date_time and b.date_time <= a.expires
  group by a.id, a.category
) won group by category"
            }
            Query::Nexmark5 => {
                "with counts as (
  select hop, auction, count(*) as bids from (
    select date_time / 2000 as hop, auction from bids
    union all select date_time / 2000 - 1 as hop, auction from bids
    union all select date_time / 2000 - 2 as hop, auction from bids
    union all select date_time / 2000 - 3 as hop, auction from bids
    union all select date_time / 2000 - 4 as hop, auction from bids
  ) hops group by hop, auction
)
select c.hop, c.auction, c.bids
from counts c join (select hop, max(bids) as most from counts group by hop) m
on c.hop = m.hop and c.bids = m.most"
            }
            Query::Nexmark7 => {
                "select b.id, b.auction, b.bidder, b.price, b.date_time
from bids b join (
  select date_time / 10000 as tumble, max(price) as highest from bids group by date_time / 10000
) m on b.date_time / 10000 = m.tumble and b.price = m.highest"
            }
            Query::Nexmark8 => {
                "select p.id, p.name, p.date_time / 10000 as tumble
from persons p join (
  select seller, date_time / 10000 as tumble from auctions group by seller, date_time / 10000
) a on p.id = a.seller and p.date_time / 10000 = a.tumble"
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Customers,
    Orders,
    Lineitems,
    Persons,
    Auctions,
    Bids,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Int,
    BigInt,
}

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Table::Customers => "customers",
            Table::Orders => "orders",
            Table::Lineitems => "lineitems",
            Table::Persons => "persons",
            Table::Auctions => "auctions",
            Table::Bids => "bids",
        }
    }

    /// The columns in the order of `Row::values`.
    pub fn columns(self) -> &'static [(&'static str, Type)] {
        use Type::{BigInt, Int};
        match self {
            Table::Customers => &[("id", BigInt), ("region", Int), ("segment", Int)],
            Table::Orders => &[
                ("id", BigInt),
                ("customer_id", BigInt),
                ("shop", Int),
                ("order_date", Int),
                ("ship_priority", Int),
                ("total", BigInt),
            ],
            Table::Lineitems => {
                &[("order_id", BigInt), ("line", Int), ("ship_date", Int), ("price", BigInt), ("discount", Int)]
            }
            Table::Persons => &[("id", BigInt), ("name", Int), ("city", Int), ("state", Int), ("date_time", BigInt)],
            Table::Auctions => {
                &[("id", BigInt), ("seller", BigInt), ("category", Int), ("date_time", BigInt), ("expires", BigInt)]
            }
            Table::Bids => {
                &[("id", BigInt), ("auction", BigInt), ("bidder", BigInt), ("price", BigInt), ("date_time", BigInt)]
            }
        }
    }

    pub fn primary_key(self) -> &'static [&'static str] {
        if self == Table::Lineitems { &["order_id", "line"] } else { &["id"] }
    }

    pub fn create_table(self) -> String {
        format!(
            "create table {} ({}, primary key ({}))",
            self.name(),
            self.columns_sql(),
            self.primary_key().join(", ")
        )
    }

    /// `id bigint not null, ...`
    pub fn columns_sql(self) -> String {
        let columns = self.columns().iter().map(|(name, of)| {
            let of = if *of == Type::Int { "int" } else { "bigint" };
            format!("{name} {of} not null")
        });
        columns.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Customer {
    pub id: i64,
    pub region: i32,
    pub segment: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: i64,
    pub customer_id: i64,
    pub shop: i32,
    pub order_date: i32,
    pub ship_priority: i32,
    pub total: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineitem {
    pub order_id: i64,
    pub line: i32,
    pub ship_date: i32,
    pub price: i64,
    pub discount: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: i64,
    pub name: i32,
    pub city: i32,
    pub state: i32,
    pub date_time: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auction {
    pub id: i64,
    pub seller: i64,
    pub category: i32,
    pub date_time: i64,
    pub expires: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bid {
    pub id: i64,
    pub auction: i64,
    pub bidder: i64,
    pub price: i64,
    pub date_time: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Customer(Customer),
    Order(Order),
    Lineitem(Lineitem),
    Person(Person),
    Auction(Auction),
    Bid(Bid),
}

impl Row {
    pub fn table(&self) -> Table {
        match self {
            Row::Customer(_) => Table::Customers,
            Row::Order(_) => Table::Orders,
            Row::Lineitem(_) => Table::Lineitems,
            Row::Person(_) => Table::Persons,
            Row::Auction(_) => Table::Auctions,
            Row::Bid(_) => Table::Bids,
        }
    }

    /// The columns in the order of `Table::columns`, of which the table has this many.
    pub fn values(&self) -> ([i64; 6], usize) {
        match *self {
            Row::Customer(c) => ([c.id, c.region.into(), c.segment.into(), 0, 0, 0], 3),
            Row::Order(o) => {
                ([o.id, o.customer_id, o.shop.into(), o.order_date.into(), o.ship_priority.into(), o.total], 6)
            }
            Row::Lineitem(l) => ([l.order_id, l.line.into(), l.ship_date.into(), l.price, l.discount.into(), 0], 5),
            Row::Person(p) => ([p.id, p.name.into(), p.city.into(), p.state.into(), p.date_time, 0], 5),
            Row::Auction(a) => ([a.id, a.seller, a.category.into(), a.date_time, a.expires, 0], 5),
            Row::Bid(b) => ([b.id, b.auction, b.bidder, b.price, b.date_time, 0], 5),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub row: Row,
    /// +1 or -1.
    pub diff: i64,
}

pub struct Workload {
    query: Query,
    seed: u64,
    customers: usize,
    orders: usize,
    /// Of the row at each position. They wrap: a row's version 256 is its version 0. All in memory from the start,
    /// so that whoever measures what is taken can leave it out.
    versions: Vec<u8>,
    picks: Draws,
    /// The row whose old version is out and whose new version is not yet in.
    away: Option<usize>,
}

impl Workload {
    /// `rows` counts the facts: orders, for Q3 lineitems, for Nexmark the events of those tables that the
    /// query reads. Customers (and Q3's orders) come on top, in proportion.
    pub fn new(query: Query, rows: usize, seed: u64) -> Workload {
        let orders = if query == Query::Q3 { rows / LINES_PER_ORDER } else { rows };
        let customers = (orders / ORDERS_PER_CUSTOMER).max(1);
        let len = match query {
            Query::Q2 => customers + orders,
            Query::Q3 => customers + orders * (1 + LINES_PER_ORDER),
            _ => rows,
        };
        assert!(orders > 0, "a workload has rows");
        let picks = Draws::new(seed, [u64::MAX, 0, 0]);
        Workload { query, seed, customers, orders, versions: (0..len).map(|_| 0).collect(), picks, away: None }
    }

    pub fn query(&self) -> Query {
        self.query
    }

    /// The rows of all tables together, one of which may be away.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// What it takes of the memory.
    pub fn size(&self) -> u64 {
        self.versions.len() as u64
    }

    /// The rows at these positions as they are now; as they were first, if no change was taken yet.
    pub fn rows(&self, positions: Range<usize>) -> impl Iterator<Item = Row> + '_ {
        positions.filter(|position| self.away != Some(*position)).map(|position| self.row(position))
    }

    /// Every live row.
    pub fn live(&self) -> impl Iterator<Item = Row> + '_ {
        self.rows(0..self.len())
    }

    /// Puts the next changes in place of what `batch` had.
    pub fn changes(&mut self, count: usize, batch: &mut Vec<Change>) {
        batch.clear();
        for _ in 0..count {
            batch.push(self.change());
        }
    }

    fn change(&mut self) -> Change {
        if let Some(position) = self.away.take() {
            return Change { row: self.row(position), diff: 1 };
        }
        let position = self.pick();
        let old = self.row(position);
        let version = &mut self.versions[position];
        *version = version.wrapping_add(1);
        self.away = Some(position);
        Change { row: old, diff: -1 }
    }

    /// Customers stay as they are; of Q3's changes four in five are lineitems'.
    fn pick(&mut self) -> usize {
        match self.query {
            Query::Q1 | Query::Top1 => self.picks.below(self.orders as u64) as usize,
            Query::Q2 => self.customers + self.picks.below(self.orders as u64) as usize,
            Query::Q3 => {
                let order = self.picks.below(self.orders as u64) as usize;
                let lineitem = self.picks.below(5) > 0;
                let line = if lineitem { 1 + self.picks.below(LINES_PER_ORDER as u64) as usize } else { 0 };
                self.customers + order * (1 + LINES_PER_ORDER) + line
            }
            _ => self.picks.below(self.versions.len() as u64) as usize,
        }
    }

    fn row(&self, position: usize) -> Row {
        let version = self.versions[position];
        match self.query {
            Query::Q1 | Query::Top1 => self.order(position, version),
            Query::Q2 | Query::Q3 if position < self.customers => self.customer(position),
            Query::Q2 => self.order(position - self.customers, version),
            Query::Q3 => {
                let (order, line) = {
                    let place = position - self.customers;
                    (place / (1 + LINES_PER_ORDER), place % (1 + LINES_PER_ORDER))
                };
                if line == 0 { self.order(order, version) } else { self.lineitem(order, line, version) }
            }
            _ => self.event(position as u64, version),
        }
    }

    fn draws(&self, table: Table, id: u64, version: u8) -> Draws {
        Draws::new(self.seed, [table as u64, id, version.into()])
    }

    /// For what no version changes, in tables where something else is.
    fn fixed_draws(&self, table: Table, id: u64) -> Draws {
        Draws::new(self.seed, [table as u64, id, u64::MAX])
    }

    fn customer(&self, id: usize) -> Row {
        let mut draws = self.draws(Table::Customers, id as u64, 0);
        let (region, segment) = (draws.below(REGIONS) as i32, draws.below(SEGMENTS) as i32);
        Row::Customer(Customer { id: id as i64, region, segment })
    }

    /// Each update brings another total and, where the query would not notice that alone, another customer
    /// (Q2) or another date (Q3, Top1).
    fn order(&self, id: usize, version: u8) -> Row {
        let mut fixed = self.draws(Table::Orders, id as u64, 0);
        let mut customer_id = fixed.below(self.customers as u64);
        let shop = fixed.below(SHOPS) as i32;
        let ship_priority = fixed.below(3) as i32;
        let mut order_date = fixed.below(ORDER_DAYS);
        let mut total = fixed.below(TOTAL_CENTS);
        if version > 0 {
            let mut varied = self.draws(Table::Orders, id as u64, version);
            total = varied.below(TOTAL_CENTS);
            match self.query {
                Query::Q2 => customer_id = varied.below(self.customers as u64),
                Query::Q3 | Query::Top1 => order_date = varied.below(ORDER_DAYS),
                _ => {}
            }
        }
        let (customer_id, order_date) = (customer_id as i64, order_date as i32);
        let total = total as i64 + 1;
        Row::Order(Order { id: id as i64, customer_id, shop, order_date, ship_priority, total })
    }

    /// Shipped within 121 days of the order's first date; each update brings another date, price, discount.
    fn lineitem(&self, order: usize, line: usize, version: u8) -> Row {
        let Row::Order(of) = self.order(order, 0) else { unreachable!("an order is an order") };
        let id = (order * LINES_PER_ORDER + line) as u64;
        let mut draws = self.draws(Table::Lineitems, id, version);
        Row::Lineitem(Lineitem {
            order_id: order as i64,
            line: line as i32,
            ship_date: of.order_date + 1 + draws.below(121) as i32,
            price: 90_000 + draws.below(10_400_000) as i64,
            discount: draws.below(11) as i32,
        })
    }

    /// Of fifty events one is a person, three are auctions, 46 are bids. Those of tables that the query does
    /// not read are left out, but time goes on as if they were there.
    fn event(&self, position: u64, version: u8) -> Row {
        let (from, to) = match self.query {
            Query::Nexmark3 | Query::Nexmark8 => (0, 4),
            Query::Nexmark4 => (1, EVENTS_PER_EPOCH),
            _ => (4, EVENTS_PER_EPOCH),
        };
        let (epoch, offset) = (position / (to - from), from + position % (to - from));
        let event = epoch * EVENTS_PER_EPOCH + offset;
        let date_time = (event / EVENTS_PER_MS) as i64;
        match offset {
            0 => self.person(epoch, date_time, version),
            1..=3 => self.auction(epoch, epoch * 3 + offset - 1, date_time, version),
            _ => self.bid(epoch, event, date_time, version),
        }
    }

    /// Each update brings another city and state.
    fn person(&self, id: u64, date_time: i64, version: u8) -> Row {
        let name = self.fixed_draws(Table::Persons, id).below(100_000) as i32;
        let mut draws = self.draws(Table::Persons, id, version);
        let (city, state) = (draws.below(10) as i32, draws.below(6) as i32);
        Row::Person(Person { id: id as i64, name, city, state, date_time })
    }

    /// Three in four sellers are the hot one of their time. Each update brings another seller and category.
    fn auction(&self, epoch: u64, id: u64, date_time: i64, version: u8) -> Row {
        let mut draws = self.draws(Table::Auctions, id, version);
        let seller = if draws.below(4) > 0 { epoch / 100 * 100 } else { draws.recent(epoch, 1000) };
        let category = NEXMARK_CATEGORY + draws.below(5) as i32;
        let open_ms = self.fixed_draws(Table::Auctions, id).below(334) as i64 + 1;
        Row::Auction(Auction {
            id: id as i64,
            seller: seller as i64,
            category,
            date_time,
            expires: date_time + open_ms,
        })
    }

    /// Half the bids are for the hot auction of their time, and three in four by the hot bidder. Prices are
    /// spread evenly over six powers of ten. Each update brings another auction, bidder and price.
    fn bid(&self, epoch: u64, id: u64, date_time: i64, version: u8) -> Row {
        let mut draws = self.draws(Table::Bids, id, version);
        let newest = epoch * 3 + 2;
        let auction = if draws.below(2) > 0 { newest / 100 * 100 } else { draws.recent(newest, 100) };
        let bidder = if draws.below(4) > 0 { epoch / 100 * 100 } else { draws.recent(epoch, 1000) };
        let price = 10i64.pow(draws.below(6) as u32) * (1_000_000 + draws.below(9_000_000) as i64) / 10_000;
        Row::Bid(Bid { id: id as i64, auction: auction as i64, bidder: bidder as i64, price, date_time })
    }
}

const TOTAL_CENTS: u64 = 50_000_000;

/// The sum over an answer's rows of `diff * hash(row)`, modulo 2^64: it can be kept from deltas alone, in any
/// order, and equal answers have equal sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    pub sum: u64,
    pub rows: i64,
}

impl Checksum {
    pub fn add(&mut self, values: &[i64], diff: i64) {
        self.sum = self.sum.wrapping_add(hash(values).wrapping_mul(diff as u64));
        self.rows += diff;
    }
}

/// Of a row, column by column: `h = mix(h ^ column)`, from `h = 0`.
pub fn hash(values: &[i64]) -> u64 {
    values.iter().fold(0, |h, value| mix(h ^ *value as u64))
}

/// SplitMix64: one step of its sequence from `x`.
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64 as a sequence, begun anywhere.
struct Draws(u64);

impl Draws {
    fn new(seed: u64, of: [u64; 3]) -> Draws {
        Draws(of.iter().fold(mix(seed), |h, part| mix(h ^ part)))
    }

    fn next(&mut self) -> u64 {
        let drawn = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        drawn
    }

    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// One of the newest `among` ids up to `newest`.
    fn recent(&mut self, newest: u64, among: u64) -> u64 {
        newest - self.below(among.min(newest + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn changes_retract_what_is_live_and_leave_what_is_reported() {
        for query in Query::ALL {
            let mut workload = Workload::new(query, 400, 7);
            let mut live = BTreeMap::new();
            let key = |row: &Row| (row.table(), row.values().0);
            workload.live().for_each(|row| *live.entry(key(&row)).or_insert(0) += 1);
            assert_eq!(live.len(), workload.len());
            let mut batch = Vec::new();
            for _ in 0..301 {
                workload.changes(7, &mut batch);
                for change in &batch {
                    let copies = live.entry(key(&change.row)).or_insert(0);
                    *copies += change.diff;
                    assert!((0..=1).contains(copies), "{query:?}: {change:?}");
                }
            }
            live.retain(|_, copies| *copies != 0);
            assert_eq!(live.len(), workload.len() - 1, "an odd number of changes leaves one row away");
            assert!(workload.live().all(|row| live.contains_key(&key(&row))));
        }
    }

    #[test]
    fn a_seed_gives_the_same_rows_and_changes_everywhere() {
        let mut checksum = Checksum::default();
        for query in Query::ALL {
            let mut workload = Workload::new(query, 1000, 1);
            let mut batch = Vec::new();
            workload.changes(1000, &mut batch);
            for row in workload.live().chain(batch.iter().map(|change| change.row)) {
                let (values, columns) = row.values();
                checksum.add(&values[..columns], 1);
            }
        }
        assert_eq!((checksum.sum, checksum.rows), (16_480_053_934_124_347_958, 18_375));
    }
}
