{#-
  Identity: what customers and guests ordered and sent back per day is what cleaned has, to the cent. (A join that doubles rows
  shows.)
-#}
{%- set range = "ds between '" ~ from_ds() ~ "' and '" ~ to_ds() ~ "'" %}
select
    ds,
    sum(revenue) as revenue_missing,
    sum(reversed_amount) as reversed_missing

from (
    select ds, revenue, reversed_amount from {{ ref('customer_activity') }} where {{ range }}
    union all
    select ds, guest_revenue as revenue, guest_reversed_amount as reversed_amount from {{ ref('sales_day') }} where {{ range }}
    union all
    select ds, -amount as revenue, cast(0 as decimal(18,2)) as reversed_amount from {{ ref('orders') }} where {{ range }}
    union all
    select ds, cast(0 as decimal(18,2)) as revenue, -amount as reversed_amount
    from {{ ref('reversals') }} where {{ range }}
) sides
group by ds
having sum(revenue) <> 0 or sum(reversed_amount) <> 0
