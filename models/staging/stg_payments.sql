select
    id as payment_id,
    order_id,
    coalesce(method, 'unknown') as method,
    amount,
    paid_at,
    cast(paid_at as date) as paid_on
from {{ source('billing', 'payments') }}
where amount is not null
