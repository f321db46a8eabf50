-- SPDX-License-Identifier: Apache-2.0
{#- The columns of the buckets, whichever are configured, add up to what is open. -#}
{% test buckets_add_up(model) %}
select *
from {{ model }}
where open_amount <> {{ aging_buckets() | map('last') | join(' + ') }}
{% endtest %}
