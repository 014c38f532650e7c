{#-
  All that marketing asks about a customer, in one row: who, what they did, which segment, how likely to leave. One row per
  registered customer. Runs after scoring; customers whom a model did not score (who has left has no churn risk) keep nulls.
-#}
select
    today.customer_id,
    customers.phone_mask,
    customers.has_marketing_consent,
    customers.has_profiling_consent,
    today.gender,
    today.age_years,
    today.city,
    today.acquisition_channel,
    today.membership_plan,
    today.is_member,
    today.tenure_days,
    today.last_order_date,
    today.recency_days,
    today.n_orders_total,
    today.revenue_total,
    today.n_orders_90d,
    today.revenue_90d,
    today.order_value_avg,
    today.n_views_30d,
    today.n_active_days_30d,
    rfm.recency_score,
    rfm.frequency_score,
    rfm.monetary_score,
    rfm.rfm_code,
    segmentation.segment,
    segmentation.strategy,
    churn.churn_risk_30d,
    churn.survival_90d,
    churn.drivers as churn_drivers,
    churn.best_contact_date,
    today.ds

from {{ ref('customer_day') }} today
join {{ ref('customers') }} customers on customers.customer_id = today.customer_id and customers.ds = '{{ to_ds() }}'
join {{ ref('rfm') }} rfm on rfm.customer_id = today.customer_id and rfm.ds = '{{ to_ds() }}'
left join {{ source('predictions', 'segmentation') }} segmentation
    on segmentation.customer_id = today.customer_id and segmentation.ds = '{{ to_ds() }}'
left join {{ source('predictions', 'churn') }} churn
    on churn.customer_id = today.customer_id and churn.ds = '{{ to_ds() }}'
where today.ds = '{{ to_ds() }}'
