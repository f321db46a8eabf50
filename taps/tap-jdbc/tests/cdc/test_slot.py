# SPDX-License-Identifier: Apache-2.0
"""The slot: it follows STATE and never leads, and a lost one leads to a new copy of the tables."""

from __future__ import annotations

import threading

import psycopg
import pytest

from ipai_kit.exceptions import ConfigurationError, CredentialsError, TryAgainLaterError
from ipai_kit.testing.postgres import running_postgres
from ipai_kit.testing.runs import run_tap
from tap_jdbc.cdc import slot as slot_module
from tap_jdbc.tap import TapJdbc

STREAM = "public-things"
TABLE = "create table things (id int primary key, name text)"


def entry_of(state):
    return state["bookmarks"][STREAM]


def position_of(state):
    return entry_of(state)["replication_key_value"]


def reasons(run, event):
    return [one["reason"] for one in run.events if one["event"] == event]


def test_the_slot_moves_when_a_run_starts_to_where_its_state_says_and_no_further(followed):
    followed.change(TABLE)
    followed.run()
    first = followed.state
    created_at = followed.slot_row()["confirmed"]
    followed.change("insert into things values (1)")

    followed.run()
    second = followed.state

    assert followed.slot_row()["confirmed"] == position_of(first) >= created_at
    assert position_of(second) > position_of(first)
    followed.run()
    assert followed.slot_row()["confirmed"] == position_of(second)


def test_what_a_target_did_not_store_is_delivered_again(followed):
    followed.change(TABLE)
    followed.run()
    stored = followed.state
    followed.change("insert into things values (1)")
    once = followed.run()

    followed.state = stored
    again = followed.run()

    assert again.records[STREAM] == once.records[STREAM]
    assert again.records[STREAM]


def test_a_slot_that_fell_back_in_a_crash_brings_nothing_twice(followed):
    """A server may forget how far a slot had moved: the copy of the old place shows that."""
    followed.change(TABLE)
    followed.run()
    followed.change("insert into things values (1)")
    slot = followed.slot
    followed.change(f"select pg_copy_logical_replication_slot('{slot}', '{slot}_old')")
    followed.run()
    followed.run()
    followed.change(
        f"select pg_drop_replication_slot('{slot}')",
        f"select pg_copy_logical_replication_slot('{slot}_old', '{slot}')",
        f"select pg_drop_replication_slot('{slot}_old')",
        "insert into things values (2)",
    )

    run = followed.run()

    assert [one["id"] for one in run.records[STREAM]] == [2]


def test_an_idle_table_lets_the_log_go(followed):
    followed.change(TABLE, "create table busy (id int primary key, name text)")
    settings = {"tables": ["public.things"]}
    followed.run(**settings)
    before = position_of(followed.state)
    followed.change("insert into busy select n, 'x' from generate_series(1, 2000) n")

    run = followed.run(**settings)
    followed.run(**settings)

    assert run.records[STREAM] == []
    assert position_of(followed.state) > before
    assert followed.slot_row()["confirmed"] > before + 100_000


@pytest.mark.parametrize("loss", ["dropped", "moved on by somebody else", "another publication"])
def test_a_loss_leads_to_a_new_copy_of_the_table(followed, loss):
    followed.change(TABLE, "insert into things values (1), (2)")
    followed.run()
    followed.change("delete from things where id = 1", "insert into things values (3)")
    slot = followed.slot
    followed.change(
        *{
            "dropped": [f"select pg_drop_replication_slot('{slot}')"],
            "moved on by somebody else": [
                f"select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"
            ],
            "another publication": [
                f"drop publication {slot}",
                "insert into things values (4)",
            ],
        }[loss]
    )

    run = followed.run()

    assert reasons(run, "snapshot_anew") or reasons(run, "slot_lost")
    assert followed.delivered(STREAM) == followed.expected(STREAM)
    followed.change("insert into things values (5)")
    assert len(followed.run().records[STREAM]) == 1


