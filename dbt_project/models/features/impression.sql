{#-
  What was known at the moment an ad was shown: the click model's input. One row per impression. Anonymous impressions stay
  (gender and age band 'unknown', plan 'none'): the same model scores them. Hours and weekdays are those of the company.
  Who saw it and the campaign are as they were on the day. <column>_as_of: as in cleaned.customer_attributes.
-#}
with

impressions as (

    select
        impressions.*,
        {{ business_hour('occurred_at') }} as hour_of_day,
        pmod(datediff(ds, '2024-01-01'), 7) as days_since_monday
    from {{ ref('impressions') }} impressions
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

),

customers as (

    select
        customer_id, gender, birth_year, membership_plan, gender_as_of, birth_year_as_of, membership_plan_as_of, ds
    from {{ ref('customer_attributes') }}
    where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

),

campaigns as (

    select campaign_id, category, ds from {{ ref('campaigns') }} where ds between '{{ from_ds() }}' and '{{ to_ds() }}'

),

described as (

    select
        impressions.*,
        campaigns.category,
        customers.gender,
        customers.membership_plan,
        coalesce(customers.gender_as_of, impressions.ds) as gender_as_of,
        coalesce(customers.birth_year_as_of, impressions.ds) as age_band_as_of,
        coalesce(customers.membership_plan_as_of, impressions.ds) as membership_plan_as_of,
        cast(substr(impressions.ds, 1, 4) as int) - customers.birth_year as age_years
    from impressions
    left join customers on customers.customer_id = impressions.customer_id and customers.ds = impressions.ds
    left join campaigns on campaigns.campaign_id = impressions.campaign_id and campaigns.ds = impressions.ds

)

select
    impression_id,
    customer_id,
    occurred_at,
    hour_of_day,
    case
        when hour_of_day < 6 then 'night'
        when hour_of_day < 12 then 'morning'
        when hour_of_day < 18 then 'afternoon'
        else 'evening'
    end as daypart,
    days_since_monday >= 5 as is_weekend,
    campaign_id,
    coalesce(category, 'unknown') as campaign_category,
    channel,
    placement,
    position,
    device_type,
    creative_format,
    coalesce(gender, 'unknown') as gender,
    case
        when age_years is null then 'unknown'
        when age_years < 25 then '<25'
        when age_years < 35 then '25-34'
        when age_years < 45 then '35-44'
        when age_years < 55 then '45-54'
        else '55+'
    end as age_band,
    coalesce(membership_plan, 'none') as membership_plan,
    gender_as_of,
    age_band_as_of,
    membership_plan_as_of,
    ds

from described
