select
    id as customer_id,
    name as customer_name,
    lower(trim(email)) as email,
    upper(coalesce(country, '??')) as country,
    created_at
from {{ source('shop', 'customers') }}
