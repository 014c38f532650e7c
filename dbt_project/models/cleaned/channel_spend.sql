select
    channel,
    cast(sum(spend_cny) as decimal(18,2)) as spend_cny,
    spend_date as ds

from {{ ref('stg_crm__channel_spend') }}
where load_date >= '{{ from_ds() }}'
    and spend_date between '{{ from_ds() }}' and '{{ to_ds() }}'
group by channel, spend_date
