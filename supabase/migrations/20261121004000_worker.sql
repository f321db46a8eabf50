-- SPDX-License-Identifier: Apache-2.0
-- What a worker needs beside the queue: to give a run back when it has to end, and to know how the
-- instance's run before ended.

create function connectors.hand_back_connector_job(run_id uuid, lease_token uuid, reason text default null)
returns table (status text, retry_id uuid)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs := connectors.leased_run(hand_back_connector_job.run_id, hand_back_connector_job.lease_token);
begin
    perform connectors.fail_connector_job(
        run_id => run.id, lease_token => run.lease_token, error_class => 'cancelled',
        error_summary => coalesce(nullif(btrim(hand_back_connector_job.reason), ''), 'Handed back by its worker.'));
    if run.cancel_requested_at is null then
        -- The worker's end is no attempt that went wrong.
        insert into connectors.connector_runs as r
            (instance_id, job_name, mode, streams, triggered_by, actor, priority, dedupe_key, retry_of,
                attempt, max_attempts, parks)
        values (run.instance_id, run.job_name, run.mode, run.streams, 'retry', run.actor, run.priority,
            run.dedupe_key, run.id, run.attempt - 1, run.max_attempts, run.parks)
        returning r.id into retry_id;
    end if;
    status := 'cancelled';
    return next;
end
$$;
comment on function connectors.hand_back_connector_job(uuid, uuid, text) is
    'Ends a run whose worker has to end, and queues it again without counting the attempt; not if it was to be cancelled anyway.';

create function connectors.previous_run_status(run_id uuid, lease_token uuid) returns text
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
    run connectors.connector_runs := connectors.leased_run(previous_run_status.run_id, previous_run_status.lease_token);
begin
    return (
        select r.status from connectors.connector_runs as r
        where r.instance_id = run.instance_id and r.id <> run.id and r.started_at is not null
        order by r.queued_at desc limit 1);
end
$$;
comment on function connectors.previous_run_status(uuid, uuid) is
    'How the run of the same instance that started before this one ended; null when this is the first.';

revoke execute on function
    connectors.hand_back_connector_job(uuid, uuid, text),
    connectors.previous_run_status(uuid, uuid)
from public;
grant execute on function
    connectors.hand_back_connector_job(uuid, uuid, text),
    connectors.previous_run_status(uuid, uuid)
to service_role, ipai_worker;

notify pgrst, 'reload schema';
