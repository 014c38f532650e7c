{#-
  The rows of a relation that are the newest of their key: what a source held last, merged from loads that overlap.

  A feed of mode append or lastmodified reads a row again whenever it changes, and twice where intervals overlap; raw keeps
  every reading. The one with the highest `order_by` counts; of readings that are equal in it the one loaded last.
  The result has one column more, newest_rank (always 1), so select by name from it:

      select order_id, amount from ({{ newest_by_key(source('raw', 'crm__orders'), ['order_id'], 'updated_at') }}) orders

  relation   a raw table or staging model with the column ds
  key        the columns that identify a row
  order_by   the column that says which reading is newer; null is the oldest
-#}
{% macro newest_by_key(relation, key, order_by) -%}
select * from (
    select
        newest_rows.*,
        row_number() over (
            partition by {{ key | join(', ') }}
            order by case when {{ order_by }} is null then 1 else 0 end, {{ order_by }} desc, ds desc
        ) as newest_rank
    from {{ relation }} newest_rows
) ranked
where newest_rank = 1
{%- endmacro %}
