select
    channel,
    cast(sum(spend_cny) as decimal(18,2)) as spend_cny,
    event_date as ds

from {{ ref('input__channel_spend') }}
where load_date >= '{{ from_ds() }}'
    and event_date between '{{ from_ds() }}' and '{{ to_ds() }}'
group by channel, event_date
