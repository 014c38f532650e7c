{#-
  How many visitors went how far on a day. One row per day and platform. A visitor is a customer where known, else a device:
  before login nobody is known, and leaving those out would lose most of the top of the funnel. A visitor counts for a step
  if they took it that day, whether or not they took the step before.
-#}
with

visitors as (

    select
        ds,
        platform,
        coalesce(customer_id, device_id) as visitor_id,
        max(case when event_type = 'view' then 1 else 0 end) as n_viewers,
        max(case when event_type = 'search' then 1 else 0 end) as n_searchers,
        max(case when event_type = 'add_to_cart' then 1 else 0 end) as n_carters,
        max(case when event_type = 'purchase' then 1 else 0 end) as n_buyers
    from {{ ref('events') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'
    group by ds, platform, coalesce(customer_id, device_id)

),

steps as (

    select
        ds,
        platform,
        count(*) as n_visitors,
        sum(n_viewers) as n_viewers,
        sum(n_searchers) as n_searchers,
        sum(n_carters) as n_carters,
        sum(n_buyers) as n_buyers
    from visitors
    group by ds, platform

)

select
    platform,
    n_visitors,
    n_viewers,
    n_searchers,
    n_carters,
    n_buyers,
    case when n_viewers > 0 then cast(n_carters as double) / n_viewers end as cart_rate,
    case when n_carters > 0 then cast(n_buyers as double) / n_carters end as purchase_rate,
    ds

from steps
