{#-
  What people were shown. One row per ad impression; lines that arrived twice or late as in macros/events.sql.
-#}
with

received_once as (

    {{ first_received(ref('stg_ads__events'), [
        'event_id', 'impression_id', 'occurred_at', 'customer_id', 'device_id', 'campaign_id', 'channel', 'placement',
        'position', 'device_type', 'creative_format',
    ], "event_type = 'impression'") }}

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
