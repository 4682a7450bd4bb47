//! Models that cannot be maintained: what, where in the user's own file, and the way out.

use crate::transcript::Transcript;
use crate::{ORDERS, recorded};

const CASES: &[(&str, &str)] = &[
    ("a word that SQL does not know", "selct id\nfrom {{ source('shop', 'orders') }}\n"),
    (
        "a parenthesis too few",
        "select\n    id,\n    coalesce(status, 'none' as status\nfrom {{ source('shop', 'orders') }}\n",
    ),
    ("a comma too many", "select\n    id,\nfrom {{ source('shop', 'orders') }}\n"),
    ("a string without an end", "select 'open as id\nfrom {{ source('shop', 'orders') }}\n"),
    ("a column that is not there", "select\n    id,\n    statsu\nfrom {{ source('shop', 'orders') }}\n"),
    ("a column of an alias that is not there", "select o.id, o.total\nfrom {{ source('shop', 'orders') }} as o\n"),
    (
        "a column behind a template on its line",
        "{% set wanted = 'id' %}\nselect {{ wanted }}, statsu from {{ source('shop', 'orders') }}\n",
    ),
    ("a function that is not there", "select id, lowr(status) as status\nfrom {{ source('shop', 'orders') }}\n"),
    ("types that do not fit", "select id + status as n\nfrom {{ source('shop', 'orders') }}\n"),
    ("a relation that dbt does not know", "select id from public.orders\n"),
    ("two statements", "select id from {{ source('shop', 'orders') }};\nselect 1 as id\n"),
    ("a statement that writes", "insert into {{ source('shop', 'orders') }} values (1)\n"),
    ("nothing", "-- to be written\n"),
    ("two columns of one name", "select id, status as id\nfrom {{ source('shop', 'orders') }}\n"),
    (
        "a lateral subquery",
        "select o.id, n.buyer\nfrom {{ source('shop', 'orders') }} as o\ncross join lateral (select c.id as buyer from {{ source('shop', 'customers') }} as c where c.id = o.customer_id and exists (select 1 from {{ source('shop', 'customers') }} as d where d.id = o.id)) as n\n",
    ),
    (
        "a natural full join",
        "select id, o.status, c.name\nfrom {{ source('shop', 'orders') }} as o\nnatural full join {{ source('shop', 'customers') }} as c\n",
    ),
    (
        "an approximate percentile",
        "select status, approx_percentile_cont_with_weight(id, id, 0.5) as middle\nfrom {{ source('shop', 'orders') }}\ngroup by status\n",
    ),
    ("the clock", "select max(current_timestamp) as seen_at\nfrom {{ source('shop', 'orders') }}\n"),
    (
        "months before now",
        "select id\nfrom {{ source('shop', 'orders') }}\nwhere ordered_at > now() - interval '1 month'\n",
    ),
    ("chance", "select id\nfrom {{ source('shop', 'orders') }}\nwhere random() < 0.1\n"),
    (
        "an aggregate within a recursion",
        "with recursive n as (select 1 as i union all select max(i) + 1 from n)\nselect i from n\n",
    ),
    (
        "a limit behind a recursion",
        "with recursive n as (select 1 as i union all select i + 1 from n limit 9)\nselect i from n\n",
    ),
    ("an interval", "select id, interval '1 day' as due\nfrom {{ source('shop', 'orders') }}\n"),
    (
        "a place inside a macro",
        "select id, {{ worst('status') }} as worst\nfrom {{ source('shop', 'orders') }}\ngroup by id\n",
    ),
];

#[test]
fn a_model_that_cannot_be_maintained_is_refused_with_its_place_and_a_way_out() {
    let mut told = Transcript::new("refusals");
    for (words, sql) in CASES {
        let project = recorded(&[("marts/a.sql", sql)]);
        project.write(
            "macros/worst.sql",
            "{% macro worst(column) %}\n    median(\n        {{ column }}\n    )\n{% endmacro %}\n",
        );
        told.hide(project.path().display(), "PROJECT");
        told.refuses(words, &project, project.driftless().args(["run", "--once"]));
    }
    told.end();
}

#[test]
fn a_model_below_a_refused_one_is_refused_and_the_rest_is_planned() {
    let mut told = Transcript::new("below");
    let project = recorded(&[
        ORDERS,
        ("b.sql", "select approx_percentile_cont_with_weight(id, id, 0.5) as id from {{ ref('orders_seen') }}\n"),
        ("c.sql", "select id from {{ ref('b') }}\n"),
    ]);
    told.hide(project.path().display(), "PROJECT");
    told.refuses("a plan", &project, project.driftless().arg("plan"));
    told.refuses("a plan for machines", &project, project.driftless().args(["plan", "--json"]));
    told.refuses("a run", &project, project.driftless().args(["run", "--once"]));
    told.refuses("a run for machines", &project, project.driftless().args(["run", "--once", "--json"]));
    let run = project.driftless().args(["run", "--once", "--exclude", "b+", "--log-level", "warn"]);
    told.case("without them", run).expect_code(0);
    told.end();
}

#[test]
fn seeds_are_refused_by_name() {
    let mut told = Transcript::new("seeds");
    let project = recorded(&[("a.sql", "select id from {{ ref('countries') }}\n")]);
    project.write("seeds/countries.csv", "id,name\n1,Finland\n");
    told.hide(project.path().display(), "PROJECT");
    told.refuses("a model that reads a seed", &project, project.driftless().args(["run", "--once"]));
    told.end();
}
