# SPDX-License-Identifier: Apache-2.0
"""What Odoo's replies mean: JSON-RPC tells its errors with status 200, JSON-2 with its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ipai_kit.rest import Reply, Verdict
from ipai_kit.rest.retry import Action, classify_rest

__all__ = ["classify_odoo"]

_MODULE = re.compile(r"^.*\.")
_NO_DATABASE = re.compile(r'database ".*" does not exist')
_PASSING = {
    "OperationalError",
    "SerializationFailure",
    "LockNotAvailable",
    "InterfaceError",
    "PoolError",
    "ReadOnlySqlTransaction",
    "MissingError",  # deleted between being found and being read
}


class _Body(msgspec.Struct):
    """An error: of JSON-RPC as Odoo wraps it or a proxy invents it, or of JSON-2."""

    error: Any = None
    name: Any = None
    message: Any = None


@dataclass(frozen=True)
class _Rule:
    """What an exception of Odoo's means."""

    action: Action
    reason: str
    next_step: str
    lasting: bool = False


_RULES = {
    "AccessDenied": _Rule(
        Action.CREDENTIALS,
        "Odoo refuses the credentials.",
        "Correct login and password, or make a new API key.",
    ),
    "Unauthorized": _Rule(
        Action.CREDENTIALS, "Odoo refuses the API key.", "Make a new one for the user."
    ),
    "SessionExpiredException": _Rule(
        Action.CREDENTIALS,
        "Odoo refuses the session.",
        "Correct login and password, or make a new API key; a proxy may ask for a login, too.",
    ),
    "MemoryError": _Rule(
        Action.INTERNAL, "The server has too little memory for a page.", "Lower page_size."
    ),
    "AccessError": _Rule(
        Action.SKIP, "The user may not read this model.", "Give the user a group that may read it."
    ),
    "Forbidden": _Rule(
        Action.SKIP, "The user may not read this model.", "Give the user a group that may read it."
    ),
    "NotFound": _Rule(
        Action.SKIP, "The server has no such model.", "Install its module.", lasting=True
    ),
}


def classify_odoo(reply: Reply) -> Verdict:
    """Judge a reply by the exception that it tells; by its status where it tells none."""
    if reply.status in (301, 302, 303):
        return Verdict(
            Action.CONFIGURATION,
            "The server sends to another page.",
            next_step="Correct url, and the database if the server has several.",
        )
    if reply.status == 413:
        message = "The server refuses so large a page."
        return Verdict(Action.INTERNAL, message, next_step="Lower page_size.")
    body = _body(reply)
    if body is None:
        return classify_rest(reply)
    if body.error is not None:
        error = _members(body.error) or {"message": body.error}
        data = _members(error.get("data"))
        text = data.get("message") or error.get("message")
        return _verdict(reply, str(data.get("name") or ""), str(text or ""))
    if reply.status >= 400 and (body.name or body.message):
        return _verdict(reply, str(body.name or ""), str(body.message or ""))
    return classify_rest(reply)


def _members(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _body(reply: Reply) -> _Body | None:
    head = reply.body[:4096]
    if reply.status < 400 and b'"error"' not in head:
        return _Body()
    try:
        return msgspec.json.decode(reply.body, type=_Body)
    except msgspec.DecodeError:
        return None if reply.status >= 400 else _Body()


def _verdict(reply: Reply, full_name: str, text: str) -> Verdict:
    name = _MODULE.sub("", full_name)
    told = f" It says: {text.strip().splitlines()[0][:200]!r}." if text.strip() else ""
    if _NO_DATABASE.search(text):
        return Verdict(
            Action.CONFIGURATION, f"There is no such database.{told}", next_step="Correct database."
        )
    if "Invalid language" in text:
        return Verdict(
            Action.CONFIGURATION,
            f"The language is not installed.{told}",
            next_step="Change language.",
        )
    if "doesn't exist" in text and name in ("UserError", "KeyError"):
        name = "NotFound"
    if name in _PASSING:
        return Verdict(Action.RETRY, f"The server failed.{told}")
    if rule := _RULES.get(name):
        return Verdict(
            rule.action, rule.reason + told, lasting=rule.lasting, next_step=rule.next_step
        )
    if reply.status in (401, 403, 429) or reply.status >= 500:
        return classify_rest(reply)
    return Verdict(Action.INTERNAL, f"Odoo refuses the request.{told}", next_step="Report it.")
