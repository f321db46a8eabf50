# SPDX-License-Identifier: Apache-2.0
"""Settings that every connector has, and settings that come from the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.spec import ConnectorSpec

__all__ = ["KIT_SETTINGS", "settings_from_environment", "with_numbers"]

KIT_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "start_date": {
        "type": "string",
        "format": "date-time",
        "description": "Read nothing older than this, e.g. 2026-01-31T00:00:00Z.",
    },
    "api_url": {"type": "string", "description": "Address of the API, if not the public one."},
    "full_refresh": {"type": "boolean", "description": "Read everything again."},
    "concurrency": {
        "type": "integer",
        "minimum": 1,
        "description": "Requests that may be under way at the same time.",
    },
    "requests_per_second": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Requests that may start in any one second.",
    },
    "requests_per_run": {
        "type": "integer",
        "minimum": 1,
        "description": "Requests after which the run ends with 'try again later'.",
    },
    "quota_share": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "description": "Part of the rate and of the requests per run that this process may use.",
    },
    "max_wait_seconds": {
        "type": "integer",
        "minimum": 0,
        "description": "Longest wait for quota before the run ends with 'try again later'.",
    },
    "oauth_door": {
        "type": "object",
        "secret": True,
        "description": "Where access tokens are renewed; whoever runs the tap sets it.",
    },
    "emit_activate_version_messages": {
        "type": "boolean",
        "description": "After a whole read, tell the target that rows not seen are gone.",
    },
}

_TRUE = {"true", "1", "yes", "on"}


def settings_from_environment(
    schema: Mapping[str, Any], prefix: str, spec: ConnectorSpec | None = None
) -> dict[str, Any]:
    """Return the settings found as `TAP_<SOURCE>_<SETTING>` or under the name in the spec."""
    found = {}
    for name, setting in schema.get("properties", {}).items():
        known = spec.settings.get(name) if spec else None
        for variable in (prefix + name.upper(), known.env if known else None):
            if variable and os.environ.get(variable):
                found[name] = _parsed(variable, os.environ[variable], setting)
                break
    return found


def with_numbers(schema: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with numbers that came as text made numbers.

    Meltano cannot write decimals into a configuration file, so they are text there.
    """
    read = dict(config)
    for name, value in config.items():
        if isinstance(value, str) and _is_number(schema.get("properties", {}).get(name, {})):
            with suppress(ValueError):  # what is no number fails the schema, with its own message
                read[name] = float(value)
    return read


def _is_number(setting: Mapping[str, Any]) -> bool:
    kind = setting.get("type", "string")
    return "number" in kind if isinstance(kind, list) else kind == "number"


def _parsed(variable: str, text: str, setting: Mapping[str, Any]) -> Any:
    kind = setting.get("type", "string")
    kinds = kind if isinstance(kind, list) else [kind]
    if "string" in kinds:
        return text
    if "boolean" in kinds:
        return text.lower() in _TRUE
    if "array" in kinds and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError as error:
        message = f"The environment variable {variable!r} is not a JSON {kinds[0]}."
        raise ConfigurationError(message, next_step="Write it as JSON.") from error
