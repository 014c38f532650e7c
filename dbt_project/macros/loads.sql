{#-
  What a source that is read whole says of each day from_ds .. ds: one row per key and day, as the first load on or after the
  day has it. Days that have a load of their own are as they were at their end; before the first load of a history the source
  is known only as of that load. day_load_date is the load that tells of the day, for all keys alike; load_date is later than
  it where a key came into the source only afterwards: nothing was known of it on the day. Stays linear in keys x days.

  relation  a model of the input, or a select in parentheses, with load_date
  key       the column that identifies a row in a load
  columns   the columns to be kept
  born      the column with the first day of a row, if it has one: it is on no day before
-#}
{% macro as_loaded(relation, key, columns, born=none) -%}
select
    {{ key }}, {{ columns | join(', ') }}, load_date,
    min(load_date) over (partition by ds) as day_load_date,
    ds
from (
    select spans.*, cast(date_add(first_date, days.after_days) as string) as ds
    from (
        select
            loads.*,
            greatest(
                coalesce(cast(date_add(lag(load_date) over (partition by {{ key }} order by load_date), 1) as string), '{{ from_ds() }}'),
                {{ born or "'" ~ from_ds() ~ "'" }}, '{{ from_ds() }}'
            ) as first_date
        from {{ relation }} loads
        where load_date between '{{ from_ds() }}' and '{{ to_ds() }}'
        {%- if born %}
            and {{ born }} <= load_date
        {%- endif %}
    ) spans
    lateral view posexplode(split(space(datediff(load_date, first_date)), ' ')) days as after_days, nothing
    where first_date <= load_date
) loaded
{%- endmacro %}
