{#-
  All that Spark's Thrift door and a real HiveServer2 need beyond what dbt-hive brings. One place, each with its evidence;
  nothing else in the project knows which engine it runs on.
-#}

{#- Spark's `show tables` and `show views` name the column tableName / viewName, the adapter reads tab_name. -#}
{% macro hive__list_tables_without_caching(schema) %}
  {% do return(run_query('show tables in ' ~ schema).rename(column_names={'tableName': 'tab_name'})) %}
{% endmacro %}

{% macro hive__list_views_without_caching(schema) %}
  {% do return(run_query('show views in ' ~ schema).rename(column_names={'viewName': 'tab_name'})) %}
{% endmacro %}

{#- impyla raises IndexError when it fetches a result without columns, which is what Spark returns for DDL: fetch only where
    there are rows. -#}
{% macro run_query(sql) %}
  {% set reads = modules.re.match('(?is)^\s*(select|with|show|describe)\\b', sql) is not none %}
  {% call statement('run_query_statement', fetch_result=reads, auto_begin=false) %}
    {{ sql }}
  {% endcall %}
  {% if reads %}{% do return(load_result('run_query_statement').table) %}{% endif %}
{% endmacro %}

{#- The adapter drops table, view and materialized view in turn; Spark refuses to drop a view as a table, while on Hive the
    wrong kind is a silent no-op. The cache knows the kind. -#}
{% macro hive__drop_relation(relation) -%}
  {% call statement('drop_relation') -%}
    drop {{ 'view' if relation.type == 'view' else 'table' }} if exists {{ relation }}
  {%- endcall %}
{% endmacro %}

{#- The adapter writes `create temporary table … as`, which Spark refuses; dbt needs it for unit tests only. -#}
{% macro create_temporary_view(relation, sql) -%}
  create or replace view {{ relation }} as
    {{ sql }}
{% endmacro %}

{#- dbt-core's default has aliases that start with an underscore (Hive wants them quoted) and a WITH inside a CTE (Hive:
    "Ambiguous table alias"): plain subqueries instead. -#}
{% macro hive__get_unit_test_sql(main_sql, expected_fixture_sql, expected_column_names) -%}
select {{ expected_column_names | join(', ') }}, 'actual' as `actual_or_expected` from (
{{ main_sql }}
) ut_actual
union all
select {{ expected_column_names | join(', ') }}, 'expected' as `actual_or_expected` from (
{{ expected_fixture_sql }}
) ut_expected
{%- endmacro %}

{#-
  The adapter's incremental materialization writes every row twice (into a temporary Parquet table, then on), in about ten
  statements. Days are replaced by dropping them first (replace_days), so one insert is enough: the columns and types
  come from the contract, `distribute by` gives one file per day. The select is compared with the contract when the table is
  created; later the insert itself refuses a missing column (a second analysis of each statement, a tenth of a daily run, would tell
  nothing more). A table whose columns differ from the contract in name, order or type is refused: an insert would cast to
  the table's old type in silence. `mdp` looks before (warehouse/outdated.py). `--full-refresh` drops it, and all its days.
-#}
{% materialization incremental, adapter='hive' %}
  {%- set table = this.incorporate(type='table') -%}
  {%- set columns = model.columns.values() | rejectattr('name', 'equalto', 'ds') | list -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- if existing is not none and should_full_refresh() -%}
    {%- do adapter.drop_relation(existing) -%}
    {%- set existing = none -%}
  {%- endif -%}

  {%- if existing is not none -%}
    {#- before the hooks: they drop the days that are about to be written -#}
    {%- set is_columns, should_columns = [], [] -%}
    {%- for column in adapter.get_columns_in_relation(existing) if column.name != 'ds' -%}
      {%- do is_columns.append(column.name ~ ' ' ~ column.dtype | lower | replace(' ', '')) -%}
    {%- endfor -%}
    {%- for column in columns -%}
      {%- do should_columns.append(column.name ~ ' ' ~ column.data_type | lower | replace(' ', '')) -%}
    {%- endfor -%}
    {%- if is_columns != should_columns -%}
      {%- do exceptions.raise_compiler_error(
        table ~ ' has the columns ' ~ is_columns ~ ', its contract has ' ~ should_columns
        ~ ': `mdp rebuild` builds it again for all its days (a table of your own: --full-refresh).') -%}
    {%- endif -%}
  {%- endif -%}

  {{ run_hooks(pre_hooks) }}
  {%- if existing is none -%}
    {%- do get_assert_columns_equivalent(sql) -%}
    {%- call statement('create_table') -%}
      create table {{ table }} (
        {%- for column in columns %}
        {{ column.name }} {{ column.data_type }}{{ ',' if not loop.last }}
        {%- endfor %}
      ) partitioned by (ds string) stored as {{ config.get('file_format') }}
    {%- endcall -%}
  {%- endif -%}
  {%- call statement('main') -%}
    insert overwrite table {{ table }} partition (ds)
    select {% for column in columns %}{{ column.name }}, {% endfor %}ds from (
    {{ sql }}
    ) model_rows
    distribute by ds
  {%- endcall -%}
  {{ run_hooks(post_hooks) }}
  {{ return({'relations': [table]}) }}
{% endmaterialization %}
