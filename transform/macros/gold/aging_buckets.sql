-- SPDX-License-Identifier: Apache-2.0
{#-
  The buckets of ageing by dbt's var aging_buckets, the last day overdue of each but the last: [first day overdue, last
  day overdue, label, column], none where there is no bound. Refuses what would leave a day in no bucket or in two.
-#}
{% macro aging_buckets() -%}
    {%- set bounds = var('aging_buckets') -%}
    {%- set seen = {'last': 0, 'wrong': bounds is string or bounds is mapping or bounds is not iterable} -%}
    {%- set buckets = [[none, 0, 'current', 'not_due']] -%}
    {%- for bound in ([] if seen.wrong else bounds) -%}
        {%- if bound is not integer or bound <= seen.last or bound > 9999 -%}
            {%- do seen.update({'wrong': true}) -%}
        {%- else -%}
            {%- set first = seen.last + 1 -%}
            {%- do buckets.append([first, bound, first ~ '-' ~ bound, 'overdue_' ~ first ~ '_' ~ bound]) -%}
            {%- do seen.update({'last': bound}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if seen.wrong or buckets | length == 1 -%}
        {{ exceptions.raise_compiler_error(
            "Var aging_buckets is " ~ (bounds | tojson) ~ ". Give the last day of each bucket but the last as whole days "
            ~ "from 1 to 9999, each greater than the one before, such as [30, 60, 90, 120]."
        ) }}
    {%- endif -%}
    {{ return(buckets + [[seen.last + 1, none, 'older', 'overdue_older']]) }}
{%- endmacro %}

{#- Whether the buckets are those that the contracts of the ageing views name. -#}
{% macro aging_as_in_contract() -%}
    {{ return(aging_buckets() | map('last') | list == [
        'not_due', 'overdue_1_30', 'overdue_31_60', 'overdue_61_90', 'overdue_91_120', 'overdue_older'
    ]) }}
{%- endmacro %}

{#- The open amount of an item in the column of its bucket; the columns of the others are 0. -#}
{% macro bucket_columns() -%}
    {%- for first, last, label, column in aging_buckets() %}
    case
        when true
            {%- if first is not none %} and g.days_overdue >= {{ first }}{% endif -%}
            {%- if last is not none %} and g.days_overdue <= {{ last }}{% endif %}
            then g.open_amount else 0
    end as {{ column }},
    {%- endfor %}
{%- endmacro %}

{% macro bucket_of(days_overdue) -%}
    case
        {%- for first, last, label, column in aging_buckets() if last is not none %}
        when {{ days_overdue }} <= {{ last }} then '{{ label }}'
        {%- endfor %}
        else 'older'
    end
{%- endmacro %}

{#- Describes the columns of buckets that the contract does not know: with others than the default it is not enforced. -#}
{% macro describe_buckets() -%}
    {%- if not aging_as_in_contract() -%}
        {%- for first, last, label, column in aging_buckets() if first is not none %}
comment on column {{ this }}.{{ column }} is 'What was open and {{ label }} days overdue.';
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
