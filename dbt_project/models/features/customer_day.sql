{#-
  Each customer on each day: who they are, what they did in the last 7, 30 and 90 days, and in total. One row per customer
  registered by then and day (dense: also the silent ones).

  A rolling window over a dense calendar would need 90 days before the range for every customer and re-add each window for
  each row. Instead a day's activity enters each window on its own day and leaves it 7, 30 or 90 days later; the running
  sum of these changes over the days of the range is the window. What happened before the range is put on its first day.
  So the work grows with activity + days built, the same statement serves four days and a whole history, and all sums are
  of integers and decimals, hence exact. A window of 30 days on ds covers ds - 29 .. ds.

  Totals go on from the partition of the day before the range (macros/time.sql, has_day_before), so nothing daily reads
  all of history. Revenue totals are net of reversals, each on its own day; revenue of a window is what was ordered in it.
-#}
{%- set totals = running_totals_of(this) %}
{%- set continues = has_day_before(totals) %}
with

customers as (

    select * from {{ ref('customers') }} where ds = '{{ to_ds() }}'

),

calendar as (

    select
        customers.customer_id,
        span.ds
    from customers
    lateral view explode({{ days_array(from_ds(), to_ds()) }}) span as ds
    where span.ds >= customers.registered_date

),

activity as (

    select * from {{ ref('customer_activity') }}
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
        sum(in_30d * revenue_cny) as revenue_30d_cny,
        sum(in_90d * revenue_cny) as revenue_90d_cny,
        sum(in_range * n_orders) as n_orders_total,
        sum(in_range * (revenue_cny - reversed_cny)) as revenue_total_cny,
        max(case when in_range = 1 and n_orders > 0 then change_date end) as last_order_date
    from entering_and_leaving
    where change_date <= '{{ to_ds() }}'
    group by customer_id, case when change_date < '{{ from_ds() }}' then '{{ from_ds() }}' else change_date end

    {% if continues -%}
    union all

    select
        customer_id, '{{ from_ds() }}' as ds,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        n_orders_total, revenue_total_cny, last_order_date
    from {{ totals }}
    where ds = '{{ shift_ds(from_ds(), -1) }}'
    {%- endif %}

),

calendar_and_changes as (

    select
        customer_id, ds, 1 as is_calendar, 0 as n_views_7d, 0 as n_views_30d, 0 as n_searches_30d, 0 as n_favourites_30d,
        0 as n_carts_30d, 0 as n_active_days_30d, 0 as visit_ms_30d, 0 as n_orders_30d, 0 as n_orders_90d,
        0 as revenue_30d_cny, 0 as revenue_90d_cny, 0 as n_orders_total, 0 as revenue_total_cny,
        cast(null as string) as last_order_date
    from calendar

    union all

    select
        customer_id, ds, 0, n_views_7d, n_views_30d, n_searches_30d, n_favourites_30d,
        n_carts_30d, n_active_days_30d, visit_ms_30d, n_orders_30d, n_orders_90d,
        revenue_30d_cny, revenue_90d_cny, n_orders_total, revenue_total_cny, last_order_date
    from changes

),

{%- set running = 'over (partition by customer_id order by ds, is_calendar rows between unbounded preceding and current row)' %}

windows as (

    select
        customer_id,
        ds,
        is_calendar,
        {%- for measure in [
            'n_views_7d', 'n_views_30d', 'n_searches_30d', 'n_favourites_30d', 'n_carts_30d', 'n_active_days_30d',
            'visit_ms_30d', 'n_orders_30d', 'n_orders_90d', 'revenue_30d_cny', 'revenue_90d_cny', 'n_orders_total',
            'revenue_total_cny',
        ] %}
        sum({{ measure }}) {{ running }} as {{ measure }},
        {%- endfor %}
        max(last_order_date) {{ running }} as last_order_date
    from calendar_and_changes

)

select
    windows.customer_id,
    datediff(windows.ds, customers.registered_date) as tenure_days,
    cast(substr(windows.ds, 1, 4) as int) - customers.birth_year as age_years,
    coalesce(customers.gender, 'unknown') as gender,
    customers.city,
    customers.acquisition_channel,
    customers.membership_plan,
    {{ business_date('customers.membership_expires_at') }} >= windows.ds
        and coalesce({{ business_date('customers.membership_cancelled_at') }} > windows.ds, true) as is_member,
    windows.last_order_date,
    datediff(windows.ds, windows.last_order_date) as recency_days,
    cast(windows.n_orders_total as bigint) as n_orders_total,
    cast(windows.revenue_total_cny as decimal(18,2)) as revenue_total_cny,
    cast(windows.n_orders_30d as bigint) as n_orders_30d,
    cast(windows.n_orders_90d as bigint) as n_orders_90d,
    cast(windows.revenue_30d_cny as decimal(18,2)) as revenue_30d_cny,
    cast(windows.revenue_90d_cny as decimal(18,2)) as revenue_90d_cny,
    cast(windows.n_views_7d as bigint) as n_views_7d,
    cast(windows.n_views_30d as bigint) as n_views_30d,
    cast(windows.n_searches_30d as bigint) as n_searches_30d,
    cast(windows.n_favourites_30d as bigint) as n_favourites_30d,
    cast(windows.n_carts_30d as bigint) as n_carts_30d,
    cast(windows.n_active_days_30d as bigint) as n_active_days_30d,
    cast(windows.visit_ms_30d as bigint) as visit_ms_30d,
    cast(case when windows.n_orders_90d > 0 then windows.revenue_90d_cny / windows.n_orders_90d end as decimal(18,2))
        as order_value_avg_cny,
    windows.ds

from windows
join customers on customers.customer_id = windows.customer_id
where windows.is_calendar = 1
