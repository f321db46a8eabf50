# SPDX-License-Identifier: Apache-2.0
"""Which streams of a source a run reads, as a Singer catalog."""

from collections.abc import Collection, Mapping
from typing import Any

from ipai_orchestrate.exceptions import ConfigurationError

Catalog = dict[str, Any]


def stream_names(catalog: Catalog) -> list[str]:
    """The streams of a catalog, in its order."""
    return [_name(entry) for entry in catalog.get("streams", [])]


def only(catalog: Catalog, streams: Collection[str]) -> Catalog:
    """The catalog with exactly these streams selected."""
    unknown = [name for name in streams if name not in stream_names(catalog)]
    if unknown:
        known = ", ".join(stream_names(catalog))
        message = f"Unknown stream {unknown[0]!r}. Use one of: {known}."
        raise ConfigurationError(message)
    entries = [_selected(entry, _name(entry) in streams) for entry in catalog["streams"]]
    return {**catalog, "streams": entries}


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("stream") or entry.get("tap_stream_id"))


def _selected(entry: Mapping[str, Any], selected: bool) -> dict[str, Any]:
    """Say it in both dialects: the metadata of Singer's newer taps and the flag of its older."""
    metadata = [dict(one) for one in entry.get("metadata", [])]
    root = next((one for one in metadata if not one.get("breadcrumb")), None)
    if root is None:
        root = {"breadcrumb": []}
        metadata.append(root)
    root["metadata"] = {**root.get("metadata", {}), "selected": selected}
    return {**entry, "selected": selected, "metadata": metadata}
