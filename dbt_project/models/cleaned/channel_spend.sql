{#-
  What was spent on each channel on a day: the sum of its bookings, each as the first load has it, however often it is read.
-#}
with

loaded as (

    select
        channel,
        spend,
        currency,
        event_date,
        row_number() over (partition by spend_id order by load_date, event_date, channel, spend) as load_number
    from {{ ref('input__channel_spend') }}
    where {{ loaded_for_the_range() }}

)

select
    channel,
    -- a booking without a rate leaves the day without a sum
    case when count(own_spend) = count(*) then cast(sum(own_spend) as decimal(18,2)) end as spend,
    count(*) as n_bookings,
    event_date as ds

from (
    select *, {{ in_own_currency('spend') }} as own_spend
    from {{ with_rates('loaded') }}
    where load_number = 1
) converted
group by channel, event_date
