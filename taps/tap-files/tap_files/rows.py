# SPDX-License-Identifier: Apache-2.0
"""What the readers of all formats give: rows with their place, and rows that cannot be read."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "DELETED_AT",
    "ETAG",
    "EXTRA",
    "FILE",
    "LINE",
    "MODIFIED",
    "PLACE_SCHEMA",
    "SIZE",
    "Rejected",
    "Row",
]

FILE, LINE = "_sdc_source_file", "_sdc_source_line"
MODIFIED, ETAG, SIZE = "_sdc_source_lastmodified", "_sdc_source_etag", "_sdc_source_size"
EXTRA = "_sdc_extra"
"""Cells of a row beyond the header's columns."""
DELETED_AT = "_sdc_deleted_at"

PLACE_SCHEMA: dict[str, Any] = {
    FILE: {"type": "string", "description": "The file that the row is from."},
    LINE: {
        "type": "integer",
        "description": "Line on which the row begins; for documents the number of the record.",
    },
    MODIFIED: {
        "type": ["null", "string"],
        "format": "date-time",
        "description": "When the file was last modified.",
    },
    ETAG: {"type": ["null", "string"], "description": "The store's entity tag of the file."},
    SIZE: {"type": ["null", "integer"], "description": "Size of the file in bytes."},
}

Row: TypeAlias = tuple[int, "dict[str, Any] | bytes"]
"""Line and content: values, or the bytes of a JSON object."""


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be read: where, why, and its bytes."""

    line: int
    reason: str
    raw: bytes

    def content(self) -> dict[str, Any]:
        """Return its bytes as text; what is no UTF-8 in base64."""
        try:
            return {"raw": self.raw.decode("utf-8"), "raw_encoding": "text"}
        except UnicodeDecodeError:
            return {"raw": base64.b64encode(self.raw).decode(), "raw_encoding": "base64"}
