# SPDX-License-Identifier: Apache-2.0
"""The stream `files`: every file that the other streams know, and how many rows came out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ipai_kit.local import LocalStream
from tap_files.patterns import INVENTORY

if TYPE_CHECKING:
    from tap_files.tap import TapFiles

__all__ = ["Inventory"]

_TEXT = {"type": ["null", "string"]}
_COUNT = {"type": ["null", "integer"]}


class Inventory(LocalStream):
    """One record for each file, made of STATE: it is true however often runs were cut off."""

    name = INVENTORY
    primary_keys = ("stream", "file")
    schema = {
        "type": "object",
        "properties": {
            "stream": {"type": "string", "description": "The stream that its rows are in."},
            "file": {"type": "string", "description": "Its address, as in _sdc_source_file."},
            "version": {**_TEXT, "description": "Entity tag, or time and size."},
            "size": {**_COUNT, "description": "Bytes."},
            "modified": {**_TEXT, "format": "date-time", "description": "When it was modified."},
            "rows": {**_COUNT, "description": "Rows read."},
            "rejected": {**_COUNT, "description": "Rows that could not be read."},
            "is_complete": {"type": "boolean", "description": "Whether it was read to its end."},
            "error": {**_TEXT, "description": "What kept it from being read to its end."},
        },
    }

    def __init__(self, tap: TapFiles) -> None:
        super().__init__(tap, schema=self.schema, name=INVENTORY)

    @property
    def emit_activate_version_messages(self) -> bool:
        """Never: a file that is gone has been read all the same."""
        return False

    def get_records(self, context: Mapping[str, Any] | None) -> Iterable[dict[str, Any]]:
        """Yield what STATE knows."""
        del context
        for stream, bookmark in sorted(self.tap.state.get("bookmarks", {}).items()):
            for file, entry in sorted(bookmark.get("files", {}).items()):
                yield {
                    "stream": stream,
                    "file": file,
                    **{name: entry.get(name) for name in ("version", "size", "modified")},
                    "rows": entry.get("rows"),
                    "rejected": entry.get("rejected"),
                    "is_complete": bool(entry.get("done")),
                    "error": entry.get("error"),
                }
