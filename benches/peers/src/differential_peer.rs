//! Plain differential dataflow: stock operators and spines on rows of bytes, one worker, this thread.
//!
//! Rows, keys and values are `Vec<u8>` in an order-preserving encoding, so that a reduction's last value is
//! its largest. Sums and counts ride in the diff; extremes of large groups are found in stages of buckets,
//! since `reduce` reads all of a group at each change.

use crate::measure::{self, Peer, Plan};
use crate::workload::*;
use differential_dataflow::VecCollection;
use differential_dataflow::input::{Input, InputSession};
use differential_dataflow::operators::{CountTotal, ThresholdTotal};
use std::cell::RefCell;
use std::rc::Rc;
use timely::dataflow::operators::probe;
use timely::dataflow::{ProbeHandle, Scope};
use timely::worker::Worker;

type Bytes = Vec<u8>;
type Time = u64;
type Diff = i64;
type Rows<'scope, D = Bytes> = VecCollection<'scope, Time, D, Diff>;
type Answer = Rc<RefCell<Checksum>>;

struct Differential<'worker> {
    worker: &'worker mut Worker,
    inputs: Vec<(Table, InputSession<Time, Bytes, Diff>)>,
    probe: ProbeHandle<Time>,
    now: Time,
    answer: Answer,
}

pub fn run(plan: Plan) {
    timely::execute_directly(move |worker| {
        let mut inputs = Vec::new();
        let mut probe = probe::Handle::new();
        let answer = Answer::default();
        worker.dataflow(|scope| build(scope, plan.query, &mut inputs, &mut probe, answer.clone()));
        measure::run(&mut Differential { worker, inputs, probe, now: 0, answer }, &plan);
    });
}

impl Peer for Differential<'_> {
    const NAME: &'static str = "differential";
    type Batch = Vec<(Table, Bytes, Diff)>;

    fn prepare(&self, changes: &[Change]) -> Self::Batch {
        changes.iter().map(|change| (change.row.table(), encode(&change.row), change.diff)).collect()
    }

    fn apply(&mut self, batch: Self::Batch) {
        for (table, row, diff) in batch {
            let input = self.inputs.iter_mut().find(|(of, _)| *of == table);
            input.expect("a query's rows are of its tables").1.update(row, diff);
        }
        self.now += 1;
        for (_, input) in &mut self.inputs {
            input.advance_to(self.now);
            input.flush();
        }
        while self.probe.less_than(&self.now) {
            self.worker.step();
        }
    }

    fn answer(&self) -> Checksum {
        *self.answer.borrow()
    }
}

