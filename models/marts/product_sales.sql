select
    product_id,
    product_name,
    category,
    count(*) as lines,
    sum(quantity) as pieces,
    sum(amount) as revenue
from {{ ref('int_order_lines') }}
where status in ('paid', 'shipped')
group by product_id, product_name, category
