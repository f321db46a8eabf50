-- SPDX-License-Identifier: Apache-2.0
-- The catalog of Oracle, without the schemas that Oracle maintains itself.

-- name: tables
SELECT t.owner, t.table_name, 'table', t.num_rows, c.comments
FROM all_tables t
JOIN all_users u ON u.username = t.owner AND u.oracle_maintained = 'N'
LEFT JOIN all_tab_comments c ON c.owner = t.owner AND c.table_name = t.table_name
WHERE t.nested = 'NO' AND t.secondary = 'N'
UNION ALL
SELECT v.owner, v.view_name, 'view', NULL, c.comments
FROM all_views v
JOIN all_users u ON u.username = v.owner AND u.oracle_maintained = 'N'
LEFT JOIN all_tab_comments c ON c.owner = v.owner AND c.table_name = v.view_name
ORDER BY 1, 2;

-- name: columns
SELECT c.owner, c.table_name, c.column_name, c.data_type, c.data_precision, c.data_scale,
       c.char_length, c.nullable, d.comments
FROM all_tab_columns c
JOIN all_users u ON u.username = c.owner AND u.oracle_maintained = 'N'
LEFT JOIN all_col_comments d
    ON d.owner = c.owner AND d.table_name = c.table_name AND d.column_name = c.column_name
ORDER BY c.owner, c.table_name, c.column_id;

-- name: keys
SELECT k.owner, k.table_name, k.constraint_name,
       CASE k.constraint_type WHEN 'P' THEN 1 ELSE 0 END, c.column_name
FROM all_constraints k
JOIN all_users u ON u.username = k.owner AND u.oracle_maintained = 'N'
JOIN all_cons_columns c ON c.owner = k.owner AND c.constraint_name = k.constraint_name
WHERE k.constraint_type IN ('P', 'U') AND k.status = 'ENABLED'
ORDER BY k.owner, k.table_name, k.constraint_name, c.position;
