# SPDX-License-Identifier: Apache-2.0
"""A database that goes away, refuses, or answers too late."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ipai_kit.exceptions import InternalError, TryAgainLaterError
from target_bronze_postgres.faults import Fate, explain, fate_of

Make = Callable[..., Any]


def things(bronze: Any) -> list[tuple[Any, ...]]:
    query = "select (record->'id')::int from ipai_bronze_core.raw_singer_things order by 1"
    return list(bronze.query(query))


@pytest.mark.parametrize(
    ("state", "fate", "exit_code"),
    [
        ("08006", Fate.RETRY, 75),
        ("40001", Fate.RETRY, 75),
        ("40P01", Fate.RETRY, 75),
        ("57P01", Fate.RETRY, 75),
        ("53300", Fate.RETRY, 75),
        ("55P03", Fate.RETRY, 75),
        ("25006", Fate.RETRY, 75),
        ("23505", Fate.RETRY, 75),
        ("53100", Fate.STOP, 75),
        ("42501", Fate.STOP, 77),
        ("28P01", Fate.STOP, 77),
        ("3D000", Fate.STOP, 78),
        ("22P02", Fate.EXAMINE_DATA, 70),
        ("54000", Fate.EXAMINE_DATA, 70),
        ("42601", Fate.STOP, 70),
        ("0A000", Fate.INSERT, 70),
    ],
)
def test_what_an_error_means_depends_on_its_state(state: str, fate: Fate, exit_code: int) -> None:
    error = psycopg.errors.lookup(state)("value 'canary' is wrong")

    assert fate_of(error) is fate
    assert explain(error).exit_code == exit_code
    assert ("canary" in str(explain(error))) == (state != "22P02")


def test_errors_without_a_state_are_told_by_their_kind() -> None:
    lost = psycopg.OperationalError("server closed the connection unexpectedly")
    odd = psycopg.InterfaceError("the driver is confused")

    assert (fate_of(lost), fate_of(odd)) == (Fate.RETRY, Fate.STOP)
    assert isinstance(explain(lost), TryAgainLaterError)
    assert isinstance(explain(odd), InternalError)
    assert explain(psycopg.OperationalError()).exit_code == 75


@pytest.mark.parametrize(
    ("dsn", "exit_code", "message"),
    [
        ("host=no-such-host.invalid dbname=x user=y password=canary", 78, "was not found"),
        ("nonsense canary", 78, "'database_url' is not a Postgres connection string"),
        ("postgresql://user:canary@localhost:port/x", 78, "was not found"),
        ("host=/nowhere user=x password=canary", 75, "cannot be reached"),
    ],
)
def test_a_database_that_cannot_be_reached_is_told_apart(
    run_target: Make, schema: Make, dsn: str, exit_code: int, message: str
) -> None:
    done = run_target([schema()], database_url=dsn, retry_seconds=0.3)

    assert done.exit_code == exit_code
    assert message in done.error
    assert "canary" not in done.stderr


def test_an_unknown_database_or_role_is_a_wrong_setting(
    run_target: Make, server: Any, schema: Make
) -> None:
    database = run_target([schema()], database_url=server.dsn("missing"))
    role = run_target([schema()], database_url=server.dsn(user="missing"))

    assert (database.exit_code, role.exit_code) == (78, 77)
    assert 'database "missing" does not exist' in database.error
    assert 'role "missing" does not exist' in role.error


@pytest.fixture
def plain_role(server: Any) -> Iterator[str]:
    """A role that may only log in."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("create role plain login nosuperuser")
        yield "plain"
        admin.execute("reassign owned by plain to postgres")
        admin.execute("drop owned by plain")
        admin.execute("drop role plain")


def test_a_missing_grant_is_named(
    run_target: Make, server: Any, plain_role: str, schema: Make
) -> None:
    done = run_target([schema()], database_url=server.dsn(user=plain_role))

    assert done.exit_code == 77
    assert "lacks a grant: permission denied for database" in done.error


def test_a_role_that_may_create_schemas_needs_nothing_more(
    bronze: Any, run_target: Make, server: Any, plain_role: str, schema: Make, record: Make
) -> None:
    bronze.connection.execute("grant create on database postgres to plain")
    bad = '{"type":"RECORD","stream":"things","record":{"v":1}}'
    lines = [
        schema(),
        record(id=1, version=1),
        {"type": "ACTIVATE_VERSION", "stream": "things", "version": 1},
    ]

    for number in range(2):
        done = run_target(
            [*lines, record(id=1, v=number), bad], database_url=server.dsn(user=plain_role)
        )
        assert done.exit_code == 0

    assert things(bronze) == [(1,)]
    assert len(bronze.letters()) == 1


def test_a_role_without_create_uses_what_is_there(
    bronze: Any, run_target: Make, server: Any, plain_role: str, schema: Make, record: Make
) -> None:
    bad = '{"type":"RECORD","stream":"things","record":{"v":1}}'
    activate = {"type": "ACTIVATE_VERSION", "stream": "things", "version": 1}
    lines = [schema(), record(id=1, version=1), bad, activate]
    run_target(lines)
    bronze.connection.execute("grant usage on schema ipai_bronze_core to plain")
    bronze.connection.execute("""grant select, insert, update, delete on all tables
        in schema ipai_bronze_core to plain""")

    done = run_target([*lines, record(id=2)], database_url=server.dsn(user=plain_role))

    assert done.exit_code == 0
    assert things(bronze) == [(1,), (2,)]


