{#-
  Identity: the segments hold every profiled customer once.
-#}
select
    sum(n_customers) as n_customers_missing

from (
    select n_customers from {{ ref('segment_summary') }} where ds = '{{ to_ds() }}'
    union all
    select -1 as n_customers from {{ ref('customer_profile') }} where ds = '{{ to_ds() }}'
) sides
having sum(n_customers) <> 0
