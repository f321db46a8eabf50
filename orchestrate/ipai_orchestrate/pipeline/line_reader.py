# SPDX-License-Identifier: Apache-2.0
"""Reads the output of several processes line by line, in one thread and without waiting for any."""

import os
import selectors
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Self

CHUNK = 1 << 16
LONGEST_LOG_LINE = 1 << 16

OnLine = Callable[[bytes], None]


class LineSplitter:
    """Turns chunks into whole lines; what exceeds `longest` bytes is cut and marked."""

    def __init__(self, on_line: OnLine, longest: int | None = None) -> None:
        self._on_line = on_line
        self._longest = longest
        self._rest = bytearray()
        self._dropped = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes and hand on every line they complete."""
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            self._keep(piece)
            self.finish()
        self._keep(rest)

    def finish(self) -> None:
        """Hand on what is left as a last line."""
        line, dropped = bytes(self._rest), self._dropped
        self._rest.clear()
        self._dropped = 0
        if dropped:
            line += f" ... ({dropped} bytes more)".encode()
        if line.strip():
            self._on_line(line)

    def _keep(self, piece: bytes) -> None:
        room = len(piece) if self._longest is None else max(0, self._longest - len(self._rest))
        self._rest += piece[:room]
        self._dropped += len(piece) - min(room, len(piece))


class LineReader:
    """Watches the pipes given to it until each has reached its end."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        """Nothing to open: pipes are given by `watch`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of the pipes."""
        self._selector.close()

    def watch(self, stream: IO[bytes] | None, on_line: OnLine, longest: int | None = None) -> None:
        """Call `on_line` for every line of `stream` from now on."""
        if stream is None:
            return
        os.set_blocking(stream.fileno(), False)
        splitter = LineSplitter(on_line, longest)
        self._selector.register(stream, selectors.EVENT_READ, splitter)

    def read(self, timeout: float) -> bool:
        """Handle what has arrived, waiting at most `timeout` seconds; False once all have ended."""
        if not self._selector.get_map():
            time.sleep(timeout / 4)  # a process may live on after it closed its output
            return False
        for key, _ in self._selector.select(timeout):
            chunk = os.read(key.fd, CHUNK)
            if chunk:
                key.data.feed(chunk)
            else:
                self._selector.unregister(key.fileobj)
                key.data.finish()
        return bool(self._selector.get_map())
