select
    method,
    sum(case when kind = 'payment' then 1 else 0 end) as payments,
    sum(case when kind = 'refund' then 1 else 0 end) as refunds,
    sum(case when kind = 'payment' then amount else 0 end) as received,
    sum(case when kind = 'refund' then amount else 0 end) as returned,
    sum(amount) as balance
from {{ ref('int_money_moves') }}
group by method
