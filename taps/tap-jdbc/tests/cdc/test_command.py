# SPDX-License-Identifier: Apache-2.0
"""`tap-jdbc-cdc`: what a slot holds back, in JSON, and letting go of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tap_jdbc.cdc.command import _warnings

COMMAND = Path(sys.executable).with_name("tap-jdbc-cdc")
TABLE = "create table things (id int primary key, name text)"


@pytest.fixture
def ask(followed, tmp_path):
    def run(action, code=0, **settings):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(followed.source.config(**followed.settings(**settings))))
        command = [str(COMMAND), "--config", str(path), action]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 else json.loads(done.stderr.splitlines()[-1])

    return run


def test_the_status_tells_what_the_slot_holds_back(followed, ask):
    followed.change(TABLE)
    followed.run()
    before = ask("status")
    followed.change("insert into things select n, repeat('x', 100) from generate_series(1, 5000) n")

    after = ask("status")

    assert (before["exists"], before["wal_status"], before["warnings"]) == (True, "reserved", [])
    assert before["tables"] == ["public.things"]
    assert after["lag_bytes"] > before["lag_bytes"] + 500_000
    assert after["held_bytes"] >= after["lag_bytes"]
    followed.run()
    followed.run()
    assert ask("status")["lag_bytes"] < after["lag_bytes"]


def test_dropping_lets_go_of_the_log_and_of_the_publication(followed, ask):
    followed.change(TABLE)
    followed.run()

    gone = ask("drop")

    assert (gone["exists"], gone["tables"]) == (False, [])
    assert followed.slot_row() == {}
    assert followed.source.query("select count(*) from pg_publication") == [(0,)]
    assert "no slot" in gone["warnings"][0]
    assert not ask("drop")["exists"]


def test_other_databases_have_no_slot(ask, tmp_path):
    url = f"sqlite:///{tmp_path / 'some.db'}"

    status, error = ask("status", url=url), ask("drop", code=78, url=url)

    assert (status["exists"], status["warnings"]) == (False, [])
    assert "Only PostgreSQL" in error["message"]


@pytest.mark.parametrize(
    ("loss", "wal_status", "held", "limit", "words"),
    [
        ("", "reserved", 1 << 20, None, None),
        ("", "extended", 1 << 34, None, "without limit"),
        ("", "extended", 600, 1000, "of 1,000 at most"),
        ("", "extended", 400, 1000, None),
        ("", "unreserved", 400, 1000, "about to be lost"),
        ("wal_removed", "lost", 0, 1000, "is lost (wal_removed)"),
    ],
)
def test_a_slot_that_endangers_the_disk_or_itself_warns(loss, wal_status, held, limit, words):
    found = _warnings(loss, wal_status, held, limit)

    assert not found if words is None else words in found[0]
