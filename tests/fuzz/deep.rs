//! SQL that nests or goes on for ever: it is planned, or refused in words; the stack never ends.

use crate::life::relation;
use crate::{CASE_MAX, STACK_BYTES, planner};
use arrow::array::{RecordBatch, new_null_array};
use driftless::flow::{Flow, Layout};
use driftless::row::{Clock, Codec, Moment};
use driftless::state::Bodies;
use std::time::Instant;

/// Why a model is refused; else it is maintained with a row or two. All on stacks as they are by default.
fn outcome(name: &str, sql: String) -> Option<String> {
    let work = move || {
        let mut planner = planner();
        if let Err(refusal) = planner.compile(relation("m"), &sql) {
            assert!(!refusal.hint.is_empty(), "{refusal:?}");
            return Some(refusal.reason);
        }
        let (tables, models) = planner.finish();
        Layout::of(&models, &tables);
        let flow = Flow::start(&models, &tables, 1, &Bodies::resident_only(), None).expect("it starts");
        for (number, table) in tables.iter().enumerate() {
            let codec = Codec::new(table.schema.clone());
            let columns = table.schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
            let batch = RecordBatch::try_new(table.schema.clone(), columns).expect("of this schema");
            flow.feed(Moment(1), number, codec.encode(&batch).into_iter().map(|row| (row, 1)).collect());
        }
        flow.close(Moment(1), Clock(0)).expect("it closes");
        assert_eq!(models[0].recomputed(), None);
        None
    };
    let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(work).expect("a thread");
    thread.join().expect("nothing panics")
}

#[test]
fn what_nests_deep_is_planned_or_refused() {
    let chain = |word: &str, count: usize| (0..count).map(|n| format!("a <> {n}")).collect::<Vec<_>>().join(word);
    let nested = |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    let columns = |of: &str| format!("select {of} as x from t");
    let join = |n: usize| format!("join u as u{n} on t.id = u{n}.id ");
    let part = |n: usize| format!("q{} as (select id from q{n})", n + 1);
    let listed = |count: usize, one: &dyn Fn(usize) -> String, between: &str| {
        (0..count).map(one).collect::<Vec<_>>().join(between)
    };
    let (deep, terms) = (Some("nests too deep"), Some("an expression of more than 500 terms"));
    let cases = [
        ("parentheses", columns(&nested("(", ")", 1_000)), deep),
        ("fewer parentheses", columns(&nested("(", ")", 90)), None),
        ("calls", columns(&nested("abs(", ")", 500)), deep),
        ("fewer calls", columns(&nested("abs(", ")", 60)), None),
        ("calls of sums", columns(&nested("abs(a + ", ")", 30)), None),
        ("calls as they are written", columns(&nested("replace(", ", 'x', 'y')", 40).replace('1', "c")), None),
        ("cases", columns(&nested("case when a > 1 then 2 else ", " end", 500)), deep),
        ("fewer cases", columns(&nested("case when a > 1 then 2 else ", " end", 30)), None),
        ("subqueries", nested("select x from (", ") as q", 500).replace('1', "select id as x from t"), deep),
        ("fewer subqueries", nested("select x from (", ") as q", 90).replace('1', "select id as x from t"), None),
        ("minuses", columns(&format!("{} a", "- ".repeat(1_000))), deep),
        ("an and chain", format!("select id from t where {}", chain(" and ", 2_000)), None),
        ("an or chain", format!("select id from t where {}", chain(" or ", 2_000)), None),
        ("a column of an and chain", columns(&chain(" and ", 2_000)), None),
        (
            "an endless chain",
            format!("select id from t where {}", chain(" and ", 50_000)),
            Some("more than 4000 terms"),
        ),
        ("a sum", columns(&vec!["a"; 50_000].join(" + ")), terms),
        ("a shorter sum", columns(&vec!["a"; 300].join(" + ")), None),
        ("a text", columns(&vec!["c"; 2_000].join(" || ")), terms),
        ("casts", columns(&format!("a{}", "::bigint".repeat(400))), None),
        ("unions", vec!["select id from t"; 500].join(" union all "), None),
        ("endless unions", vec!["select id from t"; 20_000].join(" union all "), Some("a union of more than 4000")),
        ("joins", format!("select t.id from t {}", listed(100, &join, "")), None),
        ("parts", format!("with q0 as (select id from t), {} select id from q300", listed(300, &part, ", ")), None),
        ("a list", format!("select id from t where a in ({})", listed(5_000, &|n| n.to_string(), ", ")), None),
        ("whens", columns(&format!("case {} end", listed(1_000, &|n| format!("when a = {n} then {n}"), " "))), None),
    ];
    for (name, sql, expected) in cases {
        let begun = Instant::now();
        let outcome = outcome(name, sql);
        match expected {
            None => assert_eq!(outcome, None, "{name}"),
            Some(words) => assert!(outcome.as_ref().is_some_and(|why| why.contains(words)), "{name}: {outcome:?}"),
        }
        assert!(begun.elapsed() < CASE_MAX, "{name} takes {:?}", begun.elapsed());
    }
}
