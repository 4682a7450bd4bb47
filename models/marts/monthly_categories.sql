select distinct
    cast(date_trunc('month', ordered_at) as date) as month,
    category
from {{ ref('int_order_lines') }}
