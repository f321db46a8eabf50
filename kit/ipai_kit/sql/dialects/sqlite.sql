-- SPDX-License-Identifier: Apache-2.0
-- The catalog of an SQLite file.

-- name: tables
SELECT name, type
FROM main.sqlite_master
WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
ORDER BY name;

-- name: columns
-- hidden = 1: hidden columns of virtual tables; generated columns (2 and 3) are read.
SELECT m.name, c.name, c.type, c."notnull", c.pk
FROM main.sqlite_master m, pragma_table_xinfo(m.name) c
WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND c.hidden <> 1
ORDER BY m.name, c.cid;

-- name: keys
SELECT m.name, i.name, c.name
FROM main.sqlite_master m, pragma_index_list(m.name) i, pragma_index_info(i.name) c
WHERE m.type = 'table' AND i."unique" = 1 AND i.partial = 0
ORDER BY m.name, i.name, c.seqno;

-- name: has_statistics
SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_stat1';

-- name: statistics
SELECT tbl, max(stat) FROM main.sqlite_stat1 WHERE stat <> '' GROUP BY tbl;

-- name: query_columns
SELECT name, type FROM pragma_table_xinfo('described_query') ORDER BY cid;
