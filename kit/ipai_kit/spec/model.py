# SPDX-License-Identifier: Apache-2.0
"""The typed, frozen form of a connector spec."""

import re
from datetime import date, timedelta
from typing import Any, Literal

import msgspec

from ipai_kit.spec.names import Domain, SyncMode, command_name, distribution_name, module_name

SlaTier = Literal["critical", "standard", "best_effort"]
AuthType = Literal[
    "none",
    "api_key",
    "bearer",
    "basic",
    "oauth2_authorization_code",
    "oauth2_client_credentials",
    "service_account",
    "jwt_bearer",
    "github_app",
    "password",
    "connection_string",
    "access_key",
]
SettingType = Literal["string", "integer", "number", "boolean", "array", "object"]

_DURATION = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """The interface a connector reads, as its vendor documents it."""

    version: str
    docs_url: str
    sunset: date | None
    base_urls: tuple[str, ...]


class TermsOfService(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's terms and the day we last read them."""

    url: str
    reviewed_at: date


class AuthMethod(msgspec.Struct, frozen=True, kw_only=True):
    """One way to sign in and the settings it needs."""

    type: AuthType
    settings: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    description: str = ""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """What a connector may ask of its API; shared by all workers of an instance."""

    requests_per_second: float = 5.0
    concurrency: int = 4
    requests_per_run: int | None = None
    max_wait_seconds: int = 900
    max_attempts: int = 6


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the operator configures."""

    type: SettingType
    description: str
    title: str = ""
    secret: bool = False
    required: bool = False
    default: Any = None
    env: str | None = None
    format: str | None = None
    enum: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    examples: tuple[Any, ...] = ()
    items: dict[str, Any] | None = None

    def json_schema(self) -> dict[str, Any]:
        """This setting as a property of a JSON Schema, secrets marked as singer-sdk does."""
        optional = {
            "title": self.title or None,
            "default": self.default,
            "format": self.format,
            "enum": list(self.enum) or None,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "pattern": self.pattern,
            "examples": list(self.examples) or None,
            "items": self.items,
        }
        schema: dict[str, Any] = {"type": self.type, "description": self.description}
        schema |= {key: value for key, value in optional.items() if value is not None}
        if self.secret:
            schema |= {"secret": True, "writeOnly": True}
        return schema


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Checks of the delivered rows of a stream."""

    min_rows: int = 0
    max_null_percent: dict[str, float] = {}


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: what a record is and how it is read again."""

    name: str
    description: str
    sync_mode: SyncMode
    cursor: str | None = None
    cursor_from: str | None = None
    lookback: timedelta = timedelta()
    selected: bool = True
    discovered: bool = False
    """Stands for the streams that discovery finds: their names are the source's."""
    quality: Quality = Quality()


class ConnectorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A connector as its ``connector.yaml`` describes it."""

    spec_version: int
    name: str
    source_type: str
    title: str
    domain: Domain
    api: Api
    tos: TermsOfService
    auth_methods: tuple[AuthMethod, ...]
    sync_mode: SyncMode
    schedule: str
    streams: tuple[StreamSpec, ...]
    description: str = ""
    owner: str = ""
    approved_by: tuple[str, ...] = ()
    timezone: str = "UTC"
    sla_tier: SlaTier = "standard"
    quota: Quota = Quota()
    settings: dict[str, Setting] = {}

    @property
    def command(self) -> str:
        """The Singer command, e.g. ``tap-github``."""
        return command_name(self.source_type)

    @property
    def module(self) -> str:
        """The Python package of the tap, e.g. ``tap_github``."""
        return module_name(self.source_type)

    @property
    def distribution(self) -> str:
        """The installable package, e.g. ``ipai-connector-github``."""
        return distribution_name(self.source_type)

    @property
    def secret_names(self) -> frozenset[str]:
        """Settings whose values must never be shown."""
        return frozenset(name for name, setting in self.settings.items() if setting.secret)

    def stream(self, name: str) -> StreamSpec:
        """The stream of that name."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        known = ", ".join(stream.name for stream in self.streams)
        message = f"Connector {self.name!r} has no stream {name!r}. Use one of: {known}."
        raise KeyError(message)

    def config_schema(self) -> dict[str, Any]:
        """JSON Schema of an instance's configuration, from the settings."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {name: one.json_schema() for name, one in self.settings.items()},
            "required": [name for name, one in self.settings.items() if one.required],
        }


def parse_duration(text: str) -> timedelta:
    """Read an ISO 8601 duration of weeks, days, hours, minutes and seconds, e.g. ``P32D``."""
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()):
        message = f"Duration {text!r} is not ISO 8601. Use weeks to seconds, e.g. P32D or PT12H."
        raise ValueError(message)
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def build_spec(raw: dict[str, Any]) -> ConnectorSpec:
    """Build the model from a spec that has passed its checks."""
    values = dict(raw)
    values["auth_methods"] = values.pop("auth")["methods"]
    values["streams"] = [_stream(stream, raw["sync_mode"]) for stream in raw["streams"]]
    return msgspec.convert(values, ConnectorSpec)


def _stream(raw: dict[str, Any], default_mode: str) -> dict[str, Any]:
    stream = {"sync_mode": default_mode, **raw}
    if "lookback" in raw:
        stream["lookback"] = parse_duration(raw["lookback"])
    return stream
