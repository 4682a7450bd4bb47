-- Nexmark in plain SQL: tables, and the queries that are not about streams alone. Windows are minutes and hours of the
-- events' own time; a session is what has no gap of ten minutes. Each bid has an `id`, which tells it from its equals.

-- table
create table person as select
    n as id,
    'name ' || (hash(n * 3 + 1) % 40) as name,
    'a' || n || '@example.com' as email,
    ['Phoenix', 'Seattle', 'Boise', 'Portland', 'Bend'][1 + (hash(n * 5 + 2) % 5)::int] as city,
    ['AZ', 'WA', 'ID', 'OR', 'CA'][1 + (hash(n * 7 + 3) % 5)::int] as state,
    timestamp '2024-03-01' + to_seconds((hash(n * 11 + 4) % 20000)::bigint) as date_time
from range((80 * $scale)::bigint) as r(n)

-- table
create table auction as select
    n as id,
    'item ' || (hash(n * 3 + 5) % 100) as item_name,
    (hash(n * 5 + 6) % 1000)::bigint as initial_bid,
    (hash(n * 7 + 7) % 5000)::bigint as reserve,
    timestamp '2024-03-01' + to_seconds((hash(n * 11 + 8) % 20000)::bigint) as date_time,
    timestamp '2024-03-01' + to_seconds((hash(n * 11 + 8) % 20000)::bigint + (hash(n * 13 + 9) % 9000)::bigint) as expires,
    (hash(n * 17 + 10) % (80 * $scale)::bigint)::bigint as seller,
    10 + (hash(n * 19 + 11) % 5)::bigint as category
from range((200 * $scale)::bigint) as r(n)

-- table
create table bid as select
    n as id,
    (hash(n * 3 + 12) % (200 * $scale)::bigint)::bigint as auction,
    (hash(n * 5 + 13) % (80 * $scale)::bigint)::bigint as bidder,
    (hash(n * 7 + 14) % 20000)::bigint as price,
    ['Google', 'apple', 'Facebook', 'baidu', 'channel-9'][1 + (hash(n * 11 + 15) % 5)::int] as channel,
    'https://www.nexmark.com/' || (hash(n * 13 + 16) % 30) || '/item.htm/query=1'
        || case when hash(n * 17 + 17) % 3 = 0 then '' else '&channel_id=' || (hash(n * 17 + 17) % 50) end as url,
    timestamp '2024-03-01' + to_seconds((hash(n * 19 + 18) % 20000)::bigint) as date_time,
    ['abc', 'cc', '', 'xyzc'][1 + (hash(n * 23 + 19) % 4)::int] as extra
from range((4000 * $scale)::bigint) as r(n)

-- table
create table side_input as select n as key, 'value ' || n as value from range(10) as r(n)

-- q0
select id, auction, bidder, price, date_time, extra from bid

-- q1
select id, auction, bidder, 0.908 * price as price, date_time, extra from bid

-- q2
select id, auction, price from bid where auction % 12 = 0

-- q3
select p.name, p.city, p.state, a.id
from auction as a join person as p on a.seller = p.id
where a.category = 10 and p.state in ('OR', 'ID', 'CA')

-- q4
select q.category, avg(q.final) as average
from (
    select max(b.price) as final, a.category
    from auction as a, bid as b
    where a.id = b.auction and b.date_time between a.date_time and a.expires
    group by a.id, a.category
) as q
group by q.category

-- q5
with counted as (
    select auction, date_trunc('hour', date_time) as starttime, count(*) as num from bid group by auction, date_trunc('hour', date_time)
)
select c.auction, c.num, c.starttime
from counted as c
join (select max(num) as maxn, starttime from counted group by starttime) as m
    on c.starttime = m.starttime and c.num >= m.maxn

-- q6
select q.seller, q.id,
    avg(q.final) over (partition by q.seller order by q.sold_at, q.id rows between 10 preceding and current row) as average
from (
    select a.seller, a.id, max(b.price) as final, max(b.date_time) as sold_at
    from auction as a join bid as b on a.id = b.auction and b.date_time between a.date_time and a.expires
    group by a.seller, a.id
) as q

-- q7
select b.id, b.auction, b.price, b.bidder, b.date_time
from bid as b
join (
    select max(price) as maxprice, date_trunc('minute', date_time) as starttime from bid group by date_trunc('minute', date_time)
) as m on b.price = m.maxprice and date_trunc('minute', b.date_time) = m.starttime

