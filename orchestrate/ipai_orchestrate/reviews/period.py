# SPDX-License-Identifier: Apache-2.0
"""Periods of the calendar as people write them: 2026-11, 2026-Q4, 2026."""

import re
from datetime import date
from typing import Final

from ipai_orchestrate.exceptions import ConfigurationError

# Kind of review: the form of its period, and an example.
KINDS: Final = {
    "access": (re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})"), "2026-11"),
    "tokens": (re.compile(r"(?P<year>\d{4})-Q(?P<quarter>[1-4])"), "2026-Q4"),
    "retention": (re.compile(r"(?P<year>\d{4})"), "2026"),
}


def day_of(kind: str, text: str | None) -> date | None:
    """The first day of a period; None for the present one."""
    if text is None:
        return None
    form, example = KINDS[kind]
    if found := form.fullmatch(text):
        parts = {name: int(digits) for name, digits in found.groupdict().items()}
        month = parts.get("month", 3 * parts.get("quarter", 1) - 2)
        try:
            return date(parts["year"], month, 1)
        except ValueError:
            pass  # a month 13, or a year 0
    message = f"{text!r} is no period of this review. Write it as {example}."
    raise ConfigurationError(message)
