# SPDX-License-Identifier: Apache-2.0
"""Rows of a stream with `key_properties`: every one has them, or it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ipai_kit.exceptions import ConfigurationError
from tap_files.patterns import Pattern
from tap_files.rows import Rejected, Row

__all__ = ["rows_with_keys"]

_ENOUGH_TO_TELL = 100
_SHOWN = 20
_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def rows_with_keys(rows: Iterator[Row | Rejected], pattern: Pattern) -> Iterator[Row | Rejected]:
    """Yield the rows. A table without a key column fails; a JSON record without one is rejected.

    If none of the first records has the key it is the setting that is wrong, not the records.
    """
    lacks = _missing_in_record(pattern.key_properties)
    held: list[Rejected] = []
    is_met, seen = False, b"{}"
    for row in rows:
        found: Row | Rejected = row
        if not isinstance(row, Rejected):
            if isinstance(row[1], dict):
                _check_columns(row[1], pattern)
            elif missing := lacks(row[1]):
                reason = f"Record {row[0]} has no {missing!r}, which is in 'key_properties'."
                found, seen = Rejected(row[0], reason, row[1]), row[1]
            else:
                is_met = True
        if not is_met and (held or found is not row):
            held.append(found)  # type: ignore[arg-type]  # what is not met is rejected
            if len(held) < _ENOUGH_TO_TELL:
                continue
            break
        yield from held
        held.clear()
        yield found
    if held:
        raise _wrong_keys(lacks(seen), "no record at its beginning has it", _names(seen), pattern)


def _check_columns(row: dict[str, Any], pattern: Pattern) -> None:
    for name in pattern.key_properties:
        if name not in row:
            raise _wrong_keys(name, "there is no such column", row, pattern)


def _missing_in_record(keys: Sequence[str]) -> Callable[[bytes], str]:
    """Return what says which key a record lacks; it builds nothing but the keys."""
    fields = [(f"key_{place}", Any, msgspec.UNSET) for place, _ in enumerate(keys)]
    rename = {field[0]: name for field, name in zip(fields, keys, strict=True)}
    decode = msgspec.json.Decoder(msgspec.defstruct("_Keys", fields, rename=rename)).decode

    def missing(record: bytes) -> str:
        found = msgspec.structs.astuple(decode(record))
        absent = (name for name, value in zip(keys, found, strict=True) if value is msgspec.UNSET)
        return next(absent, "")

    return missing


def _wrong_keys(key: str, why: str, names: Iterable[str], pattern: Pattern) -> ConfigurationError:
    there = [name for name in names if not name.startswith("_sdc_")]
    shown = ", ".join(map(repr, there[:_SHOWN])) or "none"
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    return ConfigurationError(
        f"'key_properties' names {key!r}, but {why}; there are {shown}{more}.",
        stream=pattern.name,
        next_step="Correct 'key_properties', or leave it out: then file and line tell rows apart.",
    )
