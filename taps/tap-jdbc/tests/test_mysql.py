# SPDX-License-Identifier: Apache-2.0
"""What only MySQL does. Its server is in no Debian release: IPAI_TEST_MYSQLD names a mysqld."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.testing.mariadb import MySQLServer, running_mysql
from ipai_kit.testing.runs import TapRun, run_tap
from tap_jdbc.tap import TapJdbc

JSON_VALUES = (
    """'{"a": 1.50, "b": [1, -2, 3.0e100, null, true, false, "x"], "": 4}'""",
    *("'null'", "'[]'", "'{}'", "'18446744073709551615'", "'-9223372036854775808'", "'-0.0'"),
    *("'1e16'", "'1e15'", "'1234567890123456.0'", "'0.1'", "'5e-324'", "'9007199254740993'"),
    "CAST(CAST('-10:11:12.5' AS TIME(3)) AS JSON)",
    "CAST(CAST('-838:59:59' AS TIME) AS JSON)",
    "CAST(DATE'2020-01-02' AS JSON)",
    "CAST(TIMESTAMP'2020-01-02 03:04:05.5' AS JSON)",
    "CAST(x'00ff' AS JSON)",
    "CAST(CAST('-123.4500' AS DECIMAL(20,4)) AS JSON)",
    "CAST(CAST('12345678901234567890.1234567890' AS DECIMAL(40,10)) AS JSON)",
    "JSON_OBJECT('k', REPEAT('y', 300), 'l', REPEAT('z', 70000), 'n', JSON_ARRAY(1, 70000, -1))",
)


@pytest.fixture(scope="module")
def mysql() -> Iterator[MySQLServer]:
    with running_mysql() as server:
        yield server


class Shop:
    """A database with a table of orders."""

    def __init__(self, server: MySQLServer, name: str, connection: Any) -> None:
        self.server, self.name, self.connection = server, name, connection

    def execute(self, *statements: str) -> None:
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def run(self, state: Any = None, **settings: Any) -> TapRun:
        config = {"url": self.server.url(self.name), "replication_method": "LOG_BASED", **settings}
        return run_tap(TapJdbc, config, state=state)

    def changes(self, run: TapRun, table: str = "orders") -> list[dict[str, Any]]:
        lines = [json.loads(line, parse_float=str) for line in run.lines]
        stream = f"{self.name}-{table}"
        rows = [
            one["record"] for one in lines if one["type"] == "RECORD" and stream in one.values()
        ]
        return [{k: v for k, v in row.items() if not k.startswith("_sdc")} for row in rows]

    def skipped(self, run: TapRun) -> list[str]:
        return [one["reason"] for one in run.events if one["event"] == "stream_skipped"]


@pytest.fixture
def shop(mysql) -> Iterator[Shop]:
    with mysql.new_database() as name, mysql.connect(name) as connection:
        found = Shop(mysql, name, connection)
        found.execute("CREATE TABLE orders (id int PRIMARY KEY, note json)")
        yield found


def test_json_is_the_same_from_the_log_and_from_the_table(shop):
    first = shop.run()
    shop.execute(*(f"INSERT INTO orders VALUES ({n}, {one})" for n, one in enumerate(JSON_VALUES)))

    assert shop.changes(shop.run(replication_method="FULL_TABLE")) == shop.changes(
        shop.run(first.state)
    )


def test_hidden_generated_and_vector_columns_are_the_same_from_both(shop):
    shop.execute(
        "CREATE TABLE odd (a int, hidden int INVISIBLE DEFAULT 5, twice int AS (a * 2) VIRTUAL,"
        " kept varchar(9) AS (concat('n', a)) STORED, v vector(2), tags json, at point SRID 4326,"
        " id int PRIMARY KEY, INDEX ((CAST(tags->'$[*]' AS unsigned array))), INDEX ((a + 1)))",
        "SET SESSION sql_generate_invisible_primary_key = ON",
        "CREATE TABLE keyed_by_the_server (note text)",
    )
    first = shop.run()
    shop.execute(
        "INSERT INTO odd (a, v, tags, at, id)"
        " VALUES (1, TO_VECTOR('[1,2]'), '[1,2]', ST_GeomFromText('POINT(1 2)', 4326), 1)",
        "INSERT INTO odd (a, id) VALUES (NULL, 2)",
        "INSERT INTO keyed_by_the_server VALUES ('x')",
    )
    logged, read = shop.run(first.state), shop.run(replication_method="FULL_TABLE")

    for table, key in (("odd", "hidden"), ("keyed_by_the_server", "my_row_id")):
        assert shop.changes(logged, table) == shop.changes(read, table)
        assert all(row[key] for row in shop.changes(read, table))


@pytest.mark.parametrize(
    ("setting", "statement", "reason"),
    [
        ("binlog_transaction_compression = ON", "DELETE FROM orders", "is compressed"),
        (
            "binlog_row_value_options = PARTIAL_JSON",
            "UPDATE orders SET note = JSON_SET(note, '$.a', 2)",
            "lacks names or values",
        ),
        ("binlog_row_image = MINIMAL", "DELETE FROM orders", "lacks names or values"),
        ("binlog_format = STATEMENT", "UPDATE orders SET note = '3'", "holds a statement"),
    ],
)
def test_what_a_session_logs_in_a_way_of_its_own_is_copied_anew(shop, setting, statement, reason):
    long = "x" * 400
    shop.execute(f"""INSERT INTO orders VALUES (1, '{{"a": 1, "long": "{long}"}}')""")
    first = shop.run()
    shop.execute(f"SET SESSION {setting}", statement)
    shop.execute("SET SESSION binlog_format = ROW")

    second = shop.run(first.state)
    third = shop.run(second.state)

    assert [True] == [reason in one for one in shop.skipped(second)]
    assert shop.changes(shop.run(replication_method="FULL_TABLE")) == shop.changes(third)


@pytest.mark.parametrize(
    "variable", ["binlog_transaction_compression = ON", "binlog_row_value_options = 'PARTIAL_JSON'"]
)
def test_a_server_that_logs_in_another_way_is_refused(shop, variable):
    name = variable.partition(" ")[0]
    shop.execute(f"SET GLOBAL {variable}")
    try:
        with pytest.raises(ConfigurationError, match=name):
            shop.run()
    finally:
        shop.execute(f"SET GLOBAL {name} = DEFAULT")


def test_a_server_without_a_log_is_refused():
    with running_mysql("--skip-log-bin") as server, server.connect() as connection:
        shop = Shop(server, "mysql_shop", connection)
        shop.execute("CREATE DATABASE mysql_shop", "CREATE TABLE mysql_shop.orders (id int)")
        with pytest.raises(ConfigurationError, match="log_bin is 'OFF'"):
            shop.run()


def test_what_is_in_the_log_but_not_yet_visible_is_not_lost(mysql):
    """A server that waits for its replica shows a transaction later than it logs it."""
    with running_mysql() as server, server.new_database() as name, server.connect(name) as one:
        shop = Shop(server, name, one)
        shop.execute(
            "CREATE TABLE orders (id int PRIMARY KEY, note json)",
            "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
            "SET GLOBAL rpl_semi_sync_source_timeout = 4000",
            "SET GLOBAL rpl_semi_sync_source_enabled = ON",
        )
        with server.connect(name) as other:
            writer = threading.Thread(
                target=Shop(server, name, other).execute,
                args=("INSERT INTO orders VALUES (1, NULL)",),
            )
            writer.start()
            time.sleep(0.7)
            first = shop.run()
            writer.join()

        second = shop.run(first.state)

    assert [1] == [row["id"] for run in (first, second) for row in shop.changes(run)][:1]


def test_a_server_that_takes_over_gives_what_came_after_the_end_of_the_run(shop, monkeypatch):
    """The global position belongs to the place, not to the moment in which it is asked for."""
    from tap_jdbc.binlog.server import LogServer

    shop.execute("INSERT INTO orders VALUES (1, NULL)")
    end = LogServer.end

    def late(self: LogServer) -> Any:
        place = end(self)
        shop.execute("INSERT INTO orders SELECT max(id) + 1, NULL FROM orders")
        return place

    first = shop.run()
    shop.execute("INSERT INTO orders VALUES (10, NULL)")
    monkeypatch.setattr(LogServer, "end", late)
    second = shop.run(first.state)
    monkeypatch.undo()
    state = second.state
    state["bookmarks"][f"{shop.name}-orders"]["log"] |= {"server": "another", "file": "x.000001"}
    third = shop.run(state)

    assert {1, 10, 11} == {row["id"] for run in (first, second, third) for row in shop.changes(run)}
    assert [] == [one for one in third.events if one["event"] == "snapshot_anew"]


def test_a_server_that_was_restarted_goes_on():
    with running_mysql() as server:
        with server.connect() as one:
            shop = Shop(server, "mysql_shop", one)
            shop.execute("CREATE DATABASE mysql_shop", "USE mysql_shop")
            shop.execute("CREATE TABLE orders (id int PRIMARY KEY, note json)")
            first = shop.run()
            shop.execute("INSERT INTO orders VALUES (1, NULL)")
        server.stop()
        server.start()
        with server.connect("mysql_shop") as one:
            Shop(server, "mysql_shop", one).execute("INSERT INTO orders VALUES (2, NULL)")

        assert [1, 2] == [row["id"] for row in shop.changes(shop.run(first.state))]
