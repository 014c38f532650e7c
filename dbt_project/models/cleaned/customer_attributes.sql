{#-
  What a customer was on each day, as at its end: one row per customer registered by then and business day (dense). The
  newest snapshot would give every past day today's plan, and models would learn from it what nobody knew.

  A day is as the first load on or after it says (macros/loads.sql). Where the source keeps a log of changes, what it was
  before each later change is put back; the log wins over loads, because a load may have been read days after its own. Both
  are seen in one walk back through each customer's days, newest first: the last old value passed is the value of the day.

  <attribute>_as_of says which day the value is of: ds, or a later one where a load has to stand in for days before it that
  no log tells of. It is the same for all customers of a day, so that leaving such values out tells nothing of anybody. Who
  came into the source only after the day has none: nothing was known of them.

  A membership is the one that began last by then: on the day before it began its customer had the one before, which is one
  more thing to put back, but only for the days of which the same load tells: a later one changes no day of before.

  A company without a table of customers has those whom its orders name, each from the first order on; nothing else is known of
  them. They are carried on from the day before, so of a long history the last days are enough: a later run begins at most
  reach_days + late_days before its own.
-#}
-- depends_on: {{ ref('orders') }}
{%- set attributes = {
    'gender': 'string', 'birth_year': 'int', 'city': 'string', 'membership_plan': 'string', 'membership_expires_at': 'timestamp',
} %}
{%- set of_membership = {
    'membership_id': 'string', 'membership_plan': 'string', 'membership_expires_at': 'timestamp', 'membership_cancelled_at': 'timestamp',
} %}
{%- set walked = dict(attributes, **of_membership) %}
{%- set logged = logged_attributes() %}
{%- set facts = ['registered_date', 'acquisition_channel'] %}
{%- if not fed_by('customers') %}
{%- set first = [from_ds(), shift_ds(to_ds(), -reach_days() - late_days())] | max %}
{%- set yesterday = running_totals_of(this) %}
{%- set someone = "select 1 from " ~ ref('orders') ~ " where customer_id is not null and ds < '" ~ from_ds() ~ "'" %}
with

known as (

    select customer_id, min(registered_date) as registered_date
    from (
        select customer_id, ds as registered_date
        from {{ ref('orders') }}
        where ds between '{{ from_ds() }}' and '{{ to_ds() }}' and customer_id is not null
        {%- if has_day_before(yesterday, someone=someone) %}

        union all

        select customer_id, registered_date
        from {{ yesterday }}
        where ds = '{{ shift_ds(from_ds(), -1) }}'
        {%- endif %}
    ) seen
    group by customer_id

)

select
    customer_id,
    registered_date,
    cast(null as string) as acquisition_channel,
    {%- for attribute, kind in walked.items() %}
    cast(null as {{ kind }}) as {{ attribute }},
    {%- endfor %}
    {%- for attribute in attributes %}
    day as {{ attribute }}_as_of,
    {%- endfor %}
    day as ds

from known
lateral view explode({{ days_array(first, to_ds()) }}) days as day
where registered_date <= day
{%- else %}
with

memberships as (

    select
        *,
        {{ business_date('started_at') }} as started_date,
        coalesce({{ business_date('started_at') }}, '') <= load_date as has_begun
    from {{ ref('input__memberships') }}

),

members as (

    select
        customers.customer_id, customers.acquisition_channel, customers.gender, customers.birth_year, customers.city,
        {{ business_date('customers.registered_at') }} as registered_date,
        newest.membership_id, newest.plan as membership_plan, newest.expires_at as membership_expires_at,
        newest.cancelled_at as membership_cancelled_at,
        customers.load_date
    from {{ ref('input__customers') }} customers
    left join (
        select
            memberships.*,
            row_number() over (
                partition by customer_id, load_date order by coalesce(started_date, '') desc, started_at desc, membership_id desc
            ) as nth
        from memberships
        where has_begun
    ) newest
        on newest.customer_id = customers.customer_id and newest.load_date = customers.load_date and newest.nth = 1

),

loaded as (

    {{ as_loaded('members', 'customer_id', facts + walked.keys() | list, born='registered_date') }}

),

-- the log is complete from the day before its first change on, and that need not be read again when it is long ago
logged_since as (

    select coalesce(cast(date_sub(min(event_date), 1) as string), '9999-12-31') as first_date
    from {{ ref('input__customer_changes') }}
    where load_date between '{{ shift_ds(from_ds(), -reach_days()) }}' and '{{ to_ds() }}'

),

days_and_changes as (

    select
        customer_id, ds, 1 as is_day, cast(null as timestamp) as changed_at, cast(null as string) as change_id,
        day_load_date, {{ facts | join(', ') }}
        {%- for attribute in walked %},
        case when load_date = day_load_date then {{ attribute }} end as loaded_{{ attribute }},
        cast(null as string) as old_{{ attribute }}{{ ', cast(null as string) as before_' ~ attribute if attribute in of_membership }}
        {%- endfor %}
    from loaded

    union all

    -- on the day before a membership began its customer had the membership before, or none, as the load of that day has it
    select
        customer_id, cast(date_sub(started_date, 1) as string), 0, started_at, membership_id,
        load_date{% for fact in facts %}, null{% endfor %}
        {%- for attribute in walked %},
        null, null{% if attribute in of_membership -%},
        coalesce(lag(cast({{ attribute | replace('membership_', '') if attribute != 'membership_id' else attribute }} as string))
            over (partition by customer_id, load_date order by coalesce(started_date, ''), started_at, membership_id), '')
        {%- endif %}
        {%- endfor %}
    from memberships
    where load_date between '{{ from_ds() }}' and '{{ to_ds() }}' and has_begun and started_date is not null

    union all

    select
        customer_id, cast(date_sub(event_date, 1) as string), 0, changed_at, change_id,
        null{% for fact in facts %}, null{% endfor %}
        {%- for attribute in walked %},
        null,
        {% if attribute in logged %}case when attribute = '{{ attribute }}' then coalesce(old_value, '') end{% else %}null{% endif %}
        {{- ', null' if attribute in of_membership }}
        {%- endfor %}
    from {{ ref('input__customer_changes') }}
    where load_date between '{{ from_ds() }}' and '{{ to_ds() }}'
        and event_date > '{{ from_ds() }}'

),

walked_back as (

    select
        days_and_changes.*,
        {%- for attribute in walked %}
        coalesce(
            last_value(old_{{ attribute }}, true) over (
                partition by customer_id order by ds desc, is_day, changed_at desc, change_id desc
                rows between unbounded preceding and current row
            )
            {%- if attribute in of_membership %},
            last_value(before_{{ attribute }}, true) over (
                partition by customer_id, day_load_date order by ds desc, is_day, changed_at desc, change_id desc
                rows between unbounded preceding and current row
            )
            {%- endif %}
        ) as told_{{ attribute }}{{ ',' if not loop.last }}
        {%- endfor %}
    from days_and_changes

)

select
    walked_back.customer_id,
    walked_back.registered_date,
    walked_back.acquisition_channel,
    {%- for attribute, kind in walked.items() %}
    case
        when told_{{ attribute }} is null then loaded_{{ attribute }}
        when told_{{ attribute }} <> '' then cast(told_{{ attribute }} as {{ kind }})
    end as {{ attribute }},
    {%- endfor %}
    {%- for attribute in attributes %}
    {% if attribute in logged -%}
    least(walked_back.day_load_date, greatest(walked_back.ds, logged_since.first_date)) as {{ attribute }}_as_of,
    {%- else -%}
    walked_back.day_load_date as {{ attribute }}_as_of,
    {%- endif %}
    {%- endfor %}
    walked_back.ds

from walked_back
cross join logged_since
where walked_back.is_day = 1
{%- endif %}
