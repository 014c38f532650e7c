{#- The key of an entity identifies its rows: no load has two with the same, and no two sources share one. Runs before what is
    built from them, because cleaned keeps one row of a key and would lose the others in silence. Log lines may arrive twice
    (macros/events.sql counts them). Of the loads of the range; `mdp build` names entity, sources and examples (mdp/entity_keys.py). -#}
{% test entity_key(model, entity) %}
{%- set key = graph.nodes['model.mdp.input__' ~ entity].config.meta.entity.key if execute else ['none'] %}
select {{ key | join(', ') }}, max(n_rows) as n_rows, min(first_feed) as first_feed, max(last_feed) as last_feed

from (
    select {{ key | join(', ') }}, load_date, count(*) as n_rows, min(feed) as first_feed, max(feed) as last_feed
    from {{ model }}
    where load_date between '{{ from_ds() }}' and '{{ to_ds() }}'
        {%- for column in key %} and {{ column }} is not null{% endfor %}
    group by {{ key | join(', ') }}, load_date
) loads
group by {{ key | join(', ') }}
having max(n_rows) > 1 or min(first_feed) <> max(last_feed)
{% endtest %}
