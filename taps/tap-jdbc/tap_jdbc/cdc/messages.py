# SPDX-License-Identifier: Apache-2.0
"""The messages of pgoutput (protocol 1), as far as they are not rows; rows are read in `reader`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from struct import Struct

__all__ = ["Begin", "LoggedColumn", "Relation", "read_begin", "read_relation", "read_truncate"]

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_BEGIN = Struct(">QqI")
_RELATION_ID = Struct(">I")
_COLUMN = Struct(">Ii")
_COUNT = Struct(">H")
_TRUNCATE = Struct(">IB")


@dataclass(frozen=True, slots=True)
class Begin:
    """The start of a transaction; the log gives transactions in the order of their commits."""

    commit_lsn: int
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class LoggedColumn:
    """One column as it was when the change was made."""

    name: str
    type_oid: int
    type_modifier: int
    is_identity: bool
    """Whether old versions of a row carry it."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it was when the changes that follow were made."""

    oid: int
    schema: str
    name: str
    replica_identity: str
    columns: tuple[LoggedColumn, ...]


def read_begin(data: bytes, start: int) -> Begin:
    """Read a Begin message whose content starts at `start`."""
    lsn, microseconds, _ = _BEGIN.unpack_from(data, start)
    return Begin(lsn, _EPOCH + timedelta(microseconds=microseconds))


def read_relation(data: bytes, start: int) -> Relation:
    """Read a Relation message whose content starts at `start`."""
    (oid,) = _RELATION_ID.unpack_from(data, start)
    schema, position = _text(data, start + 4)
    name, position = _text(data, position)
    identity = chr(data[position])
    (count,) = _COUNT.unpack_from(data, position + 1)
    position += 3
    columns = []
    for _ in range(count):
        flags = data[position]
        column, position = _text(data, position + 1)
        type_oid, modifier = _COLUMN.unpack_from(data, position)
        position += _COLUMN.size
        columns.append(LoggedColumn(column, type_oid, modifier, bool(flags & 1)))
    return Relation(oid, schema or "pg_catalog", name, identity, tuple(columns))


def read_truncate(data: bytes, start: int) -> tuple[int, ...]:
    """Read the oids of the tables that a Truncate message empties."""
    count, _ = _TRUNCATE.unpack_from(data, start)
    first = start + _TRUNCATE.size
    return tuple(_RELATION_ID.unpack_from(data, first + 4 * one)[0] for one in range(count))


def _text(data: bytes, start: int) -> tuple[str, int]:
    end = data.index(0, start)
    return data[start:end].decode(), end + 1
