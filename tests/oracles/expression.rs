//! Random expressions, of a kind and over columns in sight: scalars, predicates, subqueries, aggregates, windows.

use super::grammar::{Column, Grammar, Kind, Query, of_kind};

impl Grammar<'_> {
    pub fn kind_of(&mut self, columns: &[Column]) -> Kind {
        self.choices.pick(columns).kind
    }

    /// Mostly a column as it is.
    pub fn value(&mut self, columns: &[Column], kind: Kind) -> String {
        self.within(columns, kind, 2)
    }

    fn within(&mut self, columns: &[Column], kind: Kind, depth: u64) -> String {
        let same: Vec<&Column> = of_kind(columns, kind).collect();
        if !same.is_empty() && (depth == 0 || self.choices.below(5) < 3) {
            return self.choices.pick(&same).name.clone();
        }
        if depth == 0 {
            return self.literal(kind);
        }
        let one = self.within(columns, kind, depth - 1);
        if self.choices.one_in(3) {
            let two = self.within(columns, kind, depth - 1);
            return self.any(columns, (&one, &two), kind, depth - 1);
        }
        let mut of = |kind: Kind| self.within(columns, kind, depth - 1);
        match kind {
            Kind::Int => {
                let other = *self.choices.pick(&KINDS_IN_INTEGERS);
                let from = if other == Kind::Int { one.clone() } else { self.within(columns, other, depth - 1) };
                self.integer(&one, other, &from)
            }
            Kind::Numeric | Kind::Double => {
                let (two, int) = (of(kind), of(Kind::Int));
                if kind == Kind::Numeric { self.numeric(&one, &two, &int) } else { self.double(&one, &two, &int) }
            }
            Kind::Text => {
                let other = *self.choices.pick(&KINDS_IN_TEXTS);
                let from = self.within(columns, other, depth - 1);
                self.text(&one, other, &from)
            }
            Kind::Date => {
                let (int, instant) = (of(Kind::Int), of(Kind::Timestamp));
                match self.choices.below(6) {
                    0 => format!("({one} + {})", self.choices.below(40)),
                    1 => format!("({one} - {})", self.choices.below(40)),
                    2 => format!("cast({instant} as date)"),
                    3 => format!("cast(date_trunc('{}', {instant}) as date)", self.unit()),
                    4 => format!("({one} + cast({int} % 9 as integer))"),
                    _ => format!("make_date(2024, 1 + cast(abs({int}) % 12 as integer), 28)"),
                }
            }
            Kind::Timestamp => {
                let date = of(Kind::Date);
                match self.choices.below(7) {
                    6 => format!("({one} + {} * interval '1 hour')", self.choices.below(50)),
                    0 => format!("({one} + interval '{}')", self.length()),
                    1 => format!("({one} - interval '{}')", self.length()),
                    2 => format!("date_trunc('{}', {one})", self.unit()),
                    3 => format!("cast({date} as timestamp)"),
                    4 => format!("({date} + interval '{}')", self.length()),
                    _ => format!("date_trunc('{}', cast({date} as timestamp))", self.unit()),
                }
            }
            Kind::Bool => format!("({})", self.predicate(columns, depth - 1)),
            Kind::Inexact => one,
        }
    }

    /// What there is of every kind.
    fn any(&mut self, columns: &[Column], (one, two): (&str, &str), kind: Kind, depth: u64) -> String {
        match self.choices.below(7) {
            0 => format!("coalesce({one}, {})", self.literal(kind)),
            1 => format!("case when {} then {one} else {two} end", self.predicate(columns, depth)),
            2 => format!("case when {} then {one} end", self.predicate(columns, depth)),
            3 => format!("nullif({one}, {})", self.literal(kind)),
            4 => format!("coalesce({one}, {two})"),
            5 if kind != Kind::Bool => format!("{}({one}, {two})", self.choices.word(&["greatest", "least"])),
            _ => {
                let case = self.kind_of(columns);
                let (subject, of) = (self.within(columns, case, depth), self.literal(case));
                format!("case {subject} when {of} then {one} else {two} end")
            }
        }
    }

    /// Of a value of the same kind, and of one of another.
    fn integer(&mut self, one: &str, other: Kind, from: &str) -> String {
        let number = 1 + self.choices.below(5);
        match other {
            Kind::Text => match self.choices.below(5) {
                0 => format!("length({from})"),
                1 => format!("position('y' in {from})"),
                2 => format!("strpos({from}, 'ü')"),
                3 => format!("ascii({from})"),
                _ => format!("case when {from} similar to '[0-9]+' then cast({from} as integer) else {one} end"),
            },
            Kind::Date => match self.choices.below(3) {
                0 => format!("({from} - date '2024-02-{number:02}')"),
                _ => {
                    let part = self.choices.word(&["year", "month", "day", "dow", "doy", "quarter", "week", "isodow"]);
                    format!("cast(extract({part} from {from}) as integer)")
                }
            },
            Kind::Timestamp => match self.choices.below(2) {
                0 => format!("cast(extract(epoch from {from} - timestamp '2024-02-0{number}') as bigint)"),
                _ => {
                    let part = self.choices.word(&["hour", "minute", "year", "month"]);
                    format!("cast(date_part('{part}', {from}) as integer)")
                }
            },
            Kind::Numeric | Kind::Double => format!("cast({from} as bigint)"),
            Kind::Bool => format!("cast({from} as integer)"),
            _ => match self.choices.below(8) {
                0 => format!("({one} + {number})"),
                1 => format!("({one} * {number})"),
                2 => format!("({one} / {number})"),
                3 => format!("({one} % {number})"),
                4 => format!("(- {one})"),
                5 => format!("abs({one})"),
                6 => format!("mod({one}, {number})"),
                _ => format!("({number} - {one})"),
            },
        }
    }

    fn numeric(&mut self, one: &str, two: &str, int: &str) -> String {
        match self.choices.below(11) {
            0 => format!("({one} + {two})"),
            1 => format!("({one} - {two})"),
            2 => format!("cast({one} * {two} as numeric(24, 4))"),
            3 => format!("cast({one} / 4.0 as numeric(24, 4))"),
            4 => format!("round({one}, 1)"),
            5 => format!("round({one})"),
            6 => format!("{}({one})", self.choices.word(&["floor", "ceil", "abs", "trunc"])),
            7 => format!("cast({int} as numeric(24, 4))"),
            8 => format!("({one} + {int})"),
            9 => format!("({one} * 2)"),
            _ => format!("(- {one})"),
        }
    }

    fn double(&mut self, one: &str, two: &str, int: &str) -> String {
        match self.choices.below(7) {
            0 => format!("({one} + {two})"),
            1 => format!("({one} - {two})"),
            2 => format!("({one} * 2)"),
            3 => format!("({one} / 2)"),
            4 => format!("{}({one})", self.choices.word(&["floor", "ceil", "abs"])),
            5 => format!("cast({int} as double precision)"),
            _ => format!("(- {one})"),
        }
    }

    fn text(&mut self, one: &str, other: Kind, from: &str) -> String {
        let number = 1 + self.choices.below(3);
        match other {
            Kind::Int | Kind::Bool | Kind::Date => format!("cast({from} as text)"),
            Kind::Numeric => format!("cast(cast({from} as numeric(20, 2)) as text)"),
            Kind::Double => format!("{from}::double precision::text"),
            Kind::Timestamp => match self.choices.below(2) {
                0 => format!("cast({from} as text)"),
                _ => format!("to_char({from}, 'YYYY-MM-DD HH24:MI')"),
            },
            _ => match self.choices.below(20) {
                0 | 1 => format!("({one} || {from})"),
                2 => format!("upper({one})"),
                3 => format!("lower({one})"),
                4 => format!("substr({one}, {number}, 2)"),
                5 => format!("substring({one} from {number} for 1)"),
                6 => format!("replace({one}, 'y', 'zz')"),
                7 => format!("{}({one})", self.choices.word(&["trim", "ltrim", "rtrim"])),
                8 => format!("left({one}, {number})"),
                9 => format!("right({one}, {number})"),
                10 => format!("lpad({one}, {number}, '*')"),
                11 => format!("rpad({one}, 4, '*')"),
                12 => format!("reverse({one})"),
                13 => format!("repeat({one}, {number})"),
                14 => format!("concat({one}, '-', {from})"),
                15 => format!("concat_ws('-', {one}, {from})"),
                16 => format!("split_part({one}, '-', {number})"),
                17 => format!("initcap({one})"),
                18 => format!("md5({one})"),
                _ => format!("translate({one}, 'xy', 'ab')"),
            },
        }
    }

    fn unit(&mut self) -> &'static str {
        self.choices.word(&["month", "day", "week", "quarter", "year", "hour"])
    }

    fn length(&mut self) -> &'static str {
        self.choices.word(&["1 day", "1 month", "36 hours", "1 year", "2 weeks", "90 minutes"])
    }

    pub fn literal(&mut self, kind: Kind) -> String {
        literal(kind, self.choices.below(6))
    }

    pub fn comparison(&mut self) -> &'static str {
        self.choices.word(&["=", "<>", "<", "<=", ">", ">="])
    }

    pub fn predicate(&mut self, columns: &[Column], depth: u64) -> String {
        let kind = self.kind_of(columns);
        let value = self.within(columns, kind, depth.min(1));
        match self.choices.below(if depth == 0 { 8 } else { 13 }) {
            0 => format!("{value} {} {}", self.comparison(), self.literal(kind)),
            1 => format!("{value} is null"),
            2 => format!("{value} is not null"),
            3 => format!("{value} in ({}, {})", self.literal(kind), self.literal(kind)),
            4 => {
                let low = self.choices.below(5);
                let high = low + 1 + self.choices.below(5 - low);
                format!("{value} between {} and {}", literal(kind, low), literal(kind, high))
            }
            5 if kind == Kind::Text => {
                let like = self.choices.word(&["like", "not like", "ilike"]);
                format!("{value} {like} '{}'", self.choices.word(&["x%", "%y", "_", "%-%", "%ü%"]))
            }
            5 if kind == Kind::Bool => {
                format!("{value} is {}", self.choices.word(&["true", "not true", "false", "not false", "unknown"]))
            }
            6 if kind == Kind::Text => format!("{value} ~ '{}'", self.choices.word(&["^x", "[xy]$", "x|ü", "^.$"])),
            6 if kind == Kind::Bool => value,
            7 => format!("{value} not in ({}, {})", self.literal(kind), self.literal(kind)),
            8 => {
                let other = self.within(columns, kind, depth - 1);
                let is = self.choices.word(&["is distinct from", "is not distinct from"]);
                format!("{value} {is} {other}")
            }
            9 => format!("not ({})", self.predicate(columns, depth - 1)),
            10 => format!("({} or {})", self.predicate(columns, depth - 1), self.predicate(columns, depth - 1)),
            11 => format!("({} and {})", self.predicate(columns, depth - 1), self.predicate(columns, depth - 1)),
            _ => {
                let than = self.comparison();
                format!("{value} {than} {}", self.within(columns, kind, depth.min(1)))
            }
        }
    }

    /// A predicate that asks another relation.
    pub fn asks(&mut self, columns: &[Column]) -> String {
        let other = self.one(0);
        let not = if self.choices.one_in(3) { "not " } else { "" };
        match self.choices.below(28) {
            0..=7 => format!("{not}exists (select 1 from {}{})", other.sql, self.correlated(columns, &other)),
            8..=15 => {
                let column = self.choices.pick(&other.columns).clone();
                let value = self.within(columns, column.kind, 1);
                let filter = match self.choices.below(3) {
                    0 => String::new(),
                    1 => format!(" where {}", self.predicate(&other.columns, 1)),
                    _ => format!(" where {} is not null", column.name),
                };
                format!("{value} {not}in (select {} from {}{filter})", column.name, other.sql)
            }
            16..=22 => {
                let (call, kind) = self.aggregate(&other.columns, false);
                let than = self.comparison();
                let value = self.within(columns, kind, 1);
                let filter = if self.choices.one_in(2) { self.correlated(columns, &other) } else { String::new() };
                format!("{value} {than} (select {call} from {}{filter})", other.sql)
            }
            23..=26 => {
                let column = self.choices.pick(&other.columns).clone();
                let value = self.within(columns, column.kind, 1);
                let than = self.comparison();
                let which = self.choices.word(&["any", "all"]);
                format!("{value} {than} {which} (select {} from {})", column.name, other.sql)
            }
            _ => {
                let (a, b) = (self.choices.pick(&other.columns).clone(), self.choices.pick(&other.columns).clone());
                let (of_a, of_b) = (self.within(columns, a.kind, 0), self.within(columns, b.kind, 0));
                format!("({of_a}, {of_b}) {not}in (select {}, {} from {})", a.name, b.name, other.sql)
            }
        }
    }

    /// What binds rows of the subquery to the row outside, where some columns may be compared.
    fn correlated(&mut self, outside: &[Column], inside: &Query) -> String {
        let Some(mut on) = self.equal(&inside.columns, outside) else {
            return format!(" where {}", self.predicate(&inside.columns, 1));
        };
        if self.choices.one_in(3) {
            on += &format!(" and {}", self.predicate(&inside.columns, 1));
        }
        format!(" where {on}")
    }

    /// A subquery that stands for one value.
    pub fn standing(&mut self, columns: &[Column]) -> (String, Kind) {
        let other = self.one(0);
        let (call, kind) = self.aggregate(&other.columns, false);
        let filter = if self.choices.one_in(3) { String::new() } else { self.correlated(columns, &other) };
        (format!("(select {call} from {}{filter})", other.sql), kind)
    }

    /// Inexact only where it is shown and not computed with.
    pub fn aggregate(&mut self, columns: &[Column], shown: bool) -> (String, Kind) {
        let kind = self.kind_of(columns);
        let value = self.value(columns, kind);
        let number = kind.is_number();
        let (mut call, kind) = match self.choices.below(if shown { 16 } else { 12 }) {
            0 => ("count(*)".to_string(), Kind::Int),
            1 => (format!("count({value})"), Kind::Int),
            2 => (format!("count(distinct {value})"), Kind::Int),
            3..=5 if number => (format!("sum({value})"), kind),
            6 if number => (format!("sum(distinct {value})"), kind),
            7 if kind == Kind::Bool => (format!("{}({value})", self.choices.word(&["bool_and", "bool_or"])), kind),
            8 if kind == Kind::Text => (format!("string_agg({value}, '/' order by {})", self.total(columns)), kind),
            9 if kind == Kind::Text => {
                (format!("string_agg(distinct {value}, '/' order by {value}{})", self.direction()), kind)
            }
            10 if kind == Kind::Int => {
                let case = self.predicate(columns, 1);
                (format!("sum(case when {case} then 1 else 0 end)"), kind)
            }
            // Ours of numerics have four digits more than these, Postgres' have sixteen.
            12 | 13 if kind == Kind::Numeric => {
                return (format!("round(avg(cast({value} as numeric(24, 4))), 6)"), Kind::Inexact);
            }
            12 | 13 if number => (format!("avg({value})"), Kind::Inexact),
            14 if number => {
                let name = self.choices.word(&["stddev", "variance", "stddev_pop", "var_pop", "stddev_samp"]);
                (format!("{name}({value})"), Kind::Inexact)
            }
            15 if number => {
                let name = self.choices.word(&["percentile_cont(0.5)", "percentile_cont(0.25)"]);
                return (format!("{name} within group (order by {value})"), Kind::Inexact);
            }
            _ if kind == Kind::Bool => (format!("bool_or({value})"), kind),
            8 => (format!("min({value})"), kind),
            _ => (format!("{}({value})", self.choices.word(&["max", "min"])), kind),
        };
        if self.choices.one_in(5) {
            call += &format!(" filter (where {})", self.predicate(columns, 1));
        }
        // Of bigints Postgres makes a numeric, which divides otherwise; ours is a bigint.
        if kind == Kind::Int && call.starts_with("sum(") {
            call = format!("cast({call} as bigint)");
        }
        (call, kind)
    }

    /// The same for all rows that are equal in its order, or not.
    pub fn window(&mut self, columns: &[Column], shown: bool, same: bool) -> (String, Kind) {
        let kind = self.kind_of(columns);
        let value = self.value(columns, kind);
        let mut over = String::new();
        if !self.choices.one_in(4) {
            let kind = self.kind_of(columns);
            over = format!("partition by {} ", self.value(columns, kind));
        }
        // In an order of everything or, what is the same for equal values, in any.
        let by_all = format!("order by {}", self.total(columns));
        let by_one = format!("order by {}{}", self.choices.pick(columns).name, self.direction());
        let which = if same { *self.choices.pick(&[1, 2, 13, 15]) } else { self.choices.below(16) };
        let (call, kind, order) = match which {
            0 => ("row_number()".to_string(), Kind::Int, by_all),
            1 => ("rank()".to_string(), Kind::Int, by_one),
            2 => ("dense_rank()".to_string(), Kind::Int, by_one),
            3 if shown => (format!("{}()", self.choices.word(&["percent_rank", "cume_dist"])), Kind::Inexact, by_one),
            4 => (format!("ntile({})", 1 + self.choices.below(3)), Kind::Int, by_all),
            5 | 6 => (format!("{}({value})", self.choices.word(&["lag", "lead"])), kind, by_all),
            7 => {
                let name = self.choices.word(&["lag", "lead"]);
                (format!("{name}({value}, 2, cast({} as {}))", self.literal(kind), kind.sql()), kind, by_all)
            }
            8 => (format!("first_value({value})"), kind, by_all),
            9 => (format!("last_value({value})"), kind, by_all + self.frame()),
            10 => (format!("nth_value({value}, 2)"), kind, by_all),
            11 | 12 => {
                let (call, kind) = self.plain_aggregate(&value, kind, shown);
                (call, kind, by_all + self.frame())
            }
            13 | 14 => {
                let (call, kind) = self.plain_aggregate(&value, kind, shown);
                (call, kind, by_one)
            }
            _ => {
                let (call, kind) = self.plain_aggregate(&value, kind, shown);
                (call, kind, String::new())
            }
        };
        (format!("{call} over ({})", (over + &order).trim_end()), kind)
    }

    /// One that windows take too.
    fn plain_aggregate(&mut self, value: &str, kind: Kind, shown: bool) -> (String, Kind) {
        match self.choices.below(5) {
            0 => ("count(*)".to_string(), Kind::Int),
            1 if kind.is_number() => (format!("sum({value})"), kind),
            2 if matches!(kind, Kind::Int | Kind::Double) && shown => (format!("avg({value})"), Kind::Inexact),
            3 if kind != Kind::Bool => (format!("{}({value})", self.choices.word(&["min", "max"])), kind),
            _ => (format!("count({value})"), Kind::Int),
        }
    }

    fn frame(&mut self) -> &'static str {
        self.choices.word(&[
            " rows between unbounded preceding and current row",
            " rows between 1 preceding and 1 following",
            " rows between 2 preceding and 1 preceding",
            " rows between current row and unbounded following",
            " rows between unbounded preceding and unbounded following",
        ])
    }

    /// An order in which only equal rows may change places.
    pub fn total(&mut self, columns: &[Column]) -> String {
        let one = |grammar: &mut Self, column: &Column| format!("{}{}", column.name, grammar.direction());
        columns.iter().map(|column| one(self, column)).collect::<Vec<_>>().join(", ")
    }

    pub fn direction(&mut self) -> &'static str {
        self.choices.word(&["", "", " desc", " nulls first", " desc nulls last"])
    }
}

/// One of six, in their order.
fn literal(kind: Kind, number: u64) -> String {
    match kind {
        Kind::Int => format!("{number}"),
        Kind::Numeric => format!("{number}.5"),
        Kind::Double | Kind::Inexact => format!("cast({number} as double precision)"),
        Kind::Text => format!("'{}'", ["", "X", "x", "x-y", "y", "ü"][number as usize]),
        Kind::Timestamp => format!("timestamp '2024-0{}-01 12:00:00'", 1 + number),
        Kind::Date => format!("date '2024-0{}-01'", 1 + number),
        Kind::Bool => (number >= 3).to_string(),
    }
}

const KINDS_IN_INTEGERS: [Kind; 8] =
    [Kind::Int, Kind::Int, Kind::Text, Kind::Date, Kind::Timestamp, Kind::Numeric, Kind::Double, Kind::Bool];

/// What text is made of; other text is half of it.
const KINDS_IN_TEXTS: [Kind; 11] = [
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Int,
    Kind::Bool,
    Kind::Date,
    Kind::Numeric,
    Kind::Double,
    Kind::Timestamp,
];
