# SPDX-License-Identifier: Apache-2.0
"""How the rows of one table, in one of its shapes, become records and tombstones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from ipai_kit.sql.postgres.values import ColumnType
from tap_jdbc.cdc.messages import Relation
from tap_jdbc.cdc.values import Cell, ColumnEncoder, ServerTranslation, encode_texts, encoder_for

__all__ = ["DELETED_AT", "LSN", "UNCHANGED", "Cells", "Shape", "make_shape"]

DELETED_AT: Final = "_sdc_deleted_at"
LSN: Final = "_sdc_lsn"
UNCHANGED: Final = b"\0unchanged"
"""Stands for a large value that the change left alone and the log does not hold; no text of
PostgreSQL contains a zero byte."""

Cells: TypeAlias = list[Cell]
"""The values of one row, followed by the position of its commit (and, of a tombstone, the time)."""
Render: TypeAlias = Callable[[Sequence[Cells]], list[bytes]]


@dataclass(frozen=True)
class Shape:
    """Everything that follows from a Relation message for one stream."""

    relation: Relation
    types: Mapping[str, ColumnType]
    names: Sequence[str]
    """Columns by their place in a row; the columns that records hold are a part of them."""
    places: Sequence[int]
    """Those of the columns that records hold."""
    key_places: Sequence[int]
    records: Render
    tombstones: Render

    def key_of(self, cells: Cells) -> list[Cell]:
        """The key's values of a row."""
        return [cells[place] for place in self.key_places]


def make_shape(
    relation: Relation,
    types: Mapping[str, ColumnType],
    keys: Sequence[str],
    wanted: Callable[[str], bool],
    translate: ServerTranslation,
) -> Shape:
    """Prepare a table's shape; the key's columns are there, or the stream would not be read."""
    names = [column.name for column in relation.columns]
    encoders = [_encoder(types.get(name), translate) for name in names]
    chosen = [place for place, name in enumerate(names) if wanted(name)]
    key_places = [names.index(key) for key in keys]
    return Shape(
        relation,
        types,
        names,
        chosen,
        key_places,
        _records(names, chosen, encoders),
        _tombstones(names, key_places, encoders),
    )


def _encoder(kind: ColumnType | None, translate: ServerTranslation) -> ColumnEncoder:
    return encode_texts if kind is None else encoder_for(kind, translate)


def _records(
    names: Sequence[str], places: Sequence[int], encoders: Sequence[ColumnEncoder]
) -> Render:
    template = _template([names[place] for place in places], b'"%b":null,"%b":%%b}')

    def render(rows: Sequence[Cells]) -> list[bytes]:
        columns = list(zip(*rows, strict=True))
        encoded = [encoders[place](columns[place]) for place in places]
        return list(map(template.__mod__, zip(*encoded, columns[-1], strict=True)))

    return render


def _tombstones(
    names: Sequence[str], places: Sequence[int], encoders: Sequence[ColumnEncoder]
) -> Render:
    template = _template([names[place] for place in places], b'"%b":"%%b","%b":%%b}')

    def render(rows: Sequence[Cells]) -> list[bytes]:
        *keys, moments, positions = zip(*rows, strict=True)
        encoded = [encoders[place](cells) for place, cells in zip(places, keys, strict=True)]
        return list(map(template.__mod__, zip(*encoded, moments, positions, strict=True)))

    return render


def _template(names: Sequence[str], end: bytes) -> bytes:
    quoted = [msgspec.json.encode(name).replace(b"%", b"%%") for name in names]
    members = b"".join(b"%b:%%b," % name for name in quoted)
    return b"{" + members + end % (DELETED_AT.encode(), LSN.encode())
