-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121001000_row_security_and_grants. The schema is closed to everybody but
-- its owner first, so that nothing is open while the policies go.

revoke all on schema connectors from service_role, ipai_admin, ipai_operator, ipai_worker, ipai_agent;
revoke all on all tables in schema connectors from service_role, ipai_admin, ipai_operator, ipai_worker, ipai_agent;
revoke all on all functions in schema connectors from service_role, ipai_admin, ipai_operator, ipai_worker, ipai_agent;
revoke update (replayed_at) on connectors.dead_letters
    from service_role, ipai_admin, ipai_operator, ipai_worker;
grant execute on all functions in schema connectors to public;

do $row_security$
declare
    policy record;
begin
    for policy in
        select p.polname, c.relname
        from pg_catalog.pg_policy as p
        join pg_catalog.pg_class as c on c.oid = p.polrelid
        where c.relnamespace = 'connectors'::regnamespace and not c.relispartition
    loop
        execute format('drop policy %I on connectors.%I', policy.polname, policy.relname);
        execute format('alter table connectors.%I no force row level security', policy.relname);
        execute format('alter table connectors.%I disable row level security', policy.relname);
    end loop;
end
$row_security$;

notify pgrst, 'reload schema';
