# SPDX-License-Identifier: Apache-2.0
"""Rows by position: whatever the type of the ordering columns, nothing is lost or doubled."""

from __future__ import annotations

import itertools

import pytest

from ipai_kit.exceptions import ConfigurationError, StreamUnavailableError
from ipai_kit.sql.database import Selection
from ipai_kit.testing import database_values

TYPED = {
    "mariadb": database_values.MARIADB,
    "mysql": database_values.MYSQL,
    "sqlite": database_values.SQLITE,
    "duckdb": database_values.DUCKDB,
    "h2": database_values.H2,
    "hsqldb": database_values.HSQLDB,
}


def insert(rows):
    return "INSERT INTO t VALUES " + ", ".join(f"({one})" for one in rows)


@pytest.fixture
def ties(database):
    """Thirty rows with three moments, a number with two decimals, and a moment that is null."""
    database.execute(
        "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, d DECIMAL(10,2), n INTEGER)",
        insert(f"{n}, {(n % 3) * 9.5}, {n % 5 if n % 7 else 'NULL'}" for n in range(1, 31)),
    )
    return database


def walk(database, table, order, limit, **more):
    """Read in pieces, each from where the last one ended, as a run that is often killed does."""
    found, after = [], None
    while True:
        rows = database.records(table, order=order, after=after, limit=limit, **more)
        if not rows:
            return found
        found += rows
        after = tuple(rows[-1][name] for name in order)


def name(table, text):
    return next(column.name for column in table.columns if column.name.lower() == text)


@pytest.mark.parametrize("limit", [1, 4, 30])
def test_ties_are_neither_lost_nor_repeated(ties, limit):
    table = ties.table("t")
    key, cursor = name(table, "id"), name(table, "d")

    rows = walk(ties, table, (cursor, key), limit)

    expected = sorted(((n % 3) * 9.5, n) for n in range(1, 31))
    assert expected == [(float(row[cursor]), row[key]) for row in rows]


def test_positions_bound_what_is_read(ties):
    table = ties.table("t")
    key, cursor, n = (name(table, one) for one in ("id", "d", "n"))
    ids = lambda rows: sorted(row[key] for row in rows)  # noqa: E731

    last = ties.open().position(Selection(table, [], (cursor, key)), backwards=True)
    fifth = ties.open().position(Selection(table, [], (key,)), skip=4)
    none = ties.open().position(Selection(table, [], (key,), after=(30,)))

    assert (19.0, 29) == (float(last[0]), last[1])
    assert ((5,), None) == (fifth, none)
    order = (cursor, key)
    assert 30 == len(ties.records(table, order=order, until=last))
    assert [29] == ids(ties.records(table, order=order, after=(last[0], 26)))
    assert 10 == len(ties.records(table, order=order, since=last[0]))
    assert [7, 14, 21, 28] == ids(ties.records(table, order=(key,), null=n))
    assert 26 == len(ties.records(table, order=(n, key), not_null=n))
    assert [2] == ids(ties.records(table, order=(key,), where=f"{key} IN (2, 4) AND {key} < 4"))


def test_every_type_that_has_an_order_leads_back_to_its_row(database, kind):
    for statement in database_values.table_of(TYPED[kind]):
        database.execute(statement)
    table = database.table("every_type")
    key, wrong, further = table.columns[0].name, [], database.reader.another()
    for column in table.columns[1:]:
        if not column.sortable:
            continue
        order = (column.name, key)
        here = Selection(table, [key], order, not_null=column.name)
        position = further.position(here)
        if position[0] == "AP8=":  # bytes in a column of SQLite that says it is text
            continue
        count = {
            "after": len(
                database.records(
                    table, columns=[key], order=order, after=position, not_null=column.name
                )
            ),
            "until": len(database.records(table, columns=[key], order=order, until=position)),
            "since": len(database.records(table, columns=[key], order=order, since=position[0])),
        }
        if count != {"after": 0, "until": 1, "since": 1}:
            wrong.append((column.native_type, position, count))
    further.close()

    assert wrong == []


def test_odd_names_are_quoted(database, kind):
    quote = "`" if kind in ("mariadb", "mysql") else '"'
    odd = ["select", "per%cent", "co:lon", "sp ace", f"qu{quote * 2}ote", "Mixed"]
    columns = ", ".join(f"{quote}{one}{quote} INTEGER" for one in odd)
    database.execute(
        f"CREATE TABLE {quote}odd %t{quote} (id INTEGER NOT NULL PRIMARY KEY, {columns})",
        f"INSERT INTO {quote}odd %t{quote} VALUES (1, 1, 2, 3, 4, 5, 6)",
    )
    table = database.table("odd %t")
    names = [column.name for column in table.columns]

    (record,) = database.records(
        table, order=names, after=(0, *range(1, 7)), where="'100%' = '100%'"
    )

    assert [1, 1, 2, 3, 4, 5, 6] == list(record.values())
    assert f"qu{quote}ote" in record


