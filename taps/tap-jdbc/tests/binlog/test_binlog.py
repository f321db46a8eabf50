# SPDX-License-Identifier: Apache-2.0
"""The binary log of a real server: every change arrives once, as the table would show it."""

from __future__ import annotations

import signal
import time

import pytest

from ipai_kit.sql.dialects.mysql import MySQLDatabase
from ipai_kit.testing import database_values
from ipai_kit.testing.mariadb import running_mariadb
from ipai_kit.testing.runs import run_tap
from tap_jdbc.tap import TapJdbc


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


def test_the_server_is_asked_about_columns_once_until_they_change(shop, monkeypatch):
    asked, fetch = [], MySQLDatabase.fetch

    def counted(database, text, *values):
        asked.append("character_set_name" in text)
        return fetch(database, text, *values)

    first = shop.run()
    shop.execute(*(f"INSERT INTO orders VALUES ({number}, 'x')" for number in (4, 5, 6)))
    shop.execute("ALTER TABLE orders MODIFY note varchar(50) CHARACTER SET latin1")
    shop.execute(*(f"INSERT INTO orders VALUES ({number}, 'é')" for number in (7, 8)))
    monkeypatch.setattr(MySQLDatabase, "fetch", counted)

    second = shop.run(first.state)

    assert [note for _, note in shop.changes(second)] == ["x", "x", "x", "é", "é"]
    assert sum(asked) == 2


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


def test_a_log_that_was_reset_is_noticed_though_its_files_have_the_same_names(open_shop):
    with running_mariadb() as server, server.new_database() as name, server.connect(name) as one:
        shop = open_shop(server, name, one)
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
def test_a_server_that_crashes_keeps_what_it_promised(open_shop):
    with running_mariadb("--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1") as server:
        with server.connect() as one:
            shop = open_shop(server, "mysql_shop", one)
            shop.execute("CREATE DATABASE mysql_shop", "USE mysql_shop")
            shop.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)")
        first = shop.run()
        with server.connect("mysql_shop") as one:
            open_shop(server, "mysql_shop", one).execute("INSERT INTO orders VALUES (1, 'kept')")
        server.stop(signal.SIGKILL)
        server.start()

        assert [(1, "kept")] == shop.changes(shop.run(first.state))
