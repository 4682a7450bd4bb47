select
    id as order_id,
    customer_id,
    coalesce(lower(status), 'placed') as status,
    ordered_at,
    cast(ordered_at as date) as ordered_on
from {{ source('shop', 'orders') }}
where customer_id is not null
