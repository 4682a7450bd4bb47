-- Billing's tables and a fixed start, for MySQL 8 and MariaDB. Orders 1 to 240 of the shop are paid for.
create table payments (
    id bigint primary key, order_id bigint, method varchar(20), amount decimal(12, 2), paid_at datetime(6)
);
create table refunds (
    id bigint primary key, payment_id bigint, amount decimal(12, 2), refunded_at datetime(6)
);

insert into payments
with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 240)
select
    n, n, elt(1 + n % 5, 'card', 'transfer', 'invoice', 'voucher', null), (n * 271 % 9000) / 100 + 5,
    timestamp('2024-03-02 08:00:00.125') + interval n * 197 minute
from numbers;

insert into refunds
with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 24)
select n, n * 10, (n * 83 % 400) / 100 + 1, timestamp('2024-05-01 12:00:00') + interval n * 31 minute
from numbers;
