-- SPDX-License-Identifier: Apache-2.0
-- A run remembers which version of the spec it ran with: instances move on, finished runs do not.
-- Events tell it, and a promotion asks for a staging run of the very same spec.

alter table connectors.connector_runs add column definition_version integer;
comment on column connectors.connector_runs.definition_version is
    'Version of the connector''s spec it was claimed with; null: never claimed, or claimed before this was kept.';

create function connectors.note_run_version() returns trigger
language plpgsql volatile security definer set search_path = '' as $$
begin
    select i.definition_version into new.definition_version
    from connectors.connector_instances as i where i.id = new.instance_id;
    return new;
end
$$;
comment on function connectors.note_run_version() is 'Trigger: notes at the claim which version of the spec a run uses.';
revoke all on function connectors.note_run_version() from public;

create trigger connector_runs_version before update on connectors.connector_runs
    for each row when (old.status = 'queued' and new.status = 'running')
    execute function connectors.note_run_version();
