{#-
  Identity: every log line of the range became a row of cleaned or is counted in dropped_rows, per table and day. And every
  row of a table: what states a day of the range is there, what was loaded on the newest day for a day before the range is
  there already or is counted, and what is of no day is counted. (Rows are counted once, however often they were read.)
-#}
-- depends_on: {{ ref('loaded_rows') }}
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
    {% for table_name in ['events', 'impressions', 'clicks'] if fed_by(table_name) %}
    select '{{ table_name }}' as table_name, event_date as ds, count(*) as n_rows
    from {{ ref('input__' ~ table_name) }} where {{ window }} group by event_date

    union all
    select '{{ table_name }}' as table_name, ds, -count(*) as n_rows from {{ ref(table_name) }} where {{ range }} group by ds

    union all
    {% endfor %}
    select table_name, ds, -n_rows as n_rows
    from {{ ref('dropped_rows') }} where {{ range }} and reason in ('no_identity', 'duplicate')

    union all
    select table_name, event_date as ds, count(distinct row_key) as n_rows
    from {{ ref('loaded_rows') }}
    where {{ loaded_for_the_range() }}
        and table_name in ('{{ keyed_tables() | join("', '") }}', 'channel_spend')
    group by table_name, event_date

    {% for table_name in keyed_tables() if fed_by(table_name) %}
    union all
    select '{{ table_name }}' as table_name, ds, -count(*) as n_rows from {{ ref(table_name) }} where {{ range }} group by ds
    {% endfor %}
    {% if fed_by('channel_spend') %}
    union all
    select 'channel_spend' as table_name, ds, -n_bookings as n_rows from {{ ref('channel_spend') }} where {{ range }}
    {% endif %}

    union all
    select table_name, '{{ to_ds() }} and before' as ds, count(distinct row_key) as n_rows
    from {{ ref('loaded_rows') }} where {{ loaded_for_no_day() }} and load_date = '{{ to_ds() }}'
    group by table_name

    union all
    select loaded.table_name, '{{ to_ds() }} and before' as ds, count(distinct loaded.row_key) as n_rows
    from (select * from {{ ref('loaded_rows') }} where {{ loaded_for_days_before(to_ds()) }}) loaded
    left join ({{ known_on_days_before(ref('loaded_rows'), to_ds()) }}) known
        on known.table_name = loaded.table_name and known.row_key = loaded.row_key and known.event_date = loaded.event_date
    where known.row_key is null
    group by loaded.table_name

    union all
    select table_name, '{{ to_ds() }} and before' as ds, -n_rows as n_rows
    from {{ ref('dropped_rows') }} where ds = '{{ to_ds() }}' and reason not in ('no_identity', 'duplicate')
) counts
group by table_name, ds
having sum(n_rows) <> 0
