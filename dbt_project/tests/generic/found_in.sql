{#- Every value of the column, if there is one (a guest's order has no customer), occurs in the parent, among the days that this
    run wrote. A left join: Hive returns wrong rows for some correlated `not exists`, and has no left anti join. -#}
{% test found_in(model, column, parent, is_snapshot=false) %}
select distinct child.{{ column }}

from {{ model }} child
left join (
    select distinct {{ column }} from {{ parent }}
    where ds between '{{ to_ds() if is_snapshot else from_ds() }}' and '{{ to_ds() }}'
) parents on parents.{{ column }} = child.{{ column }}
where child.ds between '{{ from_ds() }}' and '{{ to_ds() }}'
    and child.{{ column }} is not null and parents.{{ column }} is null
{% endtest %}
