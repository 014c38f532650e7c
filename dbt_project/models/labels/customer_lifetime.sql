{#-
  From when to when each member was with us, as known on ds: the input of survival models. One row per customer with a membership.
  A membership ends when it is cancelled, or 15 days after it expired without renewal, whichever comes first. Whoever is
  still there has no churn date (right-censored). entry_date is the day from which a loss would have been noticed: those
  registered before the first day are only in the data because they had stayed until then (delayed entry).
-#}
with

ends as (

    select
        customer_id,
        registered_date,
        {{ business_date('membership_cancelled_at') }} as cancelled_date,
        cast(date_add({{ business_date('membership_expires_at') }}, {{ var('lapse_days') }}) as string) as lapsed_date,
        ds
    from {{ ref('customers') }}
    where ds = '{{ to_ds() }}' and membership_id is not null

),

first_ends as (

    select
        customer_id,
        registered_date,
        case when cancelled_date <= coalesce(lapsed_date, cancelled_date) then cancelled_date else lapsed_date end
            as end_date,
        case when cancelled_date <= coalesce(lapsed_date, cancelled_date) then 'cancelled' else 'lapsed' end as end_kind,
        ds
    from ends

)

select
    customer_id,
    registered_date,
    case when registered_date < '{{ first_day() }}' then '{{ first_day() }}' else registered_date end
        as entry_date,
    case when end_date <= ds then end_date end as churn_date,
    case when end_date <= ds then end_kind end as churn_kind,
    ds

from first_ends
