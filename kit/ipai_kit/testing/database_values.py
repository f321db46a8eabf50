# SPDX-License-Identifier: Apache-2.0
"""A value of every type of each database: in its record, and as the database prints it."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["DUCKDB", "H2", "HSQLDB", "MARIADB", "MYSQL", "SQLITE", "TypeCase", "table_of"]


@dataclass(frozen=True)
class TypeCase:
    """One column; `own` is SQL for the text that the database itself makes of the value."""

    native: str
    literal: str
    expected: Any
    own: str = "CAST({} AS CHAR)"


def table_of(cases: Sequence[TypeCase], name: str = "every_type") -> list[str]:
    """Return the statements that make a table with a row of these values and one of nulls."""
    columns = ", ".join(f"c{place} {case.native}" for place, case in enumerate(cases))
    literals = ", ".join(case.literal for case in cases)
    nulls = ", ".join("NULL" for _ in cases)
    return [
        f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, {columns})",
        f"INSERT INTO {name} VALUES (1, {literals})",  # noqa: S608
        f"INSERT INTO {name} VALUES (2, {nulls})",  # noqa: S608
    ]


_ISO = "REPLACE(CAST({} AS CHAR), ' ', 'T')"
_UTC = "CONCAT(REPLACE(CAST({} AS CHAR), ' ', 'T'), '+00:00')"
_BASE64 = "REPLACE(TO_BASE64({}), '\n', '')"
_BITS = "LPAD(BIN({} + 0), %d, '0')"

MARIADB = (
    TypeCase("tinyint", "-128", -128),
    TypeCase("tinyint(1)", "2", 2),
    TypeCase("tinyint unsigned", "255", 255),
    TypeCase("smallint", "-32768", -32768),
    TypeCase("mediumint unsigned", "16777215", 16777215),
    TypeCase("mediumint", "-8388608", -8388608),
    TypeCase("int", "-2147483648", -2147483648),
    TypeCase("int(8) zerofill", "42", 42, "CAST({} + 0 AS CHAR)"),
    TypeCase("bigint", "-9223372036854775808", -9223372036854775808),
    TypeCase("bigint unsigned", "18446744073709551615", 18446744073709551615),
    TypeCase("year", "2155", 2155),
    TypeCase("year", "0", 0, "CAST({} + 0 AS CHAR)"),
    TypeCase("year(2)", "69", 69),
    TypeCase(
        "decimal(65,30)",
        "'-12345678901234567890123456789012345.123456789012345678901234567890'",
        "-12345678901234567890123456789012345.123456789012345678901234567890",
    ),
    TypeCase("decimal(38,20)", "'0.00000000000000000001'", "0.00000000000000000001"),
    TypeCase("decimal(10,2)", "'-0.05'", "-0.05"),
    TypeCase("decimal(9,9)", "'0.123456789'", "0.123456789"),
    TypeCase("decimal(10,0)", "'-0'", "0"),
    TypeCase("decimal(8,2) zerofill", "'1.5'", "1.50", "CAST({} + 0 AS CHAR)"),
    TypeCase("float", "1.1", 1.1),
    TypeCase("float", "16777216", 16777216.0, "CAST(ROUND({} + 0e0, 1) AS CHAR)"),
    TypeCase("float unsigned", "3.5", 3.5),
    TypeCase("double", "0.1e0 + 0.2e0", 0.30000000000000004),
    TypeCase(
        "double", "-1.7976931348623157e308", -1.7976931348623157e308, "'-1.7976931348623157e308'"
    ),
    TypeCase("bit(1)", "b'1'", "1", _BITS % 1),
    TypeCase("bit(5)", "b'00101'", "00101", _BITS % 5),
    TypeCase("bit(64)", "b'1'", "0" * 63 + "1", _BITS % 64),
    TypeCase("date", "'1500-02-28'", "1500-02-28"),
    TypeCase("date", "'9999-12-31'", "9999-12-31"),
    TypeCase("date", "'0000-00-00'", "0000-00-00"),
    TypeCase("date", "'2020-00-15'", "2020-00-15"),
    TypeCase("datetime", "'1000-01-01 00:00:00'", "1000-01-01T00:00:00", _ISO),
    TypeCase("datetime(1)", "'2020-01-01 10:00:00.5'", "2020-01-01T10:00:00.5", _ISO),
    TypeCase("datetime(3)", "'2020-01-01 10:00:00.120'", "2020-01-01T10:00:00.120", _ISO),
    TypeCase("datetime(6)", "'9999-12-31 23:59:59.999999'", "9999-12-31T23:59:59.999999", _ISO),
    TypeCase("datetime", "'0000-00-00 00:00:00'", "0000-00-00 00:00:00"),
    TypeCase("datetime(2)", "'2020-00-15 10:00:00.25'", "2020-00-15 10:00:00.25"),
    TypeCase("timestamp NULL", "'2038-01-19 03:14:07'", "2038-01-19T03:14:07+00:00", _UTC),
    TypeCase(
        "timestamp(6) NULL",
        "'1970-01-01 00:00:01.000001'",
        "1970-01-01T00:00:01.000001+00:00",
        _UTC,
    ),
    TypeCase("timestamp(3) NULL", "'0000-00-00 00:00:00'", "0000-00-00 00:00:00.000"),
    TypeCase("time", "'838:59:59'", "838:59:59"),
    TypeCase("time(1)", "'-838:59:58.9'", "-838:59:58.9"),
    TypeCase("time(3)", "'-00:00:00.001'", "-00:00:00.001"),
    TypeCase("time(6)", "'-10:00:00.000001'", "-10:00:00.000001"),
    TypeCase("char(5)", "'a  '", "a"),
    TypeCase("char(200) CHARACTER SET utf8mb4", "'日本 😀'", "日本 😀"),
    TypeCase("varchar(300) CHARACTER SET latin1", "'é€'", "é€"),
    TypeCase("varchar(10) CHARACTER SET utf16", "'ж'", "ж"),
    TypeCase("varchar(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "'ß\\0%'", "ß\0%"),
    TypeCase("tinytext", "''", ""),
    TypeCase("text CHARACTER SET ucs2", "'ü'", "ü"),
    TypeCase("mediumtext", "'m'", "m"),
    TypeCase("longtext", "REPEAT('x', 70000)", "x" * 70000),
    TypeCase("enum('a','b,c','it''s','ü') CHARACTER SET latin1", "'ü'", "ü"),
    TypeCase("enum('a','b')", "'nothing of these'", ""),
    TypeCase("set('x','y','z')", "'z,x'", "x,z"),
    TypeCase("set('x')", "''", ""),
    TypeCase(
        "uuid", "'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000"
    ),
    TypeCase(
        "uuid", "'018f4567-e89b-7cc3-98c4-dc0c0c07398f'", "018f4567-e89b-7cc3-98c4-dc0c0c07398f"
    ),
    TypeCase("inet6", "'::ffff:1.2.3.4'", "::ffff:1.2.3.4"),
    TypeCase("inet6", "'2001:db8::'", "2001:db8::"),
    TypeCase("inet4", "'10.0.0.0'", "10.0.0.0"),
    TypeCase(
        "json",
        '\'{"a": 1.50, "n": 12345678901234567890}\'',
        {"a": Decimal("1.50"), "n": 12345678901234567890},
    ),
    TypeCase("json", "'\"text\"'", "text", "JSON_UNQUOTE({})"),
    TypeCase("binary(5)", "x'6100'", "YQAAAAA=", _BASE64),
    TypeCase("varbinary(20)", "x'00ff00'", "AP8A", _BASE64),
    TypeCase("tinyblob", "x''", "", _BASE64),
    TypeCase("blob", "x'00ff'", "AP8=", _BASE64),
    TypeCase("mediumblob", "x'01'", "AQ==", _BASE64),
    TypeCase("longblob", "REPEAT(x'61', 3)", "YWFh", _BASE64),
    TypeCase(
        "point", "ST_GeomFromText('POINT(1 2)')", "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA==", _BASE64
    ),
    TypeCase(
        "geometry",
        "ST_GeomFromText('POINT(1 2)', 4326)",
        "5hAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA==",
        _BASE64,
    ),
)

_MARIADB_ONLY = ("year(2)", "uuid", "inet4", "inet6")
MYSQL = (
    *(case for case in MARIADB if case.native not in (*_MARIADB_ONLY, "geometry")),
    TypeCase(
        "geometry",
        "ST_GeomFromText('POINT(1 2)', 4326)",
        "5hAAAAEBAAAAAAAAAAAAAEAAAAAAAADwPw==",
        _BASE64,
    ),
    TypeCase(
        "geomcollection",
        "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')",
        "AAAAAAEHAAAAAAAAAA==",
        _BASE64,
    ),
    TypeCase("vector(3)", "TO_VECTOR('[1,2,3]')", "AACAPwAAAEAAAEBA", _BASE64),
    TypeCase("json", "CAST(x'00ff' AS JSON)", "base64:type15:AP8=", "JSON_UNQUOTE({})"),
)

_TEXT = "CAST({} AS TEXT)"
SQLITE = (
    TypeCase("BIGINT", "9223372036854775807", 9223372036854775807, _TEXT),
    TypeCase("INT", "-9223372036854775808", -9223372036854775808, _TEXT),
    TypeCase("INTEGER", "'no number'", "no number", _TEXT),
    TypeCase("VARCHAR(3)", "'longer than three'", "longer than three", _TEXT),
    TypeCase("TEXT", "'é' || char(0) || 'ж'", "é\0ж", "{}"),
    TypeCase("CLOB", "12", "12", _TEXT),
    TypeCase("TEXT", "x'00ff'", "AP8=", "'AP8='"),
    TypeCase("REAL", "1.5", 1.5, _TEXT),
    TypeCase("DOUBLE", "9e999", "Infinity", "'Infinity'"),
    TypeCase("FLOAT", "3", 3.0, _TEXT),
    TypeCase("DECIMAL(10,2)", "'12.50'", "12.5", _TEXT),
    TypeCase("NUMERIC", "12345678901234567", "12345678901234567", _TEXT),
    TypeCase(
        "NUMERIC", "'1e30'", "1000000000000000000000000000000", "'1000000000000000000000000000000'"
    ),
    TypeCase("DATE", "'1500-02-28'", "1500-02-28", _TEXT),
    TypeCase("DATETIME", "1577836800", 1577836800, _TEXT),
    TypeCase("TIMESTAMP", "'2020-01-01 10:00:00'", "2020-01-01 10:00:00", _TEXT),
    TypeCase("TIME", "'10:00'", "10:00", _TEXT),
    TypeCase("BOOLEAN", "1", 1, _TEXT),
    TypeCase("BLOB", "x'00ff'", "AP8=", "'AP8='"),
    TypeCase("BLOB", "'text'", "text", _TEXT),
    TypeCase("", "2.5", 2.5, _TEXT),
)

_VARCHAR = "CAST({} AS VARCHAR)"
_DUCK_ISO = "replace(CAST({} AS VARCHAR), ' ', 'T')"
_DUCK_UTC = "replace(replace(CAST({} AS VARCHAR), ' ', 'T'), '+00', '+00:00')"
_DUCK_JSON = "CAST(to_json({}) AS VARCHAR)"
DUCKDB = (
    TypeCase("TINYINT", "-128", -128, _VARCHAR),
    TypeCase("SMALLINT", "-32768", -32768, _VARCHAR),
    TypeCase("INTEGER", "-2147483648", -2147483648, _VARCHAR),
    TypeCase("BIGINT", "-9223372036854775808", -9223372036854775808, _VARCHAR),
    TypeCase("HUGEINT", "170141183460469231731687303715884105727", 2**127 - 1, _VARCHAR),
    TypeCase("UTINYINT", "255", 255, _VARCHAR),
    TypeCase("USMALLINT", "65535", 65535, _VARCHAR),
    TypeCase("UINTEGER", "4294967295", 4294967295, _VARCHAR),
    TypeCase("UBIGINT", "18446744073709551615", 18446744073709551615, _VARCHAR),
    TypeCase("UHUGEINT", "340282366920938463463374607431768211455", 2**128 - 1, _VARCHAR),
    TypeCase(
        "BIGNUM",
        "'1234567890123456789012345678901234567890'",
        1234567890123456789012345678901234567890,
        _VARCHAR,
    ),
    TypeCase("DECIMAL(38,20)", "0.00000000000000000001", "0.00000000000000000001", _VARCHAR),
    TypeCase("DECIMAL(18,3)", "-1.5", "-1.500", _VARCHAR),
    TypeCase("FLOAT", "1.1", 1.1, _VARCHAR),
    TypeCase("DOUBLE", "0.1::double + 0.2::double", 0.30000000000000004, _VARCHAR),
    TypeCase("DOUBLE", "'nan'", "NaN", "'NaN'"),
    TypeCase("FLOAT", "'-infinity'", "-Infinity", "'-Infinity'"),
    TypeCase("BOOLEAN", "true", True, "'True'"),
    TypeCase("DATE", "'1500-02-28'", "1500-02-28", _VARCHAR),
    TypeCase("DATE", "'0044-03-15 (BC)'", "0044-03-15 (BC)", _VARCHAR),
    TypeCase("DATE", "'infinity'", "infinity", _VARCHAR),
    TypeCase("TIMESTAMP", "'1500-02-28 10:00:00.123456'", "1500-02-28T10:00:00.123456", _DUCK_ISO),
    TypeCase("TIMESTAMP", "'-infinity'", "-infinity", _VARCHAR),
    TypeCase("TIMESTAMP_S", "'2020-01-01 10:00:00'", "2020-01-01T10:00:00", _DUCK_ISO),
    TypeCase("TIMESTAMP_MS", "'2020-01-01 10:00:00.5'", "2020-01-01T10:00:00.5", _DUCK_ISO),
    TypeCase(
        "TIMESTAMP_NS",
        "'2020-01-01 10:00:00.123456789'",
        "2020-01-01T10:00:00.123456789",
        _DUCK_ISO,
    ),
    TypeCase(
        "TIMESTAMPTZ", "'2020-01-01 10:00:00.12+02'", "2020-01-01T08:00:00.12+00:00", _DUCK_UTC
    ),
    TypeCase("TIMESTAMPTZ", "'infinity'", "infinity", _VARCHAR),
    TypeCase("TIME", "'10:00:00.5'", "10:00:00.5", _VARCHAR),
    TypeCase("TIMETZ", "'10:00:00+02'", "10:00:00+02", _VARCHAR),
    TypeCase("TIME_NS", "'10:00:00.123456789'", "10:00:00.123456789", _VARCHAR),
    TypeCase("INTERVAL", "interval '1 month 2 days 3 hours'", "1 month 2 days 03:00:00", _VARCHAR),
    TypeCase("VARCHAR", "'é' || chr(0)", "é\0", _VARCHAR),
    TypeCase(
        "UUID",
        "'123e4567-e89b-12d3-a456-426655440000'",
        "123e4567-e89b-12d3-a456-426655440000",
        _VARCHAR,
    ),
    TypeCase("ENUM('a)', 'b''c')", "'b''c'", "b'c", _VARCHAR),
    TypeCase("BIT", "'00101'", "00101", _VARCHAR),
    TypeCase("BLOB", "'\\x00\\xff'", "AP8=", "to_base64({})"),
    TypeCase("JSON", "'{\"a\": 1.50}'", {"a": Decimal("1.50")}, _VARCHAR),
    TypeCase("INTEGER[]", "[1, NULL]", [1, None], _DUCK_JSON),
    TypeCase("DECIMAL(10,2)[2]", "[1.5, 2]", [Decimal("1.50"), Decimal("2.00")], _DUCK_JSON),
    TypeCase(
        'STRUCT(a INTEGER, "b c" VARCHAR)', "{'a': 1, 'b c': 'x'}", {"a": 1, "b c": "x"}, _DUCK_JSON
    ),
    TypeCase("STRUCT(a HUGEINT)[]", f"[{{'a': {2**100}}}]", [{"a": 2**100}], _DUCK_JSON),
    TypeCase("MAP(INTEGER, VARCHAR)", "map {1: 'x'}", {"1": "x"}, _DUCK_JSON),
    TypeCase("UNION(k INTEGER, t VARCHAR)", "union_value(k := 1)", {"k": 1}, _DUCK_JSON),
    TypeCase("VARIANT", "{'z': 1}", {"z": 1}, _DUCK_JSON),
)

_JAVA_ISO = "REPLACE(CAST({} AS VARCHAR(40)), ' ', 'T')"
_JAVA_TEXT = "CAST({} AS VARCHAR(80))"
H2 = (
    TypeCase("TINYINT", "-128", -128, _JAVA_TEXT),
    TypeCase("SMALLINT", "-32768", -32768, _JAVA_TEXT),
    TypeCase("INTEGER", "2147483647", 2147483647, _JAVA_TEXT),
    TypeCase("BIGINT", "9223372036854775807", 9223372036854775807, _JAVA_TEXT),
    TypeCase("DECIMAL(38,20)", "0.00000000000000000001", "0.00000000000000000001", _JAVA_TEXT),
    TypeCase("DECFLOAT(30)", "1.5E-10", "0.00000000015", "'0.00000000015'"),
    TypeCase("REAL", "1.1", 1.1, _JAVA_TEXT),
    TypeCase(
        "DOUBLE PRECISION",
        "0.30000000000000004e0",
        0.30000000000000004,
        "'0.30000000000000004'",
    ),
    TypeCase("DOUBLE PRECISION", "CAST('NaN' AS DOUBLE PRECISION)", "NaN", _JAVA_TEXT),
    TypeCase("BOOLEAN", "TRUE", True, "'True'"),
    TypeCase("DATE", "DATE '1500-02-28'", "1500-02-28", _JAVA_TEXT),
    TypeCase("DATE", "DATE '-0044-03-15'", "-0044-03-15", _JAVA_TEXT),
    TypeCase("TIME(9)", "TIME '10:00:00.123456789'", "10:00:00.123456789", _JAVA_TEXT),
    TypeCase("TIME WITH TIME ZONE", "TIME WITH TIME ZONE '10:00:00+02'", "10:00:00+02", _JAVA_TEXT),
    TypeCase(
        "TIMESTAMP(9)",
        "TIMESTAMP '1500-02-28 10:00:00.123456789'",
        "1500-02-28T10:00:00.123456789",
        _JAVA_ISO,
    ),
    TypeCase("TIMESTAMP", "TIMESTAMP '2020-01-01 10:00:00'", "2020-01-01T10:00:00", _JAVA_ISO),
    TypeCase(
        "TIMESTAMP(9) WITH TIME ZONE",
        "TIMESTAMP WITH TIME ZONE '2020-01-01 10:00:00.123456789+02:00'",
        "2020-01-01T08:00:00.123456789+00:00",
        "REPLACE(CAST({} AT TIME ZONE '+00:00' AS VARCHAR(40)), ' ', 'T') || ':00'",
    ),
    TypeCase("CHARACTER(5)", "'ab'", "ab   ", "{}"),
    TypeCase("VARCHAR(20)", "'ж'", "ж", _JAVA_TEXT),
    TypeCase("CLOB", "'large'", "large", _JAVA_TEXT),
    TypeCase("BINARY(3)", "X'010203'", "AQID", "'AQID'"),
    TypeCase("VARBINARY(5)", "X'00ff'", "AP8=", "'AP8='"),
    TypeCase("BLOB", "X'00ff'", "AP8=", "'AP8='"),
    TypeCase(
        "UUID",
        "'123e4567-e89b-12d3-a456-426655440000'",
        "123e4567-e89b-12d3-a456-426655440000",
        _JAVA_TEXT,
    ),
    TypeCase("INTEGER ARRAY", "ARRAY[1, NULL, 3]", [1, None, 3], "'[1, null, 3]'"),
    TypeCase("DECIMAL(10,2) ARRAY", "ARRAY[1.5]", ["1.50"], "'[\"1.50\"]'"),
    TypeCase("JSON", "JSON '{\"a\":1.50}'", {"a": Decimal("1.50")}, "CAST({} AS VARCHAR(80))"),
    TypeCase("ENUM('a','b')", "'b'", "b", _JAVA_TEXT),
    TypeCase(
        "INTERVAL DAY TO SECOND",
        "INTERVAL '1 02:03:04.5' DAY TO SECOND",
        "INTERVAL '1 02:03:04.5' DAY TO SECOND",
        _JAVA_TEXT,
    ),
    TypeCase("GEOMETRY", "'POINT(1 2)'", "POINT (1 2)", _JAVA_TEXT),
)
HSQLDB = (
    TypeCase("TINYINT", "-128", -128, _JAVA_TEXT),
    TypeCase("SMALLINT", "-32768", -32768, _JAVA_TEXT),
    TypeCase("INTEGER", "2147483647", 2147483647, _JAVA_TEXT),
    TypeCase("BIGINT", "9223372036854775807", 9223372036854775807, _JAVA_TEXT),
    TypeCase("DECIMAL(38,20)", "-0.00000000000000000001", "-0.00000000000000000001", _JAVA_TEXT),
    TypeCase("NUMERIC(128,0)", "1" + "0" * 60, "1" + "0" * 60, _JAVA_TEXT),
    TypeCase("DOUBLE", "1.1E0", 1.1, "'1.1'"),
    TypeCase("BOOLEAN", "TRUE", True, "'True'"),
    TypeCase("DATE", "DATE '1500-02-28'", "1500-02-28", _JAVA_TEXT),
    TypeCase("TIME(9)", "TIME '10:00:00.123456789'", "10:00:00.123456789", _JAVA_TEXT),
    TypeCase("TIME WITH TIME ZONE", "TIME '10:00:00+2:00'", "10:00:00+2:00", _JAVA_TEXT),
    TypeCase(
        "TIMESTAMP(9)",
        "TIMESTAMP '1500-02-28 10:00:00.123456789'",
        "1500-02-28T10:00:00.123456789",
        _JAVA_ISO,
    ),
    TypeCase(
        "TIMESTAMP(9) WITH TIME ZONE",
        "TIMESTAMP '2020-01-01 10:00:00.123456789+2:00'",
        "2020-01-01T08:00:00.123456789+00:00",
        "REPLACE(REPLACE(CAST({} AT TIME ZONE INTERVAL '0:00' HOUR TO MINUTE AS VARCHAR(40)),"
        " ' ', 'T'), '+0:00', '+00:00')",
    ),
    TypeCase("CHARACTER(5)", "'ab'", "ab   ", "{}"),
    TypeCase("VARCHAR(20)", "'ж'", "ж", _JAVA_TEXT),
    TypeCase("CLOB", "'large'", "large", _JAVA_TEXT),
    TypeCase("BINARY(3)", "X'010203'", "AQID", "'AQID'"),
    TypeCase("VARBINARY(5)", "X'00ff'", "AP8=", "'AP8='"),
    TypeCase("BLOB", "X'00ff'", "AP8=", "'AP8='"),
    TypeCase(
        "UUID",
        "'123e4567-e89b-12d3-a456-426655440000'",
        "123e4567-e89b-12d3-a456-426655440000",
        _JAVA_TEXT,
    ),
    TypeCase("INTEGER ARRAY", "ARRAY[1, NULL, 3]", [1, None, 3], "'[1, null, 3]'"),
    TypeCase("BIT(5)", "B'00101'", "00101", _JAVA_TEXT),
    TypeCase(
        "INTERVAL DAY TO SECOND",
        "INTERVAL '1 02:03:04.5' DAY TO SECOND",
        "1 02:03:04.500000",
        _JAVA_TEXT,
    ),
)
