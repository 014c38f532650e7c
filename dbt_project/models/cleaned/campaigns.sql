select
    campaign_id,
    campaign_name,
    channel,
    category,
    started_at,
    ended_at,
    load_date as ds

from {{ ref('input__campaigns') }}
where load_date = '{{ to_ds() }}'
