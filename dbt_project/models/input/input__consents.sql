{%- if fed_by('consents') -%}
{{ entity('consents') }}
{%- else -%}
select customer_id, purpose, is_given, changed_at, feed, load_date
from (
    select
        customer_id, 'marketing' as purpose, has_marketing_consent as is_given, marketing_consent_changed_at as changed_at,
        feed, load_date
    from {{ ref('input__customers') }}

    union all

    select
        customer_id, 'profiling' as purpose, has_profiling_consent as is_given, profiling_consent_changed_at as changed_at,
        feed, load_date
    from {{ ref('input__customers') }}
) stated
where is_given is not null
{%- endif -%}