-- q8
select p.id, p.name, p.starttime
from (
    select id, name, date_trunc('hour', date_time) as starttime from person group by id, name, date_trunc('hour', date_time)
) as p
join (
    select seller, date_trunc('hour', date_time) as starttime from auction group by seller, date_trunc('hour', date_time)
) as a on p.id = a.seller and p.starttime = a.starttime

-- q9
select id, item_name, seller, category, bidder, price, bid_at
from (
    select a.id, a.item_name, a.seller, a.category, b.bidder, b.price, b.date_time as bid_at,
        row_number() over (partition by a.id order by b.price desc, b.date_time, b.id) as place
    from auction as a, bid as b
    where a.id = b.auction and b.date_time between a.date_time and a.expires
) as q
where place <= 1

-- q10
select id, auction, bidder, price, cast(date_time as date) as day, extract(hour from date_time) as hour from bid

-- q11
with marked as (
    select bidder, id, date_time,
        case when lag(date_time) over (partition by bidder order by date_time, id) >= date_time - interval '10 minutes'
            then 0 else 1 end as starts
    from bid
),
numbered as (
    select bidder, date_time, sum(starts) over (partition by bidder order by date_time, id) as session from marked
)
select bidder, session, count(*) as bids, min(date_time) as starttime, max(date_time) as endtime
from numbered group by bidder, session

-- q12
select bidder, date_trunc('minute', date_time) as starttime, count(*) as bids
from bid group by bidder, date_trunc('minute', date_time)

-- q13
select b.id, b.auction, b.bidder, b.price, b.date_time, s.value
from bid as b join side_input as s on b.auction % 10 = s.key

-- q14
select id, auction, bidder, 0.908 * price as price,
    case
        when extract(hour from date_time) between 1 and 3 then 'dayTime'
        when extract(hour from date_time) < 1 or extract(hour from date_time) > 4 then 'nightTime'
        else 'otherTime'
    end as bid_time,
    date_time, extra, length(extra) - length(replace(extra, 'c', '')) as c_counts
from bid
where 0.908 * price > 1000 and 0.908 * price < 50000000

-- q15
select date_trunc('hour', date_time) as hour,
    count(*) as bids,
    count(*) filter (where price < 1000) as rank1,
    count(*) filter (where price >= 1000 and price < 10000) as rank2,
    count(*) filter (where price >= 10000) as rank3,
    count(distinct bidder) as bidders,
    count(distinct bidder) filter (where price < 1000) as rank1_bidders,
    count(distinct bidder) filter (where price >= 10000) as rank3_bidders,
    count(distinct auction) as auctions,
    count(distinct auction) filter (where price < 1000) as rank1_auctions
from bid group by date_trunc('hour', date_time)

-- q16
select channel, cast(date_time as date) as day,
    max(date_trunc('minute', date_time)) as minute,
    count(*) as bids,
    count(*) filter (where price < 1000) as rank1,
    count(distinct bidder) as bidders,
    count(distinct auction) filter (where price >= 10000) as rank3_auctions
from bid group by channel, cast(date_time as date)

-- q17
select auction, cast(date_time as date) as day,
    count(*) as bids,
    count(*) filter (where price < 1000) as rank1,
    count(*) filter (where price >= 1000 and price < 10000) as rank2,
    min(price) as min_price, max(price) as max_price, avg(price) as avg_price, sum(price) as sum_price
from bid group by auction, cast(date_time as date)

-- q18
select id, auction, bidder, price, channel, date_time
from (
    select *, row_number() over (partition by bidder, auction order by date_time desc, id) as place from bid
) as q
where place <= 1

-- q19
select id, auction, bidder, price, place
from (
    select *, row_number() over (partition by auction order by price desc, id) as place from bid
) as q
where place <= 10

-- q20
select b.id, b.auction, b.bidder, b.price, b.channel, a.item_name, a.initial_bid, a.reserve, a.seller, a.category
from bid as b join auction as a on b.auction = a.id
where a.category = 10

-- q21
select id, auction, bidder, price, channel,
    case
        when lower(channel) = 'apple' then '0'
        when lower(channel) = 'google' then '1'
        when lower(channel) = 'facebook' then '2'
        when lower(channel) = 'baidu' then '3'
        else split_part(split_part(url, 'channel_id=', 2), '&', 1)
    end as channel_id
from bid
where split_part(url, 'channel_id=', 2) <> '' or lower(channel) in ('apple', 'google', 'facebook', 'baidu')

-- q22
select id, auction, bidder, price, channel,
    split_part(url, '/', 4) as dir1, split_part(url, '/', 5) as dir2, split_part(url, '/', 6) as dir3
from bid
