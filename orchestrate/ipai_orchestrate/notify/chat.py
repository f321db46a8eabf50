# SPDX-License-Identifier: Apache-2.0
"""Tells people: an event in words, through apprise, to Slack, Mattermost, e-mail and the like.

The address of a chat is a secret as a whole, so nothing of it may stand in an outcome.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.notify.records import ClaimedDelivery

CHAT_URL = "apprise:"
# Services that carry text to people. Others that apprise knows run programs or write files here.
KNOWN = frozenset(
    {"discord", "gchat", "json", "jsons", "mailto", "mailtos", "matrix", "matrixs", "mmost"}
    | {"mmosts", "msteams", "ntfy", "ntfys", "opsgenie", "pagerduty", "rocket", "rockets"}
    | {"signal", "slack", "tgram", "workflow", "workflows", "zulip"}
)


@dataclass(frozen=True)
class Message:
    """What people read; `kind` is one of apprise's: info, success, warning, failure."""

    title: str
    body: str
    kind: str


def tell(delivery: ClaimedDelivery, addresses: Sequence[str]) -> str | None:
    """Tell every address of the chat; return why that failed, without naming one."""
    try:
        import apprise
    except ImportError as error:
        text = "Chats need apprise. Install it: pip install 'ipai-connectors[alerts]'"
        raise ConfigurationError(text) from error
    message = message_of(msgspec.json.decode(delivery.body))
    chat = apprise.Apprise()
    for address in " ".join(addresses).split():
        scheme = address.partition(":")[0].lower()
        if scheme not in KNOWN:
            text = f"Service {scheme[:20]!r} is not one of {', '.join(sorted(KNOWN))}."
            raise ConfigurationError(text)
        if not chat.add(address):
            text = f"The address of a {scheme!r} chat is not whole; see the page of apprise on it."
            raise ConfigurationError(text)
    if not len(chat):
        text = "The secret with the chat's address is empty. Give one, e.g. slack://…"
        raise ConfigurationError(text)
    told = chat.notify(title=message.title, body=message.body, notify_type=message.kind)
    return None if told else "The chat did not take it, or could not be reached."


def message_of(event: Mapping[str, Any]) -> Message:
    """An event of a run, of an alert, or a test, in words."""
    kind, data = str(event["type"]), event["data"]
    if kind.startswith("alert."):
        return _alert(data)
    if kind.startswith("run."):
        return _run(data)
    return Message("Test of a channel", f"Endpoint {data['endpoint_id']} is reached.", "info")


def _alert(data: Mapping[str, Any]) -> Message:
    over = data["status"] == "resolved"
    severity = "RESOLVED" if over else data["severity"].upper()
    about = {
        "Instances": _listed(data["instances"]),
        "Owners": _listed(data["owners"]),
        "Since": data["opened_at"],
        "Over at": data["resolved_at"],
        "Look after it": None if over else f"ipai alerts ack {data['alert_id']}",
    }
    lines = [data["summary"], *(f"{name}: {text}" for name, text in about.items() if text)]
    again = {"grown": " (spreads)", "repeated": " (still)"}.get(data["change"], "")
    title = f"{severity} {data['condition']}: {data['subject']}{again}"
    kind = "success" if over else {"critical": "failure"}.get(data["severity"], "warning")
    return Message(title, "\n".join(lines), kind)


def _run(data: Mapping[str, Any]) -> Message:
    title = f"{data['status'].upper()} {data['instance_id']} ({data['env']})"
    if data["status"] != "failed":
        rows = f"{data['rows_processed']} rows. " if data["status"] == "succeeded" else ""
        return Message(title, f"{rows}Run {data['run_id']}", "info")
    tries = f"attempt {data['attempt']} of {data['max_attempts']}"
    why = f"{data['error_class']}: {data['error_summary']}"
    return Message(title, f"{tries}: {why}\nLook: ipai logs {data['run_id']}", "failure")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
