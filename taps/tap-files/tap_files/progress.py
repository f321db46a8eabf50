# SPDX-License-Identifier: Apache-2.0
"""What STATE remembers of each file: which version of it, how far, and whether to its end.

{"bookmarks": {"orders": {"files": {"/in/orders.csv": {"version": "…", "done": true, …}}}}}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tap_files.listing import SourceFile
from tap_files.patterns import Pattern

__all__ = ["FileProgress", "is_young_enough"]

_DIGEST_BYTES = 4096


class FileProgress:
    """The entry of one file; changes reach STATE at once."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.entry = entry

    def start(self, file: SourceFile, pattern: Pattern, *, anew: bool) -> int | None:
        """Note the version that is read now; returns the rows to skip, None when all are known."""
        entry = self.entry
        same = bool(file.version) and entry.get("version") == file.version and not anew
        if same and entry.get("done"):
            return None
        is_read_otherwise = entry.get("reading", pattern.reading) != pattern.reading
        goes_on = same or (pattern.append_only and not anew and self._only_grew(file))
        if is_read_otherwise or not goes_on:
            stale_from = min(entry.get("first", 1), entry.get("stale_from", entry.get("first", 1)))
            stale_to = max(entry.get("line", 0), entry.get("stale_to", 0))
            entry.clear()
            entry.update({"rows": 0, "rejected": 0, "line": 0})
            if stale_to:
                entry.update({"stale_from": stale_from, "stale_to": stale_to})
        entry["version"] = file.version
        entry["size"] = file.size
        entry["modified"] = file.modified_text
        entry["done"] = False
        entry["reading"] = pattern.reading
        if pattern.append_only:
            entry["digest"] = _digest(file, file.size or 0)
        return int(entry["rows"] + entry["rejected"])

    @property
    def replaces(self) -> bool:
        """Whether another version of the file was read before, whose lines may be stale."""
        return "stale_to" in self.entry

    def stale_lines(self, after: int, before: int | None = None) -> Iterator[int]:
        """Yield lines of the version before between two rows of this one, or up to its end."""
        last = int(self.entry.get("stale_to", 0))
        first = max(after, int(self.entry.get("line", 0)), self.entry.get("stale_from", 1) - 1) + 1
        yield from range(first, last + 1 if before is None else min(before, last + 1))

    def advance(self, first: int, line: int, rows: int, rejected: int) -> None:
        """Note what has been written: rows from line `first` to `line`."""
        if rows:
            self.entry.setdefault("first", first)
        self.entry["line"] = max(line, self.entry.get("line", 0))
        self.entry["rows"] += rows
        self.entry["rejected"] += rejected

    def finish(self) -> None:
        """The file was read to its end."""
        self.entry["done"] = True
        self.entry.pop("reading", None)
        self.entry.pop("stale_from", None)
        self.entry.pop("stale_to", None)

    def forget_version(self) -> None:
        """What was read cannot be trusted: read it anew."""
        self.entry["version"] = ""

    def _only_grew(self, file: SourceFile) -> bool:
        before = self.entry.get("size") or 0
        known = self.entry.get("digest")
        return bool(known and (file.size or 0) >= before and _digest(file, before) == known)


def _digest(file: SourceFile, size: int) -> str:
    """Return what tells whether the first `size` bytes are still the same: their two ends."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=8)
    if size:
        digest.update(file.part(0, min(size, _DIGEST_BYTES)))
        digest.update(file.part(max(0, size - _DIGEST_BYTES), size))
    return digest.hexdigest()


def is_young_enough(file: SourceFile, start_date: str | None) -> bool:
    """Say whether a file is young enough to be read."""
    if not start_date or file.modified is None:
        return True
    begin = datetime.fromisoformat(start_date)
    return file.modified >= (begin if begin.tzinfo else begin.replace(tzinfo=file.modified.tzinfo))
