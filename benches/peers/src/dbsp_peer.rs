//! Feldera's dbsp: circuits by hand, as its own Nexmark benchmark builds them. Typed tuples, Z-sets in, linear
//! aggregates where the aggregate is linear, one worker, everything in memory. dbsp merges its batches in a
//! thread of its own beside the worker, so its CPU time can exceed its wall time.

use crate::measure::{self, Peer, Plan};
use crate::workload::*;
use dbsp::circuit::CircuitConfig;
use dbsp::operator::Max;
use dbsp::typed_batch::IndexedZSetReader;
use dbsp::utils::{Tup2, Tup3, Tup4, Tup5, Tup6};
use dbsp::{DBData, DBSPHandle, OrdIndexedZSet, RootCircuit, Runtime, Stream, ZSetHandle, ZWeight};

type CustomerRow = Tup3<i64, i32, i32>;
type OrderRow = Tup6<i64, i64, i32, i32, i32, i64>;
type LineitemRow = Tup5<i64, i32, i32, i64, i32>;
type PersonRow = Tup5<i64, i32, i32, i32, i64>;
type AuctionRow = Tup5<i64, i64, i32, i64, i64>;
type BidRow = Tup5<i64, i64, i64, i64, i64>;

type Changes<R> = Vec<Tup2<R, ZWeight>>;
type Indexed<K, V> = Stream<RootCircuit, OrdIndexedZSet<K, V>>;
/// Reads the delta that the last transaction left.
type Reader = Box<dyn FnMut(&mut Checksum) + Send>;

/// A query has handles of the tables that it reads.
#[derive(Default)]
struct Inputs {
    customers: Option<ZSetHandle<CustomerRow>>,
    orders: Option<ZSetHandle<OrderRow>>,
    lineitems: Option<ZSetHandle<LineitemRow>>,
    persons: Option<ZSetHandle<PersonRow>>,
    auctions: Option<ZSetHandle<AuctionRow>>,
    bids: Option<ZSetHandle<BidRow>>,
}

#[derive(Default)]
struct Batch {
    customers: Changes<CustomerRow>,
    orders: Changes<OrderRow>,
    lineitems: Changes<LineitemRow>,
    persons: Changes<PersonRow>,
    auctions: Changes<AuctionRow>,
    bids: Changes<BidRow>,
}

struct Dbsp {
    circuit: DBSPHandle,
    inputs: Inputs,
    reader: Reader,
    answer: Checksum,
}

pub fn run(plan: &Plan) {
    let query = plan.query;
    let (circuit, (inputs, reader)) =
        Runtime::init_circuit(CircuitConfig::with_workers(1), move |circuit| Ok(build(circuit, query)))
            .expect("the circuit is well formed");
    let mut dbsp = Dbsp { circuit, inputs, reader, answer: Checksum::default() };
    measure::run(&mut dbsp, plan);
    dbsp.circuit.kill().expect("the worker ends in order");
}

impl Peer for Dbsp {
    const NAME: &'static str = "dbsp";
    type Batch = Batch;

    fn prepare(&self, changes: &[Change]) -> Batch {
        let mut batch = Batch::default();
        for Change { row, diff } in changes {
            match *row {
                Row::Customer(c) => batch.customers.push(Tup2(Tup3(c.id, c.region, c.segment), *diff)),
                Row::Order(o) => {
                    let row = Tup6(o.id, o.customer_id, o.shop, o.order_date, o.ship_priority, o.total);
                    batch.orders.push(Tup2(row, *diff));
                }
                Row::Lineitem(l) => {
                    let row = Tup5(l.order_id, l.line, l.ship_date, l.price, l.discount);
                    batch.lineitems.push(Tup2(row, *diff));
                }
                Row::Person(p) => batch.persons.push(Tup2(Tup5(p.id, p.name, p.city, p.state, p.date_time), *diff)),
                Row::Auction(a) => {
                    batch.auctions.push(Tup2(Tup5(a.id, a.seller, a.category, a.date_time, a.expires), *diff));
                }
                Row::Bid(b) => batch.bids.push(Tup2(Tup5(b.id, b.auction, b.bidder, b.price, b.date_time), *diff)),
            }
        }
        batch
    }

