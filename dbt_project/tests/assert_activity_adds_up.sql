{#-
  Identity: what customers ordered and sent back per day is what cleaned has, to the cent. (A join that doubles rows shows.)
-#}
{%- set range = "ds between '" ~ from_ds() ~ "' and '" ~ to_ds() ~ "'" %}
select
    ds,
    sum(revenue_cny) as revenue_missing_cny,
    sum(reversed_cny) as reversed_missing_cny

from (
    select ds, revenue_cny, reversed_cny from {{ ref('customer_activity') }} where {{ range }}
    union all
    select ds, -amount_cny as revenue_cny, cast(0 as decimal(18,2)) as reversed_cny from {{ ref('orders') }} where {{ range }}
    union all
    select ds, cast(0 as decimal(18,2)) as revenue_cny, -amount_cny as reversed_cny
    from {{ ref('order_reversals') }} where {{ range }}
) sides
group by ds
having sum(revenue_cny) <> 0 or sum(reversed_cny) <> 0
