# SPDX-License-Identifier: Apache-2.0
"""Settings of the target: the schema that `--about` shows and the frozen values a run uses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.spec.names import DOMAINS

TARGET_NAME: Final = "target-bronze-postgres"
_UPSERT: Final = "upsert"
_LOAD_METHODS: Final = {"upsert": _UPSERT, "append": "append", "append-only": "append"}

CONFIG_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "database_url": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Database URL",
            "description": "Postgres to land in. Default: IPAI_DATABASE_URL, else embedded.",
        },
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
        "load_method": {
            "type": "string",
            "enum": list(_LOAD_METHODS),
            "default": _UPSERT,
            "title": "Load method",
            "description": "upsert keeps the newest version of each key, append every version.",
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
            "description": "How long a commit is tried again while the database is away.",
        },
        "dead_letter_limit": {
            "type": "integer",
            "minimum": 0,
            "default": 100,
            "title": "Dead letter limit",
            "description": "Stop with exit code 65 when more records than this cannot be landed.",
        },
        "hard_delete": {
            "type": "boolean",
            "default": False,
            "title": "Hard delete",
            "description": "Delete rows that a new full-table generation lacks.",
        },
    },
}


@dataclass(frozen=True)
class Settings:
    """Checked settings of one run."""

    database_url: str
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
    hard_delete: bool


def read_settings(config: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Check a configuration and fill in what it leaves out."""
    for name in ("stream_maps", "stream_map_config", "flattening_enabled"):
        if config.get(name):
            message = f"Setting {name!r} has no place here: Bronze lands what was delivered."
            raise ConfigurationError(message, next_step="Set it on the tap.")
    values = {name: _checked(name, config.get(name)) for name in CONFIG_SCHEMA["properties"]}
    return Settings(
        database_url=values["database_url"] or find_database_url(environment),
        source=values["source"] or None,
        domain=values["domain"] or None,
        instance_id=values["instance_id"] or environment.get("IPAI_INSTANCE_ID") or "default",
        run_id=values["run_id"] or environment.get("IPAI_RUN_ID") or None,
        keeps_every_version=_LOAD_METHODS[values["load_method"]] != _UPSERT,
        batch_size_rows=values["batch_size_rows"],
        batch_size_bytes=values["batch_size_bytes"],
        flush_seconds=values["flush_seconds"],
        retry_seconds=values["retry_seconds"],
        dead_letter_limit=values["dead_letter_limit"],
        hard_delete=values["hard_delete"],
    )


def find_database_url(environment: Mapping[str, str]) -> str:
    """The database of the environment: IPAI_DATABASE_URL, else the running embedded server's."""
    if url := environment.get("IPAI_DATABASE_URL"):
        return url
    left_by_server = embedded_home(environment) / "database_url"
    try:
        url = left_by_server.read_text(encoding="utf-8").strip()
    except OSError:
        url = ""
    if not url:
        message = (
            f"No database is configured and no embedded server runs ({str(left_by_server)!r})."
        )
        step = "Set 'database_url' or IPAI_DATABASE_URL, or start one with `ipai db start`."
        raise ConfigurationError(message, next_step=step)
    return url


def embedded_home(environment: Mapping[str, str]) -> Path:
    """State directory of the embedded server."""
    if home := environment.get("IPAI_HOME"):
        return Path(home)
    return Path("/var/lib/ipai") if os.geteuid() == 0 else Path.home() / ".local/share/ipai"


def _checked(name: str, value: Any) -> Any:
    """The value of a setting, or its default; an error names the setting and what it takes."""
    rule = CONFIG_SCHEMA["properties"][name]
    if value is None:
        return rule.get("default")
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    fits = any(_is_kind(value, kind) for kind in kinds) and value in rule.get("enum", [value])
    low, above = rule.get("minimum"), rule.get("exclusiveMinimum")
    if fits and (low is None or value >= low) and (above is None or value > above):
        return value
    shown = "a value of another type" if rule.get("secret") else repr(value)
    message = f"Setting {name!r} cannot be {shown}."
    raise ConfigurationError(message, next_step=f"Use {_expected(rule)}.")


def _is_kind(value: Any, kind: str) -> bool:
    if kind == "boolean" or isinstance(value, bool):
        return kind == "boolean" and isinstance(value, bool)
    kinds: dict[str, Any] = {"string": str, "integer": int, "number": (int, float)}
    return kind in kinds and isinstance(value, kinds[kind])


def _expected(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return "one of " + ", ".join(repr(option) for option in rule["enum"] if option)
    kind = rule["type"][0] if isinstance(rule["type"], list) else rule["type"]
    article = "an" if kind.startswith("i") else "a"
    if "minimum" in rule:
        return f"{article} {kind} of at least {rule['minimum']}"
    if "exclusiveMinimum" in rule:
        return f"{article} {kind} above {rule['exclusiveMinimum']}"
    return f"{article} {kind}"
