-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121030000_odd_log_times.

create or replace function connectors.log_moment(moment text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return log_moment.moment::timestamptz;
exception when invalid_datetime_format or datetime_field_overflow or invalid_parameter_value then
    return null;
end
$$;
