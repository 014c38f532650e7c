{#-
  What each load states, as keys and days: with which day of the business a row counts, and in which load it came. The window
  of a run reaches back as far as these rows do (ingestion/late.py), and what it does not reach is counted by them
  (cleaned.dropped_rows). A row that is read again because it changed occurs once per load.
-#}
select 'crm__orders' as feed, 'orders' as table_name, order_id as row_key, order_date as event_date, load_date
from {{ ref('stg_crm__orders') }}

union all

select 'crm__orders', 'order_reversals', concat(order_id, '-cancelled'), cancelled_date, load_date
from {{ ref('stg_crm__orders') }}
where cancelled_date is not null

union all

select 'crm__order_items', 'order_items', order_item_id, order_date, load_date
from {{ ref('stg_crm__order_items') }}

union all

select 'crm__order_items', 'order_reversals', concat(order_item_id, '-returned'), returned_date, load_date
from {{ ref('stg_crm__order_items') }}
where returned_date is not null

union all

select 'crm__channel_spend', 'channel_spend', cast(spend_id as string), spend_date, load_date
from {{ ref('stg_crm__channel_spend') }}

union all

select 'web__events', 'events', event_id, event_date, load_date
from {{ ref('stg_web__events') }}

union all

select 'ads__events', case when event_type = 'click' then 'clicks' else 'impressions' end, event_id, event_date, load_date
from {{ ref('stg_ads__events') }}
