-- SPDX-License-Identifier: Apache-2.0
-- The catalog of a DuckDB file.

-- name: tables
SELECT schema_name, table_name, 'table' AS kind, estimated_size, comment
FROM duckdb_tables()
WHERE NOT internal AND database_name = current_database()
UNION ALL
SELECT schema_name, view_name, 'view', NULL, comment
FROM duckdb_views()
WHERE NOT internal AND database_name = current_database()
ORDER BY ALL;

-- name: columns
SELECT schema_name, table_name, column_name, data_type, is_nullable, comment
FROM duckdb_columns()
WHERE NOT internal AND database_name = current_database()
ORDER BY schema_name, table_name, column_index;

-- name: keys
SELECT schema_name, table_name, constraint_type, constraint_column_names
FROM duckdb_constraints()
WHERE constraint_type IN ('PRIMARY KEY', 'UNIQUE') AND database_name = current_database()
ORDER BY schema_name, table_name, constraint_index;
