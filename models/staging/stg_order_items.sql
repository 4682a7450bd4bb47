with lines as (

    select
        order_id,
        line,
        product_id,
        quantity,
        coalesce(unit_price, 0) as unit_price
    from {{ source('shop', 'order_items') }}
    where product_id is not null
      and quantity is not null

)

select
    order_id,
    line,
    product_id,
    quantity,
    cast(unit_price as numeric(12, 2)) as unit_price,
    cast(quantity * unit_price as numeric(14, 2)) as amount
from lines
