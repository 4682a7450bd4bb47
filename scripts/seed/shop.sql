-- The shop's tables and a small, fixed start: no dice and no clock, so that every run begins alike.
create table customers (
    id int primary key, name text, email text, country text, created_at timestamptz
);
create table products (
    id int primary key, name text, category text, price numeric(12, 2)
);
create table orders (
    id bigint primary key, customer_id int, status text, ordered_at timestamptz
);
create table order_items (
    order_id bigint, line int, product_id int, quantity int, unit_price numeric(12, 2),
    primary key (order_id, line)
);

insert into customers
select
    n,
    'Customer ' || n,
    case when n % 7 = 0 then null else ' Customer' || n || '@Example.org' end,
    (array['de', 'FR', null, 'it', 'Pl'])[1 + n % 5],
    timestamptz '2024-01-01 00:00:00+00' + n * interval '7 hours 11 minutes'
from generate_series(1, 50) as n;

insert into products
select
    n,
    'Product ' || n,
    (array['tea', 'coffee', null, 'cups'])[1 + n % 4],
    (n * 137 % 5000)::numeric / 100 + 1
from generate_series(1, 20) as n;

insert into orders
select
    n,
    1 + n * 31 % 50,
    (array['placed', 'PAID', 'shipped', 'returned', 'cancelled'])[1 + n * 7 % 5],
    timestamptz '2024-03-01 00:00:00+00' + n * interval '3 hours 17 minutes 5.25 seconds'
from generate_series(1, 300) as n;

insert into order_items
select
    o.id, l, p.id, 1 + (o.id * l) % 4, case when o.id % 29 = 0 then null else p.price end
from orders as o
cross join lateral generate_series(1, 1 + o.id % 3) as l
inner join products as p on p.id = 1 + (o.id * 13 + l * 5) % 20;
