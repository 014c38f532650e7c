{#-
  The campaigns begun by a day, as they were on it (macros/loads.sql): a channel or category that is corrected later stays what it was.
-#}
select
    campaign_id,
    campaign_name,
    channel,
    category,
    started_at,
    ended_at,
    ds

from (

    {{ as_loaded(
        "(select c.*, coalesce(" ~ business_date('started_at') ~ ", '') as started_date from " ~ ref('input__campaigns') ~ " c)",
        'campaign_id', ['campaign_name', 'channel', 'category', 'started_at', 'ended_at'], born='started_date',
    ) }}

) campaigns
