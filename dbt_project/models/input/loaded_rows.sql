{#-
  What each load states, as keys and days: with which day of the business a row counts, and in which load it came. The window
  of a run reaches back as far as these rows do (ingestion/late.py), and what it does not reach is counted by them
  (cleaned.dropped_rows). A row that is read again because it changed occurs once per load.
-#}
{%- set keys = {
    'orders': 'order_id', 'order_items': 'order_item_id', 'reversals': 'reversal_id', 'channel_spend': 'spend_id',
    'events': 'event_id', 'impressions': 'event_id', 'clicks': 'event_id',
} %}
{%- for entity, key in keys.items() if fed_by(entity) %}
select feed, '{{ 'reversals' if entity == 'reversals' else entity }}' as table_name, {{ key }} as row_key, event_date, load_date from {{ ref('input__' ~ entity) }}
{%- if not loop.last %}
union all
{%- endif %}
{%- else %}
select
    cast(null as string) as feed, cast(null as string) as table_name, cast(null as string) as row_key,
    cast(null as string) as event_date, cast(null as string) as load_date
from (select 1 as one) nothing
where 1 = 0
{%- endfor %}