    fn apply(&mut self, mut batch: Batch) {
        fn append<R: DBData>(handle: &Option<ZSetHandle<R>>, changes: &mut Changes<R>) {
            if !changes.is_empty() {
                handle.as_ref().expect("a query's rows are of its tables").append(changes);
            }
        }
        append(&self.inputs.customers, &mut batch.customers);
        append(&self.inputs.orders, &mut batch.orders);
        append(&self.inputs.lineitems, &mut batch.lineitems);
        append(&self.inputs.persons, &mut batch.persons);
        append(&self.inputs.auctions, &mut batch.auctions);
        append(&self.inputs.bids, &mut batch.bids);
        self.circuit.transaction().expect("the worker lives");
        (self.reader)(&mut self.answer);
    }

    fn answer(&self) -> Checksum {
        self.answer
    }
}

fn build(circuit: &mut RootCircuit, query: Query) -> (Inputs, Reader) {
    let mut inputs = Inputs::default();
    let reader = match query {
        Query::Q1 => {
            let orders = input(circuit, &mut inputs.orders);
            let sums = orders
                .map_index(|Tup6(_, _, shop, _, _, total)| (*shop, *total))
                .aggregate_linear(|total| Tup2(*total, 1i64));
            reader(&sums, |shop, Tup2(total, count)| [i64::from(*shop), *total, *count])
        }
        Query::Q2 => {
            let customers = input(circuit, &mut inputs.customers);
            let orders = input(circuit, &mut inputs.orders);
            let regions = customers.map_index(|Tup3(id, region, _)| (*id, *region));
            let sums = orders
                .map_index(|Tup6(_, customer, _, _, _, total)| (*customer, *total))
                .join_index(&regions, |_, total, region| Some((*region, *total)))
                .aggregate_linear(|total| Tup2(*total, 1i64));
            reader(&sums, |region, Tup2(total, count)| [i64::from(*region), *total, *count])
        }
        Query::Q3 => {
            let customers = input(circuit, &mut inputs.customers);
            let orders = input(circuit, &mut inputs.orders);
            let lineitems = input(circuit, &mut inputs.lineitems);
            let customers =
                customers.flat_map_index(|Tup3(id, _, segment)| (*segment == Q3_SEGMENT).then_some((*id, ())));
            let orders = orders.flat_map_index(|Tup6(id, customer, _, date, priority, _)| {
                (*date < Q3_DATE).then_some((*customer, Tup3(*id, *date, *priority)))
            });
            let lineitems = lineitems.flat_map_index(|Tup5(order, _, ship_date, price, discount)| {
                (*ship_date > Q3_DATE).then_some((*order, price * i64::from(100 - discount)))
            });
            let best = orders
                .join_index(&customers, |_, Tup3(id, date, priority), ()| Some((*id, Tup2(*date, *priority))))
                .join_index(&lineitems, |id, Tup2(date, priority), revenue| {
                    Some((Tup3(*id, *date, *priority), *revenue))
                })
                .aggregate_linear(|revenue| *revenue)
                .map_index(|(Tup3(id, date, priority), revenue)| ((), Tup4(-revenue, *date, *id, *priority)))
                .topk_asc(Q3_LIMIT);
            reader(&best, |(), Tup4(loss, date, id, priority)| [*id, i64::from(*date), i64::from(*priority), -loss])
        }
        Query::Top1 => {
            let orders = input(circuit, &mut inputs.orders);
            let latest = orders
                .map_index(|Tup6(id, customer, shop, date, priority, total)| {
                    (*customer, Tup5(*date, *id, *shop, *priority, *total))
                })
                .aggregate(Max);
            reader(&latest, |customer, Tup5(date, id, shop, priority, total)| {
                [*id, *customer, i64::from(*shop), i64::from(*date), i64::from(*priority), *total]
            })
        }
        Query::Nexmark3 => {
            let persons = input(circuit, &mut inputs.persons);
            let auctions = input(circuit, &mut inputs.auctions);
            let persons = persons.flat_map_index(|Tup5(id, name, city, state, _)| {
                (*state < NEXMARK_STATES).then_some((*id, Tup3(*name, *city, *state)))
            });
            let found = auctions
                .flat_map_index(|Tup5(id, seller, category, _, _)| {
                    (*category == NEXMARK_CATEGORY).then_some((*seller, *id))
                })
                .join_index(&persons, |_, id, Tup3(name, city, state)| Some((*id, Tup3(*name, *city, *state))));
            reader(&found, |id, Tup3(name, city, state)| [i64::from(*name), i64::from(*city), i64::from(*state), *id])
        }
        Query::Nexmark4 => {
            let auctions = input(circuit, &mut inputs.auctions);
            let bids = input(circuit, &mut inputs.bids);
            let auctions =
                auctions.map_index(|Tup5(id, _, category, opens, expires)| (*id, Tup3(*category, *opens, *expires)));
            let sums = bids
                .map_index(|Tup5(_, auction, _, price, time)| (*auction, Tup2(*time, *price)))
                .join_index(&auctions, |auction, Tup2(time, price), Tup3(category, opens, expires)| {
                    (opens <= time && time <= expires).then_some((Tup2(*auction, *category), *price))
                })
                .aggregate(Max)
                .map_index(|(Tup2(_, category), price)| (*category, *price))
                .aggregate_linear(|price| Tup2(*price, 1i64));
            reader(&sums, |category, Tup2(total, count)| [i64::from(*category), *total, *count])
        }
        Query::Nexmark5 => {
            let bids = input(circuit, &mut inputs.bids);
            // Bids of one batch that agree in auction and hop become one row with their count as its weight.
            let counts = bids
                .map(|Tup5(_, auction, _, _, time)| Tup2(time / HOP_MS, *auction))
                .flat_map(|Tup2(newest, auction)| {
                    let (newest, auction) = (*newest, *auction);
                    (0..HOPS_PER_WINDOW).map(move |ago| Tup2(newest - ago, auction))
                })
                .weighted_count();
            let most = counts
                .map_index(|(Tup2(hop, _), count)| (*hop, *count))
                .aggregate(Max)
                .map_index(|(hop, count)| (Tup2(*hop, *count), ()));
            let hot = counts
                .map_index(|(Tup2(hop, auction), count)| (Tup2(*hop, *count), *auction))
                .join_index(&most, |Tup2(hop, count), auction, ()| Some((*hop, Tup2(*auction, *count))));
            reader(&hot, |hop, Tup2(auction, count)| [*hop, *auction, *count])
        }
        Query::Nexmark7 => {
            let bids = input(circuit, &mut inputs.bids);
            let highest = bids
                .map_index(|Tup5(_, _, _, price, time)| (time / WINDOW_MS, *price))
                .aggregate(Max)
                .map_index(|(tumble, price)| (Tup2(*tumble, *price), ()));
            let winners = bids
                .map_index(|Tup5(id, auction, bidder, price, time)| {
                    (Tup2(time / WINDOW_MS, *price), Tup4(*id, *auction, *bidder, *time))
                })
                .join_index(&highest, |Tup2(_, price), Tup4(id, auction, bidder, time), ()| {
                    Some((*id, Tup4(*auction, *bidder, *price, *time)))
                });
            reader(&winners, |id, Tup4(auction, bidder, price, time)| [*id, *auction, *bidder, *price, *time])
        }
        Query::Nexmark8 => {
            let persons = input(circuit, &mut inputs.persons);
            let auctions = input(circuit, &mut inputs.auctions);
            let sellers = auctions
                .map(|Tup5(_, seller, _, time, _)| Tup2(*seller, time / WINDOW_MS))
                .distinct()
                .map_index(|seller| (seller.clone(), ()));
            let found = persons
                .map_index(|Tup5(id, name, _, _, time)| (Tup2(*id, time / WINDOW_MS), *name))
                .join_index(&sellers, |Tup2(id, tumble), name, ()| Some((*id, Tup2(*name, *tumble))));
            reader(&found, |id, Tup2(name, tumble)| [*id, i64::from(*name), *tumble])
        }
    };
    (inputs, reader)
}

fn input<R: DBData>(
    circuit: &mut RootCircuit,
    handle: &mut Option<ZSetHandle<R>>,
) -> Stream<RootCircuit, dbsp::OrdZSet<R>> {
    let (rows, into) = circuit.add_input_zset();
    *handle = Some(into);
    rows
}

fn reader<K: DBData, V: DBData, const N: usize>(
    answer: &Indexed<K, V>,
    columns: impl Fn(&K, &V) -> [i64; N] + Send + 'static,
) -> Reader {
    let output = answer.accumulate_output();
    Box::new(move |checksum| {
        for (key, value, weight) in output.concat().iter() {
            checksum.add(&columns(&key, &value), weight);
        }
    })
}
