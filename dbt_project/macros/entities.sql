{#-
  An entity of the input layer (models/input/_input.yml): the union of the staging models with which the company feeds it,
  each column in the type of the contract and null where a source has none; empty if nothing feeds it.

  MDP_INPUT holds what the company declares: {entity: [{model, feed, columns}]}. `mdp build` and `mdp env` set it.
-#}
{% macro entity(name) -%}
  {%- set sources = fed_by(name) -%}
  {%- set meta = model.config.get('meta', {}).get('entity', {}) -%}
  {%- for source in sources %}
select
    {%- for column in model.columns.values() %}
    cast({{ column.name if column.name in source.columns else 'null' }} as {{ column.data_type }}) as {{ column.name }},
    {%- endfor %}
    {%- if meta.rows == 'log' %}
    {{ 'received_date' if 'received_date' in source.columns else 'load_date' }} as received_date,
    {%- endif %}
    {%- if meta.time %}
    {{ day_of(meta.time) }} as event_date,
    {%- endif %}
    '{{ source.feed }}' as feed,
    load_date
from {{ ref(source.model) }}
    {%- if not loop.last %}
union all
    {%- endif %}
  {%- else %}
select
    {%- for column in model.columns.values() %}
    cast(null as {{ column.data_type }}) as {{ column.name }},
    {%- endfor %}
    {%- for column in (['received_date'] if meta.rows == 'log' else []) + (['event_date'] if meta.time else []) %}
    cast(null as string) as {{ column }},
    {%- endfor %}
    cast(null as string) as feed,
    cast(null as string) as load_date
from (select 1 as one) nothing
where 1 = 0
  {%- endfor %}
{%- endmacro %}

{#- The staging models that feed an entity, as the company declares them. -#}
{% macro fed_by(name) -%}
  {%- set declared = env_var('MDP_INPUT', '') -%}
  {%- if not declared -%}
    {%- do exceptions.raise_compiler_error('no company is named: eval "$(mdp env)" tells dbt whose tables to read.') -%}
  {%- endif -%}
  {{ return(fromjson(declared).get(name, [])) }}
{%- endmacro %}

{#- Whether the company says who is a member: in memberships, or in columns of its customers. -#}
{% macro has_memberships() -%}
  {%- set said = namespace(by=fed_by('memberships') | length > 0) -%}
  {%- for source in fed_by('customers') if 'membership_expires_at' in source.columns or 'membership_cancelled_at' in source.columns
      or 'membership_plan' in source.columns -%}
    {%- set said.by = true -%}
  {%- endfor -%}
  {{ return(said.by) }}
{%- endmacro %}

{#- The business day of a column, which is a time or already a day. -#}
{% macro day_of(name) -%}
  {%- if model.columns and model.columns[name].data_type == 'date' -%}
    cast({{ name }} as string)
  {%- else -%}
    {{ business_date(name) }}
  {%- endif -%}
{%- endmacro %}

{#- Channels that money can be spent on, as the company declares them; every other channel of an order is organic. -#}
{% macro paid_channels() -%}
  {{ return(fromjson(env_var('MDP_PAID_CHANNELS', '[]'))) }}
{%- endmacro %}

{#- As an SQL array to be exploded; of a company without paid channels it holds one null. -#}
{% macro paid_channels_array() -%}
  {%- if paid_channels() -%}array('{{ paid_channels() | join("', '") }}'){%- else -%}array(cast(null as string)){%- endif -%}
{%- endmacro %}

{#- Attributes of a customer whose changes the company's source logs. -#}
{% macro logged_attributes() -%}
  {{ return(fromjson(env_var('MDP_LOGGED_ATTRIBUTES', '[]'))) }}
{%- endmacro %}
