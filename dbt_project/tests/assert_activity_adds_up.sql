{#-
  Identity: what known customers ordered and sent back per day is what cleaned has, to the cent. (A join that doubles rows shows.)
-#}
{%- set range = "ds between '" ~ from_ds() ~ "' and '" ~ to_ds() ~ "'" %}
select
    ds,
    sum(revenue) as revenue_missing,
    sum(reversed_amount) as reversed_missing

from (
    select ds, revenue, reversed_amount from {{ ref('customer_activity') }} where {{ range }}
    union all
    select ds, -amount as revenue, cast(0 as decimal(18,2)) as reversed_amount from {{ ref('orders') }}
    where {{ range }} and customer_id is not null
    union all
    select ds, cast(0 as decimal(18,2)) as revenue, -amount as reversed_amount
    from {{ ref('reversals') }} where {{ range }} and customer_id is not null
) sides
group by ds
having sum(revenue) <> 0 or sum(reversed_amount) <> 0
