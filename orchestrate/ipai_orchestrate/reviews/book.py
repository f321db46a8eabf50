# SPDX-License-Identifier: Apache-2.0
"""ReviewBook: takes, signs and verifies reviews. The reports themselves are made in SQL."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from importlib.resources import files
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import scalar_row
from psycopg.types.json import Jsonb

from ipai_orchestrate.control_plane.queries import fetch_records, fetch_value, load_queries

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class Review:
    """A report as it was seen; `content` is its text in the database, which the hash is of."""

    id: UUID
    kind: str
    starts_on: date
    ends_on: date
    taken_at: datetime
    taken_by: str
    entries: int
    content: str
    content_hash: str
    signed_at: datetime | None
    signed_by: str | None
    note: str | None
    audit_seq: int | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The entries."""
        found: list[dict[str, Any]] = json.loads(self.content)
        return found

    @property
    def findings(self) -> int:
        """How many entries stand out."""
        return sum(1 for row in self.rows if row["finding"])


@dataclass(frozen=True, kw_only=True)
class _LayerTable:
    relation: str
    is_table: bool
    loaded_column: str | None


@dataclass(frozen=True, kw_only=True)
class _Signature:
    seq: int
    review_id: UUID
    detail: str
    actor: str


@dataclass(frozen=True, kw_only=True)
class _Signed:
    id: UUID
    content: str
    content_hash: str
    audit_seq: int
    signed_by: str


class ReviewBook:
    """The reviews of the connected control plane, on an autocommit connection of the caller."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def take(self, kind: str, day: date | None = None) -> Review:
        """Make and store the report of the period of that day; None for the present one."""
        measured = Jsonb(list(self._measured())) if kind == "retention" else None
        review_id = self._value("take", {"kind": kind, "day": day, "measured": measured})
        return next(one for one in self.all(kind, day) if one.id == review_id)

    def all(
        self, kind: str | None = None, day: date | None = None, limit: int = 100
    ) -> list[Review]:
        """Reports, the newest first."""
        return self._all(Review, "reviews", {"kind": kind, "day": day, "limit": limit})

    def sign(self, review: Review, note: str | None = None) -> int:
        """Sign a report that was seen; return the row of the log that says so."""
        arguments = {"id": review.id, "content_hash": review.content_hash, "note": note}
        return int(self._value("sign", arguments))

    def problems(self) -> list[str]:
        """What is not as it was signed, computed here and not in the database."""
        signatures = self._all(_Signature, "signatures", {})
        kept = {one.id: one for one in self._all(_Signed, "signed", {})}
        return [text for one in signatures if (text := _problem(one, kept.get(one.review_id)))] + [
            f"Review {one.id} has a signature that is not in the log."
            for one in kept.values()
            if one.id not in {signature.review_id for signature in signatures}
        ]

    def _measured(self) -> Iterator[dict[str, Any]]:
        """The oldest row of each table of the layers, read with the rights of who reviews.

        Not by a function of the database's owner: workers own these tables, and what they attach
        to them would run with the rights of whoever reads.
        """
        for one in self._all(_LayerTable, "tables", {}):
            fact: dict[str, Any] = {"relation": one.relation}
            if one.is_table and one.loaded_column:
                table = sql.SQL(one.relation)  # quoted by the database
                query = sql.SQL("select min({})::text from {}").format(
                    sql.Identifier(one.loaded_column), table
                )
                try:
                    with self._connection.cursor(row_factory=scalar_row) as cursor:
                        fact["oldest_at"] = cursor.execute(query).fetchone()
                except psycopg.Error as error:
                    reason = error.diag.message_primary or type(error).__name__
                    fact["problem"] = f"cannot be read: {reason}"
            yield fact

    def _value(self, query: str, arguments: Mapping[str, Any]) -> Any:
        return fetch_value(self._connection, _QUERIES[query], arguments)

    def _all(
        self, record: type[_Record], query: str, arguments: Mapping[str, Any]
    ) -> list[_Record]:
        return fetch_records(self._connection, record, _QUERIES[query], arguments)


def _problem(signature: _Signature, kept: _Signed | None) -> str | None:
    if kept is None or kept.audit_seq != signature.seq:
        return f"Review {signature.review_id}, signed in row {signature.seq}, is missing."
    digest = hashlib.sha256(kept.content.encode()).hexdigest()
    logged = signature.detail.split(" ")[0]
    if logged != f"sha256:{digest}" or digest != kept.content_hash:
        return f"Review {kept.id} is not as it was signed in row {signature.seq}."
    if kept.signed_by != signature.actor:
        return f"Review {kept.id} was signed by {signature.actor!r}, not by {kept.signed_by!r}."
    return None
