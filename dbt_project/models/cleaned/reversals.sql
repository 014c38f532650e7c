{#-
  Money that went back: a cancelled order or a returned item, on the day it happened. One row per reversal. Kept apart from
  the orders because it is a fact of a later day: state as of any day is orders up to it minus reversals up to it. A load
  may already know of later days' reversals (its rows were read late): those wait for their own day.

  A credit note that names no order is of an earlier line of its customer where that is certain: of the last match_days just one
  line has its product, its unit price and at least its quantity, and no earlier credit note took that line. Else it stays
  without an order; it counts all the same, and sales_day says how many there are.
-#}
{%- set columns = [] %}
{%- for source in fed_by('reversals') %}{% for column in source.columns %}{% do columns.append(column) %}{% endfor %}{% endfor %}
{%- set matches = fed_by('order_items') and 'product_id' in columns and 'quantity' in columns %}
{%- set first = shift_ds(from_ds(), -var('match_days')) %}
with

loaded as (

    select
        reversal_id,
        order_id,
        order_item_id,
        customer_id,
        product_id,
        quantity,
        reversal_kind,
        amount,
        currency,
        reversed_at,
        event_date,
        row_number() over (partition by reversal_id order by load_date, reversed_at, amount) as load_number
    from {{ ref('input__reversals') }}
    where {{ loaded_for_the_range() }}

)
{%- if matches %},

candidates as (

    select
        loaded.reversal_id,
        loaded.reversed_at,
        min(items.order_item_id) as order_item_id,
        min(items.order_id) as order_id
    from loaded
    join {{ ref('order_items') }} items
        on items.customer_id = loaded.customer_id and items.product_id = loaded.product_id
        and items.quantity >= loaded.quantity
        and cast(items.unit_price * loaded.quantity as decimal(18,2)) = loaded.amount
        and items.ordered_at <= loaded.reversed_at
        and datediff(loaded.event_date, items.ds) <= {{ var('match_days') }}
    where items.ds between '{{ first }}' and '{{ to_ds() }}'
        and loaded.load_number = 1 and loaded.order_id is null and loaded.order_item_id is null
    group by loaded.reversal_id, loaded.reversed_at
    having count(*) = 1

),

matched as (

    select candidates.reversal_id, candidates.order_id, candidates.order_item_id
    from (
        select
            candidates.*,
            row_number() over (partition by order_item_id order by reversed_at, reversal_id) as nth_claim
        from candidates
    ) candidates
    left join ({{ lines_gone_back(this, first) }}) taken on taken.order_item_id = candidates.order_item_id
    where nth_claim = 1 and taken.order_item_id is null

)
{%- endif %}

select
    amounts.reversal_id,
    {% if matches %}coalesce(amounts.order_id, matched.order_id) as {% else %}amounts.{% endif %}order_id,
    {% if matches %}coalesce(amounts.order_item_id, matched.order_item_id) as {% else %}amounts.{% endif %}order_item_id,
    amounts.customer_id,
    amounts.product_id,
    amounts.quantity,
    amounts.reversal_kind,
    {{ in_own_currency('amount') }} as amount,
    amounts.amount as original_amount,
    {{ currency_of_row() }} as currency,
    amounts.reversed_at,
    {% if matches %}matched.reversal_id is not null as {% else %}false as {% endif %}is_matched,
    amounts.event_date as ds

from {{ with_rates('loaded') }}
{%- if matches %}
left join matched on matched.reversal_id = amounts.reversal_id
{%- endif %}
where amounts.load_number = 1
