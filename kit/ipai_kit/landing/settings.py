# SPDX-License-Identifier: Apache-2.0
"""Settings that every target has, and how a configuration is checked against its schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.spec.names import DOMAINS

UPSERT: Final = "upsert"
_OF_TAPS: Final = ("stream_maps", "stream_map_config", "flattening_enabled")
_BOOLEANS: Final = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(
    ("false", "0", "no", "off"), False
)

LANDING_SETTINGS: Final[dict[str, Any]] = {
    "source": {
        "type": ["string", "null"],
        "title": "Source",
        "description": "Source type in table names. Default: what the tap says, else 'singer'.",
    },
    "domain": {
        "type": ["string", "null"],
        "enum": [*DOMAINS, None],
        "title": "Domain",
        "description": "Domain of the Bronze schema. Default: what the tap says, else 'core'.",
    },
    "instance_id": {
        "type": ["string", "null"],
        "title": "Connector instance",
        "description": "Whose rows these are. Default: IPAI_INSTANCE_ID, else 'default'.",
    },
    "run_id": {
        "type": ["string", "null"],
        "title": "Run",
        "description": "Run that the rows are traced to. Default: IPAI_RUN_ID.",
    },
    "batch_size_rows": {
        "type": "integer",
        "minimum": 1,
        "default": 20_000,
        "title": "Rows per commit",
        "description": "Commit at the latest after this many records.",
    },
    "batch_size_bytes": {
        "type": "integer",
        "minimum": 1,
        "default": 16 * 1024 * 1024,
        "title": "Bytes per commit",
        "description": "Commit at the latest after this many bytes of records.",
    },
    "flush_seconds": {
        "type": "number",
        "exclusiveMinimum": 0,
        "default": 5,
        "title": "Seconds per commit",
        "description": "Commit at the latest after this time, also when the tap is silent.",
    },
    "retry_seconds": {
        "type": "number",
        "minimum": 0,
        "default": 60,
        "title": "Retry time",
        "description": "How long a commit is tried again while the store is away.",
    },
    "delete_batch_files": {
        "type": "boolean",
        "default": False,
        "title": "Delete batch files",
        "description": "Delete the files of a BATCH once their records are committed.",
    },
    "dead_letter_limit": {
        "type": "integer",
        "minimum": 0,
        "default": 100,
        "title": "Dead letter limit",
        "description": "Stop with exit code 65 when more records than this cannot be landed.",
    },
    "validate": {
        "type": "string",
        "enum": ["types", "full", "off"],
        "default": "types",
        "title": "Validation",
        "description": "What of the SCHEMA is checked: types, every rule (full), or nothing.",
    },
    "on_invalid": {
        "type": "string",
        "enum": ["land", "dead_letter", "fail"],
        "default": "land",
        "title": "Invalid records",
        "description": "A record against its SCHEMA: land it, bury it, or stop with exit code 65.",
    },
}


@dataclass(frozen=True, kw_only=True)
class LandingSettings:
    """Checked settings of one run, as far as every target has them."""

    source: str | None
    domain: str | None
    instance_id: str
    run_id: str | None
    keeps_every_version: bool
    batch_size_rows: int
    batch_size_bytes: int
    flush_seconds: float
    retry_seconds: float
    dead_letter_limit: int
    validate: str = "types"
    on_invalid: str = "land"
    delete_batch_files: bool = False
    commits_state: bool = False
    """Whether STATE is committed with its rows, so that no row may be committed without it."""
    refuses_nul: bool = False
    """Whether the store cannot hold the NUL character in a text."""


def checked_values(
    schema: Mapping[str, Any], config: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Every setting of a schema, checked, with defaults; raises ConfigurationError."""
    for name in _OF_TAPS:
        if config.get(name):
            message = f"Setting {name!r} has no place here: Bronze lands what was delivered."
            raise ConfigurationError(message, next_step="Set it on the tap.")
    rules = schema["properties"]
    values = {name: _checked(name, rule, config.get(name)) for name, rule in rules.items()}
    return values | {
        "source": values["source"] or None,
        "domain": values["domain"] or None,
        "instance_id": values["instance_id"] or environment.get("IPAI_INSTANCE_ID") or "default",
        "run_id": values["run_id"] or environment.get("IPAI_RUN_ID") or None,
    }


def misspelt(schema: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str | None]:
    """Settings that a schema does not have, each with the nearest name that it has."""
    known = [*schema["properties"]]
    unknown = [name for name in config if name not in known and name not in _OF_TAPS]
    if not unknown:
        return {}
    import difflib  # most runs do without it

    return {
        name: next(iter(difflib.get_close_matches(name.lower(), known, n=1)), None)
        for name in unknown
    }


def _checked(name: str, rule: Mapping[str, Any], value: Any) -> Any:
    """The value of a setting, or its default; an error names the setting and what it takes."""
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    if isinstance(value, str) and (not value or "string" not in kinds):
        value = _from_text(value, kinds[0])
    if value is None:
        return rule.get("default")
    fits = any(_is_kind(value, kind) for kind in kinds) and value in rule.get("enum", [value])
    low, above = rule.get("minimum"), rule.get("exclusiveMinimum")
    if fits and (low is None or value >= low) and (above is None or value > above):
        return value
    shown = "a value of another type" if rule.get("secret") else repr(value)
    message = f"Setting {name!r} cannot be {shown}."
    raise ConfigurationError(message, next_step=f"Use {_expected(rule)}.")


def _from_text(text: str, kind: str) -> Any:
    """What the text of an environment variable says; empty: nothing, unreadable: itself."""
    if not text.strip():
        return None
    if kind == "boolean":
        return _BOOLEANS.get(text.strip().lower(), text)
    try:
        value = int(text) if kind == "integer" else float(text)
    except ValueError:
        return text
    return value if isfinite(value) else text


def _is_kind(value: Any, kind: str) -> bool:
    if kind == "boolean" or isinstance(value, bool):
        return kind == "boolean" and isinstance(value, bool)
    kinds: dict[str, Any] = {"string": str, "integer": int, "number": (int, float)}
    return kind in kinds and isinstance(value, kinds[kind])


def _expected(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return "one of " + ", ".join(repr(option) for option in rule["enum"] if option)
    kind = rule["type"][0] if isinstance(rule["type"], list) else rule["type"]
    if kind == "boolean":
        return "true or false"
    article = "an" if kind.startswith("i") else "a"
    if "minimum" in rule:
        return f"{article} {kind} of at least {rule['minimum']}"
    if "exclusiveMinimum" in rule:
        return f"{article} {kind} above {rule['exclusiveMinimum']}"
    return f"{article} {kind}"
