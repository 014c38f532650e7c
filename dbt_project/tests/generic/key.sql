{#- The columns are the grain: no nulls, no two rows alike, among the days that this run wrote. One scan for all of it. -#}
{% test key(model, columns) %}
select
    {{ columns | join(', ') }},
    count(*) as n_rows

from {{ model }}
where ds between '{{ from_ds() }}' and '{{ to_ds() }}'
group by {{ columns | join(', ') }}
having count(*) > 1
    {%- for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}
