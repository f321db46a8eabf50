# SPDX-License-Identifier: Apache-2.0
"""What waits between two commits: rows, dead letters and the STATE that may follow them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter, lt
from pathlib import Path

from ipai_kit.bronze import RejectionReason, Row, StreamPlan
from ipai_kit.landing.tombstones import newest


@dataclass(frozen=True)
class DeadLetter:
    """A record that was delivered but cannot be landed, with its bytes and the reason."""

    source: str
    stream: str
    reason: RejectionReason
    error: str
    raw: bytes


@dataclass
class StreamBatch:
    """Rows of one stream that go to its table in the next commit."""

    plan: StreamPlan
    keeps_every_version: bool = False
    versions: list[Row] = field(default_factory=list)
    """Rows as they were delivered; where the newest of each key counts, those after `rows`."""
    received: int = 0
    dead: int = 0
    size: int = 0
    generation_keys: dict[int, set[bytes]] = field(default_factory=dict)
    complete_version: int | None = None
    _newest: dict[bytes, Row] = field(default_factory=dict)

    @property
    def rows(self) -> dict[bytes, Row]:
        """The newest row of each key, in the order of their first delivery."""
        if self.versions and not self.keeps_every_version:
            rows, self.versions = self.versions, []
            self._replace_older(rows)
        return self._newest

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows in the order of their delivery."""
        self.versions += rows

    def absorb(self, later: "StreamBatch") -> None:
        """Take in what came after it, before anything else did."""
        self.plan = later.plan
        self.add(later.to_write())
        self.received += later.received
        self.dead += later.dead
        self.size += later.size
        for version, keys in later.generation_keys.items():
            self.generation_keys.setdefault(version, set()).update(keys)
        if later.complete_version is not None:
            self.complete_version = later.complete_version

    def to_write(self) -> list[Row]:
        """Rows in the order of their first delivery; the newest of a key stays."""
        if self.keeps_every_version or (not self._newest and ascend(self.versions)):
            return self.versions
        return list(self.rows.values())

    def remove(self, row: Row) -> None:
        """Take a row out that turned out to be unstorable."""
        if self.keeps_every_version:
            self.versions.remove(row)
        else:
            del self.rows[row[0]]

    def _replace_older(self, rows: Sequence[Row]) -> None:
        fresh = {row[0]: row for row in rows}
        if len(fresh) == len(rows) and self._newest.keys().isdisjoint(fresh):
            self._newest |= fresh
            return
        for row in rows:
            old = self._newest.setdefault(row[0], row)
            if old is not row:
                self._newest[row[0]] = newest(self.plan, old, row)


def ascend(rows: Sequence[Row]) -> bool:
    """Whether each key is longer than the one before it, or as long and larger: none comes twice.

    So do the texts of numbers that ascend. Looking costs a third of finding out by a dictionary.
    """
    keys = list(map(itemgetter(0), rows))
    sizes = list(map(len, keys))
    later = zip(islice(sizes, 1, None), islice(keys, 1, None), strict=True)
    return all(map(lt, zip(sizes, keys, strict=True), later))


@dataclass
class FlushBatch:
    """Everything that one transaction commits, and the STATE that leaves after it."""

    streams: dict[str, StreamBatch] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    state: bytes | None = None
    quarantined: list["Quarantined"] = field(default_factory=list)
    """What only the store could tell to be unstorable, when it was to be committed."""
    read_files: list[Path] = field(default_factory=list)
    """Files handed over by the tap whose last record is in this batch, or was in one before."""
    is_open: bool = False
    """To be committed together with a batch that follows, which has the STATE of its rows."""
    drops_open: bool = False
    """Whether open batches before it are never to be committed: the input ended in between."""
    closes: bool = False
    """Whether open batches before it are committed with it, however empty it is."""

    @property
    def holds_anything(self) -> bool:
        """Whether there is anything to commit, or to hand on after a commit."""
        return bool(self.streams or self.dead_letters or self.state or self.read_files)

    def absorb(self, later: "FlushBatch") -> None:
        """Take in what came after it, before anything else did."""
        for name, stream in later.streams.items():
            if name in self.streams:
                self.streams[name].absorb(stream)
            else:
                self.streams[name] = stream
        self.dead_letters += later.dead_letters
        self.read_files += later.read_files
        self.state = later.state or self.state

    def bury(self, stream: StreamBatch, reason: RejectionReason, error: str, raw: bytes) -> None:
        """Put a record of a stream among the dead letters."""
        plan = stream.plan
        letter = DeadLetter(plan.source, plan.stream, reason, error, bytes(raw))
        self.dead_letters.append(letter)
        stream.dead += 1

    def quarantine(
        self, stream: StreamBatch, row: Row, reason: RejectionReason, error: str
    ) -> None:
        """Bury a record that the store refuses."""
        self.bury(stream, reason, error, row[1])
        self.quarantined.append(Quarantined(stream.plan.stream, reason, error))


@dataclass(frozen=True)
class Quarantined:
    """A record that the store refused; by then its line is forgotten."""

    stream: str
    reason: RejectionReason
    error: str


@dataclass(frozen=True)
class StreamReport:
    """What a commit did to one stream; received = inserted + updated + unchanged + dead."""

    stream: str
    received: int
    inserted: int
    updated: int
    dead: int
    retired: int
    size: int
    seconds: float

    @property
    def unchanged(self) -> int:
        """Records that found the same or a newer row, or that a later one of the batch replaced."""
        return self.received - self.inserted - self.updated - self.dead
