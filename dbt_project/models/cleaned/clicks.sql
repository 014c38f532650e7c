{#-
  Clicks on impressions, on the day of the click (which may be the day after the impression). One row per click event: an
  impression can be clicked twice. Who clicked is known from the impression.
-#}
with

received_once as (

    {{ first_received(ref('input__clicks'), ['event_id', 'impression_id', 'occurred_at', 'customer_id', 'device_id']) }}

)

select
    event_id,
    impression_id,
    occurred_at as clicked_at,
    ds

from received_once
