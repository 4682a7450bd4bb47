select
    'payment' as kind,
    payment_id,
    order_id,
    method,
    amount,
    paid_at as moved_at
from {{ ref('stg_payments') }}

union all

select
    'refund' as kind,
    r.payment_id,
    p.order_id,
    p.method,
    cast(-r.amount as numeric(12, 2)) as amount,
    r.refunded_at as moved_at
from {{ ref('stg_refunds') }} as r
inner join {{ ref('stg_payments') }} as p on r.payment_id = p.payment_id
