select
    c.country,
    count(distinct o.customer_id) as buyers
from {{ ref('stg_orders') }} as o
inner join {{ ref('stg_customers') }} as c on o.customer_id = c.customer_id
group by c.country
