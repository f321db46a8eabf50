# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's rows in columns, by ADBC: for Parquet files, without JSON on the way.

The server writes each value as the text that stands in its JSON; only whole numbers, booleans and
doubles cross as themselves, which say how they are written. So a Parquet file holds what the lines
would hold.
"""

from __future__ import annotations

import contextlib
import importlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.singer.parquet_columns import told_columns
from ipai_kit.sql.database import Block, Selection
from ipai_kit.sql.postgres.connection import SESSION, connection_options
from ipai_kit.sql.postgres.failures import connection_failure, statement_failure
from ipai_kit.sql.postgres.statement import select_columns

if TYPE_CHECKING:
    from ipai_kit.sql.postgres.reader import PostgresDatabase

__all__ = ["ColumnarDatabase", "columnar"]

_BATCH_OPTION = "adbc.postgresql.batch_size_hint_bytes"
_BATCH_BYTES = 1 << 22
_BATCHES_AHEAD = 2
_TICK_SECONDS = 0.2
_JOIN_SECONDS = 5.0
_NOT_PARQUET = "Parquet cannot hand it over: set the format 'jsonl', or deselect the column."
# ADBC begins a transaction by itself, and takes one statement at a time.
_SESSION = ["set transaction read only", *SESSION.split("; ")[1:]]


def columnar(plain: PostgresDatabase) -> ColumnarDatabase | None:
    """Return the same database read in columns; None where ADBC is not installed."""
    try:
        return ColumnarDatabase(plain, _Driver())
    except ImportError:
        return None


class _Driver:
    """ADBC without its DB-API, which imports pandas and polars where they are installed."""

    def __init__(self) -> None:
        self._postgresql = importlib.import_module("adbc_driver_postgresql")
        self._manager = importlib.import_module("adbc_driver_manager")
        self._arrow = importlib.import_module("pyarrow")
        self.error = self._manager.Error

    def connect(self, options: str) -> Any:
        """Open a connection on which each statement is part of a transaction."""
        connection = self._manager.AdbcConnection(self._postgresql.connect(options))
        connection.set_autocommit(False)
        return connection

    def statement(self, connection: Any) -> Any:
        """Return a statement without text."""
        return self._manager.AdbcStatement(connection)

    def batches(self, statement: Any) -> Iterator[Any]:
        """Run a query."""
        handle, _ = statement.execute_query()
        return iter(self._arrow.RecordBatchReader.from_stream(handle))


class ColumnarDatabase:
    """Blocks by ADBC; everything else is asked of the database itself."""

    def __init__(self, plain: PostgresDatabase, driver: _Driver) -> None:
        self._plain = plain
        self._driver = driver
        self._connection: Any = None
        self._by_lines = False
        self.default_schema = plain.default_schema
        self.name = plain.name
        self.check = plain.check
        self.tables = plain.tables
        self.describe = plain.describe
        self.position = plain.position

    def another(self) -> ColumnarDatabase:
        """Return a further connection to the same database."""
        return ColumnarDatabase(self._plain.another(), self._driver)

    def close(self) -> None:
        """Close the connections; they may be used again, which connects anew."""
        self._plain.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def read(self, selection: Selection) -> Iterator[Block]:
        """Yield blocks of columns; a value that a column cannot hold is refused by name.

        ADBC gives no SQLSTATE once rows flow. So what broke off then is read on as lines, which
        says what is wrong if it breaks again; and rows without an order are always read like that.
        """
        if self._by_lines or not selection.order:
            self._by_lines = False
            yield from self._plain.read(selection)
            return
        table = selection.table.full_name
        types = self._plain.types_of(selection.table)
        kinds = {name: types[name].column_kind for name in selection.columns}
        text = select_columns(selection, types)
        with contextlib.closing(self._batches(text, table)) as batches:
            for batch in batches:
                if batch.num_rows:
                    _refuse_infinite(batch, table)
                    yield Block(batch.num_rows, batch=told_columns(batch, kinds))

    def _batches(self, text: str, table: str) -> Generator[Any, None, None]:
        if self._connection is None:
            self._connection = self._connected()
        reading = _Ahead(self._driver, self._connection, text, self._plain.while_waiting)
        try:
            yield from reading
        except self._driver.error as error:
            raise statement_failure(_as_psycopg(error), table, None) from error
        except OSError as error:
            self._by_lines = True
            raise statement_failure(_as_psycopg(error), table, None) from error
        finally:
            if not reading.close():
                self._connection = None

    def _connected(self) -> Any:
        address = self._plain.address
        options = connection_options(address, allow_insecure=self._plain.allow_insecure)
        try:
            return self._driver.connect(make_conninfo(**options))
        except self._driver.error as error:
            raise connection_failure(_as_psycopg(error), address.shown) from error


class _Ahead:
    """A query whose batches another thread fetches: a stop need not wait for the server."""

    def __init__(
        self, driver: _Driver, connection: Any, text: str, check: Callable[[], None]
    ) -> None:
        self._driver = driver
        self._connection = connection
        self._statement = driver.statement(connection)
        self._text = text
        self._check = check
        self._items: queue.Queue[Any] = queue.Queue(_BATCHES_AHEAD)
        self._stop = threading.Event()
        self._is_whole = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                item = self._items.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                self._check()
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> bool:
        """End the query, wherever it is; says whether the connection is good for another."""
        self._stop.set()
        if self._thread.is_alive() and not self._is_whole:
            with contextlib.suppress(Exception):  # it may have ended meanwhile
                self._statement.cancel()
        self._thread.join(_JOIN_SECONDS)
        if self._thread.is_alive():
            return False  # still in use: it ends with the process
        self._statement.close()
        if not self._is_whole:
            self._connection.close()
        return self._is_whole

    def _work(self) -> None:
        try:
            self._fetch()
        except BaseException as error:  # noqa: BLE001 - the reading thread raises it again
            self._put(error)

    def _fetch(self) -> None:
        for statement in _SESSION:
            self._statement.set_sql_query(statement)
            self._statement.execute_update()
        self._statement.set_options(**{_BATCH_OPTION: str(_BATCH_BYTES)})
        self._statement.set_sql_query(self._text)
        for batch in self._driver.batches(self._statement):
            if not self._put(batch):
                return
        self._connection.rollback()  # it only read
        self._is_whole = True
        self._put(None)

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._items.put(item, timeout=_TICK_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def _as_psycopg(error: Any) -> psycopg.Error:
    """The same failure as psycopg would tell it, for the rules that we have."""
    state = getattr(error, "sqlstate", None)
    if state:
        with contextlib.suppress(KeyError):
            return psycopg.errors.lookup(state)(str(error))
    return psycopg.OperationalError(str(error))


def _refuse_infinite(batch: Any, table: str) -> None:
    """JSON has no such numbers: lines hold them as text, which a column of doubles cannot."""
    arrow, compute = (importlib.import_module(one) for one in ("pyarrow", "pyarrow.compute"))
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if arrow.types.is_floating(column.type):
            finite = compute.all(compute.is_finite(column)).as_py()
            if finite is False:
                message = f"The column {name!r} of {table!r} holds NaN or infinity."
                raise ConfigurationError(message, next_step=_NOT_PARQUET)
