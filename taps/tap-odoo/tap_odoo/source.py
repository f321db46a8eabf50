# SPDX-License-Identifier: Apache-2.0
"""What both ways to an Odoo server offer to the streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tap_odoo.models import Shape, StreamModel

__all__ = ["Block", "Position", "Scope", "Source"]


@dataclass(frozen=True)
class Scope:
    """Whose records, and in which words."""

    companies: Sequence[int]
    """All companies that are looked at, the first one giving the plain values."""
    limited: bool
    """Whether records of other companies are left out."""
    language: str


@dataclass(frozen=True)
class Position:
    """Where to go on: beyond an id, or from a moment of change on."""

    after_id: int | None = None
    since: str | None = None
    not_before: str | None = None
    """Leaves out what was last changed earlier, without any effect on the order."""
    among: Sequence[int] | None = None
    """Only these ids."""


@dataclass(frozen=True)
class Block:
    """Some records in the order of reading."""

    ids: Sequence[int]
    lines: Sequence[bytes] = ()
    """Either JSON objects in bytes …"""
    rows: Sequence[dict[str, Any]] = field(default=())
    """… or Python values."""
    latest: str | None = None
    """The last moment of change that is complete with this block, as exact as the way allows."""


class Source(Protocol):
    """A connection to one Odoo database."""

    @property
    def version(self) -> int:
        """The major version."""
        ...

    @property
    def scope(self) -> Scope:
        """Whose records are read."""
        ...

    def installed(self, names: Sequence[str]) -> Sequence[str]:
        """Return which of these models there are."""
        ...

    def names(self) -> Sequence[str]:
        """Return the models that there are, as far as that is told."""
        ...

    def shapes(self, streams: Sequence[StreamModel]) -> Sequence[Shape]:
        """Return how this server can give these streams; models must be installed."""
        ...

    def high_water(self, shape: Shape) -> str | None:
        """Return the last moment of change; None where there is none."""
        ...

    def read(self, shape: Shape, position: Position) -> Iterator[Block]:
        """Yield records: by id when no moment is given, else by (write_date, id)."""
        ...

    def ids(self, shape: Shape, not_before: str | None = None) -> Iterator[Sequence[int]]:
        """Yield the ids of all records, or of those changed since, ascending."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
