{#-
  What each paid channel cost and brought, beside what the plan had proposed for it. One row per paid channel and day. The
  return is gross revenue attributed by the order's own channel; ROI is what came back per yuan beyond the yuan itself.
-#}
with

spent as (

    select channel, spend_cny, demand_index, ds
    from {{ ref('channel_day') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

),

returned as (

    select channel, n_orders, return_cny, ds
    from {{ ref('channel_return') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

),

planned as (

    select channel, spend_cny as planned_spend_cny, expected_return_cny, ds
    from {{ source('predictions', 'budget') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

)

select
    spent.channel,
    spent.spend_cny,
    returned.n_orders,
    returned.return_cny,
    case when spent.spend_cny > 0 then cast(returned.return_cny as double) / cast(spent.spend_cny as double) - 1 end as roi,
    spent.demand_index,
    cast(planned.planned_spend_cny as decimal(18,2)) as planned_spend_cny,
    cast(planned.expected_return_cny as decimal(18,2)) as expected_return_cny,
    spent.ds

from spent
join returned on returned.channel = spent.channel and returned.ds = spent.ds
left join planned on planned.channel = spent.channel and planned.ds = spent.ds
