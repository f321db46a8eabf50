-- SPDX-License-Identifier: Apache-2.0
-- The catalog of MariaDB and MySQL; {schemas} is a condition on table_schema.

-- name: tables
SELECT table_schema, table_name, table_type, table_rows, table_comment
FROM information_schema.tables
WHERE table_type IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') AND {schemas}
ORDER BY table_schema, table_name;

-- name: columns
SELECT table_schema, table_name, column_name, column_type, is_nullable, column_comment
FROM information_schema.columns
WHERE {schemas}
ORDER BY table_schema, table_name, ordinal_position;

-- name: keys
-- A key over the first characters of a column is no key of its values: its columns come with null.
SELECT table_schema, table_name, index_name,
       CASE WHEN sub_part IS NULL THEN column_name END
FROM information_schema.statistics
WHERE non_unique = 0 AND {schemas}
ORDER BY table_schema, table_name, index_name, seq_in_index;

-- name: json_checks
-- MariaDB keeps JSON as longtext with a check.
SELECT constraint_schema, table_name, check_clause
FROM information_schema.check_constraints
WHERE check_clause LIKE 'json_valid(%' AND {schemas};
