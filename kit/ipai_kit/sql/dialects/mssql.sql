-- SPDX-License-Identifier: Apache-2.0
-- The catalog of SQL Server.

-- name: tables
SELECT s.name, o.name, CASE o.type WHEN 'V' THEN 'view' ELSE 'table' END,
       (SELECT SUM(p.rows) FROM sys.partitions p
        WHERE p.object_id = o.object_id AND p.index_id IN (0, 1)),
       CAST(d.value AS nvarchar(4000))
FROM sys.objects o
JOIN sys.schemas s ON s.schema_id = o.schema_id
LEFT JOIN sys.extended_properties d
    ON d.class = 1 AND d.major_id = o.object_id AND d.minor_id = 0 AND d.name = 'MS_Description'
WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0
ORDER BY s.name, o.name;

-- name: columns
-- TYPE_NAME of the system type: a type of one's own is read as what it is made of.
SELECT s.name, o.name, c.name, COALESCE(TYPE_NAME(c.system_type_id), TYPE_NAME(c.user_type_id)),
       TYPE_NAME(c.user_type_id), c.precision, c.scale, c.max_length, c.is_nullable,
       CAST(d.value AS nvarchar(4000))
FROM sys.columns c
JOIN sys.objects o ON o.object_id = c.object_id
JOIN sys.schemas s ON s.schema_id = o.schema_id
LEFT JOIN sys.extended_properties d
    ON d.class = 1 AND d.major_id = c.object_id AND d.minor_id = c.column_id
    AND d.name = 'MS_Description'
WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0
ORDER BY s.name, o.name, c.column_id;

-- name: keys
SELECT s.name, o.name, i.name, i.is_primary_key, c.name
FROM sys.indexes i
JOIN sys.objects o ON o.object_id = i.object_id
JOIN sys.schemas s ON s.schema_id = o.schema_id
JOIN sys.index_columns k ON k.object_id = i.object_id AND k.index_id = i.index_id
JOIN sys.columns c ON c.object_id = k.object_id AND c.column_id = k.column_id
WHERE i.is_unique = 1 AND i.has_filter = 0 AND k.key_ordinal > 0
    AND o.type = 'U' AND o.is_ms_shipped = 0
ORDER BY s.name, o.name, i.name, k.key_ordinal;

-- name: query_columns
SELECT name, system_type_name, is_nullable
FROM sys.dm_exec_describe_first_result_set(%s, NULL, 0)
ORDER BY column_ordinal;
