{#-
  What known customers did on a day: the one daily aggregate that rolling windows and running totals are made of, so that no
  run has to read events twice. One row per customer and day with any event, order or reversal (sparse). Flagged durations
  do not count as time spent. Sums only; whatever is a ratio is derived by the reader. Guest orders are no customer's: they
  stand in sales_day.
-#}
with

sessions as (

    select
        customer_id,
        ds,
        session_id,
        sum(case when event_type = 'view' then 1 else 0 end) as n_views,
        sum(case when event_type = 'search' then 1 else 0 end) as n_searches,
        sum(case when event_type = 'favourite' then 1 else 0 end) as n_favourites,
        sum(case when event_type = 'add_to_cart' then 1 else 0 end) as n_carts_added,
        sum(case when event_type = 'remove_from_cart' then 1 else 0 end) as n_carts_removed,
        sum(case when event_type = 'purchase' then 1 else 0 end) as n_purchases,
        sum(case when is_duration_outlier then 0 else coalesce(duration_ms, 0) end) as visit_ms
    from {{ ref('events') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'
        and customer_id is not null
    group by customer_id, ds, session_id

),

facts as (

    select
        customer_id, ds, n_views, n_searches, n_favourites, n_carts_added, n_carts_removed, n_purchases,
        case when session_id is null then 0 else 1 end as n_sessions, visit_ms,
        0 as n_orders, cast(0 as decimal(18,2)) as revenue, 0 as n_reversals, cast(0 as decimal(18,2)) as reversed_amount
    from sessions

    union all

    select
        customer_id, ds, 0, 0, 0, 0, 0, 0, 0, 0,
        1, amount, 0, cast(0 as decimal(18,2))
    from {{ ref('orders') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'
        and customer_id is not null

    union all

    select
        customer_id, ds, 0, 0, 0, 0, 0, 0, 0, 0,
        0, cast(0 as decimal(18,2)), 1, amount
    from {{ ref('reversals') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'
        and customer_id is not null

)

select
    customer_id,
    cast(sum(n_views) as bigint) as n_views,
    cast(sum(n_searches) as bigint) as n_searches,
    cast(sum(n_favourites) as bigint) as n_favourites,
    cast(sum(n_carts_added) as bigint) as n_carts_added,
    cast(sum(n_carts_removed) as bigint) as n_carts_removed,
    cast(sum(n_purchases) as bigint) as n_purchases,
    cast(sum(n_sessions) as bigint) as n_sessions,
    cast(sum(visit_ms) as bigint) as visit_ms,
    cast(sum(n_orders) as bigint) as n_orders,
    cast(sum(revenue) as decimal(18,2)) as revenue,
    cast(sum(n_reversals) as bigint) as n_reversals,
    cast(sum(reversed_amount) as decimal(18,2)) as reversed_amount,
    ds

from facts
group by customer_id, ds
