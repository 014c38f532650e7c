{#-
  Amounts in other currencies become the company's at the rate of their own day (entity fx_rates), each rate as the first load
  has it. Without a rate of that day the amount is null, which the gate of the layer refuses. Where nothing feeds fx_rates
  nothing is joined.
-#}
{% macro with_rates(relation) -%}
  {%- if fed_by('fx_rates') -%}
{{ relation }} amounts
left join (
    select currency as rated_currency, event_date as rated_date, rate
    from (
        select
            upper(currency) as currency, event_date, rate,
            row_number() over (partition by upper(currency), event_date order by load_date, rate) as load_number
        from {{ ref('input__fx_rates') }}
        where {{ loaded_for_the_range() }}
    ) stated
    where load_number = 1
) rates
    on rated_currency = upper(amounts.currency) and rated_date = amounts.event_date
  {%- else -%}
{{ relation }} amounts
  {%- endif -%}
{%- endmacro %}

{#- A column of with_rates() in the company's currency; the original stays beside it. -#}
{% macro in_own_currency(column) -%}
case
        when currency is null or upper(currency) = '{{ env_var('MDP_CURRENCY', '') }}' then {{ column }}
        {%- if fed_by('fx_rates') %}
        else cast({{ column }} * rate as decimal(18,2))
        {%- endif %}
    end
{%- endmacro %}

{% macro currency_of_row() -%}
coalesce(upper(currency), '{{ env_var('MDP_CURRENCY', '') }}')
{%- endmacro %}
