# SPDX-License-Identifier: Apache-2.0
"""Delta tables that somebody else made or changed: what this target does not know, it leaves alone.

Rows that a deletion vector hides would come back when their file is compacted; columns that are
mapped have other names in the files; a row id, a constraint or a change feed has to be written.
"""

from typing import Final

from deltalake import DeltaTable, Schema

from ipai_kit.exceptions import ConfigurationError

_KNOWN_FEATURES: Final = frozenset({"appendOnly", "invariants"})
_READER_VERSION: Final = 1
_WRITER_VERSION: Final = 2
_BY_FEATURES: Final = (3, 7)
"""Reader and writer versions that list what they need by name."""
_STEP: Final = "Choose another 'lake_url' or 'source', or move that table away."


def refuse_foreign(path: str, table: DeltaTable, wanted: Schema, day: str) -> None:
    """Stop before a table is harmed that is not, or no longer, one that this target writes."""
    if unknown := _unknown_needs(table):
        message = f"Table {path!r} needs what this target does not know: {', '.join(unknown)}."
        raise ConfigurationError(message, next_step=_STEP)
    there = {field.name: str(field.type) for field in table.schema().fields}
    for field in wanted.fields:
        if there.pop(field.name, None) != str(field.type):
            message = f"Table {path!r} has no column {field.name!r} as this target writes it."
            raise ConfigurationError(message, next_step=_STEP)
    if table.metadata().partition_columns != [day]:
        message = f"Table {path!r} is not partitioned by {day!r}."
        raise ConfigurationError(message, next_step=_STEP)


def _unknown_needs(table: DeltaTable) -> list[str]:
    protocol = table.protocol()
    reader, writer = protocol.min_reader_version, protocol.min_writer_version
    needs = {*(protocol.reader_features or ()), *(protocol.writer_features or ())}
    unknown = sorted(needs - _KNOWN_FEATURES)
    if reader > _READER_VERSION and reader != _BY_FEATURES[0]:
        unknown.append(f"reader version {reader}")
    if writer > _WRITER_VERSION and writer != _BY_FEATURES[1]:
        unknown.append(f"writer version {writer}")
    return unknown
