# SPDX-License-Identifier: Apache-2.0
"""Standard output as a pipe of bytes."""

import sys
from typing import Protocol


class Output(Protocol):
    """What takes bytes, perhaps fewer than it is given."""

    def write(self, data: memoryview, /) -> int:
        """Take bytes; how many."""

    def flush(self) -> None:
        """Hand on what is held back."""


def standard_output() -> Output:
    """Standard output below its text; what was printed before goes first."""
    sys.stdout.flush()
    return sys.stdout.buffer


def write_whole(output: Output, data: bytes) -> None:
    """Write all of it: with no buffer (PYTHONUNBUFFERED) a signal cuts a write short."""
    rest = memoryview(data)
    while rest:
        rest = rest[output.write(rest) :]
    output.flush()
