{#-
  What people were shown. One row per ad impression; lines that arrived twice or late as in macros/events.sql.
-#}
with

received_once as (

    {{ first_received(ref('input__impressions'), [
        'event_id', 'impression_id', 'occurred_at', 'customer_id', 'device_id', 'campaign_id', 'channel', 'placement',
        'position', 'device_type', 'creative_format',
    ]) }}

)

select
    impression_id,
    occurred_at,
    customer_id,
    device_id,
    campaign_id,
    channel,
    placement,
    position,
    device_type,
    creative_format,
    ds

from received_once
