-- SPDX-License-Identifier: Apache-2.0
-- Logs and usage are kept for 90 days: schedulers drop what is older, which needs no administrator.

create function connectors.drop_old_records() returns table (kind text, dropped bigint)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select 'days of logs', (select count(*) from connectors.purge_run_logs(90))
    union all
    select 'figures of quota usage', connectors.purge_quota_usage(90)
$$;
comment on function connectors.drop_old_records() is
    'Drops logs and quota usage older than 90 days; what was dropped, and how many. Schedulers call it every hour.';

revoke execute on function connectors.drop_old_records() from public;
grant execute on function connectors.drop_old_records() to service_role, ipai_admin, ipai_operator;

notify pgrst, 'reload schema';
