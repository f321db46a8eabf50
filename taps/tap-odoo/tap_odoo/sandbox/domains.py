# SPDX-License-Identifier: Apache-2.0
"""Odoo's search domains, as far as taps use them: prefix notation, `&` where nothing is said."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

__all__ = ["matches"]

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(domain: Sequence[Any], value: Callable[[str], Any]) -> bool:
    """Whether a record, whose fields `value` tells, fits a domain."""
    rest = list(domain)
    truth = True
    while rest:
        truth = _next(rest, value) and truth
    return truth


def _next(rest: list[Any], value: Callable[[str], Any]) -> bool:
    term = rest.pop(0)
    if term in ("&", "|"):
        one, two = _next(rest, value), _next(rest, value)
        return (one and two) if term == "&" else (one or two)
    if term == "!":
        return not _next(rest, value)
    name, sign, wanted = term
    return _holds(value(name), sign, wanted)


def _holds(found: Any, sign: str, wanted: Any) -> bool:
    if sign in ("=", "!="):
        return (_same(found, wanted)) == (sign == "=")
    if sign in ("in", "not in"):
        among = any(_same(found, one) for one in wanted)
        return among == (sign == "in")
    if found is None or found is False:
        return False
    if isinstance(found, datetime):
        wanted = datetime.fromisoformat(wanted).replace(tzinfo=UTC)
    return _OPERATORS[sign](found, wanted)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, list):
        return wanted in found or (wanted is False and not found)
    if wanted is False:
        return found in (None, False)
    return bool(found == wanted)
