{#-
  Rows of tables that come after their day. The window of a run reaches back to them (ingestion/late.py) unless they are
  older than reach_days() before their load; those are too late: not in cleaned, but counted and held (dropped_rows). Whether a
  row came before is told by cleaned, which has it on its day; only the days that occur are looked at.
-#}
{% macro reach_days() -%}
  {{ return(env_var('MDP_REACH_DAYS', '30') | int) }}
{%- endmacro %}

{#- Cleaned tables whose rows are read again when they change → their key. -#}
{% macro keyed_tables() -%}
  {{ return({'orders': 'order_id', 'order_items': 'order_item_id', 'reversals': 'reversal_id'}) }}
{%- endmacro %}

{#- The lines of orders that went back from a day on until the range begins, as this table knows them; none before it is built. -#}
{% macro lines_gone_back(reversals, first) -%}
  {%- if load_relation(reversals) -%}
select distinct order_item_id from {{ reversals }} where ds between '{{ first }}' and '{{ shift_ds(from_ds(), -1) }}'
  {%- else -%}
select cast(null as string) as order_item_id
  {%- endif -%}
{%- endmacro %}

{#- The condition of the rows of tables that count in the range. A row may be dated ahead of its load, by late_days() at most:
    whichever day of the range it counts on, its load is among those that are read. -#}
{% macro loaded_for_the_range() -%}
load_date >= '{{ shift_ds(from_ds(), -late_days()) }}' and event_date between '{{ from_ds() }}' and '{{ to_ds() }}'
        and (load_date >= event_date or datediff(event_date, load_date) <= {{ late_days() }})
{%- endmacro %}

{#- The condition of the rows of tables loaded in the range that no day can have. -#}
{% macro loaded_for_no_day() -%}
load_date between '{{ from_ds() }}' and '{{ to_ds() }}'
    and table_name in ('{{ keyed_tables() | join("', '") }}', 'channel_spend')
    and (
        event_date is null or datediff(event_date, load_date) > {{ late_days() }}
        or (table_name = 'channel_spend' and event_date < '{{ first_day() }}')
    )
{%- endmacro %}

{#- The condition of the rows loaded in the range that state a day before it, and of those that are known from then. -#}
{% macro loaded_for_days_before(first_load) -%}
load_date between '{{ first_load }}' and '{{ to_ds() }}' and event_date < '{{ from_ds() }}'
    and table_name in ('{{ keyed_tables() | join("', '") }}')
{%- endmacro %}

{% macro known_on_days_before(loaded_rows, first_load) -%}
  {%- set days = ['none'] -%}
  {%- if execute and load_relation(loaded_rows) -%}
    {%- set found = run_query('select distinct event_date from ' ~ loaded_rows ~ ' where ' ~ loaded_for_days_before(first_load)) -%}
    {%- for day in found.columns[0].values() -%}{%- do days.append(day) -%}{%- endfor -%}
  {%- endif -%}
  {%- for table_name, key in keyed_tables().items() %}
select '{{ table_name }}' as table_name, {{ key }} as row_key, ds as event_date
from {{ ref(table_name) }} where ds in ('{{ days | join("', '") }}')
  {%- if not loop.last %}
union all
  {%- endif %}
  {%- endfor %}
{%- endmacro %}
