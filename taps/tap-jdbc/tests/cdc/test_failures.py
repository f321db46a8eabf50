# SPDX-License-Identifier: Apache-2.0
"""What goes wrong has a name, a next step, and leaves STATE true."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from ipai_kit.exceptions import (
    ConfigurationError,
    CredentialsError,
    InternalError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.testing.runs import run_tap
from tap_jdbc.cdc.exceptions import SlotLostError
from tap_jdbc.cdc.session import LogSession, _failure
from tap_jdbc.cdc.slot import Slot, check_server
from tap_jdbc.cdc.stream import LogBasedStream
from tap_jdbc.tap import TapJdbc

STREAM = "public-things"
TABLE = "create table things (id int primary key, name text)"


def reasons(run, event):
    return [one["reason"] for one in run.events if one["event"] == event]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InsufficientPrivilege("must have REPLICATION attribute"), CredentialsError),
        (errors.InsufficientPrivilege("must be owner of table things"), CredentialsError),
        (errors.ObjectInUse("replication slot is active for PID 1"), TryAgainLaterError),
        (errors.ConfigurationLimitExceeded("all slots are in use"), ConfigurationError),
        (errors.ReadOnlySqlTransaction("cannot execute CREATE"), ConfigurationError),
        (errors.ObjectNotInPrerequisiteState("can no longer access"), SlotLostError),
        (errors.UndefinedObject("publication does not exist"), SlotLostError),
        (errors.AdminShutdown("terminating connection"), TryAgainLaterError),
        (psycopg.OperationalError("the connection was lost"), TryAgainLaterError),
        (errors.SyntaxError("at or near"), InternalError),
    ],
)
def test_each_answer_of_the_server_means_something(error, kind):
    assert type(_failure(error)) is kind


def test_a_log_that_is_lost_while_it_is_read_leads_to_a_new_slot_within_the_run(
    followed, monkeypatch
):
    followed.change(TABLE, "insert into things values (1)")
    followed.run()
    followed.change("insert into things values (2)", "delete from things where id = 1")
    read, failures = LogSession.messages, [SlotLostError("requested WAL segment is gone")]

    def messages(session, *arguments):
        if failures:
            raise failures.pop()
        return read(session, *arguments)

    monkeypatch.setattr(LogSession, "messages", messages)

    run = followed.run()

    assert reasons(run, "slot_lost") == ["requested WAL segment is gone"]
    assert followed.delivered(STREAM) == [{"id": 2, "name": None}]


@pytest.mark.parametrize("lasting", [True, False])
def test_a_table_that_cannot_be_copied_lets_the_others_go_on(followed, monkeypatch, lasting):
    followed.change(TABLE, "create table more (id int primary key)", "insert into more values (1)")
    copy_table = LogBasedStream.copy_table

    def fail(stream):
        if stream.name != STREAM:
            copy_table(stream)
        elif lasting:
            message = "No permission."
            raise StreamUnavailableError(message)
        else:
            message = "The server is gone."
            raise TryAgainLaterError(message)

    monkeypatch.setattr(LogBasedStream, "copy_table", fail)
    path = followed.source.config(**followed.settings())
    tap = TapJdbc(config=path)
    if lasting:
        run = followed.run()
        assert reasons(run, "stream_skipped") == ["No permission."]
        assert run.records["public-more"]
        assert run.state["bookmarks"][STREAM] == {}
    else:
        with pytest.raises(TryAgainLaterError):
            tap.sync_all()


def test_a_filter_on_a_followed_table_is_refused(followed):
    followed.change(TABLE, "create table more (id int primary key)")

    with pytest.raises(ConfigurationError, match="'where' has no meaning"):
        followed.run(streams={STREAM: {"where": "id > 1"}})


def test_a_full_refresh_copies_the_table_again(followed):
    followed.change(TABLE, "insert into things values (1)")
    followed.run()
    followed.change("insert into things values (2)")

    run = followed.run(full_refresh=True)

    assert [one["id"] for one in run.records[STREAM]] == [1, 2]


def test_a_dry_run_says_what_keeps_the_log_from_being_read(followed, reading_role):
    followed.change(TABLE, "insert into things values (1)")
    name = reading_role("")
    followed.change(f"grant select on things to {name}")
    config = followed.source.config(**followed.settings(user=name))

    with pytest.raises(CredentialsError, match="may not read the log"):
        TapJdbc(config=config).run_sync_dry_run(dry_run_record_limit=1)

    assert followed.slot_row() == {}


def test_records_go_to_files_where_files_are_wanted(followed, tmp_path):
    followed.change(TABLE, "insert into things values (1)")
    files = {"batch_config": {"storage": {"root": str(tmp_path)}, "batch_size": 10}}
    config = followed.source.config(**followed.settings(**files))
    first = run_tap(TapJdbc, config)
    followed.change("insert into things select n from generate_series(2, 30) n")

    run = run_tap(TapJdbc, config, state=first.state)

    assert [one["type"] for one in run.messages].count("BATCH") >= 1
    assert not run.records[STREAM]
    last = [one["type"] for one in run.messages if one["type"] in {"BATCH", "STATE"}][-1]
    assert last == "STATE"


class FakeSession:
    """A server that says of itself what a test wants."""

    def __init__(self, *answer):
        self.answer = answer

    def rows(self, name, **_):
        return [self.answer] if name == "server" else []


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (("logical", 120022, False, True, False), ConfigurationError, "PostgreSQL 13 or newer"),
        (("replica", 150005, False, True, False), ConfigurationError, "restart the server."),
        (("replica", 160005, True, True, False), ConfigurationError, "and its primary"),
        (("logical", 150005, True, True, False), ConfigurationError, "Read from the primary"),
        (("logical", 160005, False, False, False), CredentialsError, "alter role"),
    ],
    ids=["too old", "no logical log", "no logical log at the primary", "a replica", "no right"],
)
def test_a_server_that_cannot_give_its_log_says_why(answer, kind, words):
    with pytest.raises(kind) as caught:
        check_server(FakeSession(*answer))

    assert words in str(caught.value)


def test_a_server_that_hides_its_identity_is_read_all_the_same():
    assert check_server(FakeSession("logical", 180000, True, True, False)).system == ""


@pytest.mark.parametrize(
    ("members", "loss"),
    [
        ({"wal_status": "reserved"}, ""),
        ({"wal_status": "lost"}, "wal_removed"),
        ({"wal_status": "reserved", "conflicting": True}, "conflict with recovery"),
        ({"wal_status": "lost", "invalidation_reason": "idle_timeout"}, "idle_timeout"),
    ],
)
def test_newer_servers_tell_why_a_slot_is_lost(members, loss):
    assert Slot(1, members).loss == loss
