//! Random SQL as people write it, and as Postgres takes it: queries over tables of known columns, shape within shape.
//!
//! Every query has one answer: what is numbered, cut off or put in a row stands in an order of all columns, so that only
//! equal rows change places. What may be told apart by its last digits (averages, deviations) is shown and not computed
//! with. What fails for some rows stands only where every system computes it: at the top, over one table.

use super::choices::Choices;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Numeric,
    Double,
    Text,
    Date,
    Timestamp,
    Bool,
    /// A number of which nobody asks more than its first digits.
    Inexact,
}

pub const KINDS: [Kind; 7] =
    [Kind::Int, Kind::Text, Kind::Numeric, Kind::Double, Kind::Date, Kind::Timestamp, Kind::Bool];

impl Kind {
    /// What values are cast to where they must have one type.
    pub fn sql(self) -> &'static str {
        match self {
            Kind::Int => "bigint",
            Kind::Numeric => "numeric(24, 4)",
            Kind::Double | Kind::Inexact => "double precision",
            Kind::Text => "text",
            Kind::Date => "date",
            Kind::Timestamp => "timestamp",
            Kind::Bool => "boolean",
        }
    }

    pub fn is_number(self) -> bool {
        matches!(self, Kind::Int | Kind::Numeric | Kind::Double)
    }
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// A table, or what `with` has named.
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

/// A join of more rows is not written.
const ROWS_MAX: f64 = 400.0;

pub struct Grammar<'a> {
    pub choices: &'a mut Choices,
    relations: Vec<Relation>,
    /// Names given so far.
    names: usize,
    /// The depth of the whole query.
    top: u64,
}

/// A query over these tables.
pub fn query(choices: &mut Choices, tables: &[Relation]) -> String {
    let top = 1 + choices.below(3);
    let mut grammar = Grammar { choices, relations: tables.to_vec(), names: 0, top };
    match grammar.choices.one_in(25) {
        true => grammar.failing(),
        false => grammar.query(top).sql,
    }
}

