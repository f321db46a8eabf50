# SPDX-License-Identifier: Apache-2.0
"""Counts a run by stream: what the tap says it read and what the target says it committed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ipai_orchestrate.pipeline.log_line import LogLine


@dataclass(frozen=True)
class StreamTally:
    """The figures of one stream so far; the row counts are committed ones."""

    stream: str
    read: int = 0
    requests: int = 0
    quota_remaining: int | None = None
    partitions_done: int = 0
    partitions_total: int | None = None
    received: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    retired: int = 0
    dead: int = 0
    bytes: int = 0
    seconds: float = 0.0
    skips: int = 0
    skipped_reason: str | None = None

    @property
    def rows(self) -> int:
        """Records that are in Bronze, because of this run or from before."""
        return self.received - self.dead

    @property
    def changed(self) -> int:
        """Rows that are different in Bronze since this run began."""
        return self.inserted + self.updated + self.retired


_ADDED = ("received", "inserted", "updated", "unchanged", "retired", "dead", "bytes", "seconds")
_LATEST = ("requests", "quota_remaining", "partitions_done", "partitions_total")
_A_YEAR = 366 * 86400
_KEPT = ("stream", *_ADDED, "requests", "skipped_reason")


@dataclass
class Tally:
    """All streams of one run."""

    streams: dict[str, StreamTally] = field(default_factory=dict)
    quota: Mapping[str, float] = field(default_factory=dict)

    def hear(self, line: LogLine) -> bool:
        """Count what the line reports; False when it reports nothing countable."""
        if line.stream is None:
            return False
        before = self.streams.get(line.stream, StreamTally(line.stream))
        after = _after(before, line)
        if after is None:
            return False
        self.streams[line.stream] = after
        self.quota = _quota(line) or self.quota
        return True

    @property
    def rows(self) -> int:
        """Rows of all streams."""
        return sum(stream.rows for stream in self.streams.values())

    def figures(self) -> list[dict[str, Any]]:
        """What the control plane keeps of each stream."""
        return [{key: getattr(one, key) for key in _KEPT} for one in self.streams.values()]

    def changed_streams(self) -> list[str]:
        """Streams whose rows in Bronze are not what they were."""
        return [name for name, stream in self.streams.items() if stream.changed]


def _after(before: StreamTally, line: LogLine) -> StreamTally | None:
    match line.source, line.message:
        case "tap", "progress":
            latest = {key: line.fields[key] for key in _LATEST if key in line.fields}
            return replace(before, read=_number(line.fields, "records"), **latest)
        case "tap", "stream_skipped":
            reason = before.skipped_reason or str(line.fields.get("reason", ""))
            return replace(before, skips=before.skips + 1, skipped_reason=reason)
        case "target", "flushed":
            sums = {key: getattr(before, key) + _number(line.fields, key) for key in _ADDED}
            return replace(before, **sums)
    return None


def _quota(line: LogLine) -> Mapping[str, float]:
    """What the source says is left to all streams, and the seconds until it is renewed."""
    remaining = line.fields.get("quota_remaining")
    resets_in = _number(line.fields, "quota_resets_in")
    if type(remaining) is int and 0 < resets_in < _A_YEAR:
        return {"remaining": remaining, "reset_in": resets_in}
    return {}


def _number(fields: Mapping[str, Any], key: str) -> Any:
    value = fields.get(key)
    return value if isinstance(value, int | float) else 0
