# SPDX-License-Identifier: Apache-2.0
"""The questions of a first run, on a terminal; prompts go to standard error."""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from ipai_kit.spec import AuthMethod, ConnectorSpec, InstalledConnector, Setting
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.first_run.answers import Answers, file_text
from ipai_orchestrate.instances import DEFAULT_SCHEDULE, read_settings
from ipai_orchestrate.pipeline.outcome import CONFIGURATION, CREDENTIALS, Failure
from ipai_orchestrate.scheduler.occurrences import Rule

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def choose_source(installed: Mapping[str, InstalledConnector]) -> InstalledConnector:
    """Ask for one of the sources."""
    names = list(installed)
    _say("Sources installed here:")
    for number, name in enumerate(names, start=1):
        spec = installed[name].spec()
        _say(f"  {number}  {name:<16} {spec.title}, {len(spec.streams)} streams")
    return installed[names[_choice("Which one?", names, 0)]]


def choose_id(source_type: str, ask: bool) -> str:
    """Ask for the name of the instance."""
    if not ask:
        return source_type
    return str(_prompt("A name for it, such as github-acme", source_type, _instance_id))


def ask_gaps(answers: Answers) -> Answers:
    """Ask for what is open: first what to read, then how to sign in."""
    return _ask_credentials(_ask_settings(answers))


def ask_again(answers: Answers, failure: Failure | None) -> Answers | None:
    """After a refusal, ask for what may be wrong; None when nobody wants to try again."""
    if not click.confirm("Try again?", default=True, err=True):
        return None
    code = failure.exit_code if failure else 0
    ways = _of_ways(answers.spec.auth_methods)
    if code == CREDENTIALS:
        return _ask_credentials(answers.without(ways))
    if code == CONFIGURATION:
        if click.confirm("Other credentials too?", default=False, err=True):
            answers = answers.without(ways)
        names = answers.spec.settings.keys() - ways
        before = {name: answers.config[name] for name in names if name in answers.config}
        return _ask_credentials(_ask_settings(answers.without(names), before))
    return answers


def offer_schedule(answers: Answers, ask: bool) -> Answers:
    """Offer the schedule of the spec, unless the instance has one."""
    if answers.schedule:
        return answers
    spec = answers.spec
    text = f"Run it by itself, at {spec.schedule!r} ({spec.timezone})?"
    if ask and not click.confirm(text, default=True, err=True):
        return answers
    return replace(answers, schedule=DEFAULT_SCHEDULE)


def checked_schedule(text: str, spec: ConnectorSpec) -> str | None:
    """A schedule given as an option."""
    if text in {"none", ""}:
        return None
    if text != DEFAULT_SCHEDULE:
        Rule.parse(text, spec.timezone)
    return text


def ask_secret(name: str) -> str:
    """Ask for a value that nobody shall see."""
    return str(_prompt(f"{name}, or @FILE (not shown)", "", _secret, hidden=True))


# -- what to read ------------------------------------------------------------------------------


def _ask_settings(answers: Answers, before: Mapping[str, Any] | None = None) -> Answers:
    spec, defaults = answers.spec, before or {}
    skipped = answers.known | _of_ways(spec.auth_methods)
    open_ones = [
        (name, one)
        for name, one in spec.settings.items()
        if name not in skipped and (one.required or one.default is None)
    ]
    config: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    for name, setting in sorted(open_ones, key=lambda one: not one[1].required):
        if setting.secret:
            secrets |= _ask_for_secret(name, setting)
        else:
            config |= _ask_for_setting(spec, name, setting, defaults.get(name))
    return answers.plus(config, secrets)


def _ask_for_setting(
    spec: ConnectorSpec, name: str, setting: Setting, before: object
) -> dict[str, Any]:
    _explain(name, setting)

    def read(text: str) -> dict[str, Any]:
        if not text.strip():
            if setting.required:
                message = f"{name} is required."
                raise ConfigurationError(message)
            return {}
        return read_settings(spec, [f"{name}={text.strip()}"])

    default = ", ".join(map(str, before)) if isinstance(before, list) else before or ""
    found: dict[str, Any] = _prompt(name, str(default), read)
    return found


