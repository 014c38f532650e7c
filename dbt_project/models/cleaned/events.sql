{#-
  What people did on the site and in the app. One row per event: the same line may arrive twice, or days late (see
  macros/events.sql). Events before login keep a null customer: they belong to a device, and whose it is may be found later.
  Durations are flagged, not removed: a tab left open is still a visit, only its length is no measure of interest.
-#}
with

received_once as (

    {{ first_received(ref('input__events'), [
        'event_id', 'event_type', 'occurred_at', 'customer_id', 'device_id', 'session_id', 'is_logged_in', 'product_id',
        'search_term', 'order_id', 'duration_ms', 'platform',
    ]) }}

)

select
    event_id,
    event_type,
    occurred_at,
    customer_id,
    device_id,
    session_id,
    is_logged_in,
    product_id,
    search_term,
    order_id,
    duration_ms,
    coalesce(duration_ms < 0 or duration_ms > {{ var('duration_outlier_ms') }}, false) as is_duration_outlier,
    platform,
    ds

from received_once
