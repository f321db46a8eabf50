# SPDX-License-Identifier: Apache-2.0
"""SQL Server and Oracle, which cannot run here: what would be sent to them, and errors told."""

from __future__ import annotations

import pytest

from ipai_kit.exceptions import (
    ConfigurationError,
    CredentialsError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.address import Address, parse_address
from ipai_kit.sql.database import Selection, Table
from ipai_kit.sql.dialects import open_dialect
from ipai_kit.sql.dialects.assembling import assembled
from ipai_kit.sql.dialects.mysql import connect_options

URLS = {"mssql": "mssql://u:p@localhost/d", "oracle": "oracle://u:p@localhost/XEPDB1"}


def compiled(kind, native, **selection):
    database = open_dialect(parse_address(URLS[kind]), {})
    columns = [
        database.column("K%", "int" if kind == "mssql" else "INTEGER"),
        database.column("C", native),
    ]
    table = Table("S", "T", columns, primary_key=["K%"])
    found = database.statements.reading(Selection(table, ["C"], **selection))
    return " ".join(found.text.split()), found.params


@pytest.mark.parametrize(
    ("kind", "native", "selected"),
    [
        ("mssql", "datetime2(7)", "CONVERT(varchar(33), q.[C], 126)"),
        ("mssql", "datetimeoffset(7)", "CONVERT(varchar(33), SWITCHOFFSET(q.[C], 0), 126)"),
        ("mssql", "money", "CAST(q.[C] AS decimal(19, 4))"),
        ("mssql", "uniqueidentifier", "CAST(q.[C] AS char(36))"),
        ("mssql", "decimal(38,20)", "q.[C]"),
        ("mssql", "geography", "q.[C].ToString()"),
        ("oracle", "NUMBER(38,20)", "TO_CHAR(q.\"C\", 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')"),
        ("oracle", "DATE", 'TO_CHAR(q."C", \'SYYYY-MM-DD"T"HH24:MI:SS\')'),
        (
            "oracle",
            "TIMESTAMP(6) WITH TIME ZONE",
            "TO_CHAR(SYS_EXTRACT_UTC(q.\"C\"), 'SYYYY-MM-DD\"T\"HH24:MI:SS.FF') || '+00:00'",
        ),
        ("oracle", "INTERVAL DAY(2) TO SECOND(6)", 'TO_CHAR(q."C")'),
        ("oracle", "VARCHAR2(10)", 'q."C"'),
    ],
)
def test_types_are_selected_as_the_databases_own_text(kind, native, selected):
    text, _ = compiled(kind, native)

    assert text.startswith(f"SELECT {selected} AS c0 FROM ")


def test_sql_server_pages_by_position():
    text, params = compiled(
        "mssql", "datetime2(3)", order=("C", "K%"), after=("2020-01-01T00:00:00", 5), limit=10
    )

    assert (
        "SELECT TOP 10 CONVERT(varchar(33), q.[C], 126) AS c0 FROM [S].[T] AS q WHERE "
        "q.[C] >= CAST(%(p_1)s AS datetime2(7)) AND (q.[C] > CAST(%(p_1)s AS datetime2(7)) "
        "OR q.[C] = CAST(%(p_1)s AS datetime2(7)) AND q.[K%%] > %(p_2)s) ORDER BY q.[C], q.[K%%]"
    ) == text
    assert {"p_1": "2020-01-01T00:00:00", "p_2": 5} == params


def test_oracle_pages_by_position():
    text, params = compiled(
        "oracle", "DATE", order=("C", "K%"), until=("2020-01-01T00:00:00", 5), limit=10
    )

    assert text.endswith(
        '(q."C" < TO_DATE(:p_1, \'SYYYY-MM-DD"T"HH24:MI:SS\') OR '
        'q."C" = TO_DATE(:p_1, \'SYYYY-MM-DD"T"HH24:MI:SS\') AND q."K%" < :p_2 OR '
        'q."C" = TO_DATE(:p_1, \'SYYYY-MM-DD"T"HH24:MI:SS\') AND q."K%" = :p_2) '
        'ORDER BY q."C", q."K%" FETCH FIRST 10 ROWS ONLY'
    )
    assert {"p_1": "2020-01-01T00:00:00", "p_2": 5} == params


@pytest.mark.parametrize("kind", sorted(URLS))
def test_the_last_and_a_later_row_are_found(kind):
    database = open_dialect(parse_address(URLS[kind]), {})
    table = Table("S", "T", [database.column("K", "int")])

    last = database.statements.position(Selection(table, [], ("K",)), skip=0, backwards=True).text
    later = database.statements.position(Selection(table, [], ("K",)), skip=7, backwards=False).text

    assert "DESC" in last
    assert "OFFSET" in later


@pytest.mark.parametrize(
    ("kind", "native", "given", "value"),
    [
        ("mssql", "bit", 1, True),
        ("mssql", "datetimeoffset(7)", "2020-01-01T08:00:00Z", "2020-01-01T08:00:00+00:00"),
        ("mssql", "rowversion", b"\0\1", "AAE="),
        ("mssql", "real", 1.100000023841858, 1.1),
        ("oracle", "INTEGER(10)", "12345678901234567890", 12345678901234567890),
        ("oracle", "NUMBER", ".5", "0.5"),
        ("oracle", "NUMBER", "-.5", "-0.5"),
        ("oracle", "DATE", " 2020-01-01T00:00:00", "2020-01-01T00:00:00"),
        ("oracle", "DATE", "-0044-03-15T00:00:00", "-0044-03-15T00:00:00"),
        ("oracle", "JSON", '{"a":1}', {"a": 1}),
    ],
)
def test_what_their_drivers_give_becomes_a_value(kind, native, given, value):
    rules = open_dialect(parse_address(URLS[kind]), {}).rules

    assert value == rules.find(native).conversion(native)(given)


def test_catalog_rows_become_tables():
    database = open_dialect(parse_address(URLS["mssql"]), {})
    columns = {
        ("s", "t"): [database.column("a", "int", nullable=False), database.column("b", "int")]
    }
    keys = [
        ("s", "t", "u1", 0, "a"),
        ("s", "t", "u2", 0, "a"),
        ("s", "t", "u2", 0, "b"),
        ("s", "t", "f", 0, None),
    ]

    table, view = assembled(
        [("s", "t", "table", 5, "about"), ("s", "v", "view", None, None)], columns, keys
    )

    assert (("a",), (("a",), ("a", "b")), 5, "about") == (
        table.primary_key,
        table.unique_keys,
        table.row_estimate,
        table.comment,
    )
    assert ("view", ()) == (view.kind, view.primary_key)


@pytest.mark.parametrize("kind", sorted(URLS))
def test_a_server_that_is_not_there_is_told(kind):
    url = URLS[kind].replace("localhost", "127.0.0.1:1") + "?connect_timeout=1"
    database = open_dialect(parse_address(url), {})

    with pytest.raises(TryAgainLaterError, match="answers"):
        database.check()
    database.close()


def test_errors_of_sql_server_are_told_apart():
    from pytds.tds_base import OperationalError, ProgrammingError

    database = open_dialect(parse_address(URLS["mssql"]), {})

    def told(kind, number):
        error = kind("no")
        error.number = number
        return type(database.failure(error))

    assert [CredentialsError, StreamUnavailableError, StreamUnavailableError] == [
        told(OperationalError, number) for number in (18456, 229, 208)
    ]
    assert (TryAgainLaterError, ConfigurationError) == (
        told(OperationalError, 0),
        told(ProgrammingError, 102),
    )


def test_errors_of_oracle_are_told_apart():
    import oracledb

    database = open_dialect(parse_address(URLS["oracle"]), {})

    class Detail:
        def __init__(self, code):
            self.code = code

    kinds = [
        type(database.failure(oracledb.DatabaseError(Detail(code))))
        for code in (1017, 1031, 942, 12541, 933)
    ]

    assert kinds == [
        CredentialsError,
        StreamUnavailableError,
        StreamUnavailableError,
        TryAgainLaterError,
        ConfigurationError,
    ]


@pytest.mark.parametrize("kind", ["mysql", "oracle"])
def test_a_way_to_another_machine_is_encrypted_or_refused(kind):
    url = f"{kind}://u:p@db.example.com/d"
    off = {"mysql": "?sslmode=disable", "oracle": "?protocol=tcp"}[kind]
    options = lambda text, **more: (  # noqa: E731
        connect_options(parse_address(text), more)
        if kind == "mysql"
        else open_dialect(parse_address(text), more).engine
    )

    with pytest.raises(ConfigurationError, match="not be encrypted"):
        options(url + off)

    assert options(url)
    assert options(url + off, allow_insecure=True)
    if kind == "mysql":
        assert options(url)["ssl"].check_hostname
        assert not options(f"{url}?sslmode=verify-ca")["ssl"].check_hostname
        assert "ssl" not in options(url, allow_insecure=True)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://u@h/d?sslmode=perhaps", "'perhaps'"),
        ("mysql://u@h/d?ssl_ca=/no/such/file", "certificates cannot be read"),
    ],
)
def test_wrong_options_of_tls_are_told(url, problem):
    with pytest.raises(ConfigurationError, match=problem):
        connect_options(parse_address(url), {})


