# SPDX-License-Identifier: Apache-2.0
"""How GitHub writes ids, times and addresses."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from ipai_kit.sandbox import zulu

API = "https://api.github.com"
WEB = "https://github.com"
Json = dict[str, Any]


def node_id(kind: str, number: object) -> str:
    """A global id."""
    return f"{kind}_{base64.urlsafe_b64encode(str(number).encode()).decode().rstrip('=')}"


def zulu_or_none(moment: datetime | None) -> str | None:
    """A time as GitHub writes it."""
    return zulu(moment) if moment else None