fn build<'scope>(
    scope: Scope<'scope, Time>,
    query: Query,
    inputs: &mut Vec<(Table, InputSession<Time, Bytes, Diff>)>,
    probe: &mut ProbeHandle<Time>,
    answer: Answer,
) {
    let mut input = |table: Table| {
        let (session, rows) = scope.new_collection();
        inputs.push((table, session));
        rows
    };
    match query {
        Query::Q1 => {
            let sums = input(Table::Orders)
                .explode(|o| Some((o[16..20].to_vec(), (big(&o, 28), 1))))
                .count_total_core::<Diff>();
            finish(sums, probe, answer, |(shop, (total, count))| [int(shop, 0), *total, *count]);
        }
        Query::Q2 => {
            let regions = input(Table::Customers).map(|c| (c[0..8].to_vec(), c[8..12].to_vec())).arrange_by_key();
            let totals = input(Table::Orders).map(|o| (o[8..16].to_vec(), o[28..36].to_vec())).arrange_by_key();
            let sums = totals
                .join_core(regions, |_, total, region| Some((region.clone(), big(total, 0))))
                .explode(|(region, total)| Some((region, (total, 1))))
                .count_total_core::<Diff>();
            finish(sums, probe, answer, |(region, (total, count))| [int(region, 0), *total, *count]);
        }
        Query::Q3 => {
            let customers = input(Table::Customers)
                .flat_map(|c| (int(&c, 12) == i64::from(Q3_SEGMENT)).then(|| c[0..8].to_vec()))
                .arrange_by_self();
            let orders = input(Table::Orders)
                .flat_map(|o| {
                    let date = &o[20..24];
                    (int(&o, 20) < i64::from(Q3_DATE))
                        .then(|| (o[8..16].to_vec(), [&o[0..8], date, &o[24..28]].concat()))
                })
                .arrange_by_key();
            let lineitems = input(Table::Lineitems)
                .flat_map(|l| {
                    let revenue = big(&l, 16) * (100 - int(&l, 24));
                    (int(&l, 12) > i64::from(Q3_DATE)).then(|| (l[0..8].to_vec(), big_bytes(revenue).to_vec()))
                })
                .arrange_by_key();
            let revenues = orders
                .join_core(customers, |_, order, ()| Some((order[0..8].to_vec(), order.clone())))
                .arrange_by_key()
                .join_core(lineitems, |_, order, revenue| Some((order.clone(), big(revenue, 0))))
                .explode(|(order, revenue)| Some((order, revenue)))
                .count_total_core::<Diff>();
            // Smallest first: the revenue's complement, then date, id, priority.
            let ranked = revenues.map(|(order, revenue)| {
                (Bytes::new(), [&big_bytes(!revenue), &order[8..12], &order[0..8], &order[12..16]].concat())
            });
            let best = staged(ranked, &[1024, 32, 1], |values, output| {
                output.extend(values.iter().take(Q3_LIMIT).map(|(value, _)| ((*value).clone(), 1)));
            });
            finish(best, probe, answer, |(_, best)| [big(best, 12), int(best, 8), int(best, 20), !big(best, 0)]);
        }
        Query::Top1 => {
            let latest = input(Table::Orders)
                .map(|o| (o[8..16].to_vec(), [&o[20..24], &o[0..8], &o[16..20], &o[24..36]].concat()))
                .reduce(last);
            finish(latest, probe, answer, |(customer, o)| {
                [big(o, 4), big(customer, 0), int(o, 12), int(o, 0), int(o, 16), big(o, 20)]
            });
        }
        Query::Nexmark3 => {
            let persons = input(Table::Persons)
                .flat_map(|p| (int(&p, 16) < i64::from(NEXMARK_STATES)).then(|| (p[0..8].to_vec(), p[8..20].to_vec())))
                .arrange_by_key();
            let auctions = input(Table::Auctions)
                .flat_map(|a| {
                    (int(&a, 16) == i64::from(NEXMARK_CATEGORY)).then(|| (a[8..16].to_vec(), a[0..8].to_vec()))
                })
                .arrange_by_key();
            let found = auctions.join_core(persons, |_, id, person| Some((id.clone(), person.clone())));
            finish(found, probe, answer, |(id, p)| [int(p, 0), int(p, 4), int(p, 8), big(id, 0)]);
        }
        Query::Nexmark4 => {
            let auctions = input(Table::Auctions).map(|a| (a[0..8].to_vec(), a[16..36].to_vec())).arrange_by_key();
            let bids =
                input(Table::Bids).map(|b| (b[8..16].to_vec(), [&b[32..40], &b[24..32]].concat())).arrange_by_key();
            let sums = bids
                .join_core(auctions, |auction, bid, terms| {
                    // Encoded times compare as times do.
                    let open = terms[4..12] <= bid[0..8] && bid[0..8] <= terms[12..20];
                    open.then(|| ([auction.as_slice(), &terms[0..4]].concat(), bid[8..16].to_vec()))
                })
                .reduce(last)
                .explode(|(auction, price)| Some((auction[8..12].to_vec(), (big(&price, 0), 1))))
                .count_total_core::<Diff>();
            finish(sums, probe, answer, |(category, (total, count))| [int(category, 0), *total, *count]);
        }
        Query::Nexmark5 => {
            let counts = input(Table::Bids)
                .flat_map(|b| {
                    let newest = big(&b, 32) / HOP_MS;
                    (0..HOPS_PER_WINDOW).map(move |ago| [&big_bytes(newest - ago), &b[8..16]].concat())
                })
                .count_total_core::<Diff>();
            // One value for all auctions with as many bids.
            let most = counts
                .clone()
                .map(|(hop, count)| (hop[0..8].to_vec(), big_bytes(count).to_vec()))
                .reduce(last)
                .map(|(hop, count)| [hop, count].concat())
                .arrange_by_self();
            let hot = counts
                .map(|(hop, count)| ([&hop[0..8], &big_bytes(count)].concat(), hop[8..16].to_vec()))
                .arrange_by_key()
                .join_core(most, |key, auction, ()| Some((key.clone(), auction.clone())));
            finish(hot, probe, answer, |(key, auction)| [big(key, 0), big(auction, 0), big(key, 8)]);
        }
        Query::Nexmark7 => {
            let bids = input(Table::Bids);
            let prices = bids.clone().map(|b| (big_bytes(big(&b, 32) / WINDOW_MS).to_vec(), b[24..32].to_vec()));
            let highest =
                staged(prices, &[1024, 32, 1], last_values).map(|(key, price)| [key, price].concat()).arrange_by_self();
            let winners = bids
                .map(|b| ([&big_bytes(big(&b, 32) / WINDOW_MS), &b[24..32]].concat(), b))
                .arrange_by_key()
                .join_core(highest, |_, bid, ()| Some(bid.clone()));
            finish(winners, probe, answer, |b| [big(b, 0), big(b, 8), big(b, 16), big(b, 24), big(b, 32)]);
        }
        Query::Nexmark8 => {
            let tumble = |time: i64| big_bytes(time / WINDOW_MS);
            // Not `distinct_total`: in differential 0.25.1 it keeps a row whose last copy has gone.
            let sellers = input(Table::Auctions)
                .map(move |a| [&a[8..16], &tumble(big(&a, 20))].concat())
                .threshold_total(|_, count| Diff::from(*count > 0))
                .arrange_by_self();
            let persons = input(Table::Persons)
                .map(move |p| ([&p[0..8], &tumble(big(&p, 20))].concat(), p[8..12].to_vec()))
                .arrange_by_key();
            let found = persons.join_core(sellers, |key, name, ()| Some((key.clone(), name.clone())));
            finish(found, probe, answer, |(key, name)| [big(key, 0), int(name, 0), big(key, 8)]);
        }
    }
}

