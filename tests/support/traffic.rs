//! Writes with a seed: what the connections of a busy and careless application send.
//!
//! Each connection draws its transactions from its own dice, so the same seed gives the same statements;
//! with one connection it gives the same tables. With several, they meet on the rows of the seed data and
//! on updates of many rows; what a deadlock undoes is sent again, so every transaction happens.
//! Nothing here reads the clock: times are drawn as well.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use super::{mariadb, postgres};

pub struct Traffic {
    gate: Arc<Gate>,
    connections: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Against the shop in Postgres (`postgresql://…`) or billing in MariaDB (`mysql://…`), either as its
    /// seed file left it. `transactions` is the sum over all connections.
    pub fn start(url: &str, seed: u64, connections: u64, transactions: u64) -> Self {
        let gate = Arc::new(Gate::default());
        let shares = (0..connections).map(|c| transactions / connections + u64::from(c < transactions % connections));
        let connections = shares.enumerate().map(|(connection, share)| {
            let (gate, url) = (gate.clone(), url.to_string());
            let dice = Dice(seed ^ (connection as u64).wrapping_mul(0xA076_1D64_78BD_642F));
            std::thread::spawn(move || {
                let first_id = (connection as u64 + 1) * 10_000_000;
                if url.starts_with("mysql:") {
                    let server = mariadb::Session::open(&url).expect("mariadb answers");
                    drive(&gate, share, server, Billing { dice, next_id: first_id, payments: vec![], refunds: vec![] });
                } else {
                    let server = postgres::Session::open(&url).expect("postgres answers");
                    drive(&gate, share, server, Shop::new(dice, first_id));
                }
            })
        });
        Traffic { connections: connections.collect(), gate }
    }

