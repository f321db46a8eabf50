# SPDX-License-Identifier: Apache-2.0
"""The tap's STATE in singer-sdk's shape, with partitions found by key instead of by search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["Bookmarks"]

_PartitionKey = bytes
_encoder = msgspec.json.Encoder(order="sorted")


class Bookmarks:
    """Reads and writes `{"bookmarks": {stream: {"partitions": [{"context": …, …}]}}}` in place."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        # Made whole here because fetching threads read while the emitting one writes.
        self._index: dict[str, dict[_PartitionKey, dict[str, Any]]] = {
            stream: {_encoder.encode(one["context"]): one for one in bookmark.get("partitions", [])}
            for stream, bookmark in state.get("bookmarks", {}).items()
        }

    def find(self, stream: str, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the bookmark of a partition, `{}` when there is none; not to be changed."""
        if not context:
            return self.state.get("bookmarks", {}).get(stream) or {}
        return self._partitions(stream).get(_encoder.encode(context), {})

    def entry(self, stream: str, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the bookmark of a partition to be changed."""
        bookmark: dict[str, Any] = self.state.setdefault("bookmarks", {}).setdefault(stream, {})
        if not context:
            return bookmark
        index, key = self._partitions(stream), _encoder.encode(context)
        if key not in index:
            index[key] = {"context": dict(context)}
            bookmark.setdefault("partitions", []).append(index[key])
        return index[key]

    def _partitions(self, stream: str) -> dict[_PartitionKey, dict[str, Any]]:
        return self._index.setdefault(stream, {})
