select
    id as refund_id,
    payment_id,
    amount,
    refunded_at
from {{ source('billing', 'refunds') }}
where amount is not null