def test_the_catalog_knows_keys_views_and_comments(database, kind):
    database.execute(
        "CREATE TABLE plain (a INTEGER NOT NULL, b VARCHAR(5) NOT NULL, c INTEGER, "
        "PRIMARY KEY (b, a))",
        "CREATE TABLE other (x INTEGER NOT NULL, y INTEGER, z INTEGER NOT NULL, "
        "UNIQUE (z, x), UNIQUE (y))",
        "CREATE TABLE keyless (x INTEGER)",
        "CREATE VIEW seen AS SELECT a, b FROM plain",
    )
    if kind in ("mariadb", "mysql"):
        database.execute("ALTER TABLE plain COMMENT 'about', MODIFY c INTEGER COMMENT 'see'")
    elif kind != "sqlite":
        database.execute("COMMENT ON TABLE plain IS 'about'", "COMMENT ON COLUMN plain.c IS 'see'")

    found = {one.name.lower(): one for one in database.open().tables(())}

    lowered = lambda key: [one.lower() for one in key]  # noqa: E731
    assert {"plain", "other", "keyless", "seen"} == set(found)
    assert ["b", "a"] == lowered(found["plain"].primary_key)
    assert ["x", "z"] == sorted(lowered(found["other"].primary_key))
    assert (("view", ()), ("table", ())) == (
        (found["seen"].kind, found["seen"].primary_key),
        (found["keyless"].kind, found["keyless"].primary_key),
    )
    assert database.schema == found["plain"].schema == database.open().default_schema
    if kind != "sqlite":
        assert ("about", "see") == (found["plain"].comment, found["plain"].columns[2].comment)


def test_patterns_choose_tables(database):
    database.execute("CREATE TABLE one (id INTEGER)", "CREATE TABLE two (id INTEGER)")
    chosen = lambda *patterns: sorted(  # noqa: E731
        one.name.lower() for one in database.open().tables(patterns)
    )

    assert ["one"] == chosen("[oO][nN][eE]")
    assert ["one", "two"] == chosen(f"{database.schema}.*")
    assert ["two"] == chosen("!*[nN][eE]")
    assert [] == chosen("elsewhere.*")


def test_a_query_of_ones_own_is_described_and_read(ties):
    text = "SELECT id AS k, d, 'x%y:z' AS note FROM t WHERE id <= 3; "
    table = ties.open().describe("", "mine", text)
    names = [column.name for column in table.columns]

    rows = ties.records(table, order=(names[0],), after=(1,))

    assert ["k", "d", "note"] == [one.lower() for one in names]
    assert [2, 3] == [row[names[0]] for row in rows]
    assert {"x%y:z"} == {row[names[2]].strip() for row in rows}


def test_a_selection_of_no_columns_counts_rows(ties):
    blocks = ties.open().read(Selection(ties.table("t"), []))

    assert 30 == sum(block.count for block in blocks)


def test_a_reading_that_is_left_does_not_disturb_the_next(database, kind):
    database.execute("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY)", insert(range(5000)))
    table, opened = database.table("t"), database.open()
    key = table.columns[0].name
    selection = Selection(table, [key], (key,))

    rows = itertools.islice(opened.read(selection), 2)
    first = next(rows)
    meanwhile = opened.position(selection, backwards=True)
    second = next(rows)
    rows = None
    after = sum(block.count for block in opened.read(selection))

    assert ((4999,), 5000) == (meanwhile, after)
    assert first.rows[-1][key] + 1 == second.rows[0][key]


def test_what_is_gone_or_wrong_is_told(ties):
    table = ties.table("t")
    ties.execute("DROP TABLE t")
    with pytest.raises((StreamUnavailableError, ConfigurationError), match=r"answers"):
        ties.records(table)

    assert ties.open().tables(("T", "t")) == []
    with pytest.raises((StreamUnavailableError, ConfigurationError)):
        ties.open().describe("", "mine", "SELECT nothing FROM nowhere")


def test_a_connection_can_be_checked_copied_and_closed(ties):
    opened = ties.open()
    opened.check()
    other = opened.another()
    other.check()
    opened.close()
    opened.check()
    other.close()
    opened.close()
