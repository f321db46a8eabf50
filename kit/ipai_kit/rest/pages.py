# SPDX-License-Identifier: Apache-2.0
"""Cuts records out of a reply without building them: bytes stay bytes, a probe reads the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ipai_kit.exceptions import InternalError
from ipai_kit.rest.calls import Reply, safe_url

if TYPE_CHECKING:
    from ipai_kit.rest.extraction import Slice
    from ipai_kit.rest.prefetch import Ticket

__all__ = ["Page", "Probe", "Row", "decode_records", "slice_records"]

_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
_raw_one = msgspec.json.Decoder(msgspec.Raw)
_dict_list = msgspec.json.Decoder(list[dict[str, Any]], float_hook=Decimal)
_dict_one = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


@dataclass
class Page:
    """One reply's worth of records, and what was scheduled because of them."""

    extracted_at: str
    size: int = 0
    delivered: int = 0  # how many records the source sent
    rows: Sequence[Row] = ()  # those at or after the start, in order
    last: bool = False  # nothing further is wanted
    unchanged: bool = False
    etag: str | None = None
    following: list[Ticket[Page]] = field(default_factory=list)
    children: list[Slice] = field(default_factory=list)


class Row(NamedTuple):
    """One record: what is emitted, its cursor, and its probed fields."""

    record: Any
    cursor: Any
    probed: Any


def _records_bytes(reply: Reply, path: str | None, optional: bool) -> bytes | msgspec.Raw | None:
    """Return the bytes of the record list, None when there are no records."""
    if not reply.body.strip():
        return None
    found = reply.raw(path)
    if found is None or bytes(memoryview(found)[:4]) == b"null":
        if path is None or optional:
            return None
        message = f"The reply has no list of records at {path!r}."
        raise InternalError(
            message,
            url=safe_url(reply.url),
            status=reply.status,
            next_step="The API may have changed; report it.",
        )
    return found


def slice_records(reply: Reply, path: str | None, optional: bool = False) -> list[msgspec.Raw]:
    """Cut the records out of the body; each stays the bytes that the source sent.

    Line breaks may stand between the tokens of JSON but not inside its strings, so they become
    spaces: a Singer message is one line.
    """
    found = _records_bytes(reply, path, optional)
    if found is None:
        return []
    data = bytes(found)
    if not data.isascii():
        data.decode("utf-8")  # the decoder skips over raw values without looking
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return _raw_list.decode(data) if data.lstrip()[:1] == b"[" else [_raw_one.decode(data)]


def decode_records(reply: Reply, path: str | None, optional: bool = False) -> list[dict[str, Any]]:
    """Build the records as dicts; numbers keep every digit."""
    found = _records_bytes(reply, path, optional)
    if found is None:
        return []
    data = bytes(found)
    return _dict_list.decode(data) if data.lstrip()[:1] == b"[" else [_dict_one.decode(data)]


class Probe:
    """Reads a few fields, named by dotted paths, out of records in bytes."""

    def __init__(self, paths: Iterable[str]) -> None:
        names = list(dict.fromkeys(path.split(".")[0] for path in paths))
        # Attribute names are generic because a field's name may be any JSON text, e.g. "+1".
        attributes = {name: f"f{number}" for number, name in enumerate(names)}
        struct = msgspec.defstruct(
            "Probed",
            [(attribute, Any, None) for attribute in attributes.values()],
            rename={attribute: name for name, attribute in attributes.items()},
        )
        self._attributes = attributes
        self._decoder = msgspec.json.Decoder(struct, float_hook=Decimal)

    def read(self, records: Iterable[bytes | msgspec.Raw]) -> list[Any]:
        """Decode the probed fields of each record."""
        decode = self._decoder.decode
        try:
            return [decode(record) for record in records]
        except msgspec.ValidationError as error:
            message = f"A record is not a JSON object: {error}."
            raise InternalError(message, next_step="Check 'records_path'.") from error

    def value(self, probed: Any, path: str) -> Any:
        """Return one field of a probed or decoded record; None when the record lacks it."""
        first, *rest = path.split(".")
        found = self.getter(first, isinstance(probed, dict))(probed)
        for name in rest:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def getter(self, name: str, of_dicts: bool) -> Callable[[Any], Any]:
        """Return the function that reads a field without a dot, for use on many records."""
        if of_dicts:
            return lambda record: record.get(name)
        return attrgetter(self._attributes[name])
