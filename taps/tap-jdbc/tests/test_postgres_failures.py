# SPDX-License-Identifier: Apache-2.0
"""What stops the tap, or one stream of it: a coded error, nothing lost, the others go on."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading

import psycopg
import pytest

from ipai_kit.exceptions import ConfigurationError, CredentialsError, TryAgainLaterError
from ipai_kit.sql.address import parse_address
from ipai_kit.sql.postgres import PostgresDatabase
from ipai_kit.sql.postgres.connection import connection_options
from ipai_kit.testing.postgres import running_postgres
from tap_jdbc.tap import TapJdbc

TWO = ["create table a (id int primary key)", "create table b (id int primary key)",
       "insert into a values (1)", "insert into b values (2)"]  # fmt: skip


def events(run, name):
    return [one for one in run.events if one.get("event") == name]


def test_an_unreachable_host_is_worth_a_second_try():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    database = PostgresDatabase(parse_address(f"postgresql://u:secret@127.0.0.1:{port}/d"))

    with pytest.raises(TryAgainLaterError, match="refused") as caught:
        database.check()

    assert caught.value.exit_code == 75
    assert "secret" not in str(caught.value)


def test_an_unknown_host_is_a_wrong_setting():
    database = PostgresDatabase(parse_address("postgresql://u@no-such-host.invalid/d"))

    with pytest.raises((ConfigurationError, TryAgainLaterError), match="no-such-host"):
        database.check()


def test_a_wrong_password_is_told_without_the_password():
    with running_postgres(password_encryption="scram-sha-256") as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("create role reader login password 'right'")
        (server.data / "pg_hba.conf").write_text(
            "local all reader scram-sha-256\nlocal all all trust\n"
        )
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("select pg_reload_conf()")
        url = server.url(user="reader").replace("reader@", "reader:wr0ng-p4ss@")

        with pytest.raises(CredentialsError) as caught:
            TapJdbc(config={"url": url}).streams  # noqa: B018
        with pytest.raises(CredentialsError):
            TapJdbc(config={"url": server.url(user="reader")}).streams  # noqa: B018
        with pytest.raises(CredentialsError, match="does not know the user"):
            TapJdbc(config={"url": server.url(user="nobody_here")}).streams  # noqa: B018

        assert caught.value.exit_code == 77
        assert "wr0ng-p4ss" not in str(caught.value)


def test_a_database_that_does_not_exist_is_a_wrong_setting(server):
    with pytest.raises(ConfigurationError, match="no such database"):
        TapJdbc(config={"url": server.url("nowhere")}).streams  # noqa: B018


@pytest.mark.parametrize(
    ("url", "allowed", "mode"),
    [
        ("postgresql://u@db.example.com/d", False, "require"),
        ("jdbc:postgresql://db.example.com/d?ssl=true", False, "verify-full"),
        ("postgresql://u@db.example.com/d?sslmode=verify-ca", False, "verify-ca"),
        ("postgresql://u@db.example.com/d?sslmode=disable", True, "disable"),
        ("postgresql://u@db.example.com/d", True, None),
        ("postgresql://u@localhost/d", False, None),
        ("postgresql://u@127.0.0.1/d", False, None),
        ("postgresql:///d?host=/tmp", False, None),
    ],
)
def test_tls_is_demanded_of_remote_hosts(url, allowed, mode):
    options = connection_options(parse_address(url), allow_insecure=allowed)

    assert options.get("sslmode") == mode


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_a_remote_host_without_tls_has_to_be_allowed(mode):
    address = parse_address(f"jdbc:postgresql://db.example.com/d?sslmode={mode}")

    with pytest.raises(ConfigurationError, match=mode):
        connection_options(address, allow_insecure=False)


def test_a_missing_permission_leaves_one_table_out(source):
    source.execute(*TWO, "create role reader login", "grant select on b to reader")
    try:
        source.execute("grant usage on schema public to reader")
        run = source.command(url=source.server.url(source.name, "reader"))
    finally:
        source.execute("drop owned by reader", "drop role reader")

    assert run.exit_code == 0
    assert run.records["public-b"] == [{"id": 2}]
    (skipped,) = events(run, "stream_skipped")
    assert skipped["stream"] == "public-a"
    assert "Grant select" in skipped["next_step"]


def test_a_permission_lost_since_discovery_leaves_one_table_out(source, monkeypatch):
    source.execute(*TWO, "create role reader login", "grant select on a, b to reader")
    try:
        config = source.config(url=source.server.url(source.name, "reader"))
        tap = TapJdbc(config=config)
        assert set(tap.streams) == {"public-a", "public-b"}
        source.execute("revoke select on a from reader")
        tap.sync_all()
    finally:
        source.execute("drop owned by reader", "drop role reader")

    assert tap.progress.records == {"public-b": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("drop table a", "is gone"),
        ("alter table a drop column v", "was altered"),
        ("alter table a rename to c", "is gone"),
    ],
)
def test_a_table_that_changes_on_the_way_fails_alone(source, change, words):
    source.execute(*TWO, "alter table a add column v int")
    tap = TapJdbc(config=source.config())
    assert set(tap.streams) == {"public-a", "public-b"}
    source.execute(change)

    with pytest.raises(ConfigurationError, match=words) as caught:
        tap.sync_all()

    assert caught.value.stream == "public-a"
    assert tap.progress.records == {"public-b": 1}


def test_a_selected_table_that_is_gone_is_told(source):
    source.execute(*TWO)
    catalog = TapJdbc(config=source.config()).catalog_dict
    source.execute("drop table a")

    run = source.command(catalog=catalog)

    assert run.exit_code == 78
    assert run.records["public-b"] == [{"id": 2}]
    (failed,) = events(run, "stream_failed")
    assert failed["stream"] == "public-a"


def test_a_column_that_is_gone_is_left_out_and_a_new_one_waits_for_discovery(source):
    source.execute(*TWO, "alter table a add column old int default 1")
    catalog = TapJdbc(config=source.config()).catalog_dict
    source.execute("alter table a drop column old", "alter table a add column new int default 2")

    run = source.run(catalog=catalog)

    assert run.records["public-a"] == [{"id": 1}]


@pytest.mark.parametrize(
    ("cursor", "words"),
    [("nothing", "is no column"), ("j", "'jsonb', which has no order"), ("b", "'bytea'")],
)
def test_a_cursor_of_the_wrong_type_fails_alone(source, cursor, words):
    source.execute(*TWO, "alter table a add column j jsonb, add column b bytea")
    tap = TapJdbc(config=source.config(streams={"public-a": {"cursor": cursor}}))

    with pytest.raises(ConfigurationError, match=words):
        tap.sync_all()

    assert tap.progress.records == {"public-b": 1}


def test_a_bookmark_of_another_type_is_told(source):
    source.execute(*TWO, "alter table a add column at timestamptz not null default now()")
    bookmark = {"replication_key": "at", "replication_key_value": 17}
    tap = TapJdbc(
        config=source.config(streams={"public-a": {"cursor": "at"}}),
        state={"bookmarks": {"public-a": bookmark}},
    )

    with pytest.raises(ConfigurationError, match="does not fit"):
        tap.sync_all()


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select nothing from a", "altered|understand"),
        ("selec 1", "understand"),
        ("select 1 as x, 2 as x", "two columns of one name"),
    ],
)
def test_a_wrong_query_fails_alone(source, sql, words):
    source.execute(*TWO)
    tap = TapJdbc(config=source.config(streams={"mine": {"sql": sql}}, tables=["b"]))

    with pytest.raises(ConfigurationError, match=words):
        tap.sync_all()

    assert tap.progress.records == {"public-b": 1}


def test_a_query_cannot_write(source):
    source.execute(
        *TWO, "create function f() returns int language sql as 'delete from a returning 1'"
    )
    tap = TapJdbc(config=source.config(streams={"mine": {"sql": "select f() as x"}}))

    with pytest.raises(ConfigurationError, match="would write"):
        tap.sync_all()

    assert source.query("select count(*) from a") == [(1,)]


@pytest.mark.slow
def test_a_value_too_large_for_json_fails_alone(source):
    source.execute(
        "create table a (id int primary key, v text)",
        "create table b (id int primary key)",
        "insert into b values (2)",
        # each control character takes six bytes in JSON: more than a gigabyte
        "insert into a select 1, repeat(e'\\x01', 200000000)",
    )
    tap = TapJdbc(config=source.config())

    with pytest.raises(ConfigurationError, match="too large") as caught:
        tap.sync_all()

    assert caught.value.stream == "public-a"
    assert tap.progress.records == {"public-b": 1}


def test_a_connection_that_breaks_is_taken_up_behind_the_last_row(source, monkeypatch):
    source.execute(
        "create table a (id int primary key, v text)",
        "insert into a select n, repeat('x', 1000) from generate_series(1, 3000) n",
    )
    broken = []
    original = PostgresDatabase.read

    def read(self, selection):
        for block in original(self, selection):
            yield block
            if not broken:
                broken.append(block.count)
                source.query(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where application_name = 'ipai' and datname = current_database()"
                )

    monkeypatch.setattr(PostgresDatabase, "read", read)
    monkeypatch.setattr("ipai_kit.waiting.Waiting.sleep", lambda self, seconds: None)

    run = source.run()

    assert broken
    assert [one["id"] for one in run.records["public-a"]] == list(range(1, 3001))


def test_a_server_that_stays_away_ends_the_run_with_its_state_kept(monkeypatch):
    with running_postgres() as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("create table a (id int primary key, v text)")
            connection.execute(
                "insert into a select n, repeat('x', 1000) from generate_series(1, 3000) n"
            )
        original, stopped = PostgresDatabase.read, []

        def read(self, selection):
            for block in original(self, selection):
                yield block
                if not stopped:
                    stopped.append(True)
                    server.stop(signal.SIGQUIT)

        monkeypatch.setattr(PostgresDatabase, "read", read)
        monkeypatch.setattr("ipai_kit.waiting.Waiting.sleep", lambda self, seconds: None)
        tap = TapJdbc(config={"url": server.url()})
        with pytest.raises(TryAgainLaterError):
            tap.sync_all()

    mark = tap.state["bookmarks"]["public-a"]["snapshot"]
    assert mark["after"][0] > 0


def test_a_stop_is_heard_while_the_database_thinks(source):
    source.execute("create table a (id int primary key)", "insert into a values (1)")
    tap = TapJdbc(config=source.config(streams={"slow": {"sql": "select pg_sleep(60), 1 as id"}}))
    assert tap.streams
    timer = threading.Timer(0.5, tap.waiting.interrupt, [signal.SIGTERM])
    timer.start()

    with pytest.raises(Exception, match="signal 15"), contextlib.suppress(KeyboardInterrupt):
        tap.sync_all()

    timer.join()
