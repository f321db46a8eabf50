# SPDX-License-Identifier: Apache-2.0
"""What a log does not hold is told, and copied anew: nothing is passed over in silence."""

from __future__ import annotations

import time

import pymysql
import pytest

from ipai_kit.exceptions import ConfigurationError, CredentialsError
from ipai_kit.testing.runs import run_tap
from ipai_kit.waiting import Waiting
from tap_jdbc.tap import TapJdbc


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


def commit_elsewhere(server, statement):
    """A prepared transaction is another session's only when its own has ended."""
    until = time.monotonic() + 60
    with server.connect() as other, other.cursor() as cursor:
        while True:
            try:
                cursor.execute(statement)
            except pymysql.err.OperationalError:
                assert time.monotonic() < until
                time.sleep(0.05)
            else:
                return


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
    shop.connection.close()
    commit_elsewhere(shop.server, "XA COMMIT 'one'")
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
