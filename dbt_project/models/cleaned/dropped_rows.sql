{#-
  How many log lines did not become an event, and why, per day of the event: nothing disappears uncounted. Kept + dropped =
  raw is tested (tests/assert_no_line_lost.sql). Counted here anew from few columns rather than flagged in the big tables;
  the order of copies agrees with macros/events.sql in what decides the day (received_date, occurred_at).

  A row of a table that came too late for its day (macros/late.sql), is of a day before the first, is dated too far ahead or not
  at all, counts on the day of its load: it has no day of its own, or that is not built again.
-#}
-- depends_on: {{ ref('orders') }}, {{ ref('order_items') }}, {{ ref('reversals') }}, {{ ref('loaded_rows') }}
with

lines as (

    {%- for entity in ['events', 'impressions', 'clicks'] if fed_by(entity) %}
    select
        '{{ entity }}' as table_name, event_id, occurred_at, event_date, received_date, load_date,
        customer_id is null and device_id is null as is_without_identity
    from {{ ref('input__' ~ entity) }}
    {%- if not loop.last %}

    union all
    {%- endif %}
    {%- else %}
    select
        cast(null as string) as table_name, cast(null as string) as event_id, cast(null as timestamp) as occurred_at,
        cast(null as string) as event_date, cast(null as string) as received_date, cast(null as string) as load_date,
        false as is_without_identity
    from (select 1 as one) nothing
    where 1 = 0
    {%- endfor %}

),

compared as (

    select
        table_name, event_date, received_date, is_without_identity,
        lag(received_date) over (
            partition by table_name, event_id, is_without_identity order by received_date, occurred_at
        ) as received_before_date
    from lines
    where load_date >= '{{ shift_ds(from_ds(), -late_days()) }}'
        and received_date between '{{ shift_ds(from_ds(), -late_days()) }}' and '{{ shift_ds(to_ds(), late_days()) }}'

),

reasoned as (

    select
        table_name,
        event_date,
        case
            when is_without_identity then 'no_identity'
            when datediff(received_date, received_before_date) <= {{ late_days() }} then 'duplicate'
        end as reason
    from compared
    where event_date between '{{ from_ds() }}' and '{{ to_ds() }}'

),

known as (

    {{ known_on_days_before(ref('loaded_rows'), from_ds()) }}

),

out_of_reach as (

    select distinct
        loaded.table_name,
        loaded.row_key,
        case when loaded.event_date < '{{ first_day() }}' then 'before_first_day' else 'too_late' end as reason,
        loaded.load_date
    from (select * from {{ ref('loaded_rows') }} where {{ loaded_for_days_before(from_ds()) }}) loaded
    left join known
        on known.table_name = loaded.table_name and known.row_key = loaded.row_key and known.event_date = loaded.event_date
    where known.row_key is null
        and (
            loaded.event_date < '{{ first_day() }}'
            or loaded.event_date < cast(date_sub(to_date(loaded.load_date), {{ reach_days() }}) as string)
        )

    union all

    select distinct
        table_name,
        row_key,
        case when event_date is null then 'no_time' when event_date > load_date then 'future' else 'before_first_day' end as reason,
        load_date
    from {{ ref('loaded_rows') }}
    where {{ loaded_for_no_day() }}

)

select
    table_name,
    reason,
    count(*) as n_rows,
    event_date as ds

from reasoned
where reason is not null
group by table_name, reason, event_date

union all

select
    table_name,
    reason,
    count(*) as n_rows,
    load_date as ds

from out_of_reach
group by table_name, reason, load_date
