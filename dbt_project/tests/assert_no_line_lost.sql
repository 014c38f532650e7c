{#-
  Identity: every log line of the range became a row of cleaned or is counted in dropped_rows, per table and day.
-#}
{%- set window -%}
load_date >= '{{ shift_ds(from_ds(), -late_days()) }}'
    and received_date between '{{ from_ds() }}' and '{{ shift_ds(to_ds(), late_days()) }}'
    and event_date between '{{ from_ds() }}' and '{{ to_ds() }}'
{%- endset %}
{%- set range = "ds between '" ~ from_ds() ~ "' and '" ~ to_ds() ~ "'" %}
select
    table_name,
    ds,
    sum(n_rows) as n_lines_missing

from (
    select 'events' as table_name, event_date as ds, count(*) as n_rows
    from {{ ref('stg_web__events') }} where {{ window }} group by event_date

    union all
    select case when event_type = 'click' then 'clicks' else 'impressions' end as table_name, event_date as ds, count(*) as n_rows
    from {{ ref('stg_ads__events') }} where {{ window }}
    group by case when event_type = 'click' then 'clicks' else 'impressions' end, event_date

    {% for table_name in ['events', 'impressions', 'clicks'] %}
    union all
    select '{{ table_name }}' as table_name, ds, -count(*) as n_rows from {{ ref(table_name) }} where {{ range }} group by ds
    {% endfor %}

    union all
    select table_name, ds, -n_rows as n_rows from {{ ref('dropped_rows') }} where {{ range }}
) counts
group by table_name, ds
having sum(n_rows) <> 0
