# SPDX-License-Identifier: Apache-2.0
"""Sets up instances of connectors: settings typed by the spec, checked, stored without secrets."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import psycopg
from psycopg.rows import class_row

from ipai_kit.spec import ConnectorSpec, InstalledConnector
from ipai_orchestrate.catalog import executable, installed_connector
from ipai_orchestrate.control_plane import ControlPlane, EnsuredInstance
from ipai_orchestrate.exceptions import ConfigurationError, NotFoundError
from ipai_orchestrate.pipeline.settings import REFERENCE, refuse_literal_secrets
from ipai_orchestrate.scheduler.occurrences import Rule

_FIND = """
    select instance_id as id, source_type, env, schedule, status, config
    from connectors.ipai_connector_config where instance_id = %s
"""
ABOUT_SECONDS = 60
DEFAULT_SCHEDULE = "default"
PRODUCTION = "production"


@dataclass(frozen=True)
class Instance:
    """A connector set up once."""

    id: str
    source_type: str
    env: str
    schedule: str | None
    status: str
    config: dict[str, Any]


def find_instance(connection: psycopg.Connection[Any], instance_id: str) -> Instance:
    """The instance of that id."""
    with connection.cursor(row_factory=class_row(Instance)) as cursor:
        found = cursor.execute(_FIND, (instance_id,)).fetchone()
    if found is None:
        message = f"Instance {instance_id!r} does not exist."
        raise NotFoundError(
            message, hint="See `ipai instance list`, or add it: `ipai instance add`."
        )
    return found


def save_instance(
    plane: ControlPlane,
    instance_id: str,
    connector: InstalledConnector,
    config: Mapping[str, Any],
    *,
    env: str = "dev",
    schedule: str | None = None,
) -> EnsuredInstance:
    """Register the connector's spec as it is installed and store the instance on it.

    In production an instance keeps its version: that moves by promotion.
    """
    spec = connector.spec()
    _refuse_unknown(connector, spec, config)
    refuse_literal_secrets(spec, config)
    if schedule not in {None, DEFAULT_SCHEDULE}:
        Rule.parse(str(schedule), spec.timezone)
    definition = plane.register_definition(connector.spec_path.read_text(encoding="utf-8"), spec)
    version = _version_in_production(plane, instance_id) if env == PRODUCTION else None
    return plane.ensure_instance(instance_id, definition.id, config, env, schedule, version)


def _version_in_production(plane: ControlPlane, instance_id: str) -> int | None:
    live = plane.instances(env=PRODUCTION, limit=1000)
    return next((one.definition_version for one in live if one.id == instance_id), None)


def read_settings(spec: ConnectorSpec, pairs: Iterable[str]) -> dict[str, Any]:
    """Settings given as `name=value`, each of the type that the spec says."""
    settings = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            message = f"Setting {pair!r} is not of the form name=value, e.g. repositories=acme/api."
            raise ConfigurationError(message)
        settings[name] = _typed(spec, name, text)
    return settings


def _typed(spec: ConnectorSpec, name: str, text: str) -> Any:
    setting = spec.settings.get(name)
    kind = setting.type if setting else None
    if kind == "string" or REFERENCE.fullmatch(text):
        return text
    of_objects = setting is not None and (setting.items or {}).get("type") == "object"
    if kind == "array" and not text.startswith("[") and not of_objects:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError as error:
        if kind is None:  # one of the tap's general settings: most are text
            return text
        example = json.dumps(setting.examples[0]) if setting and setting.examples else ""
        message = (
            f"Setting {name!r} is not of type {kind}: {text!r}. Write it as JSON{_such(example)}."
        )
        raise ConfigurationError(message) from error


def _such(example: str) -> str:
    return f", e.g. {example}" if example else ""


def _refuse_unknown(
    connector: InstalledConnector, spec: ConnectorSpec, config: Mapping[str, Any]
) -> None:
    """Ask the tap itself only when the spec does not know a setting: starting it takes a second."""
    if config.keys() <= spec.settings.keys():
        return
    known = spec.settings.keys() | further_settings(connector)
    for name in config:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."
            message = f"Connector {spec.source_type!r} has no setting {name!r}. {hint}"
            raise ConfigurationError(message)


def further_settings(connector: InstalledConnector) -> set[str]:
    """The settings a tap has beyond its spec, as it tells itself."""
    answer = subprocess.run(
        [executable(connector.command), "--about", "--format=json"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=ABOUT_SECONDS,
        check=False,
    )
    try:
        return set(json.loads(answer.stdout)["settings"]["properties"])
    except (ValueError, KeyError, TypeError):
        return set()


def connector_of(instance: Instance) -> InstalledConnector:
    """The installed connector that an instance is about."""
    return installed_connector(instance.source_type)
