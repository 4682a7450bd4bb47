//! A dbt project of ordinary shape, as many models as one likes: staging over sources, then layers that join, count,
//! rank, unite and tidy what lies below them.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use driftless::plan::Relation;
use driftless::row::{Table, TableName};
use std::sync::Arc;

const TABLES: usize = 40;
/// So many models stand side by side: 500 of them are 25 deep.
const ABREAST: usize = 20;

pub fn relation(name: &str) -> Relation {
    Relation { database: "db".into(), schema: "public".into(), name: name.into() }
}

pub fn tables() -> Vec<Table> {
    let fields = [
        ("id", DataType::Int64),
        ("customer_id", DataType::Int32),
        ("status", DataType::Utf8),
        ("amount", DataType::Decimal128(12, 2)),
        ("created_at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("note", DataType::Utf8),
    ];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec();
    let schema = Arc::new(Schema::new(fields));
    let table =
        |n: usize| Table { name: TableName::new("public", format!("s{n}")), schema: schema.clone(), key: vec![0] };
    (0..TABLES).map(table).collect()
}

/// Name and SQL of so many models, parents first. All have the columns of the tables but the last.
pub fn models(count: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("m{n}"), model(n))).collect()
}

fn model(n: usize) -> String {
    let layer = n / ABREAST;
    // One parent is a layer below, so that the graph is deep; the other lies anywhere below.
    let near = (layer * ABREAST).saturating_sub(ABREAST) + (n * 7) % ABREAST;
    let far = (n * 31) % (layer * ABREAST).max(1);
    let (near, far) = (name(near), name(far));
    let source = name_of(&format!("s{}", n % TABLES));
    match (layer, n % 7) {
        (0, _) => format!(
            "with source as (select * from {source}),
renamed as (
    select
        id,
        customer_id,
        lower(trim(status)) as status,
        cast(coalesce(amount, 0) as numeric(12, 2)) as amount,
        created_at,
        case when note is null or note = '' then 'none' else note end as note
    from source
    where id is not null
)
select id, customer_id, case when note = 'void' then 'void' else status end as status, amount, created_at
from renamed"
        ),
        (_, 0) => format!(
            "with orders as (select * from {near}),
customers as (select * from {far}),
joined as (
    select orders.id, orders.customer_id, orders.status, orders.amount, orders.created_at,
        customers.status as customer_status, customers.amount as customer_amount
    from orders
    left join customers on orders.customer_id = customers.customer_id
)
select id, customer_id, coalesce(customer_status, status) as status,
    cast(amount + coalesce(customer_amount, 0) as numeric(12, 2)) as amount, created_at
from joined"
        ),
        (_, 1) => format!(
            "select
    max(id) as id,
    customer_id,
    status,
    cast(sum(case when status = 'paid' then amount else 0 end) as numeric(12, 2)) as amount,
    min(created_at) as created_at
from {near}
where created_at >= timestamp '2020-01-01'
group by customer_id, status
having count(*) > {}",
            n % 3
        ),
        (_, 2) => format!(
            "with ranked as (
    select *, row_number() over (partition by customer_id order by created_at desc, id) as place
    from {near}
)
select id, customer_id, status, amount, created_at from ranked where place = 1"
        ),
        (_, 3) => format!(
            "with a as (select id, customer_id, status, amount, created_at from {near} where status <> 'void'),
b as (select id, customer_id, status, amount, created_at from {far} where amount > {n}),
united as (select * from a union all select * from b)
select id, customer_id, upper(status) as status, amount, date_trunc('day', created_at) as created_at from united"
        ),
        (_, 4) => format!(
            "select
    o.id, o.customer_id,
    case
        when o.amount > 1000 then 'large'
        when o.amount > 100 then 'medium'
        when o.amount > 0 then 'small'
        else 'none'
    end as status,
    cast(o.amount - coalesce(lag(o.amount) over (partition by o.customer_id order by o.created_at, o.id), 0)
        as numeric(12, 2)) as amount,
    o.created_at
from {near} as o
where exists (select 1 from {far} as f where f.customer_id = o.customer_id)"
        ),
        (_, 5) => format!(
            "with totals as (
    select customer_id, count(*) as orders, sum(amount) as total, max(created_at) as last_at
    from {far}
    group by customer_id
),
base as (select * from {near})
select base.id, base.customer_id, base.status,
    cast(case when totals.orders > 1 then totals.total / totals.orders else base.amount end as numeric(12, 2)) as amount,
    greatest(base.created_at, totals.last_at) as created_at
from base
inner join totals on totals.customer_id = base.customer_id
where base.status in ('paid', 'shipped', 'large', 'medium')"
        ),
        _ => format!(
            "select distinct a.id, b.customer_id, a.status || '-' || b.status as status, a.amount, b.created_at
from {near} as a
join {far} as b on a.id = b.id and a.created_at <= b.created_at"
        ),
    }
}

fn name(model: usize) -> String {
    name_of(&format!("m{model}"))
}

/// As dbt prints it.
fn name_of(name: &str) -> String {
    format!("\"db\".\"public\".\"{name}\"")
}
