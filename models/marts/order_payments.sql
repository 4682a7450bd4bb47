with paid as (

    select
        order_id,
        sum(amount) as paid
    from {{ ref('int_money_moves') }}
    group by order_id

)

select
    o.order_id,
    o.customer_id,
    o.status,
    a.amount,
    p.paid,
    a.amount - p.paid as outstanding,
    case
        when p.paid < a.amount then 'open'
        when p.paid = a.amount then 'settled'
        else 'overpaid'
    end as standing
from {{ ref('stg_orders') }} as o
inner join {{ ref('int_order_amounts') }} as a on o.order_id = a.order_id
inner join paid as p on o.order_id = p.order_id
