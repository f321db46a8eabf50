# SPDX-License-Identifier: Apache-2.0
"""Faults to order: what goes wrong with which requests, and how often."""

import fnmatch
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from starlette.requests import Request

Kind = Literal["status", "timeout", "cut", "broken_json", "latency", "retype"]
JsonType = Literal["string", "number", "boolean", "null", "object", "array"]

_COMPACT = re.compile(
    r"(?P<kind>[a-z_]+)(:(?P<argument>[^*@]+))?(\*(?P<times>\d+))?(@(?P<match>.+))?"
)
_ARGUMENTS = {"status": "status", "timeout": "seconds", "latency": "seconds", "cut": "share"}


class FaultError(ValueError):
    """The description of a fault cannot be read."""


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong.

    ``match`` is a pattern over ``METHOD /path`` (with ``?query`` when it holds a ``?``); ``skip``
    requests pass before the fault starts; it happens ``times`` times, or always when that is null.
    """

    kind: Kind
    match: str = "*"
    times: int | None = 1
    skip: int = 0
    status: int = 500
    headers: dict[str, str] = {}
    body: Any = None
    seconds: float = 3600.0
    share: float = 0.5
    field: str = "id"
    to: JsonType = "string"

    def takes(self, request: Request) -> bool:
        """Whether this request fails; counts it when it matches."""
        target = f"{request.method} {request.url.path}"
        if "?" in self.match:
            target += f"?{request.url.query}"
        if self.times == 0 or not fnmatch.fnmatchcase(target, self.match):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


def read_fault(value: Any) -> Fault:
    """Read a fault from a JSON object."""
    try:
        return msgspec.convert(value, Fault)
    except msgspec.ValidationError as error:
        kinds = "status, timeout, cut, broken_json, latency, retype"
        message = f"Fault {value!r} is not valid: {error}. Give a 'kind' of {kinds}."
        raise FaultError(message) from error


def parse_fault(text: str) -> Fault:
    """Read ``kind[:argument][*times][@METHOD /pattern]``, e.g. ``status:503*2@GET /repos/*``.

    JSON objects are read too, for headers, bodies and the other details.
    """
    if text.lstrip().startswith("{"):
        try:
            return read_fault(json.loads(text))
        except json.JSONDecodeError as error:
            message = f"Fault {text!r} is not JSON: {error}. Correct it."
            raise FaultError(message) from error
    found = _COMPACT.fullmatch(text)
    if not found:
        message = f"Fault {text!r} cannot be read. Write e.g. 'status:503*2@GET /repos/*'."
        raise FaultError(message)
    parts: Mapping[str, str | None] = found.groupdict()
    value: dict[str, Any] = {"kind": parts["kind"]}
    if parts["match"]:
        value["match"] = parts["match"]
    if parts["times"]:
        value["times"] = int(parts["times"])
    if argument := parts["argument"]:
        value |= _argument(str(parts["kind"]), argument, text)
    return read_fault(value)


def _argument(kind: str, argument: str, text: str) -> dict[str, Any]:
    if kind == "retype":
        field, _, to = argument.partition("=")
        return {"field": field, "to": to or "string"}
    if kind not in _ARGUMENTS:
        message = f"Fault {text!r}: kind {kind!r} takes no argument. Remove {argument!r}."
        raise FaultError(message)
    try:
        return {_ARGUMENTS[kind]: int(argument) if kind == "status" else float(argument)}
    except ValueError as error:
        message = f"Fault {text!r}: {argument!r} is not a number. Write e.g. 'status:503'."
        raise FaultError(message) from error


class FaultQueue:
    """The faults that are waiting, in order; the first that matches happens."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Wait for requests to spoil."""
        self.waiting.extend(faults)

    def clear(self) -> None:
        """Everything works again."""
        self.waiting.clear()

    def next(self, request: Request) -> Fault | None:
        """The fault for this request, if any."""
        if not self.waiting:
            return None
        taken = next((fault for fault in self.waiting if fault.takes(request)), None)
        self.waiting = [fault for fault in self.waiting if fault.times != 0]
        return taken


def broken_json(content: bytes) -> bytes:
    """A body that stops in the middle, with a length that says it is whole.

    The control character at its end is valid nowhere in JSON, wherever the cut fell.
    """
    return content[: max(1, len(content) * 2 // 3)] + b"\x01"


def retyped(content: bytes, field: str, to: JsonType) -> bytes:
    """The body with every member of that name turned into another type."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    return json.dumps(_retyped(value, field, to)).encode()


def _retyped(value: Any, field: str, to: JsonType) -> Any:
    if isinstance(value, list):
        return [_retyped(inner, field, to) for inner in value]
    if isinstance(value, dict):
        return {
            key: _converted(inner, to) if key == field else _retyped(inner, field, to)
            for key, inner in value.items()
        }
    return value


def _converted(value: Any, to: JsonType) -> Any:
    if to == "string":
        return value if isinstance(value, str) else json.dumps(value)
    if to == "number":
        return value if isinstance(value, int | float) else len(str(value))
    return {"boolean": bool(value), "null": None, "object": {"value": value}, "array": [value]}[to]
