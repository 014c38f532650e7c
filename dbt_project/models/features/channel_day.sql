{#-
  What was spent on each paid channel on a day, and how strong demand was without it. One row per paid channel and day, also
  where nothing was spent. Demand is read from the organic orders, which no spending bought: that day's number over the mean
  of the last 28 days (fewer at the beginning of what was observed), 1 where there were none. Without it a good day would
  be credited to the budget that followed it.
-#}
{%- set first = [shift_ds(from_ds(), -27), first_day()] | max if from_ds() >= first_day() else from_ds() %}
with

days as (

    select span.ds
    from (select 1 as one) nothing
    lateral view explode({{ days_array(first, to_ds()) }}) span as ds

),

organic_orders as (

    select
        ds,
        count(*) as n_orders
    from {{ ref('orders') }}
    where ds between '{{ first }}' and '{{ to_ds() }}'
        and channel not in ('{{ paid_channels() | join("', '") }}')
    group by ds

),

demand as (

    select
        days.ds,
        coalesce(organic_orders.n_orders, 0) as n_orders,
        sum(coalesce(organic_orders.n_orders, 0)) over (order by days.ds rows between 27 preceding and current row)
            as n_orders_28d,
        count(*) over (order by days.ds rows between 27 preceding and current row) as n_days
    from days
    left join organic_orders on organic_orders.ds = days.ds

),

paid as (

    select
        demand.*,
        channels.channel
    from demand
    lateral view explode({{ paid_channels_array() }}) channels as channel
    where demand.ds >= '{{ from_ds() }}' and channels.channel is not null

)

select
    paid.channel,
    cast(coalesce(spend.spend, 0) as decimal(18,2)) as spend,
    case
        when paid.n_orders_28d = 0 then cast(1 as double)
        else cast(paid.n_orders * paid.n_days as double) / cast(paid.n_orders_28d as double)
    end as demand_index,
    paid.ds

from paid
left join {{ ref('channel_spend') }} spend
    on spend.channel = paid.channel and spend.ds = paid.ds
    and spend.ds between '{{ from_ds() }}' and '{{ to_ds() }}'
