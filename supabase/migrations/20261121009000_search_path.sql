-- SPDX-License-Identifier: Apache-2.0
-- An empty search path still looks for types and tables in the caller's temporary schema, before
-- pg_catalog: a login could make a domain pg_temp.text whose check runs as the owner of a function
-- that says ::text. With pg_temp named last, nothing of the caller's stands before the system's own.

do $search_path$
declare
    routine regprocedure;
begin
    for routine in
        select p.oid::regprocedure
        from pg_catalog.pg_proc as p
        where p.pronamespace in ('connectors'::regnamespace, to_regnamespace('vault'))
            and p.proconfig @> array['search_path=""']
            and pg_catalog.pg_has_role(current_user, p.proowner, 'usage')
            and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e')
    loop
        execute format('alter function %s set search_path = pg_catalog, pg_temp', routine);
    end loop;
end
$search_path$;
