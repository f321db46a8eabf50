# SPDX-License-Identifier: Apache-2.0
"""The settings of an instance: stored without secrets, complete only in memory while it runs.

A secret is stored as a reference, `${secret:NAME}` to one of the vault or `${NAME}` to an
environment variable, and resolved when a run starts. A setting left out is taken from the variable
its spec names, if that is set.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ipai_kit.spec import ConnectorSpec, find_token, secret_values
from ipai_orchestrate.exceptions import ConfigurationError

REFERENCE = re.compile(
    r"\$\{(?:(?P<variable>[A-Za-z_][A-Za-z0-9_]*)"
    r"|secret:(?P<secret>[A-Za-z0-9][A-Za-z0-9._/-]{0,127}))\}"
)

Config = Mapping[str, Any]
Secrets = Callable[[Collection[str]], Mapping[str, str]]


def refuse_literal_secrets(spec: ConnectorSpec, config: Config) -> None:
    """Raise when a setting holds a secret itself instead of a reference to it."""
    for name, value in config.items():
        if _literal_secret(spec, name, value):
            variable = spec.settings[name].env if name in spec.settings else None
            variable = variable or f"{spec.source_type}_{name}".upper()
            message = (
                f"Setting {name!r} holds a secret, which is never stored. Put the secret into an "
                f"environment variable and store a reference to it: {name}='${{{variable}}}'; or "
                f"`ipai secret set NAME`, and {name}='${{secret:NAME}}'."
            )
            raise ConfigurationError(message)


def _literal_secret(spec: ConnectorSpec, name: str, value: object) -> bool:
    hidden = secret_values(spec, {name: _without_references(value)})
    return bool(hidden) or any(find_token(text) for text in _texts(value))


def _without_references(value: object) -> object:
    if isinstance(value, str):
        return "" if REFERENCE.fullmatch(value) else value
    if isinstance(value, Mapping):
        return {key: _without_references(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_references(inner) for inner in value]
    return value


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def no_secrets(names: Collection[str]) -> Mapping[str, str]:
    """For settings without secrets of the vault: refuse a reference to one."""
    if names:
        message = f"Secret {next(iter(names))!r} of the vault cannot be read here."
        raise ConfigurationError(message)
    return {}


def resolve(
    spec: ConnectorSpec,
    config: Config,
    environment: Mapping[str, str],
    secrets: Secrets = no_secrets,
) -> dict[str, Any]:
    """The settings a tap is started with, every reference replaced by its value."""
    variables = list(dict.fromkeys(_references(config, "variable")))
    if missing := [name for name in variables if name not in environment]:
        names = ", ".join(missing)
        message = f"Environment variable not set: {names}. Set it where this command runs."
        raise ConfigurationError(message)
    opened = secrets(list(dict.fromkeys(_references(config, "secret"))))

    def value_of(value: object) -> Any:
        if isinstance(value, str) and (found := REFERENCE.fullmatch(value)):
            name, variable = found["secret"], found["variable"]
            return environment[variable] if variable else opened[name]
        if isinstance(value, Mapping):
            return {key: value_of(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [value_of(inner) for inner in value]
        return value

    resolved = {name: value_of(value) for name, value in config.items()}
    return _from_environment(spec, config, environment) | resolved


def _references(config: Config, kind: str) -> Iterator[str]:
    for text in _texts(config):
        if (found := REFERENCE.fullmatch(text)) and found[kind]:
            yield found[kind]


_SHARES = {
    "requests_per_second": "requests_per_second",
    "concurrency": "concurrency",
    "requests_total": "requests_per_run",
}


def within_quota(config: Config, quota: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings with a run's share of its source's quota; never more than they allow."""
    bounded = dict(config)
    for share, setting in _SHARES.items():
        if (most := (quota or {}).get(share)) is not None:
            own = config.get(setting)
            bounded[setting] = min(own, most) if isinstance(own, int | float) else most
    return bounded


def _from_environment(
    spec: ConnectorSpec, config: Config, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Settings left out; of the ways to sign in, only one that the configuration has begun."""
    ways = [set(method.settings) for method in spec.auth_methods]
    begun = [way for way in ways if way & config.keys()]
    barred = set().union(*ways) - set().union(*begun) if begun else set()
    return {
        name: environment[setting.env]
        for name, setting in spec.settings.items()
        if setting.env
        and name not in barred
        and setting.type == "string"
        and environment.get(setting.env)
    }
