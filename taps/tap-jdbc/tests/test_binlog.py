# SPDX-License-Identifier: Apache-2.0
"""The binary log of a real MariaDB: every change arrives once, as the table would show it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest

from ipai_kit.exceptions import ConfigurationError, CredentialsError
from ipai_kit.testing import database_values
from ipai_kit.testing.mariadb import (
    MYSQL_PROGRAM,
    MariaDBServer,
    running_mariadb,
    running_mysql,
)
from ipai_kit.testing.runs import TapRun, run_tap
from ipai_kit.waiting import Waiting
from tap_jdbc.tap import TapJdbc

RUNNING = {"mariadb": running_mariadb, "mysql": running_mysql}


@pytest.fixture(scope="module", params=RUNNING if os.environ.get(MYSQL_PROGRAM) else ["mariadb"])
def mariadb(request: pytest.FixtureRequest) -> Iterator[MariaDBServer]:
    with RUNNING[request.param]() as server:
        yield server


@dataclass
class Shop:
    """A database with a table of orders."""

    server: MariaDBServer
    name: str
    connection: pymysql.connections.Connection[Any]

    @property
    def is_mysql(self) -> bool:
        return self.server.url().startswith("mysql")

    def only(self, kind: str) -> None:
        if not self.server.url().startswith(kind):
            pytest.skip(f"only {kind} has this")

    def execute(self, *statements: str) -> None:
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def query(self, text: str) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall()

    def run(self, state: Any = None, **settings: Any) -> TapRun:
        config = {"url": self.server.url(self.name), "replication_method": "LOG_BASED", **settings}
        return run_tap(TapJdbc, config, state=state)

    @property
    def stream(self) -> str:
        return f"{self.name}-orders"

    def changes(self, run: TapRun, stream: str = "") -> list[tuple[Any, ...]]:
        """What happened: `(id, note)` of a row, `(id,)` of a tombstone."""
        return [
            (row["id"],) if row["_sdc_deleted_at"] else (row["id"], row["note"])
            for row in run.records.get(stream or self.stream, [])
        ]

    def skipped(self, run: TapRun) -> list[str]:
        return [one["reason"] for one in run.events if one["event"] == "stream_skipped"]

    def anew(self, run: TapRun) -> list[str]:
        return [one["reason"] for one in run.events if one["event"] == "snapshot_anew"]


@pytest.fixture
def shop(mariadb) -> Iterator[Shop]:
    with mariadb.new_database() as name, mariadb.connect(name) as connection:
        found = Shop(mariadb, name, connection)
        found.execute(
            "CREATE TABLE orders (id int PRIMARY KEY, note varchar(50))",
            "INSERT INTO orders VALUES (1, 'one'), (2, 'two'), (3, 'three')",
        )
        yield found


def test_a_whole_table_comes_first_and_then_its_changes(shop):
    first = shop.run()
    shop.execute(
        "INSERT INTO orders VALUES (4, 'four')",
        "UPDATE orders SET note = 'deux' WHERE id = 2",
        "DELETE FROM orders WHERE id = 1",
        "UPDATE orders SET id = 33 WHERE id = 3",
    )
    second = shop.run(first.state)
    third = shop.run(second.state)

    assert [(1, "one"), (2, "two"), (3, "three")] == shop.changes(first)
    assert [(4, "four"), (2, "deux"), (1,), (3,), (33, "three")] == shop.changes(second)
    assert ([], second.state) == (shop.changes(third), third.state)
    positions = [row["_sdc_lsn"] for run in (first, second) for row in run.records[shop.stream]]
    assert sorted(positions) == positions
    assert {"_sdc_deleted_at", "_sdc_lsn"} < set(
        second.schemas[shop.stream]["schema"]["properties"]
    )


def test_every_type_is_the_same_from_the_log_and_from_the_table(shop):
    cases = database_values.MYSQL if shop.is_mysql else database_values.MARIADB
    create, *inserts = database_values.table_of(cases)
    shop.execute(create)
    first = shop.run()
    shop.execute(*inserts)

    logged = shop.run(first.state).records[f"{shop.name}-every_type"]
    read = shop.run(replication_method="FULL_TABLE").records[f"{shop.name}-every_type"]

    for one, other in zip(logged, read, strict=True):
        natives = ["id", *(case.native for case in cases)]
        differing = [
            (native, one[name], value)
            for native, (name, value) in zip(natives, other.items(), strict=True)
            if one[name] != value
        ]
        assert differing == []


def test_what_was_rolled_back_never_happened(shop):
    first = shop.run()
    shop.connection.begin()
    shop.execute("INSERT INTO orders VALUES (9, 'never')")
    shop.connection.rollback()
    shop.execute("INSERT INTO orders VALUES (4, 'four')")

    assert [(4, "four")] == shop.changes(shop.run(first.state))


def test_changes_during_the_copy_are_not_lost(shop):
    """Three streams: what changes while one is copied lies behind the position of all."""
    shop.execute("CREATE TABLE a_first (id int PRIMARY KEY, note text)")
    run = shop.run()
    shop.execute(
        "UPDATE orders SET note = 'later' WHERE id = 1", "INSERT INTO a_first VALUES (1, 'x')"
    )
    state = run.state
    added = state["bookmarks"].pop(f"{shop.name}-a_first")

    second = shop.run(state)

    assert [(1, "later")] == shop.changes(second)
    assert [(1, "x")] == shop.changes(second, f"{shop.name}-a_first")
    assert added["log"]["file"]


def test_a_run_that_was_killed_in_its_copy_goes_on_there(shop):
    shop.execute(*(f"INSERT INTO orders VALUES ({n}, 'many')" for n in range(4, 101)))
    whole = shop.run(chunk_rows=10)
    log = whole.state["bookmarks"][shop.stream]
    broken = {
        **log,
        "snapshot": {"order": ["id"], "version": log["version"], "until": [100], "after": [40]},
    }
    shop.execute("DELETE FROM orders WHERE id = 2", "UPDATE orders SET note = 'new' WHERE id = 50")

    run = shop.run({"bookmarks": {shop.stream: broken}})

    changes = shop.changes(run)
    assert list(range(41, 101)) == [one[0] for one in changes[:60]]
    assert [(2,), (50, "new")] == changes[60:]


def test_tables_emptied_begin_a_generation(shop):
    first = shop.run()
    shop.execute(
        "INSERT INTO orders VALUES (4, 'four')",
        "TRUNCATE TABLE orders",
        "INSERT INTO orders VALUES (5, 'five')",
    )
    run = shop.run(first.state)

    versions = [one for one in run.messages if one["type"] in ("ACTIVATE_VERSION", "RECORD")]
    kinds = [one["type"][0] for one in versions]
    assert ["A", "R", "A", "R"] == kinds
    assert versions[0]["version"] < versions[2]["version"] == versions[3]["version"]


def test_columns_that_come_and_go_are_followed(shop):
    first = shop.run()
    shop.execute(
        "ALTER TABLE orders ADD size int unsigned",
        "INSERT INTO orders VALUES (4, 'four', 4294967295)",
        "ALTER TABLE orders DROP note, ADD state enum('new','old') AFTER id",
        "INSERT INTO orders VALUES (5, 'old', 1)",
    )
    run = shop.run(first.state)

    four, five = run.records[shop.stream]
    assert ("four", 4294967295) == (four["note"], four["size"])
    assert ("old", 1) == (five["state"], five["size"])
    assert "note" in run.schemas[shop.stream]["schema"]["properties"]


def test_a_log_that_was_purged_leads_to_a_new_copy(shop):
    first = shop.run()
    shop.execute("DELETE FROM orders WHERE id = 1", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
    newest = shop.query("SHOW BINARY LOGS")[-1][0]
    until = time.monotonic() + 60
    while len(shop.query("SHOW BINARY LOGS")) > 1:  # a reader that has just left still holds one
        assert time.monotonic() < until
        shop.execute(f"PURGE BINARY LOGS TO '{newest}'")
        time.sleep(0.1)

    run = shop.run(first.state)

    assert [(2, "two"), (3, "three")] == shop.changes(run)
    assert ["the log was purged"] == shop.anew(run)
    entry = run.state["bookmarks"][shop.stream]
    before = first.state["bookmarks"][shop.stream]
    assert entry["version"] > before["version"]
    assert entry["replication_key_value"] > before["replication_key_value"]


def test_a_log_that_was_reset_is_noticed_though_its_files_have_the_same_names(mariadb):
    with running_mariadb() as server, server.new_database() as name, server.connect(name) as one:
        shop = Shop(server, name, one)
        shop.execute("RESET MASTER", "CREATE TABLE orders (id int PRIMARY KEY, note text)")
        shop.execute(*(f"DELETE FROM orders WHERE id = {n}" for n in range(9)))
        shop.execute("INSERT INTO orders VALUES (100, 'x')", "DELETE FROM orders")
        first = shop.run()
        long = "x" * 500
        shop.execute("RESET MASTER")
        shop.execute(*(f"INSERT INTO orders VALUES ({n}, '{long}')" for n in range(9)))

        run = shop.run(first.state)

        assert ["the log was reset"] == shop.anew(run)
        assert 9 == len(shop.changes(run))
        before = first.state["bookmarks"][shop.stream]["replication_key_value"]
        assert run.records[shop.stream][0]["_sdc_lsn"] > before


def test_a_server_that_takes_over_is_followed_by_the_global_position(shop):
    first = shop.run()
    shop.execute("INSERT INTO orders VALUES (4, 'four')")
    state = first.state
    before = state["bookmarks"][shop.stream]
    before["log"] |= {"server": "id 99", "file": "other.000001", "offset": 4}

    run = shop.run(state)

    assert [(4, "four")] == shop.changes(run)
    assert run.records[shop.stream][0]["_sdc_lsn"] > before["replication_key_value"]
    assert [] == shop.changes(shop.run(run.state))


def test_statements_instead_of_rows_are_refused_and_copied_anew(shop):
    first = shop.run()
    shop.execute("SET SESSION binlog_format = STATEMENT", "UPDATE orders SET note = 'silent'")
    shop.execute("SET SESSION binlog_format = ROW")

    second = shop.run(first.state)
    third = shop.run(second.state)

    assert ["The log holds a statement"] == [one[:25] for one in shop.skipped(second)]
    assert [(n, "silent") for n in (1, 2, 3)] == shop.changes(third)


def test_rows_without_all_their_columns_are_refused(shop):
    first = shop.run()
    shop.execute(
        "SET SESSION binlog_row_image = MINIMAL", "UPDATE orders SET note = 'x' WHERE id = 1"
    )
    shop.execute("SET SESSION binlog_row_image = FULL")

    assert ["lacks names or values"] == [
        one.partition("orders' ")[2][:21] for one in shop.skipped(shop.run(first.state))
    ]


def test_a_table_without_key_and_a_compressed_column_leave_the_others_alone(shop):
    shop.only("mariadb")
    shop.execute(
        "CREATE TABLE keyless (n int)", "CREATE TABLE wide (id int PRIMARY KEY, c text COMPRESSED)"
    )
    first = shop.run()
    shop.execute("INSERT INTO orders VALUES (4, 'four')", "INSERT INTO wide VALUES (1, 'x')")
    second = shop.run(first.state)

    assert 3 == len(shop.changes(first))
    assert ["has no key", "compressed"] == [
        word
        for word in ("has no key", "compressed")
        if any(word in reason for reason in shop.skipped(first))
    ]
    assert [(4, "four")] == shop.changes(second)


@pytest.mark.parametrize(
    ("variable", "wrong", "right"),
    [("binlog_row_metadata", "MINIMAL", "FULL"), ("binlog_row_image", "NOBLOB", "FULL")],
)
def test_a_log_that_does_not_hold_enough_is_told(shop, variable, wrong, right):
    shop.execute(f"SET GLOBAL {variable} = {wrong}")
    try:
        with pytest.raises(ConfigurationError, match=f"{variable} is '{wrong}'"):
            shop.run()
    finally:
        shop.execute(f"SET GLOBAL {variable} = {right}")


def test_a_user_without_rights_is_told(shop):
    shop.execute("CREATE USER IF NOT EXISTS reader", f"GRANT SELECT ON {shop.name}.* TO reader")
    config = {"url": shop.server.url(shop.name, "reader"), "replication_method": "LOG_BASED"}

    with pytest.raises(CredentialsError, match="may not read the log"):
        run_tap(TapJdbc, config)


def test_only_what_is_selected_leaves(shop):
    config = {"url": shop.server.url(shop.name), "replication_method": "LOG_BASED"}
    catalog = TapJdbc(config=config).catalog_dict
    for entry in catalog["streams"][0]["metadata"]:
        if entry["breadcrumb"][-1:] in (["note"], ("note",)):
            entry["metadata"]["selected"] = False
    first = run_tap(TapJdbc, config, catalog=catalog)
    shop.execute("INSERT INTO orders VALUES (4, 'four')")
    second = run_tap(TapJdbc, config, catalog=catalog, state=first.state)

    for run, ids in ((first, [1, 2, 3]), (second, [4])):
        assert ids == [row["id"] for row in run.records[shop.stream]]
        assert all("note" not in row for row in run.records[shop.stream])


@pytest.mark.slow
def test_a_server_that_crashes_keeps_what_it_promised(tmp_path):
    with running_mariadb("--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1") as server:
        with server.connect() as one:
            shop = Shop(server, "mysql_shop", one)
            shop.execute("CREATE DATABASE mysql_shop", "USE mysql_shop")
            shop.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)")
        first = shop.run()
        with server.connect("mysql_shop") as one:
            Shop(server, "mysql_shop", one).execute("INSERT INTO orders VALUES (1, 'kept')")
        server.stop(signal.SIGKILL)
        server.start()

        assert [(1, "kept")] == shop.changes(shop.run(first.state))


def test_errors_of_the_log_say_what_to_do(shop):
    from ipai_kit.sql.address import parse_address
    from ipai_kit.sql.dialects.mysql import MySQLDatabase
    from tap_jdbc.binlog.exceptions import LogLostError
    from tap_jdbc.binlog.server import LogServer, place_of

    database = MySQLDatabase(parse_address(shop.server.url(shop.name)), {})
    server = LogServer(database)
    server.check()
    end = server.end()

    assert server.holds(end)
    assert not server.holds(place_of("bin.999999", 4))
    assert server.beginning(Waiting()) == end
    with pytest.raises(LogLostError, match="no number"):
        place_of("binlog", 4)
    database.close()


@pytest.mark.parametrize(
    "swap",
    [
        "RENAME TABLE orders TO old, ghost TO orders",
        "ALTER TABLE orders RENAME old; ALTER TABLE ghost RENAME TO orders",
    ],
)
def test_a_table_that_takes_a_followed_name_is_copied_anew(shop, swap):
    first = shop.run(tables=["orders"])
    shop.execute("CREATE TABLE ghost LIKE orders", "INSERT INTO ghost VALUES (7, 'seven')")
    shop.execute(*swap.split("; "))

    second = shop.run(first.state, tables=["orders"])
    third = shop.run(second.state, tables=["orders"])

    assert shop.changes(third) == [(7, "seven")]


def test_an_xa_transaction_counts_when_it_is_committed(shop):
    """Its rows are in the log when it is prepared; whether they hold is said later, or never."""
    wrote = "XA START 'one'; INSERT INTO orders VALUES (4, 'four'); XA END 'one'"
    first = shop.run()
    shop.execute(*wrote.split("; "), "XA COMMIT 'one' ONE PHASE")
    second = shop.run(first.state)
    shop.execute(*wrote.replace("4", "5").split("; "), "XA PREPARE 'one'", "XA ROLLBACK 'one'")
    third = shop.run(second.state)
    fourth = shop.run(third.state)
    shop.execute(*wrote.replace("4", "6").split("; "), "XA PREPARE 'one'")
    fifth = shop.run(fourth.state)
    sixth = shop.run(fifth.state)
    with shop.server.connect(shop.name) as other, other.cursor() as cursor:
        shop.connection.close()  # a prepared transaction belongs to its session
        cursor.execute("XA COMMIT 'one'")
    seventh = shop.run(sixth.state)
    eighth = shop.run(seventh.state)

    assert [(4, "four")] == shop.changes(second)
    assert [1, 2, 3, 4] == [one[0] for one in shop.changes(fourth)]
    assert [1, 2, 3, 4] == [one[0] for one in shop.changes(sixth)]
    assert [1, 2, 3, 4, 6] == [one[0] for one in shop.changes(eighth)]
    assert [1, 1, 1] == [len(shop.skipped(one)) for one in (third, fifth, seventh)]
    shop.connection.connect()


@pytest.mark.parametrize(
    ("statement", "truncated", "copied"),
    [
        ("DROP TABLE IF EXISTS other, orders", True, False),
        ("ALTER TABLE orders TRUNCATE PARTITION low", False, True),
        ("ALTER TABLE orders EXCHANGE PARTITION low WITH TABLE other", False, True),
        ("ALTER TABLE other COMMENT 'alter orders'", False, False),
    ],
)
def test_rows_that_go_without_being_logged_are_noticed(shop, statement, truncated, copied):
    shop.execute("CREATE TABLE other LIKE orders")
    shop.execute(
        "ALTER TABLE orders PARTITION BY RANGE (id)"
        " (PARTITION low VALUES LESS THAN (3), PARTITION high VALUES LESS THAN MAXVALUE)"
    )
    first = shop.run(tables=["orders"])
    shop.execute(statement, "CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY, note text)")
    second = shop.run(first.state, tables=["orders"])
    version, later = (one.state["bookmarks"][shop.stream].get("version") for one in (first, second))

    assert (truncated or copied) == (version != later)
    assert copied == bool(shop.skipped(second))
