# SPDX-License-Identifier: Apache-2.0
"""Records that say that a record is gone: `_sdc_deleted_at` holds when the source deleted it.

A tombstone brings its key and little else, so a place that keeps one row per key adds it to the
members that it has. It brings a cursor where the source has one for a deletion (the position in a
log); one without a cursor is as old as the moment at which the tap found the record missing.
"""

from typing import Any, Final

import msgspec

from ipai_kit.bronze import DELETED_AT, Row, StreamPlan, is_superseded


class _Mark(msgspec.Struct):
    deleted_at: Any = msgspec.field(default=None, name=DELETED_AT)


_decode_mark: Final = msgspec.json.Decoder(_Mark).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_MEMBER: Final = DELETED_AT.encode()


def is_tombstone(record: bytes) -> bool:
    """Whether a record says that it was deleted."""
    content = bytes(record)  # a record may be a view of its line
    return _MEMBER in content and bool(_decode_mark(content).deleted_at)


def newest(plan: StreamPlan, old: Row, new: Row) -> Row:
    """What stays of two rows with one key, of which `new` was delivered later."""
    if not plan.marks_deletions or not is_tombstone(new[1]):
        return new if is_superseded(old, new) else old
    is_older = new[2] < old[2] if new[3] is None else not is_superseded(old, new)
    if is_older:
        return old
    members = _encode(_decode_members(old[1]) | _decode_members(new[1]))
    return (new[0], members, new[2], new[3] or old[3], new[4])
