{#-
  What each segment is worth. One row per segment; customers without a segment stand under 'not scored', so that the rows
  add up to the company.
-#}
with

profiles as (

    select * from {{ ref('customer_profile') }} where ds = '{{ to_ds() }}'

)

select
    coalesce(segment, 'not scored') as segment,
    max(strategy) as strategy,
    count(*) as n_customers,
    cast(sum(case when is_member then 1 else 0 end) as bigint) as n_members,
    cast(sum(case when has_marketing_consent then 1 else 0 end) as bigint) as n_contactable,
    cast(sum(n_orders_90d) as bigint) as n_orders_90d,
    cast(sum(revenue_90d) as decimal(18,2)) as revenue_90d,
    cast(sum(revenue_90d) / count(*) as decimal(18,2)) as revenue_90d_mean,
    avg(churn_risk_30d) as churn_risk_30d_mean,
    ds

from profiles
group by coalesce(segment, 'not scored'), ds
