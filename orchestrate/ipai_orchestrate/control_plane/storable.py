# SPDX-License-Identifier: Apache-2.0
"""What others have written, made fit for PostgreSQL: it stores neither NUL nor half a character."""

from __future__ import annotations

import json
import re
from typing import Any

from psycopg.types.json import Jsonb

_REPLACEMENT = "\ufffd"
# As JSON writes it, unless the backslash is itself escaped.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def storable_text(text: str) -> str:
    """The text with a sign in place of what cannot be stored."""
    return _whole(text.replace("\0", _REPLACEMENT))


def storable_json(value: Any) -> Jsonb:
    """JSON with a sign in place of what cannot be stored, at any depth."""
    return Jsonb(value, dumps=_dumps)


def _dumps(value: Any) -> str:
    return _NUL.sub(rf"\1{_REPLACEMENT}", _whole(json.dumps(value, ensure_ascii=False)))


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
