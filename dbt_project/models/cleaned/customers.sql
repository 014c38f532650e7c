{#-
  The customers known at the end of ds, as they were then. One row per customer, one partition per run: the CRM hands over
  its whole table each day. It may have moved on since (a history is built from one load), so what carries its own time and
  lies after ds is undone: later registrations are left out, later cancellations are not known yet, and a consent changed
  later was the opposite before. What a customer was on the day, also on days before, is told by customer_attributes.

  Without a table of customers they are those whom orders name (customer_attributes), since the day of the first.
-#}
{%- if not fed_by('customers') %}
select
    customer_id,
    to_utc_timestamp(cast(registered_date as timestamp), '{{ env_var('MDP_TZ', 'UTC') }}') as registered_at,
    registered_date,
    cast(null as string) as phone_hash,
    cast(null as string) as phone_mask,
    cast(null as string) as email_hash,
    gender,
    birth_year,
    city,
    cast(null as double) as latitude,
    cast(null as double) as longitude,
    acquisition_channel,
    membership_plan,
    membership_expires_at,
    membership_cancelled_at,
    cast(null as boolean) as has_marketing_consent,
    cast(null as timestamp) as marketing_consent_changed_at,
    cast(null as boolean) as has_profiling_consent,
    cast(null as timestamp) as profiling_consent_changed_at,
    ds

from {{ ref('customer_attributes') }}
where ds = '{{ to_ds() }}'
{%- else %}
with

loaded as (

    select
        *,
        {{ business_date('registered_at') }} as registered_date
    from {{ ref('input__customers') }}
    where load_date = '{{ to_ds() }}'
        and {{ business_date('registered_at') }} <= '{{ to_ds() }}'

),

attributes as (

    select customer_id, gender, birth_year, city, membership_plan, membership_expires_at
    from {{ ref('customer_attributes') }}
    where ds = '{{ to_ds() }}'

)

select
    loaded.customer_id,
    registered_at,
    registered_date,
    phone_hash,
    phone_mask,
    email_hash,
    attributes.gender,
    attributes.birth_year,
    attributes.city,
    latitude,
    longitude,
    acquisition_channel,
    attributes.membership_plan,
    attributes.membership_expires_at,
    case when {{ business_date('membership_cancelled_at') }} <= '{{ to_ds() }}' then membership_cancelled_at end
        as membership_cancelled_at,
    case
        when {{ business_date('marketing_consent_changed_at') }} > '{{ to_ds() }}' then not has_marketing_consent
        else has_marketing_consent
    end as has_marketing_consent,
    case when {{ business_date('marketing_consent_changed_at') }} <= '{{ to_ds() }}' then marketing_consent_changed_at end
        as marketing_consent_changed_at,
    case
        when {{ business_date('profiling_consent_changed_at') }} > '{{ to_ds() }}' then not has_profiling_consent
        else has_profiling_consent
    end as has_profiling_consent,
    case when {{ business_date('profiling_consent_changed_at') }} <= '{{ to_ds() }}' then profiling_consent_changed_at end
        as profiling_consent_changed_at,
    load_date as ds

from loaded
join attributes on attributes.customer_id = loaded.customer_id
{%- endif %}
