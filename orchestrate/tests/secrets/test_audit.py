# SPDX-License-Identifier: Apache-2.0
"""The log of secrets: append-only for everybody, and a chain in which every tampering shows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.secrets import Mark, verify
from ipai_orchestrate.secrets.audit import START, read_log

Connection = psycopg.Connection[Any]

APPEND = "select connectors.append_secret_audit(%s, %s, gen_random_uuid(), null, %s)"
TABLE = "connectors.secret_audit"


@pytest.fixture(scope="module")
def shared(server: Any, migrated_template: str) -> Iterator[Connection]:
    """A database for all tests that take back what they do."""
    name = server.create(migrated_template)
    with psycopg.connect(server.dsn_of(name), autocommit=True) as connection:
        yield connection
    server.drop(name)


@pytest.fixture
def ten_rows(shared: Connection) -> Iterator[Connection]:
    """A log of ten rows, some with text that could be taken for another field."""
    with shared.transaction(force_rollback=True):
        for number in range(10):
            row = ("grant", f"s,{number}:\u00fc", None if number % 2 else "-,-")
            shared.execute(APPEND, row)
        yield shared


def tamper(connection: Connection, *statements: str) -> None:
    """Do what only the owner can: take the trigger away first."""
    connection.execute(f"alter table {TABLE} disable trigger secret_audit_append_only".encode())
    for statement in statements:
        connection.execute(statement.encode())
    connection.execute(
        f"alter table {TABLE} enable always trigger secret_audit_append_only".encode()
    )


def test_an_untouched_log_is_intact_whatever_the_size_of_its_pages(ten_rows: Connection) -> None:
    reports = [verify(ten_rows, page=page) for page in (1, 3, 10, 5000)]

    assert all(report.intact and report.rows == 10 for report in reports)
    assert len({str(report.mark) for report in reports}) == 1
    assert len(list(read_log(ten_rows, "s,3:\u00fc"))) == 1


def test_an_empty_log_is_intact(connection: Connection) -> None:
    report = verify(connection)

    assert (report.intact, report.rows, report.mark) == (True, 0, Mark(seq=0, hash=START))


COLUMNS = {
    "at": "at + interval '1 microsecond'",
    "actor": "'another'",
    "action": "'deny'",
    "secret_name": "'another'",
    "secret_id": "null",
    "run_id": "gen_random_uuid()",
    "detail": "'another'",
    "hash": "repeat('0', 64)",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_row_shows(ten_rows: Connection, column: str) -> None:
    tamper(ten_rows, f"update {TABLE} set {column} = {COLUMNS[column]} where seq = 4")

    report = verify(ten_rows)
    assert report.problem == "Row 4 is not as it was written, or not in its place."
    assert report.rows == 3


TAMPERED = {
    "one removed": (f"delete from {TABLE} where seq = 4", "Row 4 is missing."),
    "the first removed": (f"delete from {TABLE} where seq = 1", "Row 1 is missing."),
    "the last removed": (f"delete from {TABLE} where seq > 8", "Rows 9 to 10 are missing at"),
    "all removed": (f"delete from {TABLE}", "Rows 1 to 10 are missing at the end."),
    "two exchanged": (
        (
            f"update {TABLE} set seq = case seq when 4 then 105 else 104 end where seq in (4, 5);"
            f"update {TABLE} set seq = seq - 100 where seq > 100"
        ),
        "Row 4 is not as it was written, or not in its place.",
    ),
    "one removed and the others moved up": (
        (
            f"delete from {TABLE} where seq = 4;"
            f"update {TABLE} set seq = seq + 100 where seq > 4;"
            f"update {TABLE} set seq = seq - 101 where seq > 100"
        ),
        "Row 4 is not as it was written, or not in its place.",
    ),
    "one put in": (
        (
            f"insert into {TABLE} select 11, at, actor, action, secret_name, secret_id, run_id,"
            " detail,"
            f" hash from {TABLE} where seq = 3"
        ),
        "Row 11 is not as it was written, or not in its place.",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_removed_moved_or_added_row_shows(ten_rows: Connection, what: str) -> None:
    statement, problem = TAMPERED[what]
    tamper(ten_rows, statement)

    assert (verify(ten_rows).problem or "").startswith(problem)


def test_a_log_that_was_written_anew_shows_by_a_mark_kept_elsewhere(ten_rows: Connection) -> None:
    mark = verify(ten_rows).mark
    ten_rows.execute(APPEND, ("read", "later", None))
    assert verify(ten_rows, mark).intact
    tamper(
        ten_rows,
        f"delete from {TABLE}",
        f"update connectors.secret_audit_head set seq = 0, hash = '{START}'",
    )
    for number in range(12):
        ten_rows.execute(APPEND, ("grant", f"innocent {number}", None))

    assert verify(ten_rows).intact
    assert verify(ten_rows, mark).problem == f"Row 10 is not the one of mark {mark}."
    longer = Mark(seq=20, hash=mark.hash)
    assert verify(ten_rows, longer).problem == "Rows 13 to 20 are missing at the end."


@pytest.mark.parametrize("text", ["", "17", "x:" + "0" * 64, "17:0"])
def test_a_mark_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no mark of the log"):
        Mark.parse(text)
    assert str(Mark.parse("17:" + "0" * 64)) == "17:" + "0" * 64


@pytest.mark.parametrize(
    "statement",
    [
        f"update {TABLE} set actor = 'another'",
        f"delete from {TABLE}",
        f"truncate {TABLE}",
        "delete from connectors.secret_audit_head",
        "truncate connectors.secret_audit_head",
        f"set session_replication_role = replica; delete from {TABLE}",
    ],
)
def test_not_even_the_owner_changes_the_log_by_accident(
    ten_rows: Connection, statement: str
) -> None:
    with (
        pytest.raises(psycopg.Error, match="cannot be changed by") as caught,
        ten_rows.transaction(),
    ):
        ten_rows.execute(statement.encode())
    assert caught.value.sqlstate == "PT409"


def test_many_writers_make_one_chain(database: str, connection: Connection) -> None:
    wrong: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with psycopg.connect(database, autocommit=True) as own:
                for count in range(25):
                    undone = count % 5 == 0
                    with own.transaction(force_rollback=undone):
                        own.execute(APPEND, ("read", f"by {number}", None))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    report = verify(connection)
    assert (report.problem, report.rows) == (None, 8 * 20)


def test_who_holds_the_log_makes_others_wait_but_not_for_ever(
    database: str, connection: Connection
) -> None:
    with psycopg.connect(database) as holder:
        holder.execute(APPEND, ("read", "held", None))
        connection.execute(
            "alter function connectors.append_secret_audit set lock_timeout = '50ms'"
        )
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute(APPEND, ("read", "waiting", None))


def test_the_log_also_goes_where_no_rollback_reaches(
    connection: Connection, server: Any, journal: Callable[[], list[Any]]
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(APPEND, ("grant", "rolled/back", "and yet"))

    assert journal() == []
    assert b"ipai secret grant: rolled/back by postgres" in (
        (server.home / "server" / "server.log").resolve().read_bytes()
    )
