{#-
  The customers known at the end of ds, as they were then. One row per customer, one partition per run: the CRM hands over
  its whole table each day. It may have moved on since (a history is built from one load), so what carries its own time and
  lies after ds is undone: later registrations are left out, later cancellations are not known yet, and a consent changed
  later was the opposite before. What a customer was on the day, also on days before, is told by customer_attributes.

  Without a table of customers they are those whom orders name (customer_attributes), since the day of the first.
-#}
{%- set purposes = ['marketing', 'profiling'] %}
with

consents as (

    select
        customer_id,
        {%- for purpose in purposes %}
        max(case when purpose = '{{ purpose }}' then cast(is_given_then as int) end) = 1 as has_{{ purpose }}_consent,
        max(case when purpose = '{{ purpose }}' and changed_date <= '{{ to_ds() }}' then changed_at end)
            as {{ purpose }}_consent_changed_at{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            consents.*,
            {{ business_date('changed_at') }} as changed_date,
            case when {{ business_date('changed_at') }} > '{{ to_ds() }}' then not is_given else is_given end as is_given_then
        from {{ ref('input__consents') }} consents
        where load_date = '{{ to_ds() }}'
    ) known
    group by customer_id

),

attributes as (

    select *
    from {{ ref('customer_attributes') }}
    where ds = '{{ to_ds() }}'

),

loaded as (

    {%- if fed_by('customers') %}

    select
        *,
        {{ business_date('registered_at') }} as registered_date
    from {{ ref('input__customers') }}
    where load_date = '{{ to_ds() }}'
        and {{ business_date('registered_at') }} <= '{{ to_ds() }}'
    {%- else %}

    select
        customer_id,
        to_utc_timestamp(cast(registered_date as timestamp), '{{ env_var('MDP_TZ', 'UTC') }}') as registered_at,
        registered_date,
        cast(null as string) as phone_hash,
        cast(null as string) as phone_mask,
        cast(null as string) as email_hash,
        cast(null as double) as latitude,
        cast(null as double) as longitude,
        acquisition_channel,
        ds as load_date
    from attributes
    {%- endif %}

)

select
    loaded.customer_id,
    loaded.registered_at,
    loaded.registered_date,
    loaded.phone_hash,
    loaded.phone_mask,
    loaded.email_hash,
    attributes.gender,
    attributes.birth_year,
    attributes.city,
    loaded.latitude,
    loaded.longitude,
    loaded.acquisition_channel,
    attributes.membership_id,
    attributes.membership_plan,
    attributes.membership_expires_at,
    case when {{ business_date('attributes.membership_cancelled_at') }} <= '{{ to_ds() }}' then attributes.membership_cancelled_at end
        as membership_cancelled_at,
    {%- for purpose in purposes %}
    consents.has_{{ purpose }}_consent,
    consents.{{ purpose }}_consent_changed_at,
    {%- endfor %}
    loaded.load_date as ds

from loaded
join attributes on attributes.customer_id = loaded.customer_id
left join consents on consents.customer_id = loaded.customer_id