def test_a_slot_whose_log_was_removed_is_replaced():
    with running_postgres(
        max_slot_wal_keep_size="1MB", max_wal_size="32MB", min_wal_size="32MB"
    ) as server:
        config = {"url": server.url(), "replication_method": "LOG_BASED"}
        with psycopg.connect(server.dsn(), autocommit=True) as source:
            source.execute(TABLE)
            first = run_tap(TapJdbc, config)
            for _ in range(4):
                source.execute(
                    """insert into things select n + (select count(*) from things), repeat('x', 500)
                    from generate_series(1, 9000) n"""
                )
                source.execute("select pg_switch_wal()")
                source.execute("checkpoint")
            status = source.execute("select wal_status from pg_replication_slots").fetchone()
            assert status == ("lost",)

            run = run_tap(TapJdbc, config, state=first.state)

            assert reasons(run, "slot_lost")
            assert len(run.records[STREAM]) == 36000
            again = run_tap(TapJdbc, config, state=run.state)
            assert again.records[STREAM] == []


def test_a_publication_that_the_log_does_not_know_leads_to_a_new_slot(followed):
    """Changes that were made before a publication came cannot be decoded with it."""
    followed.change(TABLE)
    slot = followed.slot
    followed.change(
        f"select pg_create_logical_replication_slot('{slot}', 'pgoutput')",
        "insert into things values (1)",
    )

    followed.run()

    assert followed.delivered(STREAM) == [{"id": 1, "name": None}]


def test_a_state_from_another_server_or_of_another_method_is_no_state(followed):
    followed.change(TABLE, "insert into things values (1)")
    followed.run()
    for change in (
        {"system": "1"},
        {"membership": 1},
        {"replication_key": "id"},
        {"replication_key_value": 1 << 60},
    ):
        entry_of(followed.state).update(change)
        assert [one["id"] for one in followed.run().records[STREAM]] == [1]


def test_a_stream_selected_later_is_copied_alone(followed):
    followed.change(
        TABLE, "create table more (id int primary key)", "insert into things values (1)"
    )
    followed.run(select=[STREAM])
    followed.change("insert into more values (1)", "insert into things values (2)")

    run = followed.run()

    assert [one["id"] for one in run.records[STREAM]] == [2]
    assert [one["id"] for one in run.records["public-more"]] == [1]
    followed.change("insert into more values (2)", "delete from things where id = 1")
    run = followed.run()
    assert [one["id"] for one in run.records["public-more"]] == [2]
    positions = {one["replication_key_value"] for one in run.state["bookmarks"].values()}
    assert len(positions) == 1


def test_a_copy_waits_for_those_who_write_to_a_new_table(followed):
    """Their changes began before the table was published: only the copy can hold them."""
    followed.change("create table first (id int primary key)")
    followed.run()
    followed.change(TABLE)
    dsn = followed.source.server.dsn(followed.source.name)
    with psycopg.connect(dsn) as writer:
        writer.execute("insert into things values (1)")
        timer = threading.Timer(1.0, writer.commit)
        timer.start()
        followed.run()
        timer.join()
    followed.run()

    assert followed.delivered(STREAM) == [{"id": 1, "name": None}]


def test_another_run_on_the_same_slot_waits_and_then_says_so(followed, monkeypatch):
    monkeypatch.setattr(slot_module, "_LOCK_SECONDS", 0.5)
    followed.change(TABLE)
    dsn = followed.source.server.dsn(followed.source.name)
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "select pg_advisory_lock(hashtextextended(%s, 0))", (f"ipai cdc {followed.slot}",)
        )
        with pytest.raises(TryAgainLaterError, match="Another run reads"):
            followed.run()


def test_tables_that_cannot_be_followed_are_left_out_and_still_take_changes(followed):
    followed.change(
        TABLE,
        "create table keyless (id int)",
        "create unlogged table unlogged (id int primary key)",
        "create view seen as select * from things",
        "create table unidentified (id int primary key)",
        "alter table unidentified replica identity nothing",
    )

    run = followed.run()
    followed.change(
        "insert into keyless values (1)",
        "update keyless set id = 2",
        "insert into things values (1)",
    )
    followed.run()

    skipped = {
        one["stream"]: one["reason"] for one in run.events if one["event"] == "stream_skipped"
    }
    assert set(skipped) == {"public-keyless", "public-unlogged", "public-unidentified"}
    assert "has no key" in skipped["public-keyless"]
    assert followed.delivered(STREAM) == [{"id": 1, "name": None}]


