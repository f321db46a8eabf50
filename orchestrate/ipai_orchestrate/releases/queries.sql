-- SPDX-License-Identifier: Apache-2.0
-- The calls about releases. Each query stands under a line with its name.

-- one_at_a_time --
-- Let nobody else apply until this transaction ends.
select pg_advisory_xact_lock(hashtextextended('connectors.apply', 0));

-- definitions --
-- The newest version of each connector's spec.
select distinct on (id) id, version, yaml_spec, spec, spec_hash
from connectors.connector_definitions
order by id, version desc;

-- instances --
-- All instances but those that pipelines keep for themselves, with the file that declares them.
select i.id, i.definition_id, i.definition_version, i.env, i.schedule, i.status, i.config, d.declared_in
from connectors.connector_instances as i
left join connectors.instance_declarations as d on d.instance_id = i.id
where i.env <> 'platform'
order by i.id;

-- apply_instance --
-- Bring an instance to what a file declares.
select id, version, instance_status, created from connectors.apply_connector_instance(
    instance_id => %(instance_id)s, definition_id => %(definition_id)s, config => %(config)s,
    env => %(env)s, declared_in => %(declared_in)s, schedule => %(schedule)s,
    definition_version => %(definition_version)s, status => %(status)s);

-- retire --
-- Pause an instance that no file declares any more.
select connectors.retire_connector_instance(instance_id => %(instance_id)s) as status;

-- promote --
-- Take an instance's spec version to another environment.
select id, env, version, previous_version, created, proof_run_id from connectors.promote_connector_instance(
    instance_id => %(instance_id)s, to_env => %(to_env)s, target_id => %(target_id)s);

-- rollback --
-- Go back to an earlier version of the spec, with settings and state of that time.
select release, version, previous_version, restored_release, state_version
from connectors.rollback_connector_instance(
    instance_id => %(instance_id)s, to_version => %(to_version)s, keep_state => %(keep_state)s,
    to_release => %(to_release)s);

-- releases --
-- The releases of an instance, newest first.
select * from connectors.instance_release_list(instance_id => %(instance_id)s, max_rows => %(max_rows)s);
