-- SPDX-License-Identifier: Apache-2.0
-- Who may do what. Every table has row-level security, forced, so that the owner too needs a policy;
-- the functions run as the owner. Nothing is granted that is not listed here.

revoke all on schema connectors from public;
revoke all on all tables in schema connectors from public;
revoke all on all functions in schema connectors from public;
grant usage on schema connectors to service_role, ipai_admin, ipai_operator, ipai_worker, ipai_agent;

do $row_security$
declare
    table_name text;
begin
    foreach table_name in array array[
        'connector_definitions', 'connector_instances', 'connector_runs', 'run_streams', 'connector_state',
        'connector_state_history', 'run_logs', 'dead_letters', 'stream_schemas'
    ] loop
        execute format('alter table connectors.%I enable row level security', table_name);
        execute format('alter table connectors.%I force row level security', table_name);
        execute format('create policy owner_all on connectors.%I for all to current_user using (true) with check (true)',
            table_name);
        execute format('create policy staff_read on connectors.%I for select to service_role, ipai_admin, ipai_operator using (true)',
            table_name);
        execute format('grant select on connectors.%I to service_role, ipai_admin, ipai_operator', table_name);
    end loop;
end
$row_security$;

grant select on connectors.ipai_connector_config, connectors.ipai_connector_run to service_role, ipai_admin, ipai_operator;

-- The target writes dead letters itself, in the transaction of the batch, skips those it has written
-- before, and marks those it has replayed. It can read the same records in Bronze.
create policy worker_read on connectors.dead_letters for select to ipai_worker using (true);
create policy worker_insert on connectors.dead_letters for insert to service_role, ipai_worker with check (true);
create policy replay on connectors.dead_letters for update to service_role, ipai_admin, ipai_operator, ipai_worker
    using (true) with check (true);
grant select on connectors.dead_letters to ipai_worker;
grant insert on connectors.dead_letters to service_role, ipai_worker;
grant update (replayed_at) on connectors.dead_letters to service_role, ipai_admin, ipai_operator, ipai_worker;

do $functions$
declare
    roles text;
    names text[];
    routine regprocedure;
begin
    for roles, names in
        values
        ('service_role, ipai_admin', array[
            'register_connector_definition', 'create_connector_instance', 'set_instance_status', 'purge_run_logs']),
        ('service_role, ipai_admin, ipai_operator', array[
            'enqueue_connector_job', 'run_connector', 'cancel_connector_job', 'reap_connector_runs',
            'connector_list', 'connector_status', 'connector_logs', 'connector_runs_list',
            'get_connector_state', 'set_connector_state', 'rollback_connector_state', 'connector_state_versions',
            'get_meltano_state', 'set_meltano_state', 'delete_meltano_state', 'meltano_state_ids']),
        ('service_role, ipai_worker', array[
            'claim_connector_job', 'heartbeat_connector_job', 'complete_connector_job', 'fail_connector_job',
            'save_connector_state', 'append_connector_logs', 'record_run_streams', 'record_stream_schema']),
        ('ipai_worker', array[
            'reap_connector_runs', 'get_meltano_state', 'set_meltano_state', 'delete_meltano_state', 'meltano_state_ids']),
        ('ipai_agent', array[
            'run_connector', 'cancel_connector_job', 'connector_list', 'connector_status', 'connector_logs',
            'connector_runs_list'])
    loop
        for routine in
            select p.oid::regprocedure from pg_catalog.pg_proc as p
            where p.pronamespace = 'connectors'::regnamespace and p.proname = any (names)
        loop
            execute format('grant execute on function %s to %s', routine, roles);
        end loop;
    end loop;
end
$functions$;

notify pgrst, 'reload schema';
