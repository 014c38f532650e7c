{#- Where a model goes. prod: the schema is the layer. dev: all that an analyst builds lies in one schema of their own, under
    the model's name, because aliases of two layers (labels.channel_return, marts.channel_return) would meet there. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ custom_schema_name if target.name != 'dev' and custom_schema_name else target.schema }}
{%- endmacro %}

{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
  {{ custom_alias_name if target.name != 'dev' and custom_alias_name else node.name }}
{%- endmacro %}
