# SPDX-License-Identifier: Apache-2.0
"""Rows that a tap met in its source and could not read: they go to the dead letters.

A tap sends them as an ordinary stream, so that any target can take it; what marks it for ours is
`x-ipai` in its SCHEMA: `{"rejects": "orders"}` says that each record tells of a row of `orders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from ipai_kit.bronze import UNPICKABLE, RecordRejectedError, RejectionReason
from ipai_kit.landing.record_check import StreamChecks

__all__ = ["BURYING", "rejecting_stream"]


class _Rejected(msgspec.Struct):
    """What the record says about the row."""

    reason: str = "The tap could not read this row."


_decode = msgspec.json.Decoder(_Rejected).decode


def rejecting_stream(schema: Mapping[str, Any]) -> str | None:
    """The stream whose unreadable rows are the records of this SCHEMA, if it is such a one."""
    marks = schema.get("x-ipai")
    rejects = marks.get("rejects") if isinstance(marks, Mapping) else None
    return rejects if isinstance(rejects, str) else None


def _bury(record: bytes) -> NoReturn:
    try:
        reason = _decode(record).reason
    except UNPICKABLE:
        reason = _Rejected().reason
    raise RecordRejectedError(RejectionReason.REJECTED_BY_TAP, reason)


BURYING = StreamChecks(_bury)
"""Takes no record apart: each is a dead letter."""
