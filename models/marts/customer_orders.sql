select
    c.customer_id,
    c.customer_name,
    c.country,
    count(*) as orders,
    sum(case when o.status = 'cancelled' then 1 else 0 end) as orders_cancelled,
    sum(a.pieces) as pieces,
    sum(case when o.status = 'cancelled' then 0 else a.amount end) as spent
from {{ ref('stg_customers') }} as c
inner join {{ ref('stg_orders') }} as o on c.customer_id = o.customer_id
inner join {{ ref('int_order_amounts') }} as a on o.order_id = a.order_id
group by c.customer_id, c.customer_name, c.country
