# SPDX-License-Identifier: Apache-2.0
"""Odoo's database as a source. A run sees one moment of it, so that entries balance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import psycopg

from ipai_kit.exceptions import (
    ConnectorError,
    CredentialsError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.sql.address import Address
from ipai_kit.sql.postgres.connection import SESSION, connect
from ipai_kit.sql.postgres.copying import copy_lines
from ipai_kit.sql.postgres.failures import statement_failure
from tap_odoo.models import Shape, StreamModel, shape_of
from tap_odoo.postgres.catalog import Catalog
from tap_odoo.postgres.companies import Companies
from tap_odoo.postgres.select import Select
from tap_odoo.source import Block, Position, Scope

__all__ = ["PostgresSource"]

# Compiling an expression for each member takes longer than computing a million of them.
_SNAPSHOT = f"{SESSION}; set local jit = off; set transaction isolation level repeatable read"
_COLUMN = b"\x02"
_RELATED = ("account.move",)
_GRANT = (
    "Grant select on ir_model, ir_model_fields, ir_module_module, ir_default, ir_property (until "
    "17) and res_company to the role."
)


class PostgresSource:
    """One connection with one snapshot; a failed statement leaves the others alone."""

    def __init__(
        self,
        address: Address,
        *,
        allow_insecure: bool,
        companies: Sequence[int],
        company: int | None,
        language: str,
        check: Callable[[], None],
    ) -> None:
        self._address = address
        self._allow_insecure = allow_insecure
        self._wanted = companies
        self._first = company
        self._language = language
        self._check = check
        self._connection: psycopg.Connection[Any] | None = None

    # -- what there is ----------------------------------------------------------------------

    @cached_property
    def _catalog(self) -> Catalog:
        return Catalog(self._fetch)

    @cached_property
    def version(self) -> int:
        """The major version."""
        return self._catalog.version()

    @cached_property
    def _companies(self) -> Companies:
        self._catalog.check_language(self._language)
        known = self._catalog.companies(self._wanted, self._first)
        return self._catalog.values_by_company(known, self.version)

    @cached_property
    def scope(self) -> Scope:
        """Whose records are read."""
        ids = [one.id for one in self._companies.known]
        return Scope(ids, bool(self._wanted), self._language)

    def installed(self, names: Sequence[str]) -> Sequence[str]:
        """Return which of these models there are."""
        self.version  # noqa: B018 -- says first whether this is a database of Odoo's at all
        return self._catalog.installed(names)

    def names(self) -> Sequence[str]:
        """Return all models."""
        return self._catalog.names()

    def shapes(self, streams: Sequence[StreamModel]) -> Sequence[Shape]:
        """Return how this database can give these streams; models without a table are left out."""
        names = {one.model for one in streams}
        models = self._catalog.models({*names, *_RELATED}, self._companies)
        return [
            shape_of(one, models[one.model], models) for one in streams if models[one.model].fields
        ]

    # -- reading ----------------------------------------------------------------------------

    def high_water(self, shape: Shape) -> str | None:
        """Return the last moment of change."""
        if not shape.model.has_write_date:
            return None
        lines = b"".join(lines for _, lines in self._copy(self._select(shape).high_water(), shape))
        return lines.decode().strip() or None

    def read(self, shape: Shape, position: Position) -> Iterator[Block]:
        """Yield records as the server writes them."""
        for _, lines in self._copy(self._select(shape).records(position), shape):
            rows = [line.rsplit(_COLUMN, 2) for line in lines.splitlines()]
            yield Block(
                [int(row[1]) for row in rows],
                lines=[row[0] for row in rows],
                latest=rows[-1][2].decode() or None,
            )

    def ids(self, shape: Shape, not_before: str | None = None) -> Iterator[Sequence[int]]:
        """Yield the ids of all records, or of those changed since."""
        position = Position(not_before=not_before)
        for _, lines in self._copy(self._select(shape).ids(position), shape):
            yield [int(line) for line in lines.split()]

    def _select(self, shape: Shape) -> Select:
        return Select(shape, self._companies, self._language, limited=self.scope.limited)

    def _copy(self, query: str, shape: Shape) -> Iterator[tuple[int, bytes]]:
        connection = self._snapshot()
        done = False
        try:
            connection.execute("savepoint one_stream")
            yield from copy_lines(connection, query, self._check)
            done = True
        except psycopg.Error as error:
            done = self._rolled_back(connection)
            raise self._failure(error, shape, is_lost=not done) from error
        finally:
            if not done:
                self.close()  # left in the middle: what is under way ends with its connection

    def _failure(self, error: psycopg.Error, shape: Shape, *, is_lost: bool) -> ConnectorError:
        table = shape.model.table
        found = statement_failure(error, table, shape.stream.name)
        if isinstance(found, TryAgainLaterError):
            found.for_all = is_lost  # what the others would read is of another moment
        if error.sqlstate == "42501":  # the message names the table, which may be a linked one
            return StreamUnavailableError(
                f"The role may not read everything of {table!r}: {error.diag.message_primary}.",
                stream=shape.stream.name,
                next_step="Grant select on that table to the role.",
            )
        return found

    # -- the connection ---------------------------------------------------------------------

    def _fetch(self, query: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        try:
            return self._snapshot().execute(query.encode(), values).fetchall()
        except psycopg.Error as error:
            self.close()
            if error.sqlstate == "42501":
                message = (
                    f"The role may not read what models there are: {error.diag.message_primary}."
                )
                raise CredentialsError(message, next_step=_GRANT) from error
            raise statement_failure(error, "the description of the models", None) from error

    def _snapshot(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._address, allow_insecure=self._allow_insecure)
            self._connection.execute(_SNAPSHOT)
        return self._connection

    def _rolled_back(self, connection: psycopg.Connection[Any]) -> bool:
        try:
            connection.execute("rollback to savepoint one_stream")
        except psycopg.Error:
            return False
        return True

    def __del__(self) -> None:
        """Close what a dry run, which singer-sdk ends as it likes, has left open."""
        self.close()

    def close(self) -> None:
        """Close the connection; the next question opens a new one, at a new moment."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
