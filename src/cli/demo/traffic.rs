//! What a small shop does all day: whole transactions from a seed, as SQL or as lines of a recorded log.
//!
//! Each connection draws from its own dice and owns its own rows (every n-th of the seed data, and those it
//! makes), so that connections never wait for each other. It remembers only keys: an update says which
//! columns it sets, as SQL does and as a recorded log may.

use serde_json::{Map, Value as Json, json};

/// How many connections each database gets.
pub const CONNECTIONS: u64 = 3;

/// What scripts/seed/*.sql makes.
const CUSTOMERS: u64 = 50;
const PRODUCTS: u64 = 20;
const ORDERS: u64 = 300;
const PAYMENTS: u64 = 240;
const REFUNDS: u64 = 24;

pub struct Table {
    schema: &'static str,
    name: &'static str,
    /// Names and Postgres types; the first `key` of them are the primary key.
    columns: &'static [(&'static str, &'static str)],
    key: usize,
}

const CUSTOMER: Table = Table {
    schema: "public",
    name: "customers",
    columns: &[
        ("id", "integer"),
        ("name", "text"),
        ("email", "text"),
        ("country", "text"),
        ("created_at", "timestamptz"),
    ],
    key: 1,
};
const PRODUCT: Table = Table {
    schema: "public",
    name: "products",
    columns: &[("id", "integer"), ("name", "text"), ("category", "text"), ("price", "numeric(12,2)")],
    key: 1,
};
const ORDER: Table = Table {
    schema: "public",
    name: "orders",
    columns: &[("id", "bigint"), ("customer_id", "integer"), ("status", "text"), ("ordered_at", "timestamptz")],
    key: 1,
};
const ITEM: Table = Table {
    schema: "public",
    name: "order_items",
    columns: &[
        ("order_id", "bigint"),
        ("line", "integer"),
        ("product_id", "integer"),
        ("quantity", "integer"),
        ("unit_price", "numeric(12,2)"),
    ],
    key: 2,
};
const PAYMENT: Table = Table {
    schema: "billing",
    name: "payments",
    columns: &[
        ("id", "bigint"),
        ("order_id", "bigint"),
        ("method", "text"),
        ("amount", "numeric(12,2)"),
        ("paid_at", "timestamp"),
    ],
    key: 1,
};
const REFUND: Table = Table {
    schema: "billing",
    name: "refunds",
    columns: &[("id", "bigint"), ("payment_id", "bigint"), ("amount", "numeric(12,2)"), ("refunded_at", "timestamp")],
    key: 1,
};

/// Which of the two databases.
#[derive(Clone, Copy, PartialEq)]
pub enum Database {
    Shop,
    Billing,
}

impl Database {
    fn tables(self) -> &'static [Table] {
        match self {
            Database::Shop => &[CUSTOMER, PRODUCT, ORDER, ITEM],
            Database::Billing => &[PAYMENT, REFUND],
        }
    }

    /// The head of a recorded log: what the tables are, and the rows they begin with.
    pub fn head(self) -> String {
        let tables = self.tables().iter().map(|table| {
            let columns = table.columns.iter().map(|(name, kind)| json!({"name": name, "type": kind}));
            let key = table.columns[..table.key].iter().map(|(name, _)| *name);
            json!({"schema": table.schema, "name": table.name, "columns": columns.collect::<Vec<_>>(), "key": key.collect::<Vec<_>>()})
        });
        let head = json!({"tables": tables.collect::<Vec<_>>()}).to_string();
        let mut dice = Dice(7);
        let rows: Vec<Write> = match self {
            Database::Shop => {
                let customers = (1..=CUSTOMERS).map(|id| insert_customer(&mut dice, id));
                let mut rows: Vec<Write> = customers.collect();
                rows.extend((1..=PRODUCTS).map(|id| insert_product(&mut dice, id)));
                for id in 1..=ORDERS {
                    rows.push(insert_order(&mut dice, id));
                    rows.extend((1..=1 + id % 3).map(|line| insert_item(&mut dice, id, line)));
                }
                rows
            }
            Database::Billing => {
                let mut rows: Vec<Write> = (1..=PAYMENTS).map(|id| insert_payment(&mut dice, id, id)).collect();
                rows.extend((1..=REFUNDS).map(|id| insert_refund(&mut dice, id, id * 10)));
                rows
            }
        };
        rows.iter().fold(head + "\n", |text, write| text + &write.line("r", None) + "\n")
    }
}

