# SPDX-License-Identifier: Apache-2.0
"""What a JSON Schema cannot say about a spec: references, calendars, secrets.

A rule is a function over the plain document. It names the sections it reads and is left out when
the schema has already found one of them wrong, so a rule never meets a value of the wrong type.
"""

import re
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ipai_kit.spec.cron import CronError, CronSchedule
from ipai_kit.spec.redaction import find_token
from ipai_kit.spec.yaml_source import pointer_to

TERMS_REVIEW = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """A broken rule, placed at a key or at its value."""

    pointer: str
    message: str
    severity: str = "error"
    of_key: bool = False


Spec = dict[str, Any]
Check = Callable[[Spec, date], Iterator[RuleProblem]]
_RULES: list[tuple[tuple[str, ...], Check]] = []


def _rule(*sections: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        _RULES.append((sections, check))
        return check

    return register


def broken_rules(spec: Any, wrong: set[str], today: date | None = None) -> Iterator[RuleProblem]:
    """The rules this document breaks; sections with a pointer in ``wrong`` are left out."""
    if not isinstance(spec, dict):
        return
    day = today or datetime.now(UTC).date()
    wrong_sections = {pointer.split("/")[1] for pointer in wrong if pointer}
    for sections, check in _RULES:
        if not wrong_sections.intersection(sections):
            yield from check(spec, day)
    yield from _tokens(spec, "")


@_rule("name", "source_type")
def _name_follows_source(spec: Spec, _: date) -> Iterator[RuleProblem]:
    if "name" not in spec or "source_type" not in spec:
        return
    wanted = f"ipai_connector_{spec['source_type']}"
    if spec["name"] != wanted:
        message = f"Key 'name' does not follow the source type: {spec['name']!r}. Use {wanted!r}."
        yield RuleProblem("/name", message)


@_rule("schedule")
def _schedule_fires(spec: Spec, _: date) -> Iterator[RuleProblem]:
    if "schedule" in spec:
        try:
            CronSchedule.parse(spec["schedule"])
        except CronError as error:
            yield RuleProblem("/schedule", str(error))


@_rule("timezone")
def _timezone_exists(spec: Spec, _: date) -> Iterator[RuleProblem]:
    name = spec.get("timezone", "UTC")
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        message = (
            f"Time zone {name!r} does not exist. "
            "Use a name of the IANA database, e.g. Europe/Berlin."
        )
        yield RuleProblem("/timezone", message)


@_rule("api")
def _api_is_alive(spec: Spec, today: date) -> Iterator[RuleProblem]:
    sunset = spec.get("api", {}).get("sunset")
    if sunset and date.fromisoformat(sunset) < today:
        message = (
            f"The API version was switched off on {sunset}. "
            "Move to a supported version and correct 'api.version' and 'api.sunset'."
        )
        yield RuleProblem("/api/sunset", message, "warning")


@_rule("api", "settings")
def _address_settings_exist(spec: Spec, _: date) -> Iterator[RuleProblem]:
    for index, url in enumerate(spec.get("api", {}).get("base_urls", ())):
        if url.startswith("{") and url[1:-1] not in spec.get("settings", {}):
            pointer = f"/api/base_urls/{index}"
            yield RuleProblem(pointer, _no_setting(url[1:-1], "Address", repr(url)))


@_rule("tos")
def _terms_were_read(spec: Spec, today: date) -> Iterator[RuleProblem]:
    text = spec.get("tos", {}).get("reviewed_at")
    if not text:
        return
    reviewed = date.fromisoformat(text)
    if reviewed > today:
        message = f"Key 'tos.reviewed_at' lies in the future: {text!r}. Use the day of the review."
        yield RuleProblem("/tos/reviewed_at", message)
    elif today - reviewed > TERMS_REVIEW:
        message = (
            f"The terms of service were last read on {text}, more than a year ago. "
            "Read them again and correct 'tos.reviewed_at'."
        )
        yield RuleProblem("/tos/reviewed_at", message, "warning")


@_rule("auth", "settings")
def _auth_settings_exist(spec: Spec, _: date) -> Iterator[RuleProblem]:
    settings = spec.get("settings", {})
    for index, method in enumerate(spec.get("auth", {}).get("methods", ())):
        pointer, names = f"/auth/methods/{index}", method.get("settings", [])
        owner = f"method {method['type']!r}"
        for place, name in enumerate(names):
            if name not in settings:
                message = _no_setting(name, "Auth", owner)
                yield RuleProblem(f"{pointer}/settings/{place}", message)
        if method["type"] == "none":
            if names:
                message = "Auth method 'none' takes no settings. Remove them, or name the method."
                yield RuleProblem(f"{pointer}/settings", message, of_key=True)
        elif not names:
            message = f"Auth {owner} names no settings. List the ones it needs under 'settings'."
            yield RuleProblem(f"{pointer}/type", message)
        elif all(name in settings and not settings[name].get("secret") for name in names):
            message = (
                f"Auth {owner} uses no secret setting. "
                "Mark the one that holds the credential with 'secret: true'."
            )
            yield RuleProblem(f"{pointer}/settings", message)


def _no_setting(name: str, what: str, owner: str) -> str:
    return f"{what} {owner} refers to an unknown setting: {name!r}. Declare it under 'settings'."


@_rule("settings")
def _settings_make_sense(spec: Spec, _: date) -> Iterator[RuleProblem]:
    taken: dict[str, str] = {}
    for name, setting in spec.get("settings", {}).items():
        pointer = pointer_to("/settings", name)
        yield from _default_fits(name, setting, pointer)
        if setting["type"] == "array" and "items" not in setting:
            message = (
                f"Setting {name!r} is an array without 'items'. Add e.g. items: {{type: string}}."
            )
            yield RuleProblem(pointer, message, of_key=True)
        elif setting["type"] != "array" and "items" in setting:
            message = (
                f"Setting {name!r} has 'items' but is not an array. Remove it, or use type: array."
            )
            yield RuleProblem(f"{pointer}/items", message, of_key=True)
        variable = setting.get("env")
        if variable in taken:
            message = (
                f"Setting {name!r} reads the variable of setting {taken[variable]!r}: "
                f"{variable!r}. Give each its own."
            )
            yield RuleProblem(f"{pointer}/env", message)
        elif variable:
            taken[variable] = name


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _default_fits(name: str, setting: dict[str, Any], pointer: str) -> Iterator[RuleProblem]:
    if "pattern" in setting:
        try:
            re.compile(setting["pattern"])
        except re.error as error:
            message = (
                f"Pattern of setting {name!r} is not a regular expression: {error}. Correct it."
            )
            yield RuleProblem(f"{pointer}/pattern", message)
    if "default" not in setting:
        return
    default, inner = setting["default"], f"{pointer}/default"
    if setting.get("secret"):
        message = f"Secret setting {name!r} has a default. Remove it: secrets never live in a spec."
        yield RuleProblem(inner, message, of_key=True)
    elif setting.get("required"):
        message = f"Setting {name!r} is required and has a default. Keep one of the two."
        yield RuleProblem(inner, message, of_key=True)
    elif (isinstance(default, bool) and setting["type"] != "boolean") or not isinstance(
        default, _PYTHON_TYPES[setting["type"]]
    ):
        message = (
            f"Default of setting {name!r} is not of type {setting['type']}: {default!r}. Change it."
        )
        yield RuleProblem(inner, message)
    elif setting.get("enum") and default not in setting["enum"]:
        choices = ", ".join(map(str, setting["enum"]))
        message = f"Default of setting {name!r} is not allowed: {default!r}. Use one of: {choices}."
        yield RuleProblem(inner, message)


@_rule("streams", "sync_mode")
def _streams_make_sense(spec: Spec, _: date) -> Iterator[RuleProblem]:
    first: dict[str, int] = {}
    for index, stream in enumerate(spec.get("streams", ())):
        name, pointer = stream["name"], f"/streams/{index}"
        if name in first:
            message = (
                f"Stream {name!r} is listed twice, first as number {first[name] + 1}. "
                "Rename or remove one."
            )
            yield RuleProblem(f"{pointer}/name", message)
        first.setdefault(name, index)
        mode = stream.get("sync_mode", spec.get("sync_mode"))
        yield from _cursor_fits(stream, mode, pointer)
    yield from _parents_exist(spec.get("streams", ()), set(first))


def _cursor_fits(stream: dict[str, Any], mode: str | None, pointer: str) -> Iterator[RuleProblem]:
    name = stream["name"]
    given = [key for key in ("cursor", "cursor_from") if key in stream]
    if mode == "incremental" and not given:
        message = (
            f"Stream {name!r} is incremental without a cursor. Add 'cursor: updated_at' (its "
            "replication key), 'cursor_from: <parent stream>', or 'sync_mode: full_table'."
        )
        yield RuleProblem(f"{pointer}/name", message)
    if len(given) > 1:
        message = f"Stream {name!r} has 'cursor' and 'cursor_from'. Keep the one that drives it."
        yield RuleProblem(f"{pointer}/cursor_from", message, of_key=True)
    if mode == "full_table":
        for key in (*given, *(["lookback"] if "lookback" in stream else [])):
            message = f"Stream {name!r} is read in full: {key!r} has no effect. Remove it."
            yield RuleProblem(f"{pointer}/{key}", message, of_key=True)


def _parents_exist(streams: list[dict[str, Any]], names: set[str]) -> Iterator[RuleProblem]:
    for index, stream in enumerate(streams):
        parent = stream.get("cursor_from")
        if parent is not None and (parent not in names or parent == stream["name"]):
            message = (
                f"Stream {stream['name']!r} takes its cursor from {parent!r}. "
                "Name another stream of this spec."
            )
            yield RuleProblem(f"/streams/{index}/cursor_from", message)


def _tokens(value: Any, pointer: str) -> Iterator[RuleProblem]:
    """Text anywhere in the document that has the shape of a vendor's credential."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _tokens(inner, pointer_to(pointer, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _tokens(inner, pointer_to(pointer, index))
    elif isinstance(value, str) and (kind := find_token(value)):
        message = f"The text looks like a credential ({kind}). Remove it and revoke it."
        yield RuleProblem(pointer, message)
