# SPDX-License-Identifier: Apache-2.0
"""Durations as text: `36:30:00`, as spreadsheets show them and databases read them."""

from __future__ import annotations

__all__ = ["duration_text"]


def duration_text(count: int, per_second: int) -> str:
    """Return hours, minutes, seconds and the fraction that is not zero; hours may be many."""
    seconds, rest = divmod(abs(count), per_second)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    digits = len(str(per_second)) - 1
    fraction = f".{rest:0{digits}}" if rest else ""
    return f"{'-' if count < 0 else ''}{hour:02}:{minute:02}:{second:02}{fraction}"