/// One row written.
pub struct Write {
    table: &'static Table,
    op: Op,
}

enum Op {
    /// A value for each column.
    Insert(Vec<Value>),
    Update {
        key: Vec<u64>,
        set: Vec<(&'static str, Value)>,
    },
    Delete {
        key: Vec<u64>,
    },
}

enum Value {
    Null,
    Number(u64),
    /// In hundredths.
    Money(u64),
    Text(String),
}

/// One transaction as SQL that both servers take.
pub fn as_sql(transaction: &[Write]) -> String {
    let statements = transaction.iter().map(Write::sql);
    let statements: String = statements.map(|statement| statement + ";\n").collect();
    format!("begin;\n{statements}commit;\n")
}

/// One transaction as lines of a recorded log.
pub fn as_lines(transaction: &[Write], number: u64, now_ms: i64) -> String {
    let line = |write: &Write| {
        let op = match write.op {
            Op::Insert(_) => "c",
            Op::Update { .. } => "u",
            Op::Delete { .. } => "d",
        };
        write.line(op, Some((number, now_ms))) + "\n"
    };
    transaction.iter().map(line).collect()
}

impl Write {
    fn sql(&self) -> String {
        let Table { name, columns, .. } = self.table;
        let found = |key: &[u64]| {
            let parts = columns.iter().zip(key).map(|((column, _), value)| format!("{column} = {value}"));
            parts.collect::<Vec<_>>().join(" and ")
        };
        match &self.op {
            Op::Insert(values) => {
                let values: Vec<String> = values.iter().map(Value::sql).collect();
                format!("insert into {name} values ({})", values.join(", "))
            }
            Op::Update { key, set } => {
                let set: Vec<String> =
                    set.iter().map(|(column, value)| format!("{column} = {}", value.sql())).collect();
                format!("update {name} set {} where {}", set.join(", "), found(key))
            }
            Op::Delete { key } => format!("delete from {name} where {}", found(key)),
        }
    }

    /// In Debezium's shape; without a transaction it is a row of the first copy.
    fn line(&self, op: &str, transaction: Option<(u64, i64)>) -> String {
        let Table { schema, name, columns, .. } = self.table;
        let mut source = json!({"schema": schema, "table": name});
        if let Some((number, ms)) = transaction {
            source["txId"] = number.into();
            source["ts_ms"] = ms.into();
        }
        let names = columns.iter().map(|(name, _)| name.to_string());
        let keyed = |key: &[u64]| names.clone().zip(key.iter().map(|part| Json::from(*part))).collect::<Map<_, _>>();
        let (before, after) = match &self.op {
            Op::Insert(values) => {
                (Json::Null, names.clone().zip(values.iter().map(Value::json)).collect::<Map<_, _>>().into())
            }
            Op::Update { key, set } => {
                let mut after = keyed(key);
                after.extend(set.iter().map(|(column, value)| (column.to_string(), value.json())));
                (keyed(key).into(), Json::Object(after))
            }
            Op::Delete { key } => (keyed(key).into(), Json::Null),
        };
        json!({"source": source, "op": op, "before": before, "after": after}).to_string()
    }
}

impl Value {
    fn sql(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Number(number) => number.to_string(),
            Value::Money(cents) => money(*cents),
            Value::Text(text) => format!("'{text}'"),
        }
    }

    fn json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Number(number) => (*number).into(),
            Value::Money(cents) => money(*cents).into(),
            Value::Text(text) => text.clone().into(),
        }
    }
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// One connection's side of the shop, or of billing.
pub struct Application {
    database: Database,
    dice: Dice,
    next_id: u64,
    customers: Vec<u64>,
    /// With how many lines each.
    orders: Vec<(u64, u64)>,
    payments: Vec<u64>,
    refunds: Vec<u64>,
}

