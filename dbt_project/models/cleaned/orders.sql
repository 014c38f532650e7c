{#-
  Orders on the day they were placed, with what never changes about them. One row per order. The CRM hands an order over
  again whenever it changes; the first load that has it counts. What happens to it later stands in reversals on a day
  of its own, so that a past day never changes.
-#}
with

loaded as (

    select
        order_id,
        customer_id,
        ordered_at,
        channel,
        amount,
        currency,
        event_date,
        row_number() over (partition by order_id order by load_date, updated_at, amount, customer_id, channel) as load_number
    from {{ ref('input__orders') }}
    where {{ loaded_for_the_range() }}

),

converted as (

    select
        *,
        {{ in_own_currency('amount') }} as own_amount
    from {{ with_rates('loaded') }}
    where load_number = 1

)

select
    order_id,
    customer_id,
    ordered_at,
    channel,
    own_amount as amount,
    amount as original_amount,
    {{ currency_of_row() }} as currency,
    own_amount <= 0 or own_amount > {{ var('amount_outlier') }} as is_amount_outlier,
    event_date as ds

from converted