def test_a_password_that_needs_another_package_without_tls_is_told(monkeypatch):
    def refuse(**_: object) -> None:
        message = "'cryptography' package is required"
        raise RuntimeError(message)

    monkeypatch.setattr("pymysql.connect", refuse)
    database = open_dialect(parse_address("mysql://u:p@localhost/d"), {})

    with pytest.raises(ConfigurationError, match="cannot be sent without TLS"):
        database.check()


def test_a_missing_driver_names_its_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ipai_kit.sql.dialects.duckdb", None)

    with pytest.raises(ConfigurationError, match=r"Install ipai-connector-jdbc\[duckdb\]"):
        open_dialect(Address("duckdb", database="x"), {})


@pytest.mark.parametrize(
    ("address", "settings", "problem"),
    [
        (Address("cobol"), {}, "no driver for addresses of the kind 'cobol'"),
        (parse_address("jdbc:h2:mem:x"), {}, "'jdbc_jars' names none"),
        (parse_address("jdbc:h2:mem:x"), {"jdbc_jars": ["/no.jar"]}, "no driver jar '/no.jar'"),
        (Address("duckdb", database="/no/file"), {}, "no DuckDB file"),
        (Address("sqlite", database="/no/file"), {}, "unable to open"),
    ],
)
def test_addresses_that_lead_nowhere_are_told(address, settings, problem):
    with pytest.raises(ConfigurationError, match=problem):
        open_dialect(address, settings).check()
