{#-
  Money that went back: a cancelled order or a returned item, on the day it happened. One row per reversal. Kept apart from
  the orders because it is a fact of a later day: state as of any day is orders up to it minus reversals up to it. A load
  may already know of later days' reversals (its rows were read late): those wait for their own day.
-#}
with

cancelled as (

    select
        concat(order_id, '-cancelled') as reversal_id,
        order_id,
        cast(null as string) as order_item_id,
        customer_id,
        'cancelled' as reversal_kind,
        amount_cny,
        cancelled_at as reversed_at,
        cancelled_date as reversed_date,
        load_date
    from {{ ref('stg_crm__orders') }}
    where load_date >= '{{ from_ds() }}'
        and cancelled_date between '{{ from_ds() }}' and '{{ to_ds() }}'

),

returned as (

    select
        concat(order_item_id, '-returned') as reversal_id,
        order_id,
        order_item_id,
        customer_id,
        'returned' as reversal_kind,
        cast(quantity * unit_price_cny as decimal(18,2)) as amount_cny,
        returned_at as reversed_at,
        returned_date as reversed_date,
        load_date
    from {{ ref('stg_crm__order_items') }}
    where load_date >= '{{ from_ds() }}'
        and returned_date between '{{ from_ds() }}' and '{{ to_ds() }}'

),

reversed as (

    select * from cancelled
    union all
    select * from returned

),

loaded as (

    select
        reversed.*,
        row_number() over (partition by reversal_id order by load_date, reversed_at, amount_cny) as load_number
    from reversed

)

select
    reversal_id,
    order_id,
    order_item_id,
    customer_id,
    reversal_kind,
    amount_cny,
    reversed_at,
    reversed_date as ds

from loaded
where load_number = 1