impl Application {
    /// The `number`th of [`CONNECTIONS`].
    pub fn new(database: Database, number: u64) -> Application {
        let own = |rows: u64| (1..=rows).filter(|id| id % CONNECTIONS == number).collect::<Vec<u64>>();
        Application {
            database,
            dice: Dice(number.wrapping_mul(0xA076_1D64_78BD_642F) ^ database as u64),
            next_id: first_id(number),
            customers: own(CUSTOMERS),
            orders: own(ORDERS).into_iter().map(|id| (id, 1 + id % 3)).collect(),
            payments: own(PAYMENTS),
            refunds: own(REFUNDS),
        }
    }

    /// The writes of one transaction: at least one, in most cases several.
    pub fn transaction(&mut self) -> Vec<Write> {
        match self.database {
            Database::Shop => self.shop(),
            Database::Billing => self.billing(),
        }
    }

    fn shop(&mut self) -> Vec<Write> {
        match self.dice.below(12) {
            0..=3 => {
                let (id, lines) = (self.new_id(), 1 + self.dice.below(4));
                self.orders.push((id, lines));
                let items = (1..=lines).map(|line| insert_item(&mut self.dice, id, line)).collect::<Vec<_>>();
                let customer = self.dice.one(&self.customers);
                let mut order = insert_order(&mut self.dice, id);
                if let Op::Insert(values) = &mut order.op {
                    values[1] = Value::Number(customer);
                }
                std::iter::once(order).chain(items).collect()
            }
            4 => {
                let id = self.new_id();
                self.customers.push(id);
                vec![insert_customer(&mut self.dice, id)]
            }
            5..=7 => {
                let (order, _) = self.dice.one(&self.orders);
                vec![update(&ORDER, &[order], vec![("status", status(&mut self.dice))])]
            }
            8 => {
                let (order, lines) = self.dice.one(&self.orders);
                let again =
                    |line| update(&ITEM, &[order, line], vec![("quantity", Value::Number(1 + self.dice.below(9)))]);
                (1..=lines).map(again).collect()
            }
            9 => {
                let customer = self.dice.one(&self.customers);
                vec![update(&CUSTOMER, &[customer], vec![("country", country(&mut self.dice))])]
            }
            // The oldest orders go; there are always younger ones.
            _ if self.orders.len() > 20 => {
                let (order, lines) = self.orders.remove(0);
                let items = (1..=lines).map(|line| delete(&ITEM, &[order, line]));
                items.chain([delete(&ORDER, &[order])]).collect()
            }
            _ => vec![update(&PRODUCT, &[1 + self.dice.below(PRODUCTS)], vec![("category", category(&mut self.dice))])],
        }
    }

