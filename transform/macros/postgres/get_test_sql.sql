-- SPDX-License-Identifier: Apache-2.0
{#-
  Postgres compiles queries that look expensive, each partition's part for itself: with years of months that takes ten
  times as long as the query. And what does not fit into the usual 4 MB is sorted on disk, which doubles ageing's time.
-#}
{% macro postgres__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) -%}
    set local jit = off;
    set local work_mem = '64MB';
    {{ dbt.default__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) }}
{%- endmacro %}
