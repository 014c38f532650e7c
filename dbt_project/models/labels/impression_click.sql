{#-
  Was the impression clicked within 24 hours? One row per impression, written a day (horizon_days) after it, when the answer
  is known; days again within the late window, for clicks that arrive late.
-#}
{%- set meta = {'days': 'matured', 'horizon_days': 1} %}
{{- config(meta=meta) }}
{%- set days = days_written(meta) %}
with

impressions as (

    select impression_id, occurred_at, ds from {{ ref('impressions') }} where ds between '{{ days[0] }}' and '{{ days[1] }}'

),

clicks as (

    select impression_id, clicked_at from {{ ref('clicks') }} where ds between '{{ days[0] }}' and '{{ to_ds() }}'

),

answered as (

    select
        impressions.impression_id,
        impressions.ds,
        max(
            case
                when unix_timestamp(clicks.clicked_at) - unix_timestamp(impressions.occurred_at)
                    between 0 and {{ var('click_hours') * 3600 }} then 1
                else 0
            end
        ) as n_clicks
    from impressions
    left join clicks on clicks.impression_id = impressions.impression_id
    group by impressions.impression_id, impressions.ds

)

select
    impression_id,
    n_clicks > 0 as is_clicked,
    ds

from answered
