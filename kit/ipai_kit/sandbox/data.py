# SPDX-License-Identifier: Apache-2.0
"""Made-up data that is the same for the same seed, and made only when somebody looks at it.

Values are drawn from a hash of their key, not from a running generator: record 1,000,000 costs as
much as record 1, on any machine and in any order.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar, overload

T = TypeVar("T")

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_SPAN = 1 << 64


class Seeded:
    """Draws values by key: ``seeded.number("issue", 7, low=1, high=9)`` never changes."""

    def __init__(self, seed: int = 7) -> None:
        self.seed = seed
        self._start = hashlib.blake2b(str(seed).encode(), digest_size=8)

    def bits(self, *key: object) -> int:
        """64 evenly spread bits."""
        state = self._start.copy()
        state.update("\x1f".join(map(str, key)).encode())
        return int.from_bytes(state.digest(), "big")

    def unit(self, *key: object) -> float:
        """A number from 0 to below 1."""
        return self.bits(*key) / _SPAN

    def number(self, *key: object, low: int = 0, high: int = 999_999) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return low + self.bits(*key) % (high - low + 1)

    def chance(self, *key: object, of: float) -> bool:
        """True for a share ``of`` all keys."""
        return self.unit(*key) < of

    def choice(self, options: Sequence[T], *key: object) -> T:
        """One of the options."""
        return options[self.bits(*key) % len(options)]

    def text(self, words: Sequence[str], *key: object, count: int = 5) -> str:
        """A few words, separated by spaces."""
        return " ".join(self.choice(words, *key, index) for index in range(count))

    def hexadecimal(self, *key: object, length: int = 40) -> str:
        """Hexadecimal digits, e.g. of a commit."""
        state = hashlib.blake2b(digest_size=(length + 1) // 2)
        state.update(f"{self.seed}\x1f".encode() + "\x1f".join(map(str, key)).encode())
        return state.hexdigest()[:length]

    def moment(
        self, *key: object, start: datetime = EPOCH, span: timedelta = timedelta(days=365)
    ) -> datetime:
        """A time within ``span`` after ``start``, in whole seconds."""
        return start + timedelta(seconds=self.bits(*key) % max(1, int(span.total_seconds())))


def zulu(moment: datetime) -> str:
    """ISO 8601 in UTC, as most APIs write it: ``2026-01-31T12:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class LazyRecords(Sequence[T], Generic[T]):
    """A list of any length whose members are made by index when they are read."""

    def __init__(self, length: int, make: Callable[[int], T]) -> None:
        self._length = length
        self._make = make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._make(place) for place in range(*index.indices(self._length))]
        if index < 0:
            index += self._length
        if not 0 <= index < self._length:
            message = f"Record {index} does not exist. There are {self._length}."
            raise IndexError(message)
        return self._make(index)