def _explain(name: str, setting: Setting) -> None:
    example = next(iter(setting.examples), None)
    if isinstance(example, list | tuple):
        example = ", ".join(map(str, example))
    more = f" E.g. {example}." if example is not None else ""
    optional = "" if setting.required else " Enter leaves it out."
    _say(f"\n{name}: {setting.description}{more}{optional}")


# -- how to sign in ----------------------------------------------------------------------------


def _ask_credentials(answers: Answers) -> Answers:
    method = answers.begun_method() or _choose_method(answers.spec.auth_methods, answers.spec)
    config: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    for name in method.settings if method else ():
        setting = answers.spec.settings[name]
        if name in answers.known:
            continue
        if setting.secret:
            secrets |= _ask_for_secret(name, setting)
        else:
            config |= _ask_for_setting(answers.spec, name, setting, None)
    return answers.plus(config, secrets)


def _choose_method(methods: Sequence[AuthMethod], spec: ConnectorSpec) -> AuthMethod | None:
    if len(methods) < 2:
        return methods[0] if methods else None
    _say("\nWays to sign in:")
    for number, one in enumerate(methods, start=1):
        needs = ", ".join(one.settings) or "nothing"
        _say(f"  {number}  {one.type}: {needs}. {one.description}")
        if one.scopes:
            _say(f"       It needs: {', '.join(one.scopes)}")
    ready = [
        n for n, one in enumerate(methods) if one.settings and _in_environment(one.settings, spec)
    ]
    simple = [n for n, one in enumerate(methods) if len(one.settings) == 1]
    bare = [n for n, one in enumerate(methods) if not one.settings]
    # Where several keys would do, nobody can say which one is meant.
    likely = [*ready, *(simple if len(simple) == 1 else [*bare, *simple]), 0]
    return methods[_choice("Which one?", [one.type for one in methods], likely[0])]


def _in_environment(names: Collection[str], spec: ConnectorSpec) -> bool:
    return all(os.environ.get(spec.settings[name].env or "") for name in names)


def _ask_for_secret(name: str, setting: Setting) -> dict[str, str]:
    _say(f"\n{name}: {setting.description}")
    value = os.environ.get(setting.env or "")
    text = f"{setting.env} is set here: take it from there?"
    if value and click.confirm(text, default=True, err=True):
        return {name: value}
    return {name: ask_secret(name)}


def _of_ways(methods: Sequence[AuthMethod]) -> set[str]:
    return {name for one in methods for name in one.settings}


# -- asking ------------------------------------------------------------------------------------


def _choice(text: str, names: Sequence[str], default: int) -> int:
    def read(given: str) -> int:
        if given in names:
            return list(names).index(given)
        if given.isdigit() and 1 <= int(given) <= len(names):
            return int(given) - 1
        message = f"{given!r} is not in the list. Give a number from 1 to {len(names)}, or a name."
        raise ConfigurationError(message)

    return int(_prompt(text, str(default + 1), read))


def _instance_id(text: str) -> str:
    if not _NAME.fullmatch(text):
        message = f"{text!r} is no name. Use small letters, digits, - and _, e.g. github-acme."
        raise ConfigurationError(message)
    return text


def _secret(text: str) -> str:
    if not text.strip():
        message = (
            "Nothing was given. Paste it, or name a file: @FILE. Ctrl-C ends, and keeps nothing."
        )
        raise ConfigurationError(message)
    return file_text(text[1:]) if text.startswith("@") else text


def _prompt(
    text: str, default: str | None, read: Callable[[str], Any], *, hidden: bool = False
) -> Any:
    """Ask until the answer can be read."""
    while True:
        given: str = click.prompt(
            text, default=default, show_default=bool(default), hide_input=hidden, err=True
        )
        try:
            return read(given)
        except ConfigurationError as error:
            _say(f"Error: {error}")


def _say(text: str) -> None:
    click.echo(text, err=True)
