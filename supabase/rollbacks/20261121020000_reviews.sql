-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121020000_reviews, with the reports; their signatures stay in the log,
-- which would not be whole without them.

create or replace function connectors.alert_conditions()
returns table (condition text, subject text, severity text, instances text[], summary text, details jsonb)
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select 'sync_failed', c.* from connectors.failed_syncs() as c
    union all
    select 'sla_breached', c.* from connectors.late_syncs() as c
    union all
    select 'secret_expiring', c.* from connectors.expiring_secrets() as c
    union all
    select 'quota_exceeded', c.* from connectors.short_quotas() as c
    union all
    select 'worker_lost', c.* from connectors.lost_workers() as c
$$;

delete from connectors.alerts where condition = 'review_overdue';
delete from connectors.alert_rules where condition = 'review_overdue';
alter table connectors.alert_rules
    drop constraint alert_rules_condition_known,
    add constraint alert_rules_condition_known check (
        condition in ('sync_failed', 'sla_breached', 'secret_expiring', 'quota_exceeded', 'worker_lost'));
comment on column connectors.alert_rules.condition is 'sync_failed, sla_breached, secret_expiring, quota_exceeded or worker_lost.';

drop function connectors.overdue_reviews();
drop function connectors.record_archive(text, text, timestamptz, timestamptz, text, bigint, text, timestamptz);
drop function connectors.review_list(text, date, integer);
drop function connectors.sign_review(uuid, text, text);
drop function connectors.take_review(text, date, jsonb);
drop function connectors.retention_report(jsonb);
drop function connectors.kept_rows();
drop function connectors.layer_tables();
drop function connectors.retention_policies();
drop function connectors.tokens_report();
drop function connectors.credential_uses();
drop function connectors.access_report(date, date);
drop function connectors.used_connectors();
drop function connectors.review_period(text, date);
drop table connectors.archives;
drop table connectors.reviews;
drop table connectors.review_kinds;
drop function connectors.keep_reviews();

alter table connectors.secret_audit drop constraint secret_audit_action_known;
do $actions$
begin
    -- Rows with signatures stay; the constraint then holds for new rows alone.
    execute 'alter table connectors.secret_audit add constraint secret_audit_action_known check (action in ('
        '''create'', ''rotate'', ''delete'', ''rewrap'', ''grant'', ''deny'', ''read''))'
        || case when exists (select from connectors.secret_audit where action = 'review') then ' not valid' else '' end;
end
$actions$;
comment on column connectors.secret_audit.action is
    'create, rotate, delete, rewrap; grant: allowed to read; deny: refused; read: has read.';

notify pgrst, 'reload schema';
