# SPDX-License-Identifier: Apache-2.0
"""Databases reached through an engine of SQLAlchemy, which knows how their drivers connect."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ipai_kit.sql.dialects.reading import DialectDatabase, Row
from ipai_kit.sql.dialects.statements import Compiled

__all__ = ["EngineDatabase"]

_BLOCK_ROWS = 1000


class EngineDatabase(DialectDatabase):
    """A database that SQLAlchemy connects to; rows come from the driver's own cursor."""

    @cached_property
    @abstractmethod
    def engine(self) -> Engine:
        """The engine; connects when it is first used."""

    def connect(self) -> Any:
        """Return a connection of the driver."""
        self._checked_out = self.engine.raw_connection()  # dropped, it would be given back
        return self._checked_out.driver_connection

    def rows(self, connection: Any, statement: Compiled) -> Iterator[Sequence[Row]]:
        """Run a statement and yield its rows as the driver gives them."""
        cursor = connection.cursor()
        try:
            cursor.arraysize = _BLOCK_ROWS
            if statement.params:
                cursor.execute(statement.text, statement.params)
            else:
                cursor.execute(self._without_parameters(statement.text))
            while found := cursor.fetchmany(_BLOCK_ROWS):
                yield found
        finally:
            cursor.close()

    def close(self) -> None:
        """Close the connections."""
        super().close()
        if "engine" in self.__dict__:
            self.engine.dispose()

    @property
    def engine_errors(self) -> tuple[type[Exception], ...]:
        """What SQLAlchemy raises around the errors of a driver."""
        return (SQLAlchemyError,)

    def _without_parameters(self, text: str) -> str:
        """A driver that is given no parameters takes `%%` as it stands."""
        doubled = self.statements.dialect.paramstyle in ("format", "pyformat")
        return text.replace("%%", "%") if doubled else text
