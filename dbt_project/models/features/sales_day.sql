{#-
  What was sold and what went back on a day, all told and to guests alone, who are no customer: with the customers' part in
  customer_activity it adds up to cleaned, to the cent (tests/assert_activity_adds_up.sql). One row per business day with an
  order or a reversal.
-#}
with

facts as (

    select
        ds, amount, 1 as is_order, 0 as is_without_order,
        case when customer_id is null then 1 else 0 end as is_guest
    from {{ ref('orders') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

    union all

    select
        ds, amount, 0 as is_order, case when order_id is null and order_item_id is null then 1 else 0 end as is_without_order,
        case when customer_id is null then 1 else 0 end as is_guest
    from {{ ref('reversals') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

)

select
    cast(sum(is_order) as bigint) as n_orders,
    cast(sum(case when is_order = 1 then amount else 0 end) as decimal(18,2)) as revenue,
    cast(sum(is_order * is_guest) as bigint) as n_guest_orders,
    cast(sum(case when is_order * is_guest = 1 then amount else 0 end) as decimal(18,2)) as guest_revenue,
    cast(sum(1 - is_order) as bigint) as n_reversals,
    cast(sum(case when is_order = 0 then amount else 0 end) as decimal(18,2)) as reversed_amount,
    cast(sum(is_without_order) as bigint) as n_reversals_without_order,
    cast(sum((1 - is_order) * is_guest) as bigint) as n_guest_reversals,
    cast(sum(case when is_order = 0 and is_guest = 1 then amount else 0 end) as decimal(18,2)) as guest_reversed_amount,
    ds

from facts
group by ds
