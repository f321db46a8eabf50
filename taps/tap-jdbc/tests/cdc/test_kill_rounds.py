# SPDX-License-Identifier: Apache-2.0
"""Kill -9 of tap, target and source at random moments while the source is written to.

In the end Bronze holds what the source holds: nothing is lost, nothing is there twice.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ipai_kit.testing.postgres import PostgresServer, running_postgres

TABLES = [
    "create table orders (id int primary key, name text, amount numeric(12, 2), large text)",
    "alter table orders alter large set storage external",
    "create table visits (id int, day date, note text, primary key (id, day))",
    """insert into orders select n, 'order ' || n, n * 1.5, repeat('x', 3000)
        from generate_series(1, 3000) n""",
]
CHANGES = [
    (
        10,
        """insert into orders select n, 'new', 1, null from generate_series({a}, {a} + {n}) n
        on conflict do nothing""",
    ),
    (
        10,
        """update orders set name = 'changed {n}', amount = amount + 1
        where id between {a} and {a} + 20""",
    ),
    (5, "delete from orders where id between {a} and {a} + 5"),
    (
        4,
        """update orders set id = id + 100000
        where id = {a} and not exists (select from orders where id = {a} + 100000)""",
    ),
    (
        8,
        """insert into visits values ({a}, '2026-01-01', 'n')
        on conflict (id, day) do update set note = visits.note || {n}""",
    ),
    (
        3,
        """begin; delete from visits where id < {a};
        insert into visits values ({a}, '2026-02-02') on conflict do nothing; commit""",
    ),
    (1, "truncate visits"),
    (2, "begin; update orders set name = 'never'; rollback"),
    (1, "update orders set amount = amount + 1"),
]


@dataclass
class Writer:
    """Changes the source at random until it is told to stop, whatever happens to the server."""

    server: PostgresServer
    luck: random.Random
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()

    def _work(self) -> None:
        weights = [weight for weight, _ in CHANGES]
        while not self.stopped.is_set():
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(self.server.dsn(), autocommit=True) as source,
            ):
                while not self.stopped.is_set():
                    ((_, text),) = self.luck.choices(CHANGES, weights)
                    source.execute(
                        text.format(
                            a=self.luck.randint(1, 4000), n=self.luck.randint(1, 300)
                        ).encode()
                    )
                    time.sleep(self.luck.random() * 0.02)
            time.sleep(0.05)


@dataclass
class Pipeline:
    """The tap piped into the target; STATE is what the target printed last."""

    folder: Path
    state: dict[str, Any] = field(default_factory=dict)

    def start(self) -> None:
        (self.folder / "state.json").write_text(json.dumps(self.state))
        self.log = (self.folder / "log").open("ab")
        tap = [sys.executable, "-m", "tap_jdbc.tap", "--config", str(self.folder / "tap.json")]
        self.tap = subprocess.Popen(
            [*tap, "--state", str(self.folder / "state.json")],
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        target = [sys.executable, "-m", "target_bronze_postgres"]
        self.target = subprocess.Popen(
            [*target, "--config", str(self.folder / "target.json")],
            stdin=self.tap.stdout,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        assert self.tap.stdout is not None
        self.tap.stdout.close()

    def finish(self) -> tuple[int, int]:
        """Wait for the end; keep the last STATE that left the target."""
        out, _ = self.target.communicate(timeout=120)
        lines = out.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        if whole:
            self.state = json.loads(whole[-1])
        self.log.close()
        return self.tap.wait(60), self.target.returncode


@pytest.mark.slow
def test_bronze_is_the_source_in_the_end_whoever_was_killed(tmp_path, server):
    luck = random.Random()  # another one each time: what fails is said by the log of the run
    with running_postgres() as source, server.new_database() as bronze:
        with psycopg.connect(source.dsn(), autocommit=True) as connection:
            for statement in TABLES:
                connection.execute(statement.encode())
        tap = {
            "url": source.url(),
            "replication_method": "LOG_BASED",
            "chunk_rows": 500,
            "cdc_page_changes": 300,
        }
        (tmp_path / "tap.json").write_text(json.dumps(tap))
        (tmp_path / "target.json").write_text(
            json.dumps(
                {"database_url": server.dsn(bronze), "flush_seconds": 1, "batch_size_rows": 700}
            )
        )
        pipeline, writer = Pipeline(tmp_path), Writer(source, luck)
        try:
            kills = rounds(pipeline, source, luck)
        finally:
            writer.stop()
        for _ in range(2):
            pipeline.start()
            assert pipeline.finish() == (0, 0), (tmp_path / "log").read_text()[-3000:]

        assert kills >= 3
        assert held(source.dsn(), "orders")
        for table in ("orders", "visits"):
            assert landed(server.dsn(bronze), table) == held(source.dsn(), table)


def rounds(pipeline: Pipeline, source: PostgresServer, luck: random.Random) -> int:
    """Start runs and kill somebody in each."""
    kills = 0
    for number in range(6):
        pipeline.start()
        victim = ("tap", "target", "source")[number % 3]
        time.sleep(0.6 + luck.random() * 2.5)
        kills += pipeline.target.poll() is None
        if victim == "source":
            source.stop(signal.SIGKILL)
        else:
            getattr(pipeline, victim).kill()
        pipeline.finish()
        if victim == "source":
            source.start()
    return kills


def landed(dsn: str, table: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        ((name,),) = connection.execute(
            """select format('%%I.%%I', schemaname, tablename) from pg_tables
            where tablename like %s""",
            (f"raw_jdbc_public__{table}",),
        ).fetchall()
        text = f"""select record - '_sdc_lsn' - '_sdc_deleted_at' from {name}
            where deleted_at is null order by (record ->> 'id')::int, record ->> 'day'"""
        return [row for (row,) in connection.execute(text.encode())]


def held(dsn: str, table: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        text = f"""select to_jsonb(t) || case when to_jsonb(t) ? 'amount' then
            jsonb_build_object('amount', to_jsonb(t) ->> 'amount') else '{{}}' end
            from {table} t order by id, to_jsonb(t) ->> 'day'"""
        return [row for (row,) in connection.execute(text.encode())]
