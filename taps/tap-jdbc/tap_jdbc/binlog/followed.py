# SPDX-License-Identifier: Apache-2.0
"""What a run over the binary log asks of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ipai_kit.sql.database import Table

__all__ = ["FollowedTable"]


class FollowedTable(Protocol):
    """A stream whose changes come from the log."""

    name: str
    table: Table
    keys: Sequence[str]
    entry: dict[str, Any]
    """The bookmark, to be changed."""

    def wants(self, column: str) -> bool:
        """Whether a column is selected."""

    def show_columns(self, table: Table) -> None:
        """Write SCHEMA, if the log has columns that are not in it."""

    def announce(self, shape: None) -> None:
        """Write SCHEMA."""

    def start(self, position: int) -> None:
        """Begin with the whole table; what commits from this position on comes by the log."""

    def copy_table(self) -> None:
        """Write the whole table, or what a former run left of it."""

    def resume(self) -> None:
        """Tell the target which generation the records belong to."""

    def write_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write records and tombstones."""

    def truncate(self) -> None:
        """Retire everything that was delivered so far."""