/// Reduces each key's values in buckets by their hash, then what is left in fewer buckets, at last in one.
fn staged<'scope>(
    rows: Rows<'scope, (Bytes, Bytes)>,
    buckets: &[u64],
    reduce: fn(&[(&Bytes, Diff)], &mut Vec<(Bytes, Diff)>),
) -> Rows<'scope, (Bytes, Bytes)> {
    buckets.iter().fold(rows, |rows, &buckets| {
        rows.map(move |(key, value)| {
            let words = value.chunks(8).map(|word| word.iter().fold(0, |word, byte| word << 8 | i64::from(*byte)));
            let bucket = (hash(&words.collect::<Vec<_>>()) % buckets) as i64;
            (([key.as_slice(), &big_bytes(bucket)].concat()), value)
        })
        .reduce(move |_, values, output| reduce(values, output))
        .map(|(mut key, value)| {
            key.truncate(key.len() - 8);
            (key, value)
        })
    })
}

fn last(_: &Bytes, values: &[(&Bytes, Diff)], output: &mut Vec<(Bytes, Diff)>) {
    last_values(values, output);
}

fn last_values(values: &[(&Bytes, Diff)], output: &mut Vec<(Bytes, Diff)>) {
    output.extend(values.last().map(|(value, _)| ((*value).clone(), 1)));
}

fn finish<D: Clone + 'static, const N: usize>(
    rows: Rows<'_, D>,
    probe: &mut ProbeHandle<Time>,
    answer: Answer,
    columns: impl Fn(&D) -> [i64; N] + 'static,
) {
    rows.inspect(move |(row, _, diff)| answer.borrow_mut().add(&columns(row), *diff)).probe_with(probe);
}

const SIGN_32: u32 = 1 << 31;
const SIGN_64: u64 = 1 << 63;

/// Big-endian with the sign flipped, so that bytes compare as numbers do.
fn encode(row: &Row) -> Bytes {
    let (values, columns) = row.values();
    let mut bytes = Bytes::with_capacity(40);
    for (value, (_, of)) in values[..columns].iter().zip(row.table().columns()) {
        match of {
            Type::Int => bytes.extend((*value as u32 ^ SIGN_32).to_be_bytes()),
            Type::BigInt => bytes.extend(big_bytes(*value)),
        }
    }
    bytes
}

fn big_bytes(value: i64) -> [u8; 8] {
    (value as u64 ^ SIGN_64).to_be_bytes()
}

fn big(bytes: &[u8], at: usize) -> i64 {
    (u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) ^ SIGN_64) as i64
}

fn int(bytes: &[u8], at: usize) -> i64 {
    ((u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) ^ SIGN_32) as i32).into()
}
