{#-
  What each paid channel cost and brought, beside what the plan had proposed for it. One row per paid channel and day. The
  return is gross revenue attributed by the order's own channel; ROI is what came back per unit of money beyond that unit.
-#}
with

spent as (

    select channel, spend, demand_index, ds
    from {{ ref('channel_day') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

),

returned as (

    select channel, n_orders, return_amount, ds
    from {{ ref('channel_return') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

),

planned as (

    select channel, spend as planned_spend, expected_return, ds
    from {{ source('predictions', 'budget') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

)

select
    spent.channel,
    spent.spend,
    returned.n_orders,
    returned.return_amount,
    case when spent.spend > 0 then cast(returned.return_amount as double) / cast(spent.spend as double) - 1 end as roi,
    spent.demand_index,
    cast(planned.planned_spend as decimal(18,2)) as planned_spend,
    cast(planned.expected_return as decimal(18,2)) as expected_return,
    spent.ds

from spent
join returned on returned.channel = spent.channel and returned.ds = spent.ds
left join planned on planned.channel = spent.channel and planned.ds = spent.ds