def test_a_role_needs_replication_and_little_else(followed, reading_role):
    name = reading_role()
    source = followed.source
    followed.change(
        TABLE,
        f"create publication {followed.slot} for table things",
        f"grant select on things to {name}",
        "insert into things values (1)",
    )

    run = followed.run(user=name)
    followed.change("insert into things values (2)", "update things set name = 'x'")
    followed.run(user=name)

    assert len(run.records[STREAM]) == 1
    assert followed.delivered(STREAM) == [{"id": 1, "name": "x"}, {"id": 2, "name": "x"}]
    assert source.query("select rolsuper from pg_roles where rolname = %s", name) == [(False,)]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [("", "alter role"), ("replication", "let the tables' owner run: create publication")],
    ids=["no right to read the log", "no right to publish"],
)
def test_a_missing_right_is_named_with_the_statement_that_gives_it(
    followed, reading_role, attributes, words
):
    name = reading_role(attributes)
    followed.change(TABLE, f"grant select on things to {name}")

    with pytest.raises(CredentialsError) as caught:
        followed.run(user=name)

    assert words in str(caught.value).replace("Let the", "let the")
    assert followed.slot_row() == {}


def test_a_server_without_logical_decoding_says_what_to_set():
    with running_postgres(wal_level="replica") as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(TABLE)
        config = {"url": server.url(), "replication_method": "LOG_BASED"}

        with pytest.raises(ConfigurationError, match="alter system set wal_level = logical"):
            run_tap(TapJdbc, config)


def test_a_server_without_room_for_another_slot_says_so():
    with running_postgres(max_replication_slots="1") as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(TABLE)
        config = {"url": server.url(), "replication_method": "LOG_BASED"}

        with pytest.raises(ConfigurationError, match="max_replication_slots"):
            run_tap(TapJdbc, config)


def test_a_slot_of_somebody_else_is_left_alone(followed):
    followed.change(TABLE, f"select pg_create_physical_replication_slot('{followed.slot}')")

    with pytest.raises(ConfigurationError, match="belongs to something else"):
        followed.run()

    followed.change(f"select pg_drop_replication_slot('{followed.slot}')")


def test_a_publication_that_leaves_out_changes_is_refused(followed):
    followed.change(
        TABLE, f"create publication {followed.slot} for table things with (publish = 'insert')"
    )

    with pytest.raises(ConfigurationError, match="leaves out kinds of changes"):
        followed.run()


def test_a_publication_for_all_tables_serves(followed):
    followed.change(
        TABLE,
        f"create publication {followed.slot} for all tables"
        " with (publish_via_partition_root = true)",
    )
    followed.run()
    followed.change("insert into things values (1)")

    followed.run()

    assert followed.delivered(STREAM) == [{"id": 1, "name": None}]


def test_a_table_that_gets_another_key_is_copied_anew_and_the_others_go_on(followed):
    followed.change(TABLE, "create table more (id int primary key)")
    followed.run()
    followed.change(
        "insert into things values (1)",
        "insert into more values (1)",
        "alter table things drop column id",
        "alter table things add number serial primary key",
    )

    run = followed.run()
    after = followed.run()

    assert [one["id"] for one in run.records["public-more"]] == [1]
    assert "has changed" in reasons(run, "stream_skipped")[0]
    assert [one["number"] for one in after.records[STREAM]] == [1]


def test_a_column_that_the_user_may_not_read_does_not_leave_through_the_log(followed, reading_role):
    name = reading_role()
    followed.change(
        "create table things (id int primary key, name text, secret text)",
        f"grant select (id, name) on things to {name}",
        f"create publication {followed.slot} for table things",
    )
    followed.run(user=name)
    followed.change("insert into things values (1, 'a', 'hidden')")

    run = followed.run(user=name)

    assert followed.delivered(STREAM) == [{"id": 1, "name": "a"}]
    assert b"hidden" not in b"".join(run.lines)


def test_a_transaction_that_never_ends_does_not_hold_the_first_run_for_ever(followed, monkeypatch):
    monkeypatch.setattr(slot_module, "_CREATE_SECONDS", 0.2)
    followed.change(TABLE)
    with psycopg.connect(followed.source.server.dsn(followed.source.name)) as other:
        other.execute("create table other (id int)")

        with pytest.raises(TryAgainLaterError, match="do not end"):
            followed.run()

        assert not followed.slot_row()
