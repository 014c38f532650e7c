{#-
  Each customer on each day: who they were, what they did in the last 7, 30 and 90 days, and in total. One row per customer
  registered by then and day (dense: also the silent ones). <column>_as_of: as in cleaned.customer_attributes.

  A rolling window over a dense calendar would need 90 days before the range for every customer and re-add each window for
  each row. Instead a day's activity enters each window on its own day and leaves it 7, 30 or 90 days later; the running
  sum of these changes over the days of the range is the window. What happened before the range is put on its first day.
  So the work grows with activity + days built, the same statement serves four days and a whole history, and all sums are
  of integers, hence exact: money is summed in hundredths, because running sums of decimals take three times as long. A
  window of 30 days on ds covers ds - 29 .. ds.

  Who is known from orders alone has their first change on the day they begin, and nothing else tells two days between changes
  apart: the sums are made for the days of change only and then spread over the days up to the next. Of a long history the last
  days are written (parts.dense_days).

  Totals go on from the partition of the day before the range (macros/time.sql, has_day_before), so nothing daily reads
  all of history. Revenue totals are net of reversals, each on its own day; revenue of a window is what was ordered in it.
-#}
{%- set totals = running_totals_of(this) %}
{%- set someone = "select 1 from " ~ ref('customer_attributes') ~ " where ds = '" ~ shift_ds(from_ds(), -1) ~ "'" %}
{%- set continues = has_day_before(totals, someone=none if fed_by('customers') else someone) %}
{%- set described = [
    'tenure_days', 'age_years', 'gender', 'city', 'acquisition_channel', 'membership_plan', 'is_member',
    'age_years_as_of', 'gender_as_of', 'city_as_of', 'membership_plan_as_of', 'is_member_as_of',
] %}
{#- Who somebody was on ds, from a row of customer_attributes and the day. -#}
{%- set description %}
        datediff(ds, registered_date) as tenure_days,
        cast(substr(ds, 1, 4) as int) - birth_year as age_years,
        coalesce(gender, 'unknown') as gender,
        city,
        acquisition_channel,
        membership_plan,
        {%- if has_memberships() %}
        -- the membership ends as in labels.customer_lifetime
        membership_id is not null and least(
            coalesce({{ business_date('membership_cancelled_at') }}, '9999-12-31'),
            coalesce(cast(date_add({{ business_date('membership_expires_at') }}, {{ var('lapse_days') }}) as string), '9999-12-31')
        ) > ds as is_member,
        {%- else %}
        cast(null as boolean) as is_member,
        {%- endif %}
        birth_year_as_of as age_years_as_of,
        gender_as_of,
        city_as_of,
        membership_plan_as_of,
        membership_expires_at_as_of as is_member_as_of
{%- endset %}
{%- set facts = [
    'registered_date', 'birth_year', 'gender', 'city', 'acquisition_channel', 'membership_id', 'membership_plan',
    'membership_expires_at', 'membership_cancelled_at',
] %}
{%- set dated = ['birth_year', 'gender', 'city', 'membership_plan', 'membership_expires_at'] %}
{%- set measures = [
    'n_views_7d', 'n_views_30d', 'n_searches_30d', 'n_favourites_30d', 'n_carts_30d', 'n_active_days_30d', 'visit_ms_30d',
    'n_orders_30d', 'n_orders_90d', 'revenue_30d_cents', 'revenue_90d_cents', 'n_orders_total', 'n_order_days_total',
    'revenue_total_cents',
] %}
{%- set order_by = 'ds, is_calendar' if fed_by('customers') else 'ds' %}
{%- set running = 'over (partition by customer_id order by ' ~ order_by ~ ' rows between unbounded preceding and current row)' %}
{%- set so_far %}
        {%- for measure in measures %}
        sum({{ measure }}) {{ running }} as {{ measure }},
        {%- endfor %}
        min(first_order_date) {{ running }} as first_order_date,
        max(last_order_date) {{ running }} as last_order_date
{%- endset %}
with

activity as (

    select
        customer_activity.*,
        cast(revenue * 100 as bigint) as revenue_cents,
        cast((revenue - reversed_amount) * 100 as bigint) as net_revenue_cents,
        case when n_orders > 0 then 1 else 0 end as is_order_day
    from {{ ref('customer_activity') }} customer_activity
    where ds between '{{ shift_ds(from_ds(), -90) }}' and '{{ to_ds() }}'

),

entering_and_leaving as (

    select
        activity.*,
        steps.after_days,
        cast(date_add(activity.ds, steps.after_days) as string) as change_date,
        case steps.after_days when 0 then 1 when 7 then -1 else 0 end as in_7d,
        case steps.after_days when 0 then 1 when 30 then -1 else 0 end as in_30d,
        case steps.after_days when 0 then 1 when 90 then -1 else 0 end as in_90d,
        case when steps.after_days = 0 and activity.ds >= '{{ from_ds() }}' then 1 else 0 end as in_range
    from activity
    lateral view explode(array(0, 7, 30, 90)) steps as after_days

),

changes as (

    select
        customer_id,
        case when change_date < '{{ from_ds() }}' then '{{ from_ds() }}' else change_date end as ds,
        sum(in_7d * n_views) as n_views_7d,
        sum(in_30d * n_views) as n_views_30d,
        sum(in_30d * n_searches) as n_searches_30d,
        sum(in_30d * n_favourites) as n_favourites_30d,
        sum(in_30d * n_carts_added) as n_carts_30d,
        sum(in_30d * case when n_sessions > 0 or n_orders > 0 then 1 else 0 end) as n_active_days_30d,
        sum(in_30d * visit_ms) as visit_ms_30d,
        sum(in_30d * n_orders) as n_orders_30d,
        sum(in_90d * n_orders) as n_orders_90d,
        sum(in_30d * revenue_cents) as revenue_30d_cents,
        sum(in_90d * revenue_cents) as revenue_90d_cents,
        sum(in_range * n_orders) as n_orders_total,
        sum(in_range * is_order_day) as n_order_days_total,
        sum(in_range * net_revenue_cents) as revenue_total_cents,
        min(case when in_range * is_order_day = 1 then change_date end) as first_order_date,
        max(case when in_range * is_order_day = 1 then change_date end) as last_order_date
    from entering_and_leaving
    where change_date <= '{{ to_ds() }}'
    group by customer_id, case when change_date < '{{ from_ds() }}' then '{{ from_ds() }}' else change_date end

    {% if continues -%}
    union all

    select
        customer_id, '{{ from_ds() }}' as ds,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        n_orders_total, n_order_days_total, cast(revenue_total * 100 as bigint), first_order_date, last_order_date
    from {{ totals }}
    where ds = '{{ shift_ds(from_ds(), -1) }}'
    {%- endif %}

),

{%- if fed_by('customers') %}

calendar_and_changes as (

    select
        customer_id, ds, 1 as is_calendar, {{ description }},
        {% for measure in measures %}0 as {{ measure }}, {% endfor %}
        cast(null as string) as first_order_date, cast(null as string) as last_order_date
    from {{ ref('customer_attributes') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

    union all

    select
        customer_id, ds, 0, {% for column in described %}null, {% endfor %}
        {{ measures | join(', ') }}, first_order_date, last_order_date
    from changes

),

walked as (

    select
        customer_id, ds, is_calendar, {{ described | join(', ') }},
        {{- so_far }}
    from calendar_and_changes

),

windows as (

    select * from walked where is_calendar = 1

)
{%- else %}

walked as (

    select
        customer_id,
        ds as change_date,
        lead(ds) over (partition by customer_id order by ds) as next_date,
        {{- so_far }}
    from changes

),

spans as (

    select
        walked.*, {{ facts | join(', ') }},
        greatest(change_date, registered_date, '{{ shift_ds(to_ds(), 1 - dense_days()) }}') as first_date,
        coalesce(cast(date_sub(next_date, 1) as string), '{{ to_ds() }}') as last_date
    from walked
    join (
        select customer_id as known_id, {{ facts | join(', ') }} from {{ ref('customer_attributes') }} where ds = '{{ to_ds() }}'
    ) known
        on known_id = customer_id

),

days as (

    select spans.*, cast(date_add(first_date, days.after_days) as string) as ds
    from spans
    lateral view posexplode(split(space(datediff(last_date, first_date)), ' ')) days as after_days, nothing
    where first_date <= last_date

),

windows as (

    select
        customer_id, ds, {{ description }},
        {{ measures | join(', ') }}, first_order_date, last_order_date
    from (
        select days.*{% for attribute in dated %}, ds as {{ attribute }}_as_of{% endfor %} from days
    ) dated

)
{%- endif %}

select
    windows.customer_id,
    {%- for column in described %}
    windows.{{ column }},
    {%- endfor %}
    windows.first_order_date,
    windows.last_order_date,
    datediff(windows.ds, windows.first_order_date) as since_first_order_days,
    datediff(windows.ds, windows.last_order_date) as recency_days,
    cast(windows.n_orders_total as bigint) as n_orders_total,
    cast(windows.n_order_days_total as bigint) as n_order_days_total,
    cast(windows.revenue_total_cents / 100 as decimal(18,2)) as revenue_total,
    cast(windows.n_orders_30d as bigint) as n_orders_30d,
    cast(windows.n_orders_90d as bigint) as n_orders_90d,
    cast(windows.revenue_30d_cents / 100 as decimal(18,2)) as revenue_30d,
    cast(windows.revenue_90d_cents / 100 as decimal(18,2)) as revenue_90d,
    cast(windows.n_views_7d as bigint) as n_views_7d,
    cast(windows.n_views_30d as bigint) as n_views_30d,
    cast(windows.n_searches_30d as bigint) as n_searches_30d,
    cast(windows.n_favourites_30d as bigint) as n_favourites_30d,
    cast(windows.n_carts_30d as bigint) as n_carts_30d,
    cast(windows.n_active_days_30d as bigint) as n_active_days_30d,
    cast(windows.visit_ms_30d as bigint) as visit_ms_30d,
    cast(case when windows.n_orders_90d > 0 then windows.revenue_90d_cents / windows.n_orders_90d / 100 end as decimal(18,2))
        as order_value_avg,
    windows.ds

from windows
