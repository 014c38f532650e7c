{#-
  What was in the orders, on the day of the order. One row per order item; the first load that has it counts, as in orders.
-#}
with

loaded as (

    select
        order_item_id,
        order_id,
        customer_id,
        product_id,
        quantity,
        unit_price,
        ordered_at,
        event_date,
        row_number() over (
            partition by order_item_id order by load_date, updated_at, order_id, product_id, quantity, unit_price
        ) as load_number
    from {{ ref('input__order_items') }}
    where {{ loaded_for_the_range() }}

)

select
    order_item_id,
    order_id,
    customer_id,
    product_id,
    quantity,
    unit_price,
    ordered_at,
    event_date as ds

from loaded
where load_number = 1
