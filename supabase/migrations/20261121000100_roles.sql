-- SPDX-License-Identifier: Apache-2.0
-- Roles. On Supabase the first three exist; on plain PostgreSQL they are created so that one set of
-- grants and policies serves both. All are groups without login: people and workers get a login of
-- their own that is a member of one of them.

do $roles$
declare
    role_name text;
begin
    foreach role_name in array array[
        'anon', 'authenticated', 'service_role',
        'ipai_admin', 'ipai_operator', 'ipai_worker', 'ipai_agent', 'ipai_analyst'
    ] loop
        if not exists (select from pg_catalog.pg_roles where rolname = role_name) then
            begin
                execute format('create role %I nologin', role_name);
            exception when duplicate_object or unique_violation then
                null; -- created by somebody else at this moment: roles belong to the whole server
            end;
        end if;
    end loop;
end
$roles$;

-- What workers create (Bronze tables, dbt's models) carries default privileges only if the role
-- that owns this schema may set them for ipai_worker, i.e. is a member of it.
do $membership$
begin
    if not pg_catalog.pg_has_role(current_user, 'ipai_worker', 'usage') then
        execute format('grant ipai_worker to %I', current_user);
    end if;
exception when insufficient_privilege or duplicate_object then
    raise notice 'Role % is no member of ipai_worker; grant it to let analysts read what workers create.',
        current_user;
end
$membership$;
