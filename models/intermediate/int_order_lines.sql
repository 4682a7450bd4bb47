select
    i.order_id,
    i.line,
    o.customer_id,
    o.status,
    o.ordered_at,
    o.ordered_on,
    i.product_id,
    p.product_name,
    p.category,
    i.quantity,
    i.amount
from {{ ref('stg_order_items') }} as i
inner join {{ ref('stg_orders') }} as o on i.order_id = o.order_id
inner join {{ ref('stg_products') }} as p on i.product_id = p.product_id
