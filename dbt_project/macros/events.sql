{#-
  The log lines from which events of the days from_ds .. ds are made, each once.

  An event may arrive several times and up to L = late_days() days late. The copy received first wins; a copy is dropped when
  an earlier one was received at most L days before it. That looks at no more than L days before any line, whatever the
  range, so a range in one pass drops the same lines as day by day. Copies of one day are ordered by all their columns:
  which of them is read first must not matter.

  Lines without user and device are left out before: nothing can be said about whom they are about. Both kinds of dropped
  lines are counted in cleaned.dropped_rows.

  relation   an entity of log lines (models/input)
  columns    the columns to be kept; they also break ties
-#}
{% macro first_received(relation, columns) -%}
select {{ columns | join(', ') }}, event_date as ds from (
    select
        {{ columns | join(', ') }}, event_date, received_date,
        lag(received_date) over (
            partition by event_id
            order by received_date, {{ columns | reject('equalto', 'event_id') | join(', ') }}
        ) as received_before_date
    from {{ relation }}
    where load_date >= '{{ shift_ds(from_ds(), -late_days()) }}'
        and received_date between '{{ shift_ds(from_ds(), -late_days()) }}' and '{{ shift_ds(to_ds(), late_days()) }}'
        and (customer_id is not null or device_id is not null)
) lines
where event_date between '{{ from_ds() }}' and '{{ to_ds() }}'
    and (received_before_date is null or datediff(received_date, received_before_date) > {{ late_days() }})
{%- endmacro %}