    /// Returns when no transaction is open; none begins before [`Traffic::resume`].
    pub fn pause(&self) {
        self.gate.pause();
    }
    pub fn resume(&self) {
        self.gate.resume();
    }
    /// Transactions sent to their end so far, those rolled back on purpose included.
    pub fn done(&self) -> u64 {
        self.gate.state.lock().expect("no thread panics inside").done
    }
    pub fn finished(&self) -> bool {
        self.connections.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the last transaction; panics if one failed other than by a deadlock.
    pub fn join(mut self) {
        self.resume();
        for connection in std::mem::take(&mut self.connections) {
            if let Err(panic) = connection.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Traffic {
    /// A test that fails must not wait for the rest of the traffic.
    fn drop(&mut self) {
        self.gate.stop();
    }
}

/// Lets transactions through, or not.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    paused: bool,
    stopped: bool,
    open: usize,
    done: u64,
}

impl Gate {
    /// False if there is to be no further transaction.
    fn enter(&self) -> bool {
        let state = self.state.lock().expect("no thread panics inside");
        let waiting = |state: &mut GateState| state.paused && !state.stopped;
        let mut state = self.changed.wait_while(state, waiting).expect("no thread panics inside");
        state.open += usize::from(!state.stopped);
        !state.stopped
    }
    fn leave(&self, done: bool) {
        let mut state = self.state.lock().expect("no thread panics inside");
        state.open -= 1;
        state.done += u64::from(done);
        self.changed.notify_all();
    }
    fn pause(&self) {
        let mut state = self.state.lock().expect("no thread panics inside");
        state.paused = true;
        drop(self.changed.wait_while(state, |state| state.open > 0).expect("no thread panics inside"));
    }
    fn resume(&self) {
        self.state.lock().expect("no thread panics inside").paused = false;
        self.changed.notify_all();
    }
    fn stop(&self) {
        self.state.lock().expect("no thread panics inside").stopped = true;
        self.changed.notify_all();
    }
}

/// Leaves the gate even when the transaction panics, so that `pause` does not wait for ever.
struct Inside<'a>(&'a Gate, bool);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

fn drive(gate: &Gate, transactions: u64, mut server: impl Server, mut application: impl Application) {
    for _ in 0..transactions {
        // Drawn before it is sent and sent until it passes, so the dice do not depend on deadlocks.
        let statements = application.transaction();
        loop {
            if !gate.enter() {
                return;
            }
            let mut inside = Inside(gate, false);
            match statements.iter().try_for_each(|statement| server.send(statement)) {
                Ok(()) => {
                    inside.1 = true;
                    break;
                }
                Err(Refusal::Again) => server.send("rollback").unwrap_or(()),
                Err(Refusal::Fault(fault)) => panic!("{fault}\nin: {statements:#?}"),
            }
        }
    }
}

enum Refusal {
    /// A deadlock or a conflict: the server undid the transaction and it may pass next time.
    Again,
    Fault(String),
}

trait Server {
    fn send(&mut self, statement: &str) -> Result<(), Refusal>;
}

impl Server for postgres::Session {
    fn send(&mut self, statement: &str) -> Result<(), Refusal> {
        self.try_execute(statement).map_err(|error| match error.code().map(|code| code.code()) {
            Some("40001" | "40P01") => Refusal::Again,
            _ => Refusal::Fault(postgres::describe(&error)),
        })
    }
}

impl Server for mariadb::Session {
    fn send(&mut self, statement: &str) -> Result<(), Refusal> {
        self.try_execute(statement).map_err(|error| match &error {
            // A deadlock; a lock waited for too long.
            mysql_async::Error::Server(e) if [1213, 1205].contains(&e.code) => Refusal::Again,
            _ => Refusal::Fault(error.to_string()),
        })
    }
}

trait Application {
    /// The statements of one transaction, its end included. What it decides to roll back, it forgets.
    fn transaction(&mut self) -> Vec<String>;
}

/// Wraps what is drawn by `write` into a transaction that commits, rolls back, or rolls back in part.
/// `state` is what the application knows of its rows.
fn wrap<S: Clone>(dice: &mut Dice, state: &mut S, mut write: impl FnMut(&mut Dice, &mut S) -> String) -> Vec<String> {
    let mut statements = vec!["begin".to_string()];
    // Most transactions are short, some are empty, a few are long.
    let length = [0, 1, 1, 1, 2, 2, 3, 5, 8, 40][dice.below(10) as usize];
    let length = if length == 40 && !dice.chance(10) { 4 } else { length };
    let before = state.clone();
    for i in 0..length {
        if dice.chance(8) {
            let here = state.clone();
            statements.push(format!("savepoint s{i}"));
            statements.push(write(dice, state));
            statements.push(write(dice, state));
            statements.push(format!("rollback to savepoint s{i}"));
            *state = here;
        }
        statements.push(write(dice, state));
    }
    if dice.chance(8) {
        *state = before;
        statements.push("rollback".into());
    } else {
        statements.push("commit".into());
    }
    statements
}

/// The shop's writers. Rows of the seed data are everybody's, to be updated only; a connection inserts,
/// deletes and renames rows of its own, so that no two ever want the same new key.
struct Shop {
    dice: Dice,
    own: ShopRows,
    next_id: u64,
}

#[derive(Clone, Default)]
struct ShopRows {
    customers: Vec<u64>,
    products: Vec<u64>,
    orders: Vec<u64>,
}

/// How many rows of each table the seed file makes; `tests/harness.rs` holds these to it.
pub const CUSTOMERS: u64 = 50;
pub const PRODUCTS: u64 = 20;
pub const ORDERS: u64 = 300;
pub const PAYMENTS: u64 = 240;

/// More rows than this make copies of what is known dear, and tables large for nothing.
const OWN_MAX: usize = 200;

impl Shop {
    fn new(dice: Dice, next_id: u64) -> Self {
        Shop { dice, own: ShopRows::default(), next_id }
    }
}

impl Application for Shop {
    fn transaction(&mut self) -> Vec<String> {
        let next_id = &mut self.next_id;
        wrap(&mut self.dice, &mut self.own, |dice, own| shop_write(dice, own, next_id))
    }
}

fn shop_write(dice: &mut Dice, own: &mut ShopRows, next_id: &mut u64) -> String {
    let mut new_id = || {
        *next_id += 1;
        *next_id
    };
    match dice.below(16) {
        0 | 1 => {
            let id = new_id();
            own.customers.push(id);
            let (name, email, country, at) = (dice.text(), dice.text(), dice.country(), dice.time());
            format!("insert into customers values ({id}, {name}, {email}, {country}, {at})")
        }
        2 => {
            let id = new_id();
            own.products.push(id);
            let (name, category, price) = (dice.text(), dice.category(), dice.money());
            format!("insert into products values ({id}, {name}, {category}, {price})")
        }
        3 | 4 => {
            // An order with its lines, in one statement.
            let id = new_id();
            own.orders.push(id);
            let customer = dice.one_of(CUSTOMERS, &own.customers);
            let customer = if dice.chance(20) { "null".into() } else { customer.to_string() };
            let (status, at) = (dice.status(), dice.time());
            let mut lines = String::new();
            for line in 1..=1 + dice.below(4) {
                let product =
                    if dice.chance(25) { "null".into() } else { dice.one_of(PRODUCTS, &own.products).to_string() };
                let comma = if line == 1 { "" } else { ", " };
                lines += &format!("{comma}({id}, {line}, {product}, {}, {})", dice.quantity(), dice.money());
            }
            format!(
                "insert into orders values ({id}, {customer}, {status}, {at}); insert into order_items values {lines}"
            )
        }
        5 => {
            let (id, line) = (dice.one_of(ORDERS, &own.orders), 10 + dice.below(90));
            let (product, quantity, price) = (dice.one_of(PRODUCTS, &own.products), dice.quantity(), dice.money());
            format!(
                "insert into order_items values ({id}, {line}, {product}, {quantity}, {price}) \
                 on conflict (order_id, line) do update set quantity = excluded.quantity"
            )
        }
        6 | 7 => {
            format!("update orders set status = {} where id = {}", dice.status(), dice.one_of(ORDERS, &own.orders))
        }
        8 => {
            // Leaves the name alone, which may be a large value that the log does not repeat.
            let (email, country) = (dice.text(), dice.country());
            let id = dice.one_of(CUSTOMERS, &own.customers);
            format!("update customers set email = {email}, country = {country} where id = {id}")
        }
        9 => {
            format!("update products set price = {} where id = {}", dice.money(), dice.one_of(PRODUCTS, &own.products))
        }
        10 => {
            let (quantity, price) = (dice.quantity(), dice.money());
            let id = dice.one_of(ORDERS, &own.orders);
            format!("update order_items set quantity = {quantity}, unit_price = {price} where order_id = {id}")
        }
        11 => {
            // Many rows, some of them other connections'.
            let (category, low) = (dice.category(), dice.below(PRODUCTS));
            format!("update products set category = {category} where id between {low} and {}", low + 5)
        }
        12 => match dice.take(&mut own.orders) {
            Some(id) => format!("delete from order_items where order_id = {id}; delete from orders where id = {id}"),
            None => "delete from orders where false".into(),
        },
        13 => match dice.take(&mut own.customers) {
            Some(id) => format!("delete from customers where id = {id}"),
            None => format!("delete from order_items where order_id = {} and line > 10", 1 + dice.below(ORDERS)),
        },
        14 => match dice.take(&mut own.products) {
            Some(id) => format!("delete from products where id = {id}"),
            None => "update products set price = price where false".into(),
        },
        // The key itself changes.
        _ => match dice.below(3) {
            0 => rename(dice, "customers", &mut own.customers, new_id()),
            1 => rename(dice, "products", &mut own.products, new_id()),
            _ => match dice.take(&mut own.orders) {
                Some(old) => {
                    let new = new_id();
                    own.orders.push(new);
                    format!(
                        "update orders set id = {new} where id = {old}; \
                         update order_items set order_id = {new} where order_id = {old}"
                    )
                }
                None => "select 1".into(),
            },
        },
    }
}

fn rename(dice: &mut Dice, table: &str, own: &mut Vec<u64>, new: u64) -> String {
    match dice.take(own) {
        Some(old) => {
            own.push(new);
            format!("update {table} set id = {new} where id = {old}")
        }
        None => "select 1".into(),
    }
}

/// Billing's writers, by the same rules.
struct Billing {
    dice: Dice,
    next_id: u64,
    payments: Vec<u64>,
    refunds: Vec<u64>,
}

impl Application for Billing {
    fn transaction(&mut self) -> Vec<String> {
        let next_id = &mut self.next_id;
        let mut own = (std::mem::take(&mut self.payments), std::mem::take(&mut self.refunds));
        let statements = wrap(&mut self.dice, &mut own, |dice, own| billing_write(dice, own, next_id));
        (self.payments, self.refunds) = own;
        statements
    }
}

fn billing_write(dice: &mut Dice, (payments, refunds): &mut (Vec<u64>, Vec<u64>), next_id: &mut u64) -> String {
    let mut new_id = || {
        *next_id += 1;
        *next_id
    };
    match dice.below(9) {
        0..=2 => {
            let id = new_id();
            payments.push(id);
            let (order, method, amount, at) = (1 + dice.below(ORDERS), dice.method(), dice.money(), dice.time_plain());
            format!("insert into payments values ({id}, {order}, {method}, {amount}, {at})")
        }
        3 => {
            let id = new_id();
            refunds.push(id);
            let (payment, amount, at) = (dice.one_of(PAYMENTS, payments), dice.money(), dice.time_plain());
            format!("insert into refunds values ({id}, {payment}, {amount}, {at})")
        }
        4 => {
            let (method, amount, id) = (dice.method(), dice.money(), dice.one_of(PAYMENTS, payments));
            format!("update payments set method = {method}, amount = {amount} where id = {id}")
        }
        5 => {
            let (at, low) = (dice.time_plain(), dice.below(PAYMENTS));
            format!("update payments set paid_at = {at} where id between {low} and {}", low + 5)
        }
        6 => match dice.take(payments) {
            Some(id) => format!("delete from payments where id = {id}"),
            None => "delete from payments where false".into(),
        },
        7 => match dice.take(refunds) {
            Some(id) => format!("delete from refunds where id = {id}"),
            None => "update refunds set amount = amount where false".into(),
        },
        _ => rename(dice, "payments", payments, new_id()),
    }
}

/// splitmix64: good enough to be careless with, and the same on every machine for ever.
pub struct Dice(pub u64);

impl Dice {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// One time in `times`.
    pub fn chance(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A row of the seed data (1 to `shared`) or of one's own.
    fn one_of(&mut self, shared: u64, own: &[u64]) -> u64 {
        if own.is_empty() || self.chance(2) {
            1 + self.below(shared)
        } else {
            own[self.below(own.len() as u64) as usize]
        }
    }

    /// Removes one of one's own, more readily when there are many.
    fn take(&mut self, own: &mut Vec<u64>) -> Option<u64> {
        if own.is_empty() || (own.len() < OWN_MAX / 10 && self.chance(2)) {
            return None;
        }
        let at = self.below(own.len() as u64) as usize;
        let taken = own.swap_remove(at);
        // Forgotten rows stay in the table, out of this connection's reach.
        own.truncate(OWN_MAX);
        Some(taken)
    }

    /// A literal: NULL, empty, plain, in many scripts, or too large to be kept within its row.
    fn text(&mut self) -> String {
        match self.below(100) {
            0..=4 => "null".into(),
            5 => "''".into(),
            6..=9 => format!(
                "'{}'",
                self.pick(&["Zoë Müller", "北京市", "naïve “quotes”", "O''Brien", "🦀 e\u{301}", "a\tb\nc", "  "])
            ),
            10 => {
                let large: String = (0..256).map(|_| format!("{:016x}", self.draw())).collect();
                format!("'{large}'")
            }
            _ => format!("'{} {}'", self.pick(&["Ada", "Ben", "Cleo", "Dov", "Eve"]), self.below(10_000)),
        }
    }

    fn country(&mut self) -> &'static str {
        self.pick(&["'de'", "'FR'", "'it'", "'Pl'", "'ie'", "null"])
    }
    fn category(&mut self) -> &'static str {
        self.pick(&["'tea'", "'coffee'", "'cups'", "'spoons'", "null"])
    }
    fn status(&mut self) -> &'static str {
        self.pick(&["'placed'", "'PAID'", "'paid'", "'shipped'", "'returned'", "'cancelled'", "null"])
    }
    fn method(&mut self) -> &'static str {
        self.pick(&["'card'", "'transfer'", "'invoice'", "'voucher'", "null"])
    }
    fn quantity(&mut self) -> String {
        if self.chance(30) { "null".into() } else { self.below(9).to_string() }
    }
    fn money(&mut self) -> String {
        match self.below(40) {
            0 => "null".into(),
            1 => "0".into(),
            2 => format!("-{}.{:02}", self.below(100), self.below(100)),
            _ => format!("{}.{:02}", self.below(2_000), self.below(100)),
        }
    }
    /// For a column with a zone.
    fn time(&mut self) -> String {
        if self.chance(50) { "null".into() } else { format!("'{}+00'", self.instant()) }
    }
    fn time_plain(&mut self) -> String {
        format!("'{}'", self.instant())
    }
    fn instant(&mut self) -> String {
        let (day, month) = (1 + self.below(28), 1 + self.below(12));
        let (hour, minute, second) = (self.below(24), self.below(60), self.below(60));
        format!("2024-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:06}", self.below(1_000_000))
    }
}
