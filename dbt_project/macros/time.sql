{#-
  The rules of time (DESIGN §3–4): which days a run builds, how it replaces them, what a business day is.

  A run builds the business days from_ds .. ds in one pass. Where they come from, first hit wins:
    1. --vars '{from_ds: 2024-03-01, ds: 2024-03-05}'   for a person (changed vars make dbt parse the whole project again)
    2. MDP_FROM_DS, MDP_DS in the environment           for the pipeline (partial parsing stays valid: 2 s less per run)
    3. the newest day whose marts are published         for an analyst who types plain `dbt build`
  They are looked up while a statement is compiled for running, never while the project is parsed: parsing records every
  env_var it sees and would parse those files again each day.
-#}

{% macro to_ds() -%}
  {%- if not execute -%}{{ return('1970-01-01') }}{%- endif -%}
  {%- set day = var('ds', none) or env_var('MDP_DS', '') -%}
  {%- if not day -%}{%- set day = newest_published_day() -%}{%- endif -%}
  {{ return(checked_day(day | string)) }}
{%- endmacro %}

{% macro from_ds() -%}
  {%- if not execute -%}{{ return('1970-01-01') }}{%- endif -%}
  {%- set to = to_ds() -%}
  {%- set day = checked_day((var('from_ds', none) or env_var('MDP_FROM_DS', '') or to) | string) -%}
  {%- if day > to -%}
    {%- do exceptions.raise_compiler_error('from_ds ' ~ day ~ ' is later than ds ' ~ to ~ ': give from_ds <= ds.') -%}
  {%- endif -%}
  {{ return(day) }}
{%- endmacro %}

{% macro checked_day(text) -%}
  {%- if not modules.re.match('^\d{4}-\d{2}-\d{2}$', text) -%}
    {%- do exceptions.raise_compiler_error("'" ~ text ~ "' is not a day: write ds and from_ds as YYYY-MM-DD.") -%}
  {%- endif -%}
  {{ return(text) }}
{%- endmacro %}

{% macro newest_published_day() -%}
  {%- set published = none -%}
  {%- if load_relation(api.Relation.create(schema='ops', identifier='published_days', type='table')) -%}
    {%- set published = run_query("select max(ds) from ops.published_days where stage = 'marts'").columns[0].values()[0] -%}
  {%- endif -%}
  {%- if not published -%}
    {%- do exceptions.raise_compiler_error(
      "No day is given and ops.published_days shows none whose marts are published: run the pipeline once (mdp run),"
      ~ " or say which days, as in --vars '{from_ds: 2024-03-01, ds: 2024-03-05}'.") -%}
  {%- endif -%}
  {{ return(published) }}
{%- endmacro %}

{#- First day that was observed at all. -#}
{% macro first_day() -%}
  {%- if not execute -%}{{ return('1970-01-01') }}{%- endif -%}
  {{ return(checked_day(env_var('MDP_FIRST_DAY', '') or var('first_day'))) }}
{%- endmacro %}

{#- 'YYYY-MM-DD' n days later. -#}
{% macro shift_ds(ds, n) -%}
  {%- set day = modules.datetime.datetime.strptime(ds, '%Y-%m-%d') + modules.datetime.timedelta(days=n) -%}
  {{ return(day.strftime('%Y-%m-%d')) }}
{%- endmacro %}

{% macro days_between(first, last) -%}
  {%- set start = modules.datetime.datetime.strptime(first, '%Y-%m-%d') -%}
  {%- set n = (modules.datetime.datetime.strptime(last, '%Y-%m-%d') - start).days + 1 -%}
  {%- set days = [] -%}
  {%- for i in range(n) -%}{%- do days.append(shift_ds(first, i)) -%}{%- endfor -%}
  {{ return(days) }}
{%- endmacro %}

{#- SQL array of days, to be exploded into a dense calendar: neither engine has the other's sequence function. -#}
{% macro days_array(first, last) -%}
  array('{{ days_between(first, last) | join("', '") }}')
{%- endmacro %}

{#- Days in which events, impressions and clicks are known complete: they may arrive late_days() after their own day. -#}
{% macro late_days() -%}
  {{ return(env_var('MDP_LATE_DAYS', '3') | int) }}
{%- endmacro %}

{#- How many days of features a run writes for each customer who is known from orders alone (warehouse/parts.py). -#}
{% macro dense_days() -%}
  {{ return(env_var('MDP_DENSE_DAYS', '100') | int) }}
{%- endmacro %}

{#- The calendar day of a UTC timestamp in the company's time zone, 'YYYY-MM-DD'. -#}
{% macro business_date(timestamp) -%}
  cast(to_date(from_utc_timestamp({{ timestamp }}, '{{ env_var("MDP_TZ", "Asia/Shanghai") }}')) as string)
{%- endmacro %}

{% macro business_hour(timestamp) -%}
  hour(from_utc_timestamp({{ timestamp }}, '{{ env_var("MDP_TZ", "Asia/Shanghai") }}'))
{%- endmacro %}

{#- The days that a run writes into a table, as [first, last], by its meta.days: 'range' (from_ds .. ds), 'snapshot' (ds alone)
    or 'matured' (labels, known horizon_days later: the range moved back by as much). -#}
{% macro days_written(meta) -%}
  {%- set kind = meta.get('days', 'range') -%}
  {%- if kind == 'snapshot' -%}{{ return([to_ds(), to_ds()]) }}{%- endif -%}
  {%- set horizon = meta.horizon_days if kind == 'matured' else 0 -%}
  {{ return([shift_ds(from_ds(), -horizon), shift_ds(to_ds(), -horizon)]) }}
{%- endmacro %}

{% macro existing_days(relation) -%}
  {%- set days = [] -%}
  {%- if load_relation(relation) -%}
    {%- for row in run_query('show partitions ' ~ relation) -%}{%- do days.append(row[0].split('=')[1]) -%}{%- endfor -%}
  {%- endif -%}
  {{ return(days) }}
{%- endmacro %}

{#- Pre-hook of every partitioned model: drop the days that the run is about to write, so that a day without rows ends up
    empty. (A dynamic `insert overwrite` leaves the partitions standing that its result does not mention: seen.) -#}
{% macro replace_days() -%}
  {%- if execute -%}
    {%- set written = days_written(model.config.meta) -%}
    {%- set partitions = [] -%}
    {%- for ds in existing_days(this) if written[0] <= ds <= written[1] -%}
      {%- do partitions.append("partition (ds = '" ~ ds ~ "')") -%}
    {%- endfor -%}
    {%- if partitions -%}alter table {{ this }} drop if exists {{ partitions | join(', ') }}{%- endif -%}
  {%- endif -%}
{%- endmacro %}

{#- The table that holds the running totals of the day before: the production table also for a dev build, where the analyst's
    own table has no yesterday. -#}
{% macro running_totals_of(model_table) -%}
  {%- if target.name == 'dev' -%}
    {{ return(api.Relation.create(schema=model.config.schema, identifier=model_table.identifier, type='table')) }}
  {%- endif -%}
  {{ return(model_table) }}
{%- endmacro %}

{#- Refuses to build running totals from nothing: true if the day before the range is there, false if none is needed, as where
    `someone` (SQL) finds no row: a day on which there was no customer yet has no partition. -#}
{% macro has_day_before(relation, someone=none) -%}
  {%- if not execute or from_ds() <= first_day() -%}{{ return(false) }}{%- endif -%}
  {%- set before = shift_ds(from_ds(), -1) -%}
  {%- if before not in existing_days(relation) -%}
    {%- if someone and not run_query(someone ~ ' limit 1').rows -%}{{ return(false) }}{%- endif -%}
    {%- do exceptions.raise_compiler_error(
      relation ~ ' has no day ' ~ before ~ ', which the running totals of ' ~ from_ds() ~ ' start from: build it first'
      ~ ' (mdp build ' ~ model.config.schema ~ ' --ds ' ~ before ~ '), or the whole range at once (--from ' ~ first_day() ~ ').') -%}
  {%- endif -%}
  {{ return(true) }}
{%- endmacro %}
