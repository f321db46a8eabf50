# SPDX-License-Identifier: Apache-2.0
"""Where rows end up, and what a load changed there."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loading.server import Server
from loading.streams import Load

PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True)
class Snapshot:
    """Counters of a place: differences of two are what happened between them."""

    server_cpu: float = 0.0
    bytes_written: int = 0
    rows_written: int = 0
    rows: int = 0
    dead_rows: int = 0


class Place(Protocol):
    """A table or a folder."""

    def before(self, load: Load) -> Snapshot:
        """Counters before a load."""

    def after(self, load: Load) -> Snapshot:
        """The same afterwards, with the rows that are there."""


@dataclass(frozen=True)
class PostgresTable:
    """A table; bytes are those of the write-ahead log."""

    server: Server
    name: Callable[[Load], str]

    def before(self, load: Load) -> Snapshot:
        """Start from a checkpoint, so that everybody pays for the same full-page images."""
        self.server.execute("checkpoint")
        written, _ = self._statistics(load)
        wal = self.server.wal_bytes()
        return Snapshot(self.server.cpu_seconds(), wal, written)

    def after(self, load: Load) -> Snapshot:
        """Ask once the last backend has gone, its exit belongs to the load."""
        time.sleep(0.3)
        cpu, wal = self.server.cpu_seconds(), self.server.wal_bytes()
        written, dead = self._statistics(load)
        rows = self.server.value(f"select count(*) from {self.name(load)}")
        return Snapshot(cpu, wal, written, int(rows), dead)

    def _statistics(self, load: Load) -> tuple[int, int]:
        """Rows ever inserted, updated or deleted in the table, and the dead ones."""
        written, dead = self.server.row(
            "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0), "
            "coalesce(sum(n_dead_tup), 0) from pg_stat_all_tables "
            f"where relid = to_regclass('{self.name(load)}')"
        )
        return int(written), int(dead)


@dataclass(frozen=True)
class LakeFolder:
    """A folder of Parquet files or Delta tables; bytes are those of its files."""

    folder: Path

    def before(self, load: Load) -> Snapshot:
        """Nothing to count: every load starts with an empty folder."""
        del load
        return Snapshot()

    def after(self, load: Load) -> Snapshot:
        """Count rows as a reader sees them, in a process of its own: this one stays small."""
        program = str(PROGRAMS / "count_rows.py")
        command = [sys.executable, program, str(self.folder), load.stream]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        found = json.loads(done.stdout)
        return Snapshot(
            bytes_written=found["bytes"], rows_written=found["rows"], rows=found["rows"]
        )


@dataclass(frozen=True)
class Nowhere:
    """What a tap writes to: nothing is kept, nothing is counted."""

    def before(self, load: Load) -> Snapshot:
        """Nothing."""
        del load
        return Snapshot()

    def after(self, load: Load) -> Snapshot:
        """As many rows as were read."""
        return Snapshot(rows=load.rows)
