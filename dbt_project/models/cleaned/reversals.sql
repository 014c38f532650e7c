{#-
  Money that went back: a cancelled order or a returned item, on the day it happened. One row per reversal. Kept apart from
  the orders because it is a fact of a later day: state as of any day is orders up to it minus reversals up to it. A load
  may already know of later days' reversals (its rows were read late): those wait for their own day.
-#}
with

loaded as (

    select
        reversal_id,
        order_id,
        order_item_id,
        customer_id,
        reversal_kind,
        amount,
        currency,
        reversed_at,
        event_date,
        row_number() over (partition by reversal_id order by load_date, reversed_at, amount) as load_number
    from {{ ref('input__reversals') }}
    where {{ loaded_for_the_range() }}

)

select
    reversal_id,
    order_id,
    order_item_id,
    customer_id,
    reversal_kind,
    {{ in_own_currency('amount') }} as amount,
    amount as original_amount,
    {{ currency_of_row() }} as currency,
    reversed_at,
    event_date as ds

from {{ with_rates('loaded') }}
where load_number = 1
