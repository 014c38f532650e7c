{%- if fed_by('memberships') -%}
{{ entity('memberships') }}
{%- else -%}
select
    customer_id as membership_id,
    customer_id,
    membership_plan as plan,
    registered_at as started_at,
    membership_expires_at as expires_at,
    membership_cancelled_at as cancelled_at,
    feed,
    load_date
from {{ ref('input__customers') }}
where membership_plan is not null or membership_expires_at is not null or membership_cancelled_at is not null
{%- endif -%}
