-- SPDX-License-Identifier: Apache-2.0
-- Signs of life. Each query stands under a line with its name.

-- report --
-- A sign of life, or the last word.
select connectors.report_service(
    name => %(name)s, kind => %(kind)s, capacity => %(capacity)s, busy => %(busy)s, sources => %(sources)s,
    is_ending => %(is_ending)s) as known;

-- services --
-- Workers and schedulers at work, or all of the last week.
select name, kind, login, started_at, seen_at, ended_at, capacity, busy, sources, is_alive
from connectors.service_list(at_work => %(at_work)s);
