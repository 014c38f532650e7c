{#-
  Recency, frequency, monetary value, each as a score from 1 to 5 among the customers of the day. One row per customer.
  Scores come from percent_rank, not ntile: customers with the same behaviour get the same score, whoever is sorted first;
  the many who never bought share a 1. Frequency and value look at 90 days, so that a score can fall again.
-#}
with

customers as (

    select
        customer_id, recency_days, n_orders_90d, revenue_90d, ds,
        percent_rank() over (order by coalesce(recency_days, 100000) desc) as recency_rank,
        percent_rank() over (order by n_orders_90d) as frequency_rank,
        percent_rank() over (order by revenue_90d) as monetary_rank
    from {{ ref('customer_day') }}
    where ds = '{{ to_ds() }}'

),

scored as (

    select
        customer_id, recency_days, n_orders_90d, revenue_90d, ds,
        case when recency_rank = 1 then 5 else cast(floor(recency_rank * 5) as int) + 1 end as recency_score,
        case when frequency_rank = 1 then 5 else cast(floor(frequency_rank * 5) as int) + 1 end as frequency_score,
        case when monetary_rank = 1 then 5 else cast(floor(monetary_rank * 5) as int) + 1 end as monetary_score
    from customers

)

select
    customer_id,
    recency_days,
    n_orders_90d,
    revenue_90d,
    recency_score,
    frequency_score,
    monetary_score,
    concat(cast(recency_score as string), cast(frequency_score as string), cast(monetary_score as string)) as rfm_code,
    ds

from scored
