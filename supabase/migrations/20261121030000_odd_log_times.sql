-- SPDX-License-Identifier: Apache-2.0
-- A log line whose zone is further from UTC than any is kept too, as those with other odd times are.

create or replace function connectors.log_moment(moment text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return log_moment.moment::timestamptz;
exception when data_exception then
    return null;
end
$$;

revoke execute on all functions in schema connectors from public;
