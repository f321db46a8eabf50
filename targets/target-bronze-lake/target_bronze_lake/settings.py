# SPDX-License-Identifier: Apache-2.0
"""Settings of the target: the schema that `--about` shows and the frozen values a run uses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.landing.settings import LANDING_SETTINGS, LandingSettings, checked_values

TARGET_NAME: Final = "target-bronze-lake"
DELTA: Final = "delta"
PARQUET: Final = "parquet"
VERBS: Final = ("optimize", "vacuum", "check")
_MEBIBYTE: Final = 1 << 20
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_LAKE_DEFAULTS: Final = {
    "batch_size_rows": 50_000,
    "batch_size_bytes": 32 * _MEBIBYTE,
    "flush_seconds": 30,
}
"""A commit is a file: fewer and larger than in a database, two of them within the memory."""

CONFIG_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "lake_url": {
            "type": ["string", "null"],
            "title": "Lake URL",
            "description": "file:///folder or s3://bucket/prefix. Default: IPAI_LAKE_URL, else "
            "the folder 'lake' of the state directory.",
        },
        "format": {
            "type": "string",
            "enum": [DELTA, PARQUET],
            "default": DELTA,
            "title": "Format",
            "description": "delta writes Delta Lake tables, parquet files with a manifest.",
        },
        "endpoint_url": {
            "type": ["string", "null"],
            "title": "Endpoint URL",
            "description": "Address of an S3-compatible store. Default: Amazon S3.",
        },
        "region": {
            "type": ["string", "null"],
            "title": "Region",
            "description": "Region of the bucket. Default: AWS_REGION, else us-east-1.",
        },
        "access_key_id": {
            "type": ["string", "null"],
            "title": "Access key ID",
            "description": "Key of the store. Default: AWS_ACCESS_KEY_ID or the machine's role.",
        },
        "secret_access_key": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Secret access key",
            "description": "Secret of the key. Default: AWS_SECRET_ACCESS_KEY.",
        },
        "session_token": {
            "type": ["string", "null"],
            "secret": True,
            "title": "Session token",
            "description": "Token of a temporary key. Default: AWS_SESSION_TOKEN.",
        },
        "path_style": {
            "type": ["boolean", "null"],
            "title": "Path style",
            "description": "Put the bucket into the path. Default: true with an endpoint_url.",
        },
        "allow_http": {
            "type": "boolean",
            "default": False,
            "title": "Allow HTTP",
            "description": "Talk to the endpoint without TLS; always allowed on loopback.",
        },
        **LANDING_SETTINGS,
        **{name: {**LANDING_SETTINGS[name], "default": n} for name, n in _LAKE_DEFAULTS.items()},
        "target_file_bytes": {
            "type": "integer",
            "minimum": 1,
            "default": 128 * _MEBIBYTE,
            "title": "Bytes per file",
            "description": "Size that small files are compacted to.",
        },
        "optimize_after": {
            "type": "integer",
            "minimum": 0,
            "default": 16,
            "title": "Optimize after",
            "description": "Compact a day's files at the end of a run when this many are small; "
            "0 never does.",
        },
        "retention_hours": {
            "type": "number",
            "minimum": 0,
            "default": 168,
            "title": "Retention",
            "description": "Hours that replaced files stay for readers of older versions.",
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Settings(LandingSettings):
    """Checked settings of one run."""

    lake_url: str
    format: str
    endpoint_url: str | None
    region: str | None
    access_key_id: str | None
    secret_access_key: str | None = field(repr=False)
    session_token: str | None = field(repr=False)
    path_style: bool
    allow_http: bool
    target_file_bytes: int
    optimize_after: int
    retention_hours: float

    @property
    def place(self) -> str:
        """What a message calls the store: its endpoint, else the lake's URL."""
        return self.endpoint_url or self.lake_url


def read_settings(config: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Check a configuration and fill in what it leaves out."""
    values = checked_values(CONFIG_SCHEMA, config, environment)
    lake_url = values.pop("lake_url") or environment.get("IPAI_LAKE_URL") or ""
    path_style, endpoint_url = values.pop("path_style"), values.pop("endpoint_url") or None
    given: dict[str, Any] = {
        name: values.pop(name) or None
        for name in ("region", "access_key_id", "secret_access_key", "session_token")
    }
    if bool(given["access_key_id"]) != bool(given["secret_access_key"]):
        message = "Settings 'access_key_id' and 'secret_access_key' belong together."
        raise ConfigurationError(message, next_step="Set both or none.")
    return Settings(
        lake_url=_checked_url(lake_url or state_lake(environment).as_uri()),
        endpoint_url=endpoint_url,
        path_style=endpoint_url is not None if path_style is None else path_style,
        allow_http=_may_go_unencrypted(endpoint_url, allowed=values.pop("allow_http")),
        keeps_every_version=True,
        **given,
        **values,
    )


def state_lake(environment: Mapping[str, str]) -> Path:
    """The lake of an installation that names none: beside its embedded server."""
    if home := environment.get("IPAI_HOME"):
        return Path(home).absolute() / "lake"
    state = Path("/var/lib/ipai") if os.geteuid() == 0 else Path.home() / ".local/share/ipai"
    return state / "lake"


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    is_folder = parts.scheme == "file" and parts.netloc in {"", "localhost"} and len(parts.path) > 1
    is_bucket = parts.scheme == "s3" and bool(parts.netloc)
    if not (is_folder or is_bucket) or parts.query or parts.fragment or "@" in parts.netloc:
        message = f"Setting 'lake_url' cannot be {url.rpartition('@')[2]!r}."
        raise ConfigurationError(message, next_step="Use file:///folder or s3://bucket/prefix.")
    return url.rstrip("/")


def _may_go_unencrypted(endpoint_url: str | None, *, allowed: bool) -> bool:
    """Whether requests go without TLS; keys and records must not cross a network that way."""
    if endpoint_url is None:
        return False
    parts = urlsplit(endpoint_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        message = f"Setting 'endpoint_url' cannot be {endpoint_url.rpartition('@')[2]!r}."
        raise ConfigurationError(message, next_step="Use https://host.")
    if parts.scheme == "https":
        return False
    if not allowed and parts.hostname not in _LOOPBACK:
        message = f"The endpoint {endpoint_url!r} would receive keys and records without TLS."
        raise ConfigurationError(message, next_step="Use https:// or set 'allow_http'.")
    return True