def test_a_table_with_row_level_security_takes_inserts_where_it_refuses_copy(
    bronze: Any, run_target: Make, server: Any, plain_role: str, schema: Make, record: Make
) -> None:
    run_target([schema(), record(id=1, v=0), record(id=2, v=0)])
    bronze.connection.execute("""
        grant usage, create on schema ipai_bronze_core to plain;
        grant select, insert, update on all tables in schema ipai_bronze_core to plain;
        alter table ipai_bronze_core.raw_singer_things enable row level security;
        create policy everything on ipai_bronze_core.raw_singer_things to plain using (true)""")
    huge = '{"type":"RECORD","stream":"things","record":{"id":9,"v":1e999999}}'
    lines = [schema(), record(id=1, v=0), record(id=2, v=1), huge, record(id=3, v=1)]

    done = run_target(lines, database_url=server.dsn(user=plain_role))

    assert done.exit_code == 0
    assert [done.total(name) for name in ("inserted", "updated", "unchanged", "dead")] == [
        1,
        1,
        1,
        1,
    ]
    assert bronze.rows("things", "record_key, (record->'v')::int") == [
        ("[1]", 0),
        ("[2]", 1),
        ("[3]", 1),
    ]


def test_letters_go_to_a_table_of_our_own_where_the_control_plane_keeps_us_out(
    bronze: Any, run_target: Make, server: Any, plain_role: str, schema: Make, record: Make
) -> None:
    bronze.connection.execute("grant create on database postgres to plain")
    bronze.connection.execute("create schema connectors")
    bronze.connection.execute("""create table connectors.dead_letters (id bigint, instance_id text,
        run_id text, source text, stream text, reason text, error text, raw bytea,
        replayed_at timestamptz)""")
    bad = '{"type":"RECORD","stream":"things","record":{"v":1}}'
    lines = [schema(), record(id=1), bad]
    steps = [
        "select 1",
        "grant usage on schema connectors to plain",
        """grant select, insert on connectors.dead_letters to plain;
        alter table connectors.dead_letters enable row level security""",
    ]

    for step in steps:
        bronze.connection.execute(step)
        done = run_target(lines, database_url=server.dsn(user=plain_role))
        assert done.exit_code == 0

    assert len(bronze.letters()) == 1


def test_a_database_in_another_encoding_is_refused(
    run_target: Make, server: Any, schema: Make
) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("""create database latin encoding 'LATIN1' template template0
            lc_collate 'C' lc_ctype 'C'""")
        done = run_target([schema()], database_url=server.dsn("latin"))
        admin.execute("drop database latin with (force)")

    assert done.exit_code == 78
    assert "encoded in 'LATIN1'" in done.error


def test_two_targets_that_start_at_once_create_their_tables_once(
    bronze: Any, start_target: Make, schema: Make, record: Make
) -> None:
    for attempt in range(3):
        streams = [f"s{attempt}_{number}" for number in range(5)]
        targets = [start_target(instance_id=str(number)) for number in range(4)]
        lines = [line for stream in streams for line in (schema(stream), record(stream, id=1))]
        for target in targets:
            target.send(lines)

        done = [target.finish() for target in targets]

        assert [outcome.exit_code for outcome in done] == [0] * 4, done
        assert all(len(bronze.rows(stream)) == 4 for stream in streams)


def test_two_targets_of_one_instance_do_not_double_rows(
    bronze: Any, start_target: Make, schema: Make, record: Make
) -> None:
    targets = [start_target(batch_size_rows=50) for _ in range(3)]
    lines = [schema(), *(record(id=number) for number in range(300))]
    for target in targets:
        target.send(lines)

    done = [target.finish() for target in targets]

    assert [outcome.exit_code for outcome in done] == [0] * 3, done
    assert len(things(bronze)) == 300
    assert sum(outcome.total("inserted") for outcome in done) == 300


