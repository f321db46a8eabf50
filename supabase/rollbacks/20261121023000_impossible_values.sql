-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121023000_impossible_values.

create or replace function connectors.merge_state(old_state jsonb, new_state jsonb, whole_streams boolean default false) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case
        when jsonb_typeof(new_state -> 'bookmarks') is distinct from 'object'
            or jsonb_typeof(old_state -> 'bookmarks') is distinct from 'object' then new_state
        else (old_state - 'currently_syncing') || new_state || jsonb_build_object(
            'bookmarks',
            (old_state -> 'bookmarks') || coalesce((
                select jsonb_object_agg(n.stream, case
                    when whole_streams
                        or jsonb_typeof(n.bookmark -> 'partitions') is distinct from 'array'
                        or jsonb_typeof(o.bookmark -> 'partitions') is distinct from 'array' then n.bookmark
                    else jsonb_set(n.bookmark, '{partitions}', (n.bookmark -> 'partitions') || coalesce((
                        select jsonb_agg(kept.entry)
                        from connectors.stream_partitions(o.bookmark) as kept
                        where not exists (
                            select from connectors.stream_partitions(n.bookmark) as renewed
                            where renewed.context = kept.context)
                    ), '[]'))
                end)
                from connectors.state_streams(new_state) as n
                left join connectors.state_streams(old_state) as o on o.stream = n.stream
            ), '{}'))
    end
$$;

drop trigger connector_state_sound on connectors.connector_state;
drop trigger secrets_expiry on connectors.secrets;
drop trigger connector_runs_ends_cancelled on connectors.connector_runs;
drop trigger connector_runs_values on connectors.connector_runs;
drop trigger connector_definitions_sound on connectors.connector_definitions;
drop trigger pipelines_schedule on connectors.pipelines;
drop trigger connector_instances_schedule on connectors.connector_instances;
drop function connectors.check_state();
drop function connectors.check_secret_expiry();
drop function connectors.end_as_cancelled();
drop function connectors.check_run_values();
drop function connectors.check_definition();
drop function connectors.check_pipeline_schedule();
drop function connectors.check_instance_schedule();
drop function connectors.refuse_schedule(text, text);
drop function connectors.schedule_problem(text, text);
drop function connectors.cron_number(text, integer, integer, text[]);
