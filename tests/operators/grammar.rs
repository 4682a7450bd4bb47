//! Random SQL that binds: queries over relations of known columns, shape within shape.
//!
//! What it leaves out, since the executor that recomputes gives no definite answer to it:
//! - Division where something else decides whether the row is computed at all: beneath a join, or a filter that asks
//!   another relation (it does not look at one side where the other is empty, while we find what fails on either), beside
//!   another predicate within one expression (it looks at all rows, or only at those that the first lets through, as
//!   their share is), in an aggregate with a filter.
//! - Arithmetic with the number or rank of a row as it is: DataFusion counts rows in a type without a sign, and fails
//!   where it estimates how many rows pass a comparison of the two kinds. A cast settles it.

use super::life::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Numeric,
    Double,
    Text,
    Timestamp,
    Date,
    Bool,
}

const KINDS: [Kind; 7] = [Kind::Int, Kind::Numeric, Kind::Double, Kind::Text, Kind::Timestamp, Kind::Date, Kind::Bool];

impl Kind {
    /// What values of the kind are cast to where they must have one type.
    fn sql(self) -> &'static str {
        match self {
            Kind::Int => "bigint",
            Kind::Numeric => "numeric(30, 6)",
            Kind::Double => "double precision",
            Kind::Text => "text",
            Kind::Timestamp => "timestamp",
            Kind::Date => "date",
            Kind::Bool => "boolean",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Kind::Int | Kind::Numeric | Kind::Double)
    }
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// What `from` may name: a table, a model, or what `with` has named.
#[derive(Clone, Debug)]
pub struct Relation {
    pub name: String,
    pub columns: Vec<Column>,
    /// About so many rows: products of products must stay small.
    pub rows: f64,
}

/// A query and what it gives; also what stands in `from`, with columns as an expression names them.
#[derive(Clone, Debug)]
pub struct Query {
    pub sql: String,
    pub columns: Vec<Column>,
    pub rows: f64,
}

impl Query {
    /// Whether something in it fails for some rows.
    fn divides(&self) -> bool {
        self.sql.contains(DIVISION)
    }
}

/// What a division begins with, and nothing else.
const DIVISION: &str = "60 / (";

/// A join of more rows is not written.
const ROWS_MAX: f64 = 300.0;

/// Whether an expression that fails for some rows may stand here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    MayFail,
    Compute,
}

/// A filter that asks another relation, or the clock, may be asked last; or first, and then nothing is left to fail.
fn behind(filter: &str, rows: Rows) -> Rows {
    let asks = ["select ", "now()", "current_"].iter().any(|word| filter.contains(word));
    if asks { Rows::Compute } else { rows }
}

pub struct Grammar<'a> {
    pub dice: &'a mut Dice,
    pub relations: Vec<Relation>,
    /// Names given so far.
    names: usize,
}

