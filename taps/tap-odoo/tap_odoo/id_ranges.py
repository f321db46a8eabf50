# SPDX-License-Identifier: Apache-2.0
"""Sets of ids that fit into STATE: mostly without gaps, so a few spans say it all.

As text: distances in base 36, `first+length`, e.g. `1+9s.2` for 1 to 353 and 356.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cached_property
from operator import itemgetter

__all__ = ["IdRanges"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class IdRanges:
    """An ordered set of whole numbers, kept as spans; built once, then only read."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._spans = list(spans)

    @classmethod
    def of(cls, ids: Iterable[int]) -> IdRanges:
        """Return the set of these ids, which must ascend; repetition does not matter."""
        spans: list[tuple[int, int]] = []
        first = last = None
        for one in ids:
            if last is None or first is None:
                first = one
            elif one > last + 1:
                spans.append((first, last))
                first = one
            last = one
        if first is not None and last is not None:
            spans.append((first, last))
        return cls(spans)

    @classmethod
    def parse(cls, text: str) -> IdRanges:
        """Read what `text` wrote."""
        spans, last = [], 0
        for part in text.split(".") if text else ():
            gap, _, length = part.partition("+")
            first = last + int(gap, 36)
            last = first + (int(length, 36) if length else 0)
            spans.append((first, last))
        return cls(spans)

    @cached_property
    def text(self) -> str:
        """The set as short text."""
        parts, last = [], 0
        for first, end in self._spans:
            length = f"+{_base36(end - first)}" if end > first else ""
            parts.append(_base36(first - last) + length)
            last = end
        return ".".join(parts)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._spans)

    def __contains__(self, one: int) -> bool:
        place = bisect_left(self._spans, one, key=itemgetter(1))
        return place < len(self._spans) and self._spans[place][0] <= one

    def __iter__(self) -> Iterator[int]:
        for first, last in self._spans:
            yield from range(first, last + 1)

    def union(self, ids: Iterable[int]) -> IdRanges:
        """Return this set with more ids, in any order."""
        return self.merged(IdRanges.of(sorted(ids)))

    def merged(self, other: IdRanges) -> IdRanges:
        """Return the ids that either set has."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*self._spans, *other._spans]):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return IdRanges(merged)

    def overlap(self, other: IdRanges) -> IdRanges:
        """Return the ids that both sets have."""
        spans: list[tuple[int, int]] = []
        ours, theirs = iter(self._spans), iter(other._spans)
        one, two = next(ours, None), next(theirs, None)
        while one is not None and two is not None:
            first, last = max(one[0], two[0]), min(one[1], two[1])
            if first <= last:
                spans.append((first, last))
            if one[1] < two[1]:
                one = next(ours, None)
            else:
                two = next(theirs, None)
        return IdRanges(spans)

    def without(self, other: IdRanges) -> Iterator[int]:
        """Yield the ids that the other set lacks, ascending."""
        spans = iter(other._spans)
        span = next(spans, None)
        for one in self:
            while span is not None and span[1] < one:
                span = next(spans, None)
            if span is None or one < span[0]:
                yield one


def _base36(number: int) -> str:
    text = ""
    while number:
        number, rest = divmod(number, 36)
        text = _DIGITS[rest] + text
    return text or "0"
