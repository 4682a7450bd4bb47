select
    ordered_on,
    count(*) as lines,
    sum(quantity) as pieces,
    sum(amount) as revenue,
    sum(case when status = 'returned' then amount else 0 end) as returned
from {{ ref('int_order_lines') }}
where status <> 'cancelled'
group by ordered_on