impl Grammar<'_> {
    fn query(&mut self, depth: u64) -> Query {
        match self.choices.below(if depth == 0 { 3 } else { 18 }) {
            0 | 3 | 4 => self.select(depth),
            1 | 5..=8 => self.grouped(depth),
            2 => self.distinct(depth),
            9 | 10 => self.windowed(depth),
            11 => self.numbered(depth),
            12 => self.limited(depth),
            13 => self.distinct_on(depth),
            14 | 15 => self.of_sets(depth),
            16 => self.named(depth),
            _ => self.grouping_sets(depth),
        }
    }

    fn select(&mut self, depth: u64) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from, depth);
        let outputs = self.outputs(&from.columns, depth);
        self.block("select", outputs, &from, &filter, "")
    }

    fn distinct(&mut self, depth: u64) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from, depth);
        let outputs = self.outputs(&from.columns, 0);
        self.block("select distinct", outputs, &from, &filter, "")
    }

    fn grouped(&mut self, depth: u64) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from, depth);
        let mut outputs = Vec::new();
        for _ in 0..self.choices.below(3) {
            let kind = self.kind_of(&from.columns);
            outputs.push((self.value(&from.columns, kind), kind));
        }
        let keys = outputs.len();
        for _ in 0..1 + self.choices.below(3) {
            outputs.push(self.aggregate(&from.columns, depth == self.top));
        }
        let mut tail = String::new();
        if keys > 0 {
            let by_number = self.choices.one_in(4);
            let key = |at: usize| if by_number { (at + 1).to_string() } else { outputs[at].0.clone() };
            // A key that is a number as it stands would be taken for a place.
            let named = (0..keys).map(|at| if by_number { key(at) } else { format!("({})", key(at)) });
            tail = format!(" group by {}", named.collect::<Vec<_>>().join(", "));
            if self.choices.one_in(4) {
                let (call, kind) = self.aggregate(&from.columns, false);
                tail += &format!(" having {call} {} {}", self.comparison(), self.literal(kind));
            }
        } else if self.choices.one_in(6) {
            tail = format!(" having count(*) > {}", self.choices.below(3));
        }
        let mut query = self.block("select", outputs, &from, &filter, &tail);
        query.rows = if keys == 0 { 1.0 } else { query.rows.min(12.0) };
        query
    }

    fn grouping_sets(&mut self, depth: u64) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from, depth);
        let mut keys: Vec<Column> = Vec::new();
        for _ in 0..1 + self.choices.below(2) {
            let column = self.choices.pick(&from.columns).clone();
            if keys.iter().all(|key| key.name != column.name) {
                keys.push(column);
            }
        }
        let mut outputs: Vec<(String, Kind)> = keys.iter().map(|key| (key.name.clone(), key.kind)).collect();
        let list = keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
        if self.choices.one_in(3) {
            outputs.push((format!("grouping({list})"), Kind::Int));
        }
        for _ in 0..1 + self.choices.below(2) {
            outputs.push(self.aggregate(&from.columns, depth == self.top));
        }
        let sets = match self.choices.below(3) {
            0 => format!("rollup({list})"),
            1 => format!("cube({list})"),
            _ => format!("grouping sets (({list}), ({}), ())", keys[0].name),
        };
        let mut query = self.block("select", outputs, &from, &filter, &format!(" group by {sets}"));
        query.rows = query.rows.min(12.0) * 2.0;
        query
    }

    /// `union`, `except` and `intersect`.
    fn of_sets(&mut self, depth: u64) -> Query {
        let kinds: Vec<Kind> = (0..1 + self.choices.below(2)).map(|_| *self.choices.pick(&KINDS)).collect();
        let words = ["union all", "union", "except", "intersect", "union all", "union", "except", "intersect"];
        let word = if self.choices.one_in(60) { "except all" } else { *self.choices.pick(&words) };
        let one = self.of_kinds(depth - 1, &kinds);
        let other = self.of_kinds(0, &kinds);
        Query { sql: format!("{} {word} {}", one.sql, other.sql), rows: one.rows + other.rows, ..one }
    }

    /// A select whose columns have these kinds, each with its one type.
    fn of_kinds(&mut self, depth: u64, kinds: &[Kind]) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from, depth);
        let outputs = kinds.iter().map(|kind| {
            let value = self.value(&from.columns, *kind);
            (format!("cast({value} as {})", kind.sql()), *kind)
        });
        let outputs = outputs.collect();
        self.block("select", outputs, &from, &filter, "")
    }

    fn limited(&mut self, depth: u64) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from, depth);
        let outputs = self.outputs(&from.columns, 0);
        let direction = |grammar: &mut Self, at| format!("{}{}", at + 1, grammar.direction());
        let order: Vec<String> = (0..outputs.len()).map(|at| direction(self, at)).collect();
        let limit = 1 + self.choices.below(5);
        let places = match self.choices.below(4) {
            0 | 1 => format!("limit {limit}"),
            2 => format!("limit {limit} offset {}", self.choices.below(4)),
            _ => format!("offset {limit}"),
        };
        let head = self.choices.word(&["select", "select", "select distinct"]);
        let mut query = self.block(head, outputs, &from, &filter, &format!(" order by {} {places}", order.join(", ")));
        if depth < self.top || self.choices.one_in(2) {
            query.sql = format!("select * from ({}) as {}", query.sql, self.name("r"));
        }
        query
    }

    fn distinct_on(&mut self, depth: u64) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from, depth);
        let outputs = self.outputs(&from.columns, 0);
        let key = self.choices.pick(&from.columns).name.clone();
        let order = self.total(&from.columns);
        let head = format!("select distinct on ({key})");
        let mut query = self.block(&head, outputs, &from, &filter, &format!(" order by {key}, {order}"));
        query.rows = query.rows.min(8.0);
        if depth < self.top {
            query.sql = format!("select * from ({}) as {}", query.sql, self.name("r"));
        }
        query
    }

    /// The first of each group by `row_number`.
    fn numbered(&mut self, depth: u64) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from, depth);
        let mut outputs = self.outputs(&from.columns, 0);
        let partition = self.choices.pick(&from.columns).name.clone();
        let order = self.total(&from.columns);
        outputs.push((format!("row_number() over (partition by {partition} order by {order})"), Kind::Int));
        let inner = self.block("select", outputs, &from, &filter, "");
        let alias = self.name("r");
        let number = format!("{alias}.{}", inner.columns[inner.columns.len() - 1].name);
        let bound = self.choices.word(&["= 1", "<= 2", "< 3", "between 2 and 3"]);
        let outer = Query {
            sql: format!("({}) as {alias}", inner.sql),
            columns: qualified(&alias, &inner.columns),
            rows: inner.rows.min(12.0),
        };
        let outputs = self.outputs(&outer.columns, 0);
        self.block("select", outputs, &outer, &format!(" where {number} {bound}"), "")
    }

    fn windowed(&mut self, depth: u64) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from, depth);
        let mut outputs = self.outputs(&from.columns, 0);
        outputs.push(self.window(&from.columns, depth == self.top, false));
        // Where each of two chose among equal rows by itself, there would be many answers.
        if self.choices.one_in(2) {
            outputs.push(self.window(&from.columns, depth == self.top, true));
        }
        self.block("select", outputs, &from, &filter, "")
    }

    /// `with`, and what it names read once or twice.
    fn named(&mut self, depth: u64) -> Query {
        let shared = match self.choices.one_in(5) {
            true => self.counting(),
            false => self.query(depth - 1),
        };
        let name = self.name("w");
        let recursive = if shared.sql.contains("union all select n + 1") { "recursive " } else { "" };
        let list = shared.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        let sql = shared.sql.replace("from itself", &format!("from {name}"));
        self.relations.push(Relation { name: name.clone(), columns: shared.columns, rows: shared.rows });
        let mut query = match self.choices.below(3) {
            0 => self.select(0),
            1 => self.grouped(0),
            _ => self.windowed(0),
        };
        self.relations.pop();
        query.sql = format!("with {recursive}{name}({list}) as ({sql}) {}", query.sql);
        query
    }

    /// Numbers, one after another.
    fn counting(&mut self) -> Query {
        let columns = vec![Column { name: "n".into(), kind: Kind::Int }];
        let last = 2 + self.choices.below(4);
        let sql = format!("select 1 as n union all select n + 1 from itself where n < {last}");
        Query { sql, columns, rows: 4.0 }
    }

    /// A query that has no answer where some row is there.
    fn failing(&mut self) -> String {
        let relation = self.choices.pick(&self.relations).clone();
        let columns = qualified("r", &relation.columns);
        let ints = of_kind(&columns, Kind::Int).map(|c| format!("60 / ({} - 3)", c.name));
        let texts = of_kind(&columns, Kind::Text).map(|c| format!("cast({} as integer)", c.name));
        let roots = of_kind(&columns, Kind::Double).map(|c| format!("sqrt({})", c.name));
        let values = of_kind(&columns, Kind::Date)
            .map(|c| format!("(select i.{} from {} as i)", c.name.trim_start_matches("r."), relation.name));
        let all: Vec<String> = ints.chain(texts).chain(roots).chain(values).collect();
        if all.is_empty() {
            return format!("select count(*) as c from {} as r", relation.name);
        }
        let value = self.choices.pick(&all).clone();
        let filter = match self.choices.one_in(2) {
            true => String::new(),
            false => format!(" where {} is not null", self.choices.pick(&columns).name),
        };
        match self.choices.below(3) {
            0 => format!("select {value} as c from {} as r{filter}", relation.name),
            1 => format!("select max({value}) as c from {} as r{filter}", relation.name),
            _ => format!("select distinct {value} as c from {} as r{filter}", relation.name),
        }
    }

    /// What stands behind `select`.
    fn outputs(&mut self, columns: &[Column], depth: u64) -> Vec<(String, Kind)> {
        let output = |grammar: &mut Self| {
            if depth > 0 && grammar.choices.one_in(10) {
                return grammar.standing(columns);
            }
            let kind = grammar.kind_of(columns);
            (grammar.value(columns, kind), kind)
        };
        (0..1 + self.choices.below(4)).map(|_| output(self)).collect()
    }

    fn block(&mut self, head: &str, outputs: Vec<(String, Kind)>, from: &Query, filter: &str, tail: &str) -> Query {
        let named = outputs.into_iter().map(|(value, kind)| (value, Column { name: self.name("c"), kind }));
        let (values, columns): (Vec<String>, Vec<Column>) = named.unzip();
        let list = values.iter().zip(&columns).map(|(value, column)| format!("{value} as {}", column.name));
        let list = list.collect::<Vec<_>>().join(", ");
        let rows = from.rows * if filter.is_empty() { 1.0 } else { 0.7 };
        Query { sql: format!("{head} {list} from {}{filter}{tail}", from.sql), columns, rows }
    }

    fn filter(&mut self, from: &Query, depth: u64) -> String {
        match self.choices.below(9) {
            0..=4 => String::new(),
            5 if depth > 0 => format!(" where {}", self.asks(&from.columns)),
            6 if depth > 0 => {
                let asks = self.asks(&from.columns);
                format!(" where {asks} {} {}", self.choices.word(&["and", "or"]), self.predicate(&from.columns, 1))
            }
            _ => format!(" where {}", self.predicate(&from.columns, 2)),
        }
    }

    /// A relation, or a join of some.
    fn from(&mut self, depth: u64) -> Query {
        let mut left = self.one(depth);
        for _ in 0..*self.choices.pick(&[0, 0, 1, 1, 2]) {
            let right = self.one(depth.saturating_sub(1));
            left = self.join(left, right);
        }
        left
    }

    /// One thing in `from`.
    pub fn one(&mut self, depth: u64) -> Query {
        let alias = self.name("r");
        let (sql, columns, rows) = match self.choices.below(24) {
            16.. if depth > 0 => {
                let query = self.query(depth - 1);
                (format!("({}) as {alias}", query.sql), query.columns, query.rows)
            }
            15 => {
                let columns = [("k", Kind::Int), ("v", Kind::Text)];
                let columns = columns.map(|(name, kind)| Column { name: name.into(), kind }).to_vec();
                (format!("(values (1, 'x'), (2, 'y'), (2, 'y'), (3, null)) as {alias}(k, v)"), columns, 4.0)
            }
            other => {
                // The latest is preferred: what `with` has named is read.
                let last = self.relations.len() as u64 - 1;
                let at = if other % 2 == 0 { last } else { self.choices.below(last + 1) };
                let relation = self.relations[at as usize].clone();
                (format!("{} as {alias}", relation.name), relation.columns, relation.rows)
            }
        };
        Query { sql, columns: qualified(&alias, &columns), rows }
    }

    fn join(&mut self, left: Query, right: Query) -> Query {
        let product = left.rows * right.rows;
        let columns: Vec<Column> = left.columns.iter().chain(&right.columns).cloned().collect();
        let on = self.equal(&left.columns, &right.columns);
        // A column of `using` has no relation of its own.
        let bare = |query: &Query| query.sql.contains(" using (");
        if product > ROWS_MAX || on.is_none() && product > 80.0 || bare(&left) || bare(&right) {
            return left;
        }
        let Some(mut on) = on.filter(|_| !self.choices.one_in(8)) else {
            let sql = match self.choices.below(3) {
                0 => format!("{} cross join {}", left.sql, right.sql),
                _ => {
                    let on = self.predicate(&columns, 1);
                    format!("{} {} {} on {on}", left.sql, self.choices.word(&["join", "left join"]), right.sql)
                }
            };
            return Query { sql, columns, rows: product };
        };
        let plain = |query: &Query| !query.sql.contains(" join ");
        if self.choices.one_in(10) && plain(&left) && plain(&right) {
            return self.using(left, right);
        }
        if self.choices.one_in(4) {
            let more = self.equal(&left.columns, &right.columns);
            on += &more.map_or(String::new(), |more| format!(" and {more}"));
        }
        if self.choices.one_in(4) {
            on += &format!(" and {}", self.predicate(&columns, 1));
        }
        let kind = self.choices.word(&["join", "left join", "join", "left join", "right join", "full join"]);
        Query { sql: format!("{} {kind} {} on {on}", left.sql, right.sql), columns, rows: product / 3.0 }
    }

    /// A join by a column of the same name, which then is one, if they have such a column.
    fn using(&mut self, left: Query, right: Query) -> Query {
        let bare = |column: &Column| column.name.split_once('.').expect("it is qualified").1.to_string();
        let same = |l: &&Column| right.columns.iter().any(|r| r.kind == l.kind && bare(r) == bare(l));
        let both: Vec<String> = left.columns.iter().filter(same).map(bare).collect();
        if both.is_empty() {
            return left;
        }
        let name = self.choices.pick(&both).clone();
        let others = left.columns.iter().chain(&right.columns).filter(|column| bare(column) != name).cloned();
        let one = left.columns.iter().find(|column| bare(column) == name).expect("the left side has it");
        let columns = std::iter::once(Column { name: name.clone(), kind: one.kind }).chain(others).collect();
        let kind = self.choices.word(&["join", "left join"]);
        let sql = format!("{} {kind} {} using ({name})", left.sql, right.sql);
        Query { sql, columns, rows: left.rows * right.rows / 3.0 }
    }

    /// An equality of a column of each that may be compared, mostly of integers: these meet.
    pub fn equal(&mut self, left: &[Column], right: &[Column]) -> Option<String> {
        let pairs = left.iter().flat_map(|l| of_kind(right, l.kind).map(move |r| (l, r)));
        let mut pairs: Vec<_> = pairs.collect();
        if !self.choices.one_in(3) && pairs.iter().any(|(l, _)| l.kind == Kind::Int) {
            pairs.retain(|(l, _)| l.kind == Kind::Int);
        }
        let (l, r) = if pairs.is_empty() { return None } else { self.choices.pick(&pairs) };
        Some(format!("{} = {}", l.name, r.name))
    }

    pub fn name(&mut self, of: &str) -> String {
        self.names += 1;
        format!("{of}{}", self.names)
    }
}

pub fn of_kind(columns: &[Column], kind: Kind) -> impl Iterator<Item = &Column> {
    columns.iter().filter(move |column| column.kind == kind)
}

pub fn qualified(alias: &str, columns: &[Column]) -> Vec<Column> {
    columns.iter().map(|c| Column { name: format!("{alias}.{}", c.name), kind: c.kind }).collect()
}
