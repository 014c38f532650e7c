{#-
  Identity: each impression of a matured day has exactly one label.
-#}
{%- set range = "ds between '" ~ shift_ds(from_ds(), -1) ~ "' and '" ~ shift_ds(to_ds(), -1) ~ "'" %}
select
    ds,
    sum(n_rows) as n_labels_missing

from (
    select ds, 1 as n_rows from {{ ref('impressions') }} where {{ range }}
    union all
    select ds, -1 as n_rows from {{ ref('impression_click') }} where {{ range }}
) sides
group by ds
having sum(n_rows) <> 0
