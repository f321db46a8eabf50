-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121009000_search_path.

do $search_path$
declare
    routine regprocedure;
begin
    for routine in
        select p.oid::regprocedure
        from pg_catalog.pg_proc as p
        where p.pronamespace in ('connectors'::regnamespace, to_regnamespace('vault'))
            and p.proconfig @> array['search_path=pg_catalog, pg_temp']
            and pg_catalog.pg_has_role(current_user, p.proowner, 'usage')
    loop
        execute format('alter function %s set search_path = ''''', routine);
    end loop;
end
$search_path$;
