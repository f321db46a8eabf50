# SPDX-License-Identifier: Apache-2.0
"""COPY … TO STDOUT, row by row from libpq and block by block to the caller.

psycopg's own iterator waits anew for each row; asking libpq for the rows that have already arrived
costs a quarter less of the client's time.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

__all__ = ["copy_lines"]

_BLOCK_BYTES = 1 << 18
_TICK_MILLISECONDS = 500
# Neither byte can stand in JSON, so no value is ever quoted or escaped but for what `_unquoted`
# undoes: `json` columns keep line ends between their tokens.
COPY_OPTIONS = r"(format csv, delimiter e'\x02', quote e'\x01')"
_QUOTE = b"\x01"


def copy_lines(
    connection: psycopg.Connection[Any], query: str, check: Callable[[], None]
) -> Iterator[tuple[int, bytes]]:
    """Yield count and lines of a query that gives one JSON object a row.

    `check` is called while nothing arrives; what it raises ends the reading.
    """
    pgconn = connection.pgconn
    wait = _waiter(pgconn, check)
    pgconn.send_query(f"copy ({query}) to stdout {COPY_OPTIONS}".encode())
    _begin(pgconn, wait)
    yield from _blocks(pgconn, wait)
    _finish(pgconn, wait)


def _waiter(pgconn: Any, check: Callable[[], None]) -> Callable[[], None]:
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)

    def wait() -> None:
        while not poll.poll(_TICK_MILLISECONDS):
            check()
        pgconn.consume_input()

    return wait


def _begin(pgconn: Any, wait: Callable[[], None]) -> None:
    result = _next_result(pgconn, wait)
    if result is None or result.status != pq.ExecStatus.COPY_OUT:
        _fail(pgconn, wait, result)


def _blocks(pgconn: Any, wait: Callable[[], None]) -> Iterator[tuple[int, bytes]]:
    rows: list[bytes] = []
    size, get, add = 0, pgconn.get_copy_data, rows.append
    while True:
        length, data = get(1)
        if length > 0:
            add(bytes(data))  # the garbage collector visits views, which doubles the cost
            size += length
            if size >= _BLOCK_BYTES:
                yield len(rows), _unquoted(b"".join(rows), rows)
                rows.clear()
                size = 0
        elif length == 0:
            wait()
        else:
            break
    if rows:
        yield len(rows), _unquoted(b"".join(rows), rows)


def _unquoted(block: bytes, rows: list[bytes]) -> bytes:
    if _QUOTE not in block:
        return block
    return b"".join(_unquoted_row(row) for row in rows)


def _unquoted_row(row: bytes) -> bytes:
    if not row.startswith(_QUOTE):
        return row
    return row[1:-2].replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"


def _finish(pgconn: Any, wait: Callable[[], None]) -> None:
    result = _next_result(pgconn, wait)
    if result is None or result.status != pq.ExecStatus.COMMAND_OK:
        _fail(pgconn, wait, result)
    while _next_result(pgconn, wait) is not None:
        pass


def _next_result(pgconn: Any, wait: Callable[[], None]) -> Any:
    pgconn.flush()
    while pgconn.is_busy():
        wait()
    return pgconn.get_result()


def _fail(pgconn: Any, wait: Callable[[], None], result: Any) -> None:
    if result is None:
        message = pgconn.get_error_message()
        raise psycopg.OperationalError(message or "the connection was lost")
    error = error_from_result(result, encoding="utf-8")
    while pgconn.status == pq.ConnStatus.OK and _next_result(pgconn, wait) is not None:
        pass
    raise error
