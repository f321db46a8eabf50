# SPDX-License-Identifier: Apache-2.0
"""What the setting `streams` says about one table or query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.spec.model import parse_duration

__all__ = ["StreamOptions"]

_KNOWN = {
    *("sql", "key", "cursor", "lookback", "where", "replication_method"),
    *("chunk_rows", "parallel", "deletes"),
}
_METHODS = ("FULL_TABLE", "INCREMENTAL", "LOG_BASED")
_DELETES = ("none", "compare")


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream is read; what is not said comes from the database or from the defaults."""

    sql: str = ""
    key: Sequence[str] = ()
    cursor: str | None = None
    lookback: timedelta | int | None = None
    where: str = ""
    replication_method: str | None = None
    chunk_rows: int = 100_000
    parallel: int = 1
    deletes: str = "none"

    def overridden(self, name: str, raw: Mapping[str, Any]) -> StreamOptions:
        """Return the options with what the settings say about a stream."""
        unknown = sorted(set(raw) - _KNOWN)
        if unknown:
            message = f"Setting 'streams' has {unknown[0]!r} for {name!r}, which does not exist."
            raise ConfigurationError(message, next_step=f"Use: {', '.join(sorted(_KNOWN))}.")
        given = {key: value for key, value in raw.items() if value not in (None, "")}
        if isinstance(given.get("key"), str):
            given["key"] = (given["key"],)
        if "lookback" in given:
            given["lookback"] = read_lookback(name, given["lookback"])
        found = replace(self, **given)
        found.judge(name)
        return found

    def judge(self, name: str) -> None:
        """Raise when a value is none of those that exist."""
        for setting, value, known in (
            ("replication_method", self.replication_method, (None, *_METHODS)),
            ("deletes", self.deletes, _DELETES),
        ):
            if value not in known:
                message = f"Setting {setting!r} of {name!r} is unknown: {value!r}."
                choice = ", ".join(one for one in known if one)
                raise ConfigurationError(message, next_step=f"Use one of: {choice}.")
        for setting, number in (("chunk_rows", self.chunk_rows), ("parallel", self.parallel)):
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                message = f"Setting {setting!r} of {name!r} is no positive number: {number!r}."
                raise ConfigurationError(message, next_step="Use a whole number from 1.")


def read_lookback(name: str, value: Any) -> timedelta | int:
    """Read an ISO 8601 duration, or a number for cursors that count."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return parse_duration(str(value))
    except ValueError as error:
        message = f"Setting 'lookback' of {name!r} is no duration: {value!r}."
        raise ConfigurationError(message, next_step="Use e.g. PT10M, P1D or a number.") from error
