{#-
  What each paid channel brought in on a day: the response that the budget's curves are fitted to. One row per paid channel
  and day, also where nothing was ordered. Gross: reversals come on later days and are no answer to that day's spending.
-#}
with

calendar as (

    select channels.channel, span.ds
    from (select 1 as one) nothing
    lateral view explode({{ days_array(from_ds(), to_ds()) }}) span as ds
    lateral view explode({{ paid_channels_array() }}) channels as channel
    where channels.channel is not null

),

returned as (

    select
        channel,
        ds,
        count(*) as n_orders,
        sum(amount) as return_amount
    from {{ ref('orders') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'
    group by channel, ds

)

select
    calendar.channel,
    cast(coalesce(returned.n_orders, 0) as bigint) as n_orders,
    cast(coalesce(returned.return_amount, 0) as decimal(18,2)) as return_amount,
    calendar.ds

from calendar
left join returned on returned.channel = calendar.channel and returned.ds = calendar.ds