    fn billing(&mut self) -> Vec<Write> {
        match self.dice.below(10) {
            0..=4 => {
                let id = self.new_id();
                self.payments.push(id);
                // An order of the seed data, or one that the shop has made meanwhile, or will make.
                let order = match self.dice.below(3) {
                    0 => 1 + self.dice.below(ORDERS),
                    _ => first_id(self.dice.below(CONNECTIONS)) + 1 + self.dice.below(self.payments.len() as u64),
                };
                vec![insert_payment(&mut self.dice, id, order)]
            }
            5 | 6 => {
                // Money goes back, and the payment says so.
                let (id, payment) = (self.new_id(), self.dice.one(&self.payments));
                self.refunds.push(id);
                let method = ("method", Value::Text("voucher".into()));
                vec![insert_refund(&mut self.dice, id, payment), update(&PAYMENT, &[payment], vec![method])]
            }
            7 | 8 => {
                let payment = self.dice.one(&self.payments);
                vec![update(&PAYMENT, &[payment], vec![("amount", price(&mut self.dice))])]
            }
            _ if self.refunds.len() > 5 => vec![delete(&REFUND, &[self.refunds.remove(0)])],
            _ => vec![update(&PAYMENT, &[self.dice.one(&self.payments)], vec![("amount", price(&mut self.dice))])],
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

fn first_id(connection: u64) -> u64 {
    (connection + 1) * 1_000_000
}

fn insert_customer(dice: &mut Dice, id: u64) -> Write {
    let email = Value::Text(format!(" Customer{id}@Example.org"));
    let name = Value::Text(format!("Customer {id}"));
    insert(&CUSTOMER, vec![Value::Number(id), name, email, country(dice), time(dice, "+00")])
}

fn insert_product(dice: &mut Dice, id: u64) -> Write {
    insert(&PRODUCT, vec![Value::Number(id), Value::Text(format!("Product {id}")), category(dice), price(dice)])
}

fn insert_order(dice: &mut Dice, id: u64) -> Write {
    let customer = Value::Number(1 + dice.below(CUSTOMERS));
    insert(&ORDER, vec![Value::Number(id), customer, status(dice), time(dice, "+00")])
}

fn insert_item(dice: &mut Dice, order: u64, line: u64) -> Write {
    let (product, quantity) = (Value::Number(1 + dice.below(PRODUCTS)), Value::Number(1 + dice.below(4)));
    insert(&ITEM, vec![Value::Number(order), Value::Number(line), product, quantity, price(dice)])
}

fn insert_payment(dice: &mut Dice, id: u64, order: u64) -> Write {
    let method = Value::Text(dice.one(&["card", "transfer", "invoice", "voucher"]).into());
    insert(&PAYMENT, vec![Value::Number(id), Value::Number(order), method, price(dice), time(dice, "")])
}

fn insert_refund(dice: &mut Dice, id: u64, payment: u64) -> Write {
    insert(&REFUND, vec![Value::Number(id), Value::Number(payment), price(dice), time(dice, "")])
}

fn insert(table: &'static Table, values: Vec<Value>) -> Write {
    Write { table, op: Op::Insert(values) }
}

fn update(table: &'static Table, key: &[u64], set: Vec<(&'static str, Value)>) -> Write {
    Write { table, op: Op::Update { key: key.into(), set } }
}

fn delete(table: &'static Table, key: &[u64]) -> Write {
    Write { table, op: Op::Delete { key: key.into() } }
}

fn status(dice: &mut Dice) -> Value {
    Value::Text(dice.one(&["placed", "PAID", "shipped", "returned", "cancelled"]).into())
}

fn country(dice: &mut Dice) -> Value {
    match dice.one(&["de", "FR", "", "it", "Pl"]) {
        "" => Value::Null,
        country => Value::Text(country.into()),
    }
}

fn category(dice: &mut Dice) -> Value {
    Value::Text(dice.one(&["tea", "coffee", "cups"]).into())
}

fn price(dice: &mut Dice) -> Value {
    Value::Money(100 + dice.below(5_000))
}

fn time(dice: &mut Dice, zone: &str) -> Value {
    let (month, day, hour, minute) = (3 + dice.below(4), 1 + dice.below(28), dice.below(24), dice.below(60));
    Value::Text(format!("2024-{month:02}-{day:02} {hour:02}:{minute:02}:00{zone}"))
}

/// SplitMix64: the same seed, the same shop.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// One of some; there is always one.
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_the_same_as_sql_and_as_lines() {
        let transaction = [
            update(&ITEM, &[7, 2], vec![("quantity", Value::Number(3)), ("unit_price", Value::Money(1205))]),
            delete(&ORDER, &[7]),
        ];
        assert_eq!(
            as_sql(&transaction),
            "begin;\nupdate order_items set quantity = 3, unit_price = 12.05 where order_id = 7 and line = 2;\n\
             delete from orders where id = 7;\ncommit;\n"
        );
        assert_eq!(
            as_lines(&transaction, 9, 5),
            concat!(
                r#"{"source":{"schema":"public","table":"order_items","txId":9,"ts_ms":5},"op":"u","before":{"order_id":7,"line":2},"after":{"order_id":7,"line":2,"quantity":3,"unit_price":"12.05"}}"#,
                "\n",
                r#"{"source":{"schema":"public","table":"orders","txId":9,"ts_ms":5},"op":"d","before":{"id":7},"after":null}"#,
                "\n"
            )
        );
    }
}
