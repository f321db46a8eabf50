# SPDX-License-Identifier: Apache-2.0
"""What fits a pattern in a store. A folder that cannot be listed is told: it is not empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ipai_kit.exceptions import ConnectorError
from tap_files.exceptions import FileMissingError
from tap_files.failures import explained, explanation, shown
from tap_files.folders import Refusals
from tap_files.patterns import Pattern, bare
from tap_files.stores import kind_of_address

__all__ = ["find_matches", "is_pattern"]

_MAGIC = "*?["


def is_pattern(path: str) -> bool:
    """Whether a path stands for any number of files."""
    return any(one in bare(path) for one in _MAGIC)


def find_matches(
    pattern: Pattern, store: Any
) -> Iterator[tuple[str, Mapping[str, Any]] | ConnectorError]:
    """Yield path and description of each file that fits."""
    address = pattern.path
    is_http = kind_of_address(address) == "http"
    with explained(address):
        path = address if is_http else store._strip_protocol(address)
        # A file may have a name that looks like a pattern.
        is_name = not is_pattern(address) or ("[" in path and store.exists(path))
        found: Mapping[str, Mapping[str, Any]] = {path: store.info(path)} if is_name else {}
    if not is_name:
        found = _globbed(store, address, path)
        yield from _refused_folders(store, _root(path))
    root = _root(path)
    for one, info in found.items():
        if not is_name and _is_hidden(one.removeprefix(root), path.removeprefix(root)):
            continue
        try:
            whole = _whole(store, one, info, is_http=is_http)
        except ConnectorError as error:
            yield error
            continue
        if whole.get("type") not in {"directory", "other"}:
            yield one, whole


def _globbed(store: Any, address: str, path: str) -> Mapping[str, Mapping[str, Any]]:
    with explained(address):
        if isinstance(store, Refusals):
            store.refused.clear()
        found: Mapping[str, Mapping[str, Any]] = store.glob(path, detail=True)
        kind = kind_of_address(address)
        if not found and kind == "http":
            store.ls(_root(path))  # a page that is not there looks empty too
        if not found and kind in {"s3", "gcs"} and not store.exists(path.partition("/")[0]):
            raise FileNotFoundError(path)  # so does a bucket
        return found


def _refused_folders(store: Any, root: str) -> Iterator[ConnectorError]:
    """Yield what kept folders from being listed; one that is gone by now is none any more."""
    for place, failure in store.refused if isinstance(store, Refusals) else ():
        if not isinstance(failure, FileNotFoundError):
            yield explanation(failure, place)
        elif place.rstrip("/") == root.rstrip("/"):
            message = f"There is no folder {place!r}."
            yield FileMissingError(message, next_step="Correct 'path', or mount the folder.")


def _root(path: str) -> str:
    """The folder above the first part of a path that has a pattern in it."""
    first = min((place for one in _MAGIC if (place := path.find(one)) >= 0), default=len(path))
    return path[: path.rfind("/", 0, first) + 1]


def _is_hidden(path: str, pattern: str) -> bool:
    """Files and folders with a dot before their names, and Excel's locks, as shells leave them."""
    wants_hidden = any(one.startswith((".", "[")) for one in pattern.split("/"))
    *folders, name = bare(path).strip("/").split("/")
    if name.startswith("~$") and not pattern.rpartition("/")[2].startswith("~"):
        return True
    return not wants_hidden and any(one.startswith(".") for one in (*folders, name))


def _whole(store: Any, path: str, info: Mapping[str, Any], *, is_http: bool) -> Mapping[str, Any]:
    """Listings know names alone on a web server, and of a link the link itself."""
    is_link = info.get("islink") or info.get("type") == "link"
    if not is_link and not (is_http and info.get("size") is None):
        return info
    with explained(shown(path)):
        found: Mapping[str, Any] = store.info(path)
        return found