def test_a_server_killed_during_a_commit_is_waited_for(
    own_server: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    target = start_target(dsn=own_server.dsn(), flush_seconds=0.1)
    target.send([schema(), record(id=0), state(0)])
    assert target.read_state() == 0
    blocker = psycopg.connect(own_server.dsn())
    blocker.execute("lock table ipai_bronze_core.raw_singer_things")
    target.send([*(record(id=number) for number in range(1, 100)), state(99)])
    _wait_until_blocked(own_server)

    own_server.stop(signal.SIGKILL)
    blocker.close()
    time.sleep(0.5)
    own_server.start()
    done = target.finish()

    with psycopg.connect(own_server.dsn()) as connection:
        landed = connection.execute(
            "select count(*) from ipai_bronze_core.raw_singer_things"
        ).fetchone()
    assert (done.exit_code, done.states, landed) == (0, [99], (100,))
    assert done.of("retry")


def _wait_until_blocked(server: Any) -> None:
    until = time.monotonic() + 20
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        query = "select count(*) from pg_locks where not granted"
        while connection.execute(query).fetchone() == (0,):
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_server_that_stays_away_ends_the_run_with_75_and_no_half_batch(
    own_server: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    target = start_target(dsn=own_server.dsn(), flush_seconds=0.1, retry_seconds=1)
    target.send([schema("a"), schema("b"), record("a", id=0), state(0)])
    assert target.read_state() == 0
    own_server.stop(signal.SIGKILL)

    target.send([record("a", id=1), record("b", id=1), state(1)])
    target.process.wait(30)
    done = target.finish()

    own_server.start()
    with psycopg.connect(own_server.dsn()) as connection:
        landed = connection.execute("""select (select count(*) from ipai_bronze_core.raw_singer_a),
            (select count(*) from ipai_bronze_core.raw_singer_b)""").fetchone()
    assert (done.exit_code, done.states, landed) == (75, [], (1, 0))
    assert done.of("failed")[0]["retry_at"] is None


def test_a_connection_cut_between_batches_is_not_noticed(
    bronze: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    target = start_target(flush_seconds=0.1)
    target.send([schema(), record(id=0), state(0)])
    assert target.read_state() == 0

    bronze.query("""select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'target-bronze-postgres'""")
    target.send([record(id=1), state(1)])

    assert target.read_state() == 1
    assert target.finish().exit_code == 0
    assert things(bronze) == [(0,), (1,)]


def test_a_table_dropped_between_batches_is_made_again(
    bronze: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    target = start_target(flush_seconds=0.1)
    target.send([schema(), record(id=0), state(0)])
    assert target.read_state() == 0
    bronze.connection.execute("drop schema ipai_bronze_core cascade")

    target.send([record(id=1), state(1)])

    assert target.read_state() == 1
    assert target.finish().exit_code == 0
    assert things(bronze) == [(1,)]


@contextmanager
def losing_answers(server: Any, path: Path, lost: int) -> Iterator[str]:
    """A proxy that passes COMMIT on and then hangs up before the answer, for some commits."""
    left = [lost]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path / ".s.PGSQL.5432"))
    listener.listen()

    def serve(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(f"{server.home}/.s.PGSQL.5432")
            answers = threading.Thread(target=pump, args=(upstream, client), daemon=True)
            answers.start()
            while data := client.recv(1 << 16):
                if b"COMMIT" in data and left[0] > 0:
                    left[0] -= 1
                    client.shutdown(socket.SHUT_RDWR)
                    upstream.sendall(data)
                    time.sleep(0.3)
                    break
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_RDWR)
            answers.join()

    def pump(upstream: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := upstream.recv(1 << 16):
                client.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                thread = threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True)
                thread.start()
                threads.append(thread)

    threads = [threading.Thread(target=accept, daemon=True)]
    threads[0].start()
    yield f"host={path} user=postgres dbname=postgres"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join(5)


@pytest.mark.parametrize("load_method", ["append", "upsert"])
def test_a_commit_whose_answer_is_lost_is_not_repeated(
    bronze: Any,
    server: Any,
    run_target: Make,
    schema: Make,
    record: Make,
    load_method: str,
    tmp_path: Path,
) -> None:
    run_target([schema()], load_method=load_method)
    lines = [schema(), *(record(id=number) for number in range(10))]

    with losing_answers(server, tmp_path, lost=2) as dsn:
        done = run_target(lines, database_url=dsn, load_method=load_method, batch_size_rows=4)

    assert done.exit_code == 0
    assert things(bronze) == [(number,) for number in range(10)]
    assert done.total("inserted") == 10
    assert done.of("retry")


def test_a_full_disk_ends_the_run_with_75() -> None:
    error = psycopg.errors.DiskFull("could not extend file: No space left on device")

    assert "no disk space left" in str(explain(error))
    assert explain(error).exit_code == 75


def test_a_deadlock_is_tried_again(
    bronze: Any, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    """The target updates a then b; the other session b then a."""
    first = start_target()
    first.send([schema("a"), record("a", id=1, v=0), schema("b"), record("b", id=1, v=0)])
    assert first.finish().exit_code == 0
    with psycopg.connect(bronze.dsn) as other:
        other.execute("set deadlock_timeout = '10s'")
        other.execute("update ipai_bronze_core.raw_singer_b set run_id = 'x'")
        target = start_target(flush_seconds=0.1)
        target.send([schema("a"), schema("b"), record("a", id=1, v=1), record("b", id=1, v=1)])
        until = time.monotonic() + 20
        while bronze.value("select count(*) from pg_locks where not granted") == 0:
            assert time.monotonic() < until
            time.sleep(0.02)
        other.execute("update ipai_bronze_core.raw_singer_a set run_id = 'x'")
        other.commit()
    target.send([state(1)])

    done = target.finish()

    assert done.exit_code == 0
    assert [event["sqlstate"] for event in done.of("retry")] == ["40P01"]
    assert bronze.rows("a", "record->'v'") == bronze.rows("b", "record->'v'") == [(1,)]
