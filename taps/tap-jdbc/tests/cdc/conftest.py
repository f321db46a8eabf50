# SPDX-License-Identifier: Apache-2.0
"""A source that is followed by its log, and a mirror that does what a target does."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from ipai_kit.testing.runs import TapRun, run_tap
from tap_jdbc.tap import TapJdbc

OURS = ("_sdc_deleted_at", "_sdc_lsn")


@dataclass
class Mirror:
    """Rows by key, with the rules of the Bronze targets."""

    rows: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    keys: dict[str, list[str]] = field(default_factory=dict)
    opened: dict[str, int] = field(default_factory=dict)
    complete: dict[str, int] = field(default_factory=dict)

    def take(self, messages: list[dict[str, Any]]) -> None:
        """Land a run that ended well."""
        for message in messages:
            stream = message.get("stream", "")
            if message["type"] == "SCHEMA":
                self.keys[stream] = message["key_properties"]
            elif message["type"] == "RECORD":
                self._land(stream, message["record"], message.get("version"))
            elif message["type"] == "ACTIVATE_VERSION":
                self.opened[stream] = message["version"]
        for stream, version in self.opened.items():
            if version > self.complete.get(stream, 0):
                self.complete[stream] = version
                rows = self.rows[stream]
                self.rows[stream] = {k: v for k, v in rows.items() if v[1] == version}

    def _land(self, stream: str, record: dict[str, Any], version: int | None) -> None:
        key = json.dumps([record[name] for name in self.keys[stream]])
        rows = self.rows[stream]
        old = rows.get(key)
        if old is None or old[0]["_sdc_lsn"] <= record["_sdc_lsn"]:
            rows[key] = (record, version)
        elif old is not None:
            rows[key] = (old[0], version)

    def table(self, stream: str) -> list[dict[str, Any]]:
        """What the source should hold."""
        records = [record for record, _ in self.rows[stream].values()]
        living = [one for one in records if not one["_sdc_deleted_at"]]
        return in_order(without_ours(one) for one in living)


def without_ours(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in OURS}


def in_order(records: Any) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: json.dumps(record, sort_keys=True))


@dataclass
class Followed:
    """A source with its STATE and what was delivered."""

    source: Any
    state: dict[str, Any] | None = None
    mirror: Mirror = field(default_factory=Mirror)

    @property
    def slot(self) -> str:
        return f"slot_{self.source.name}"

    def settings(self, **more: Any) -> dict[str, Any]:
        return {"replication_method": "LOG_BASED", "cdc_slot": self.slot, **more}

    def run(self, *, select: Any = None, **more: Any) -> TapRun:
        """Deliver what has changed; STATE is kept as if a target had stored it."""
        config = self.source.config(**self.settings(**more))
        run = run_tap(TapJdbc, config, state=self.state, select=select)
        self.mirror.take(run.messages)
        self.state = run.state
        return run

    def change(self, *statements: str) -> None:
        """Change the source, each in its own transaction."""
        self.source.execute(*statements)

    def expected(self, stream: str) -> list[dict[str, Any]]:
        """The table as a plain full read shows it."""
        return in_order(self.source.run(replication_method="FULL_TABLE").records[stream])

    def delivered(self, stream: str) -> list[dict[str, Any]]:
        return self.mirror.table(stream)

    def slot_row(self) -> dict[str, Any]:
        rows = self.source.query(
            """select to_jsonb(s), (confirmed_flush_lsn - '0/0')::int8 from pg_replication_slots s
            where slot_name = %s""",
            self.slot,
        )
        return {**rows[0][0], "confirmed": rows[0][1]} if rows else {}


@pytest.fixture
def followed(source: Any) -> Followed:
    """An empty database that will be followed."""
    return Followed(source)


@pytest.fixture
def each_followed(each_source: Any) -> Followed:
    """The same on every PostgreSQL found."""
    return Followed(each_source)


@pytest.fixture
def reading_role(source: Any) -> Iterator[Callable[..., str]]:
    """Make a login and return its name; it goes with the test."""
    made: list[str] = []

    def make(attributes: str = "replication") -> str:
        name = f"reader_{source.name}_{len(made)}"
        source.execute(f"create role {name} login {attributes}")
        made.append(name)
        return name

    yield make
    with psycopg.connect(source.server.dsn(source.name), autocommit=True) as connection:
        for name in made:
            connection.execute(f"drop owned by {name} cascade".encode())
            connection.execute(f"drop role {name}".encode())
