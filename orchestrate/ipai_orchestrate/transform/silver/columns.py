# SPDX-License-Identifier: Apache-2.0
"""Decides the columns of a Silver table: one per scalar, per lifted member and per JSON value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ipai_kit.spec.names import MAX_NAME_BYTES, bronze_table, silver_schema, silver_table
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.transform.silver.contract import (
    Schema,
    StreamContract,
    column_type,
    members,
)
from ipai_orchestrate.transform.silver.decisions import StreamDecisions

_FOREIGN = re.compile(r"[^a-z0-9_]+")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# What Postgres takes for a column only in quotes.
_SQL_WORDS = re.compile(
    r"all|analyse|analyze|and|any|array|as|asc|asymmetric|authorization|binary|"
    r"both|case|cast|check|collate|collation|column|concurrently|constraint|create|"
    r"cross|current_catalog|current_date|current_role|current_schema|current_time|"
    r"current_timestamp|current_user|default|deferrable|desc|distinct|do|else|end|"
    r"except|false|fetch|for|foreign|freeze|from|full|grant|group|having|ilike|in|"
    r"initially|inner|intersect|into|is|isnull|join|lateral|leading|left|like|"
    r"limit|localtime|localtimestamp|natural|not|notnull|null|offset|on|only|or|"
    r"order|outer|overlaps|placing|primary|references|returning|right|select|"
    r"session_user|similar|some|symmetric|system_user|table|tablesample|then|to|"
    r"trailing|true|union|unique|user|using|variadic|verbose|when|where|window|with"
)


@dataclass(frozen=True)
class Column:
    """A typed column and where its value lies in the record."""

    name: str
    path: tuple[str, ...]
    type: str
    description: str
    required: bool = False


# Columns of every Silver table beside its own; the macro silver_trace_columns gives their values.
INSTANCE = Column("instance_id", (), "text", "Connector instance the row came through.", True)
TRACE = (
    Column("_cursor", (), "text", "The record's own replication-key value, as sortable text."),
    Column("_emitted_at", (), "timestamptz", "When the tap read this version of the record.", True),
    Column(
        "_loaded_at", (), "timestamptz", "When Bronze stored this version; the watermark.", True
    ),
    Column(
        "_deleted_at",
        (),
        "timestamptz",
        "When the record was found deleted at the source; null while it exists.",
    ),
    Column("_source", (), "text", "Source type the record came from.", True),
    Column("_stream", (), "text", "Stream the record came in.", True),
    Column("_run_id", (), "text", "Run that loaded this version, to trace it to its logs."),
)
RECORD_KEY = Column("_record_key", (), "text", "Content hash; the stream has no key.", True)
RESERVED = frozenset(column.name for column in (INSTANCE, RECORD_KEY, *TRACE))


@dataclass(frozen=True)
class SilverModel:
    """A Silver table as it will be written: names, columns, key, partition."""

    contract: StreamContract
    name: str
    schema: str
    bronze: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_by: str | None
    description: str

    @property
    def source(self) -> str:
        """The source the model belongs to."""
        return self.contract.source

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """In the order of the table."""
        keyless = (RECORD_KEY,) if RECORD_KEY.name in self.key else ()
        return (INSTANCE, *self.columns, *keyless, *TRACE)


def plan_model(contract: StreamContract, decisions: StreamDecisions) -> SilverModel:
    """Work out the Silver table of one stream."""
    columns = _key_first(contract, tuple(_columns(contract, decisions)))
    _refuse_clashes(contract, columns)
    names = {column.name for column in columns}
    keys = tuple(column.name for column in columns if column.required) or (RECORD_KEY.name,)
    return SilverModel(
        contract=contract,
        name=silver_table(contract.source, decisions.entity),
        schema=silver_schema(contract.domain),
        bronze=bronze_table(contract.source, contract.stream),
        columns=columns,
        key=(INSTANCE.name, *keys),
        partition_by=next((name for name in decisions.partition_by if name in names), None),
        description=decisions.description
        or contract.description
        or f"Newest version of each record of stream {contract.stream}.",
    )


def _columns(contract: StreamContract, decisions: StreamDecisions) -> Iterator[Column]:
    for name, schema in contract.properties.items():
        lifted = dict(_lifted((name,), schema, decisions))
        if lifted:
            yield from (
                _column(column, path, leaf, decisions) for column, (path, leaf) in lifted.items()
            )
        elif not decisions.leaves_out(name) or name in contract.key_properties:
            column = decisions.rename.get(name, column_name(name))
            yield _column(column, (name,), schema, decisions)


def _lifted(
    path: tuple[str, ...], schema: Schema, decisions: StreamDecisions
) -> Iterator[tuple[str, tuple[tuple[str, ...], Schema]]]:
    """Columns that `nested` takes out of this object, at any depth."""
    below = members(schema)
    for member, column in decisions.nested.get(".".join(path), {}).items():
        if member in below:
            yield column, ((*path, member), below[member])
    for member, inner in below.items():
        if any(place.startswith(".".join((*path, member))) for place in decisions.nested):
            yield from _lifted((*path, member), inner, decisions)


def _column(name: str, path: tuple[str, ...], schema: Schema, decisions: StreamDecisions) -> Column:
    said = " ".join(str(schema.get("description", "")).split())
    return Column(
        name=name,
        path=path,
        type=decisions.types.get(name, column_type(schema)),
        description=said or f"Field {'.'.join(path)} as the source delivers it.",
    )


def _key_first(contract: StreamContract, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    by_path = {column.path: column for column in columns}
    keys = []
    for name in contract.key_properties:
        key = by_path.get((name,)) or by_path.get(tuple(name.split(".")))
        if key is None:
            message = (
                f"Key {name!r} of stream {contract.stream!r} gives no column. Add it to the "
                f"properties of schemas/streams/{contract.source}/{contract.stream}.json."
            )
            raise ConfigurationError(message)
        keys.append(key)
    required = tuple(
        Column(key.name, key.path, key.type, key.description, required=True) for key in keys
    )
    return (*required, *(column for column in columns if column not in keys))


def column_name(property_name: str) -> str:
    """Snake case, no SQL word, without the underscore that marks the tap's own fields."""
    snake = _WORD_START.sub("_", property_name).lower()
    name = _FOREIGN.sub("_", snake).strip("_") or "value"
    return f"{name}_value" if _SQL_WORDS.fullmatch(name) else name


def _refuse_clashes(contract: StreamContract, columns: tuple[Column, ...]) -> None:
    seen: dict[str, Column] = {}
    for column in columns:
        path = ".".join(column.path)
        reserved = column.name in RESERVED or _SQL_WORDS.fullmatch(column.name)
        if reserved or len(column.name.encode()) > MAX_NAME_BYTES:
            message = (
                f"Property {path!r} of stream {contract.stream!r} cannot become column "
                f"{column.name!r}: reserved or too long. Rename it in transform/silver/"
                f"{contract.source}.yml."
            )
            raise ConfigurationError(message)
        if column.name in seen:
            message = (
                f"Properties {'.'.join(seen[column.name].path)!r} and {path!r} of stream "
                f"{contract.stream!r} both become column {column.name!r}. Rename or exclude one in "
                f"transform/silver/{contract.source}.yml."
            )
            raise ConfigurationError(message)
        seen[column.name] = column