impl<'a> Grammar<'a> {
    pub fn new(dice: &'a mut Dice, relations: Vec<Relation>) -> Grammar<'a> {
        Grammar { dice, relations, names: 0 }
    }

    /// A model.
    pub fn model(&mut self) -> Query {
        let depth = 1 + self.dice.below(3);
        let mut query = self.query(depth, Rows::MayFail);
        if self.dice.one_in(10) && !query.sql.contains(" limit ") {
            query.sql = format!("select * from ({}) as {} order by 1", query.sql, self.name("r"));
        }
        query
    }

    fn query(&mut self, depth: u64, rows: Rows) -> Query {
        match self.dice.below(if depth == 0 { 4 } else { 18 }) {
            0 | 4 => self.select(depth, rows),
            1 | 5 | 6 => self.grouped(depth, rows),
            2 | 7 | 8 => self.joined(depth),
            3 => self.distinct(depth, rows),
            9 => self.union(depth, rows),
            10 => self.limited(depth, rows),
            11 => self.distinct_on(depth, rows),
            12 => self.numbered(depth, rows),
            13 => self.named(depth),
            14 => self.windowed(depth, rows),
            15 => self.minus(depth),
            16 => self.recursive(depth),
            _ => self.grouping_sets(depth),
        }
    }

    fn select(&mut self, depth: u64, rows: Rows) -> Query {
        let from = self.from(depth, rows);
        let filter = self.filter(&from, rows);
        let outputs = self.outputs(&from.columns, behind(&filter, rows));
        self.block("select", outputs, &from, &filter, "")
    }

    fn distinct(&mut self, depth: u64, rows: Rows) -> Query {
        let from = self.from(depth, rows);
        let filter = self.filter(&from, rows);
        let outputs = self.outputs(&from.columns, behind(&filter, rows));
        self.block("select distinct", outputs, &from, &filter, "")
    }

    fn joined(&mut self, depth: u64) -> Query {
        let from = self.join(depth);
        let filter = self.filter(&from, Rows::Compute);
        let outputs = self.outputs(&from.columns, Rows::Compute);
        self.block("select", outputs, &from, &filter, "")
    }

    fn grouped(&mut self, depth: u64, rows: Rows) -> Query {
        let (from, rows) = match self.dice.one_in(3) {
            true => (self.join(depth), Rows::Compute),
            false => (self.from(depth, rows), rows),
        };
        let filter = self.filter(&from, Rows::Compute);
        let mut outputs = Vec::new();
        let keys: Vec<String> = (0..self.dice.below(3))
            .map(|_| {
                let kind = self.kind_of(&from.columns);
                let key = self.value(&from.columns, kind);
                outputs.push((key.clone(), kind));
                key
            })
            .collect();
        for _ in 0..1 + self.dice.below(3) {
            outputs.push(self.aggregate(&from.columns, rows));
        }
        let mut tail = String::new();
        if !keys.is_empty() {
            tail = format!(" group by {}", keys.join(", "));
            if self.dice.one_in(4) {
                let (call, kind) = self.aggregate(&from.columns, Rows::Compute);
                let bound = self.literal(kind);
                let than = self.comparison();
                tail += &format!(" having {call} {than} {bound}");
            }
        }
        let mut query = self.block("select", outputs, &from, &filter, &tail);
        query.rows = if keys.is_empty() { 1.0 } else { query.rows.min(12.0) };
        query
    }

    fn grouping_sets(&mut self, depth: u64) -> Query {
        let from = self.from(depth, Rows::Compute);
        let filter = self.filter(&from, Rows::Compute);
        let mut outputs = Vec::new();
        let mut keys: Vec<String> = Vec::new();
        for _ in 0..1 + self.dice.below(2) {
            let column = self.dice.pick(&from.columns).clone();
            if !keys.contains(&column.name) {
                keys.push(column.name.clone());
                outputs.push((column.name, column.kind));
            }
        }
        for _ in 0..1 + self.dice.below(2) {
            outputs.push(self.aggregate(&from.columns, Rows::Compute));
        }
        let list = keys.join(", ");
        let sets = match self.dice.below(3) {
            0 => format!("rollup({list})"),
            1 => format!("cube({list})"),
            _ => format!("grouping sets (({list}), ({}), ())", keys[0]),
        };
        self.block("select", outputs, &from, &filter, &format!(" group by {sets}"))
    }

    fn union(&mut self, depth: u64, rows: Rows) -> Query {
        let kinds: Vec<Kind> = (0..1 + self.dice.below(3)).map(|_| *self.dice.pick(&KINDS)).collect();
        let word = *self.dice.pick(&[" union all ", " union all ", " union "]);
        let parts: Vec<Query> = (0..2 + self.dice.below(2)).map(|_| self.of_kinds(depth, &kinds, rows)).collect();
        let columns = parts[0].columns.clone();
        let sql = parts.iter().map(|part| part.sql.as_str()).collect::<Vec<_>>().join(word);
        Query { sql, columns, rows: parts.iter().map(|part| part.rows).sum() }
    }

    /// `except` and `intersect`, of one column or two, so that there is something in common.
    fn minus(&mut self, depth: u64) -> Query {
        let kinds: Vec<Kind> = (0..1 + self.dice.below(2)).map(|_| *self.dice.pick(&KINDS)).collect();
        let word = *self.dice.pick(&["except", "intersect"]);
        let one = self.of_kinds(depth, &kinds, Rows::Compute);
        let other = self.of_kinds(0, &kinds, Rows::Compute);
        Query { sql: format!("{} {word} {}", one.sql, other.sql), ..one }
    }

    /// A select whose columns have these kinds, each with its one type.
    fn of_kinds(&mut self, depth: u64, kinds: &[Kind], rows: Rows) -> Query {
        let from = self.from(depth, rows);
        let filter = self.filter(&from, Rows::Compute);
        let outputs = kinds.iter().map(|kind| {
            let value = self.value(&from.columns, *kind);
            (format!("cast({value} as {})", kind.sql()), *kind)
        });
        let outputs = outputs.collect();
        self.block("select", outputs, &from, &filter, "")
    }

    fn limited(&mut self, depth: u64, rows: Rows) -> Query {
        let from = self.from(depth, rows);
        let outputs = self.outputs(&from.columns, rows);
        let order = match self.dice.one_in(4) {
            true => String::new(),
            false => format!(" order by {}", self.order(&from.columns)),
        };
        let limit = 1 + self.dice.below(6);
        let places = match self.dice.below(4) {
            0 => format!(" limit {limit} offset {}", self.dice.below(4)),
            1 => format!(" offset {limit}"),
            _ => format!(" limit {limit}"),
        };
        let mut query = self.block("select", outputs, &from, "", &(order + &places));
        query.sql = format!("select * from ({}) as {}", query.sql, self.name("r"));
        query
    }

    fn distinct_on(&mut self, depth: u64, rows: Rows) -> Query {
        let from = self.from(depth, rows);
        let filter = self.filter(&from, Rows::Compute);
        let outputs = self.outputs(&from.columns, Rows::Compute);
        let kind = self.kind_of(&from.columns);
        let key = self.value(&from.columns, kind);
        let order = self.order(&from.columns);
        let head = format!("select distinct on ({key})");
        let mut query = self.block(&head, outputs, &from, &filter, &format!(" order by {key}, {order}"));
        query.rows = query.rows.min(8.0);
        query
    }

    fn numbered(&mut self, depth: u64, rows: Rows) -> Query {
        let from = self.from(depth, rows);
        let filter = self.filter(&from, Rows::Compute);
        let mut outputs = self.outputs(&from.columns, Rows::Compute);
        let order = self.order(&from.columns);
        let partition = match self.dice.one_in(5) {
            true => String::new(),
            false => {
                let kind = self.kind_of(&from.columns);
                format!("partition by {} ", self.value(&from.columns, kind))
            }
        };
        outputs.push((format!("row_number() over ({partition}order by {order})"), Kind::Int));
        let inner = self.block("select", outputs, &from, &filter, "");
        let number = inner.columns.last().expect("it was pushed").name.clone();
        let alias = self.name("r");
        let bound = match self.dice.below(4) {
            0 => format!("{alias}.{number} <= {}", 1 + self.dice.below(3)),
            1 => format!("{alias}.{number} < {}", 2 + self.dice.below(3)),
            2 => format!("{alias}.{number} between 1 and {}", 1 + self.dice.below(3)),
            _ => format!("{alias}.{number} = 1"),
        };
        let rows_left = inner.rows.min(12.0);
        let sql = format!("({}) as {alias}", inner.sql);
        let mut outer = Query { sql, columns: qualified(&alias, &inner.columns), rows: inner.rows };
        outer.columns.pop();
        let mut filter = format!(" where {bound}");
        if self.dice.one_in(4) {
            filter += &format!(" and {}", self.predicate(&outer.columns, 1));
        }
        let mut outputs = self.outputs(&outer.columns, Rows::Compute);
        if self.dice.one_in(2) {
            outputs.push((format!("cast({alias}.{number} as bigint)"), Kind::Int));
        }
        let mut query = self.block("select", outputs, &outer, &filter, "");
        query.rows = rows_left;
        query
    }

    fn windowed(&mut self, depth: u64, rows: Rows) -> Query {
        let from = self.from(depth, rows);
        let filter = self.filter(&from, Rows::Compute);
        let mut outputs = self.outputs(&from.columns, Rows::Compute);
        for _ in 0..1 + self.dice.below(2) {
            outputs.push(self.window(&from.columns));
        }
        self.block("select", outputs, &from, &filter, "")
    }

    fn window(&mut self, columns: &[Column]) -> (String, Kind) {
        let kind = self.kind_of(columns);
        let value = self.value(columns, kind);
        let (call, kind, ordered) = match self.dice.below(11) {
            0 => ("rank()".to_string(), Kind::Int, true),
            1 => ("dense_rank()".to_string(), Kind::Int, true),
            2 => ("percent_rank()".to_string(), Kind::Double, true),
            3 => ("ntile(2)".to_string(), Kind::Int, true),
            4 => ("row_number()".to_string(), Kind::Int, true),
            5 => (format!("lag({value})"), kind, true),
            6 => (format!("lead({value}, 2)"), kind, true),
            7 => (format!("{}({value})", self.dice.pick(&["first_value", "last_value"])), kind, true),
            8 if kind.is_number() => (format!("sum({value})"), kind, false),
            9 => (format!("{}({value})", self.dice.pick(&["min", "max"])), kind, false),
            _ => (format!("count({value})"), Kind::Int, false),
        };
        let mut over = String::new();
        if self.dice.below(4) > 0 {
            let kind = self.kind_of(columns);
            over = format!("partition by {} ", self.value(columns, kind));
        }
        if ordered || self.dice.one_in(2) {
            over += &format!("order by {}", self.order(columns));
            if !ordered && self.dice.one_in(2) {
                let frame = *self.dice.pick(&[
                    " rows between 1 preceding and 1 following",
                    " rows between unbounded preceding and current row",
                    " groups between 1 preceding and current row",
                ]);
                over += frame;
            }
        }
        let window = format!("{call} over ({over})");
        (if kind == Kind::Int { format!("cast({window} as bigint)") } else { window }, kind)
    }

    /// `with`, and what it names read twice.
    fn named(&mut self, depth: u64) -> Query {
        let shared = self.query(depth - 1, Rows::Compute);
        let name = self.name("w");
        let relation = Relation { name: name.clone(), columns: shared.columns.clone(), rows: shared.rows };
        let outer = std::mem::replace(&mut self.relations, vec![relation]);
        let mut query = match self.dice.below(3) {
            0 => self.union(0, Rows::Compute),
            _ => self.joined(0),
        };
        self.relations = outer;
        query.sql = format!("with {name} as ({}) {}", shared.sql, query.sql);
        query
    }

    /// `with recursive` over some edges: what is reached, where cycles end by themselves, or so many steps far.
    fn recursive(&mut self, depth: u64) -> Query {
        let kind = *self.dice.pick(&[Kind::Int, Kind::Text, Kind::Text, Kind::Date]);
        let edges = self.of_kinds(depth - 1, &[kind, kind], Rows::Compute);
        let (edge, way, next) = (self.name("e"), self.name("w"), self.name("r"));
        let (from, to) = (edges.columns[0].name.clone(), edges.columns[1].name.clone());
        let (at, other) = (self.name("c"), self.name("c"));
        let begin = match self.dice.one_in(3) {
            true => String::new(),
            false => format!(" where {}", self.predicate(&edges.columns, 1)),
        };
        let join = *self.dice.pick(&["join", "join", "left join"]);
        let on = format!("{way} {join} {edge} as {next} on {next}.{from} = {way}.{at}");
        let (columns, rows, recursion) = match self.dice.below(4) {
            0 => {
                let step = format!("select {way}.{other}, {next}.{to} from {on}");
                (vec![(other, kind), (at, kind)], 30.0, format!("select {from}, {to} from {edge}{begin} union {step}"))
            }
            1 if edges.rows < 25.0 => {
                let step = format!("select {next}.{to}, {way}.{other} + 1 from {on} where {way}.{other} < 2");
                let recursion = format!("select {from}, 0 from {edge}{begin} union all {step}");
                (vec![(at, kind), (other, Kind::Int)], 4.0 * edges.rows, recursion)
            }
            2 => {
                let not = *self.dice.pick(&["", "not "]);
                let known = format!("{not}exists (select 1 from {edge} as x where x.{to} = {way}.{at})");
                let step =
                    format!("select {next}.{to}, {way}.{other} + 1 from {on} where {way}.{other} < 4 and {known}");
                let recursion = format!("select {from}, 0 from {edge}{begin} union {step}");
                (vec![(at, kind), (other, Kind::Int)], 30.0, recursion)
            }
            _ => {
                let step = format!("select {next}.{to} from {on}");
                (vec![(at, kind)], 8.0, format!("select {from} from {edge}{begin} union {step}"))
            }
        };
        let columns: Vec<Column> = columns.into_iter().map(|(name, kind)| Column { name, kind }).collect();
        let list = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        let relation = Relation { name: way.clone(), columns, rows };
        let outer = std::mem::replace(&mut self.relations, vec![relation]);
        let mut query = match self.dice.below(3) {
            0 => self.grouped(0, Rows::Compute),
            1 => self.joined(0),
            _ => self.select(0, Rows::Compute),
        };
        self.relations = outer;
        query.sql = format!("with recursive {edge} as ({}), {way}({list}) as ({recursion}) {}", edges.sql, query.sql);
        query
    }

    /// One thing in `from`.
    fn from(&mut self, depth: u64, rows: Rows) -> Query {
        let alias = self.name("r");
        if depth > 0 && self.dice.below(3) > 0 {
            let query = self.query(depth - 1, rows);
            let columns = qualified(&alias, &query.columns);
            return Query { sql: format!("({}) as {alias}", query.sql), columns, rows: query.rows };
        }
        if self.dice.one_in(25) {
            let columns = [("k", Kind::Int), ("v", Kind::Text)];
            let columns = columns.map(|(name, kind)| Column { name: format!("{alias}.{name}"), kind });
            let sql = format!("(values (1, 'x'), (2, 'y'), (2, 'y'), (3, null)) as {alias}(k, v)");
            return Query { sql, columns: columns.into(), rows: 4.0 };
        }
        // The latest is preferred: so models stand in chains.
        let last = self.relations.len() - 1;
        let number = if self.dice.one_in(3) { last } else { self.dice.below(last as u64 + 1) as usize };
        let relation = &self.relations[number];
        let columns = qualified(&alias, &relation.columns);
        Query { sql: format!("{} as {alias}", relation.name), columns, rows: relation.rows }
    }

    fn join(&mut self, depth: u64) -> Query {
        let mut left = self.from(depth, Rows::Compute);
        for _ in 0..1 + self.dice.below(2) {
            let right = self.from(depth.saturating_sub(1), Rows::Compute);
            left = self.join_of(left, right);
        }
        left
    }

    fn join_of(&mut self, left: Query, right: Query) -> Query {
        let product = left.rows * right.rows;
        let columns: Vec<Column> = left.columns.iter().chain(&right.columns).cloned().collect();
        let cross = product < 40.0 && self.dice.one_in(6);
        let keys = if cross { Vec::new() } else { self.keys(&left, &right) };
        if keys.is_empty() && product > ROWS_MAX || product > 6.0 * ROWS_MAX {
            return left;
        }
        let rows = product / if keys.is_empty() { 1.0 } else { 6.0 };
        if keys.is_empty() {
            return Query { sql: format!("{} cross join {}", left.sql, right.sql), columns, rows };
        }
        let mut on = keys.join(" and ");
        if self.dice.one_in(4) {
            on += &format!(" and {}", self.predicate(&columns, 1));
        }
        let kind = *self.dice.pick(&["join", "join", "left join", "right join", "full join"]);
        let rows = if kind == "join" { rows } else { rows.max(left.rows).max(right.rows) };
        Query { sql: format!("{} {kind} {} on {on}", left.sql, right.sql), columns, rows }
    }

    /// Equalities between two sides, where there are columns of one kind.
    fn keys(&mut self, left: &Query, right: &Query) -> Vec<String> {
        let mut keys = Vec::new();
        for _ in 0..if self.dice.one_in(4) { 2 } else { 1 } {
            let one = self.dice.pick(&left.columns).clone();
            let same: Vec<Column> = right.columns.iter().filter(|c| c.kind == one.kind).cloned().collect();
            if same.is_empty() {
                continue;
            }
            let other = self.dice.pick(&same).clone();
            let key = match self.dice.below(8) {
                0 if one.kind == Kind::Int => format!("{} + 1 = {}", one.name, other.name),
                1 => {
                    let value = self.value(std::slice::from_ref(&other), other.kind);
                    format!("{} = {value}", one.name)
                }
                _ => format!("{} = {}", one.name, other.name),
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn filter(&mut self, from: &Query, rows: Rows) -> String {
        // Below a join or a clock it is asked of rows that either would drop.
        let dropped = [" join ", "now()", "current_"].iter().any(|word| from.sql.contains(word));
        if rows == Rows::MayFail && self.dice.one_in(12) && !dropped {
            return format!(" where {} > 5", self.division(&from.columns));
        }
        match self.dice.below(15) {
            0..=2 => format!(" where {}", self.predicate(&from.columns, 2)),
            3 | 4 if from.divides() => String::new(),
            3 => {
                let not = *self.dice.pick(&["", "", "not "]);
                format!(" where {}", self.subquery(from, not))
            }
            4 => format!(" where ({} or {})", self.predicate(&from.columns, 1), self.subquery(from, "")),
            // Rows that are not there yet, or not any more, are computed all the same.
            5 | 6 if from.divides() => String::new(),
            5 | 6 => self.clocked(&from.columns).map_or(String::new(), |clocked| format!(" where {clocked}")),
            _ => String::new(),
        }
    }

    /// One or several comparisons with the clock, if there is something to compare.
    fn clocked(&mut self, columns: &[Column]) -> Option<String> {
        let kinds = [Kind::Timestamp, Kind::Date];
        let kinds: Vec<Kind> = kinds.into_iter().filter(|kind| columns.iter().any(|c| c.kind == *kind)).collect();
        if kinds.is_empty() {
            return None;
        }
        let kind = *self.dice.pick(&kinds);
        let value = self.value_within(columns, kind, 1);
        let (one, other) = (self.clock(), self.clock());
        Some(match self.dice.below(7) {
            0 => format!("{value} between {one} and {other}"),
            4 => format!("({value} >= {one} or {})", self.predicate(columns, 1)),
            1 => format!("{one} <= {value} and not {value} > {other} and {}", self.predicate(columns, 1)),
            2 => format!("{one} between {value} and {}", self.value_within(columns, kind, 1)),
            3 => format!("{value} = {}", self.dice.pick(&["current_date", "date_trunc('month', now())"])),
            _ => format!("{value} {} {one}", self.dice.pick(&["<", "<=", ">", ">="])),
        })
    }

    /// The clock, as far as it can be followed.
    fn clock(&mut self) -> String {
        const UNITS: &[&str] = &["second", "hour", "day", "week", "month", "quarter", "year"];
        let clock = match self.dice.below(5) {
            0 => return "current_date".into(),
            1 => return format!("now() {} interval '{} hours'", self.dice.pick(&["-", "+"]), self.dice.below(3_000)),
            2 => format!("date_trunc('{}', current_timestamp)", self.dice.pick(&UNITS[2..])),
            3 => return format!("date_trunc('{}', now()) + interval '7 days'", self.dice.pick(UNITS)),
            _ => "current_date".into(),
        };
        let (sign, number) = (*self.dice.pick(&["-", "+"]), self.dice.below(5));
        match self.dice.below(3) {
            0 => format!("{clock} {sign} interval '{number} months'"),
            1 => format!("{clock} {sign} interval '{} days'", number * 13),
            _ => format!("cast({clock} as date) {sign} {number}"),
        }
    }

    /// A predicate that asks another relation.
    fn subquery(&mut self, from: &Query, not: &str) -> String {
        let one = self.dice.pick(&from.columns).clone();
        let other = self.from(0, Rows::Compute);
        match self.dice.below(5) {
            0 | 1 => {
                let value = self.value(&other.columns, one.kind);
                let filter = match self.dice.one_in(2) {
                    true => format!(" where {}", self.predicate(&other.columns, 1)),
                    false => String::new(),
                };
                format!("{} {not}in (select {value} from {}{filter})", one.name, other.sql)
            }
            2 => {
                let scalar = self.dice.pick(&other.columns).clone();
                let than = self.comparison();
                let value = self.literal(scalar.kind);
                format!("(select max({}) from {}) {than} {value}", scalar.name, other.sql)
            }
            which => {
                let mut on = self.keys(from, &other).join(" and ");
                if on.is_empty() {
                    on = self.predicate(&other.columns, 1);
                } else if which == 3 && self.dice.one_in(3) {
                    let columns: Vec<Column> = from.columns.iter().chain(&other.columns).cloned().collect();
                    on += &format!(" and {}", self.predicate(&columns, 0));
                }
                match which {
                    3 => format!("{not}exists (select 1 from {} where {on})", other.sql),
                    _ => format!("(select count(*) from {} where {on}) > {}", other.sql, self.dice.below(2)),
                }
            }
        }
    }

    /// What stands behind `select`.
    fn outputs(&mut self, columns: &[Column], rows: Rows) -> Vec<(String, Kind)> {
        let output = |grammar: &mut Self| {
            if rows == Rows::MayFail && grammar.dice.one_in(12) {
                return (grammar.division(columns), Kind::Int);
            }
            let kind = grammar.kind_of(columns);
            (grammar.value(columns, kind), kind)
        };
        (0..1 + self.dice.below(4)).map(|_| output(self)).collect()
    }

    fn block(&mut self, head: &str, outputs: Vec<(String, Kind)>, from: &Query, filter: &str, tail: &str) -> Query {
        let named = outputs.into_iter().map(|(value, kind)| (value, Column { name: self.name("c"), kind }));
        let (values, columns): (Vec<String>, Vec<Column>) = named.unzip();
        let list = values.iter().zip(&columns).map(|(value, column)| format!("{value} as {}", column.name));
        let list = list.collect::<Vec<_>>().join(", ");
        let rows = from.rows * if filter.is_empty() { 1.0 } else { 0.7 };
        Query { sql: format!("{head} {list} from {}{filter}{tail}", from.sql), columns, rows }
    }

    fn aggregate(&mut self, columns: &[Column], rows: Rows) -> (String, Kind) {
        if rows == Rows::MayFail && self.dice.one_in(8) {
            return (format!("sum({})", self.division(columns)), Kind::Int);
        }
        let kind = self.kind_of(columns);
        let value = self.value(columns, kind);
        let (mut call, kind) = match self.dice.below(12) {
            0 => ("count(*)".to_string(), Kind::Int),
            1 => (format!("count({value})"), Kind::Int),
            2 => (format!("count(distinct {value})"), Kind::Int),
            3 | 4 if kind.is_number() => (format!("sum({value})"), kind),
            5 if kind.is_number() => (format!("avg({value})"), if kind == Kind::Int { Kind::Double } else { kind }),
            6 if kind.is_number() => (format!("sum(distinct {value})"), kind),
            3..=6 => {
                let predicate = self.predicate(columns, 1);
                (format!("{}({predicate})", self.dice.pick(&["bool_and", "bool_or"])), Kind::Bool)
            }
            7 => {
                let name = *self.dice.pick(&["first_value", "last_value"]);
                (format!("{name}({value} order by {})", self.order(columns)), kind)
            }
            8 => (format!("min({value})"), kind),
            9 => {
                let text = self.value(columns, Kind::Text);
                (format!("string_agg({text}, '/' order by {})", self.order(columns)), Kind::Text)
            }
            10 if kind == Kind::Numeric => (format!("median({value})"), kind),
            10 if kind == Kind::Int => (format!("stddev({value})"), Kind::Double),
            _ => (format!("max({value})"), kind),
        };
        if self.dice.one_in(5) {
            call += &format!(" filter (where {})", self.predicate(columns, 1));
        }
        (call, kind)
    }

    fn order(&mut self, columns: &[Column]) -> String {
        let by = |grammar: &mut Self| {
            let kind = grammar.kind_of(columns);
            let value = grammar.value(columns, kind);
            let direction = *grammar.dice.pick(&["", "", " desc", " asc nulls first", " desc nulls last"]);
            format!("{value}{direction}")
        };
        (0..1 + self.dice.below(2)).map(|_| by(self)).collect::<Vec<_>>().join(", ")
    }

    fn kind_of(&mut self, columns: &[Column]) -> Kind {
        self.dice.pick(columns).kind
    }

    /// An integer that cannot be computed for a few rows.
    fn division(&mut self, columns: &[Column]) -> String {
        let ints: Vec<&Column> = columns.iter().filter(|c| c.kind == Kind::Int).collect();
        match ints.is_empty() {
            true => self.value(columns, Kind::Int),
            false => format!("{DIVISION}{} - 7)", self.dice.pick(&ints).name),
        }
    }

    /// An expression of a kind: mostly a column as it is.
    fn value(&mut self, columns: &[Column], kind: Kind) -> String {
        self.value_within(columns, kind, 2)
    }

    fn value_within(&mut self, columns: &[Column], kind: Kind, depth: u64) -> String {
        let same: Vec<&Column> = columns.iter().filter(|c| c.kind == kind).collect();
        if !same.is_empty() && (depth == 0 || self.dice.below(3) > 0) {
            return self.dice.pick(&same).name.clone();
        }
        if depth == 0 {
            return self.literal(kind);
        }
        let mut of = |kind: Kind| self.value_within(columns, kind, depth - 1);
        let (one, two) = (of(kind), of(kind));
        let choice = self.dice.below(6);
        match (kind, choice) {
            (_, 0) => format!("coalesce({one}, {})", self.literal(kind)),
            (_, 1) => {
                let when = self.predicate(columns, depth - 1);
                format!("case when {when} then {one} else {two} end")
            }
            (_, 2) => format!("nullif({one}, {})", self.literal(kind)),
            (Kind::Int, 3) => format!("length({})", self.value_within(columns, Kind::Text, depth - 1)),
            (Kind::Int, 4) => format!("{one} % 3"),
            (Kind::Int, _) => format!("({one} + {two})"),
            (Kind::Numeric, 3) => format!("({one} + {two})"),
            (Kind::Numeric, 4) => format!("cast({one} * 2 as numeric(20, 2))"),
            (Kind::Numeric, _) => {
                format!("cast({} as numeric(12, 1))", self.value_within(columns, Kind::Int, depth - 1))
            }
            (Kind::Double, 3) => match self.dice.below(4) {
                0 => format!("(- {one})"),
                1 => format!("({one} * {two})"),
                2 => format!("({one} / {two})"),
                _ => format!("({one} + {two})"),
            },
            (Kind::Double, 4) => format!("({one} / 3)"),
            (Kind::Double, _) if self.dice.one_in(4) => {
                let (from, to) = (self.value_within(columns, Kind::Timestamp, 0), self.literal(Kind::Timestamp));
                format!("extract(epoch from ({to} - {from}))")
            }
            (Kind::Double, _) => {
                format!("cast({} as double precision)", self.value_within(columns, Kind::Numeric, depth - 1))
            }
            (Kind::Text, 3) => format!("({one} || {two})"),
            (Kind::Text, 4) => format!("upper({one})"),
            (Kind::Text, _) => format!("cast({} as text)", self.value_within(columns, Kind::Int, depth - 1)),
            (Kind::Timestamp, 3) => format!("date_trunc('month', {one})"),
            (Kind::Timestamp, 4) => "cast(current_date as timestamp)".into(),
            (Kind::Timestamp, _) => format!("({one} + interval '1 day')"),
            (Kind::Date, 3) => "current_date".into(),
            (Kind::Date, _) => format!("cast({} as date)", self.value_within(columns, Kind::Timestamp, depth - 1)),
            (Kind::Bool, _) => format!("({})", self.predicate(columns, depth - 1)),
        }
    }

    fn literal(&mut self, kind: Kind) -> String {
        let number = self.dice.below(6);
        match kind {
            Kind::Int => format!("{number}"),
            Kind::Numeric => format!("{number}.5"),
            Kind::Double => format!("cast({number} as double precision)"),
            Kind::Text => format!("'{}'", self.dice.pick(&["x", "y", "", "ü"])),
            Kind::Timestamp => format!("timestamp '2024-0{}-01 12:00:00'", 1 + number),
            Kind::Date => format!("date '2024-0{}-01'", 1 + number),
            Kind::Bool => (*self.dice.pick(&["true", "false"])).to_string(),
        }
    }

    fn comparison(&mut self) -> &'static str {
        const SIGNS: &[&str] = &["=", "<>", "<", "<=", ">", ">="];
        let sign: &&str = self.dice.pick(SIGNS);
        sign
    }

    fn predicate(&mut self, columns: &[Column], depth: u64) -> String {
        let kind = self.kind_of(columns);
        let column = self.value_within(columns, kind, depth.min(1));
        match self.dice.below(if depth == 0 { 5 } else { 9 }) {
            0 => format!("{column} is null"),
            1 => format!("{column} is not null"),
            2 => format!("{column} in ({}, {})", self.literal(kind), self.literal(kind)),
            3 => format!("{column} {} {}", self.comparison(), self.literal(kind)),
            4 | 5 => {
                let (than, other) = (self.comparison(), self.value_within(columns, kind, depth));
                format!("{column} {than} {other}")
            }
            6 => format!("not ({})", self.predicate(columns, depth - 1)),
            7 => format!("({} or {})", self.predicate(columns, depth - 1), self.predicate(columns, depth - 1)),
            _ => format!("({} and {})", self.predicate(columns, depth - 1), self.predicate(columns, depth - 1)),
        }
    }

    fn name(&mut self, of: &str) -> String {
        self.names += 1;
        format!("{of}{}", self.names)
    }
}

fn qualified(alias: &str, columns: &[Column]) -> Vec<Column> {
    columns.iter().map(|c| Column { name: format!("{alias}.{}", c.name), kind: c.kind }).collect()
}
