# SPDX-License-Identifier: Apache-2.0
"""The tap that a connector declares: its spec gives name, settings and quota."""

from __future__ import annotations

import importlib.resources
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.resources.abc import Traversable
from types import ModuleType
from typing import Any, ClassVar, cast

from singer_sdk import Stream, Tap

from ipai_kit.quota import Limits, Quota
from ipai_kit.rest.calls import Reply
from ipai_kit.rest.client import Auth, Client
from ipai_kit.rest.extraction import Extraction
from ipai_kit.rest.pages import Page
from ipai_kit.rest.prefetch import Fetcher
from ipai_kit.rest.progress import Progress
from ipai_kit.rest.retry import RetryPolicy, Verdict, classify_rest
from ipai_kit.rest.run import Run
from ipai_kit.rest.transport import Transport
from ipai_kit.singer.writer import FastWriter
from ipai_kit.spec import ConnectorSpec, StreamSpec, command_name, distribution_name, load_spec
from ipai_kit.waiting import Waiting

__all__ = ["ConnectorTap"]

_KIT_SETTINGS: dict[str, dict[str, Any]] = {
    "start_date": {
        "type": "string",
        "format": "date-time",
        "description": "Read nothing older than this, e.g. 2026-01-31T00:00:00Z.",
    },
    "api_url": {"type": "string", "description": "Address of the API, if not the public one."},
    "full_refresh": {"type": "boolean", "description": "Read everything again."},
    "concurrency": {"type": "integer", "minimum": 1, "description": "Requests at the same time."},
    "requests_per_second": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Requests started in any one second.",
    },
    "requests_per_run": {"type": "integer", "minimum": 1, "description": "Requests in a run."},
    "quota_share": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "description": "Part of rate and requests per run that this process may use.",
    },
    "max_wait_seconds": {
        "type": "integer",
        "minimum": 0,
        "description": "Longest wait for quota before the run ends with 'try again later'.",
    },
    "emit_activate_version_messages": {
        "type": "boolean",
        "description": "After a full read, tell the target that rows not seen are gone.",
    },
}


class ConnectorTap(Tap):
    """A Singer tap described by the `connector.yaml` of its package.

    Subclasses set `stream_types` and, where needed, override `authenticator`, `classify`,
    `discover_streams`.
    """

    stream_types: ClassVar[Sequence[type[Stream]]] = ()
    message_writer_class = FastWriter
    spec: ClassVar[ConnectorSpec]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Read the spec that lies in the package of the subclass."""
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "spec"):
            package = sys.modules[cls.__module__.split(".")[0]]
            if hasattr(package, "__path__"):
                with importlib.resources.as_file(_spec_file(package)) as path:
                    cls.spec = load_spec(path)
        if "spec" in cls.__dict__:
            cls._describe(cls.spec)

    @classmethod
    def _describe(cls, spec: ConnectorSpec) -> None:
        cls.name = command_name(spec.source_type)
        cls.package_name = distribution_name(spec.source_type)
        schema = spec.config_schema()
        schema["properties"] = {**_KIT_SETTINGS, **schema["properties"]}
        cls.config_jsonschema = schema

    # -- what a tap may override ------------------------------------------------------------

    def authenticator(self) -> Auth | None:
        """Return what signs the requests; None for an open API."""
        return None

    def classify(self, reply: Reply) -> Verdict:
        """Judge a reply by the source's own rules."""
        return classify_rest(reply)

    def discover_streams(self) -> Sequence[Stream]:
        """Return one object per stream type."""
        return [stream_type(self) for stream_type in self.stream_types]

    @property
    def api_url(self) -> str:
        """The address that paths are appended to."""
        return str(self.config.get("api_url") or self.spec.api.base_urls[0])

    # -- what streams ask -------------------------------------------------------------------

    @property
    def annotation(self) -> dict[str, str]:
        """What a target needs to name Bronze tables without configuration."""
        return {"source": self.spec.source_type, "domain": self.spec.domain}

    @classmethod
    def stream_spec(cls, name: str) -> StreamSpec | None:
        """Return what the spec says about a stream, if anything."""
        return next((one for one in cls.spec.streams if one.name == name), None)

    @cached_property
    def waiting(self) -> Waiting:
        """Everything that waits in this run."""
        return Waiting()

    @cached_property
    def quota(self) -> Quota:
        """The budget of this run, shared by all its threads."""
        return Quota(self._limits(), self.waiting)

    @cached_property
    def run(self) -> Run:
        """The machinery of this run."""
        progress = Progress()
        client = self._client()
        return Run(
            Extraction(client, self._fetcher()),
            cast("FastWriter", self.message_writer),
            cast("dict[str, Any]", self.state),
            config=self.config,
            progress=progress,
        )

    def _fetcher(self) -> Fetcher[Page]:
        return Fetcher(self.waiting)

    def _client(self) -> Client:
        limits = self.quota.limits
        transport = Transport(
            [*self.spec.api.base_urls, self.api_url],
            connections=limits.concurrency,
            user_agent=f"{self.name}/{self.plugin_version}",
        )
        policy = RetryPolicy(
            max_attempts=self.spec.quota.max_attempts, max_wait_seconds=limits.max_wait_seconds
        )
        return Client(
            transport, self.quota, auth=self.authenticator(), policy=policy, waiting=self.waiting
        )

    def _limits(self) -> Limits:
        quota, config = self.spec.quota, self.config
        return Limits(
            requests_per_second=config.get("requests_per_second") or quota.requests_per_second,
            concurrency=config.get("concurrency") or quota.concurrency,
            requests_per_run=config.get("requests_per_run") or quota.requests_per_run,
            max_wait_seconds=_first(config.get("max_wait_seconds"), quota.max_wait_seconds),
            share=config.get("quota_share") or 1.0,
        )


def _spec_file(package: ModuleType) -> Traversable:
    return importlib.resources.files(package) / "connector.yaml"


def _first(value: Any, default: Any) -> Any:
    return default if value is None else value
