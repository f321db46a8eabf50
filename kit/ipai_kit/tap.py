# SPDX-License-Identifier: Apache-2.0
"""The tap that a connector declares: its spec gives name, settings and quota."""

from __future__ import annotations

import importlib.resources
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from types import FrameType
from typing import Any, ClassVar, cast

import click
from singer_sdk import Stream, Tap
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities
from singer_sdk.plugin_base import _ConfigInput

from ipai_kit.command import ConnectorCommand
from ipai_kit.exceptions import ConfigurationError, TargetClosedError
from ipai_kit.logs import configure_logs, protect
from ipai_kit.quota import Limits, Quota
from ipai_kit.resources import package_file
from ipai_kit.rest.calls import Reply
from ipai_kit.rest.client import Auth, Client
from ipai_kit.rest.extraction import Extraction
from ipai_kit.rest.pages import Page
from ipai_kit.rest.prefetch import Fetcher, ParallelFetcher
from ipai_kit.rest.progress import Progress
from ipai_kit.rest.retry import RetryPolicy, Verdict, classify_rest
from ipai_kit.rest.run import Run
from ipai_kit.rest.streams import RestStream
from ipai_kit.rest.transport import Transport
from ipai_kit.settings import KIT_SETTINGS, settings_from_environment, with_numbers
from ipai_kit.singer.batch_files import BATCH_SETTING, batch_folder
from ipai_kit.singer.writer import FastWriter
from ipai_kit.spec import (
    ConnectorSpec,
    StreamSpec,
    command_name,
    distribution_name,
    load_spec,
    secret_values,
)
from ipai_kit.waiting import Waiting

__all__ = ["ConnectorTap"]

# Threads beyond the requests under way: they read replies while others wait for the source.
_SPARE_THREADS = 2


class ConnectorTap(Tap):
    """A Singer tap described by the `connector.yaml` of its package.

    Subclasses set `stream_types` and, where needed, override `authenticator`, `classify`,
    `discover_streams`.
    """

    stream_types: ClassVar[Sequence[type[Stream]]] = ()
    message_writer_class = FastWriter
    capabilities: ClassVar[list[Any]] = [
        TapCapabilities.CATALOG,
        TapCapabilities.STATE,
        TapCapabilities.DISCOVER,
        TapCapabilities.ACTIVATE_VERSION,
        PluginCapabilities.ABOUT,
        PluginCapabilities.BATCH,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]
    state_interval: ClassVar[float] = 5.0  # seconds between STATE messages
    retry_policy: ClassVar[RetryPolicy] = RetryPolicy()  # its budgets come from the spec
    spec: ClassVar[ConnectorSpec]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Read the spec that lies in the package of the subclass."""
        super().__init_subclass__(**kwargs)
        file = None if hasattr(cls, "spec") else package_file(cls, "connector.yaml")
        if file is not None:
            with importlib.resources.as_file(file) as path:
                cls.spec = load_spec(path)
        if "spec" in cls.__dict__:
            cls._describe(cls.spec)

    @classmethod
    def _describe(cls, spec: ConnectorSpec) -> None:
        cls.name = command_name(spec.source_type)
        cls.package_name = distribution_name(spec.source_type)
        schema = spec.config_schema()
        schema["properties"] = {
            **{name: dict(setting) for name, setting in KIT_SETTINGS.items()},
            "batch_config": dict(BATCH_SETTING),
            **schema["properties"],
        }
        cls.config_jsonschema = schema

    def __init__(self, **kwargs: Any) -> None:
        self.waiting = Waiting()  # before the signal handlers that use it
        self.request_counts: Counter[str] = Counter()
        super().__init__(**kwargs)
        if isinstance(self.message_writer, FastWriter):
            self.message_writer.batches = batch_folder(self.config, self.name)

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
    def quota(self) -> Quota:
        """The budget of this run, shared by all its threads."""
        quota, config = self.spec.quota, self.config
        limits = Limits(
            requests_per_second=float(
                config.get("requests_per_second") or quota.requests_per_second
            ),
            concurrency=config.get("concurrency") or quota.concurrency,
            requests_per_run=config.get("requests_per_run") or quota.requests_per_run,
            max_wait_seconds=config.get("max_wait_seconds", quota.max_wait_seconds),
            share=float(config.get("quota_share") or 1),
        )
        return Quota(limits, self.waiting)

    @cached_property
    def transport(self) -> Transport:
        """The door to the source's hosts."""
        urls = [*self.spec.api.base_urls, self.api_url]
        return Transport(
            [url for url in urls if not url.startswith("{")],  # a setting: what is no web API
            connections=self.quota.limits.concurrency,
            user_agent=f"{self.name}/{self.plugin_version}",
        )

    @cached_property
    def client(self) -> Client:
        """What makes the requests."""
        policy = replace(
            self.retry_policy,
            max_attempts=self.spec.quota.max_attempts,
            max_wait_seconds=self.quota.limits.max_wait_seconds,
        )
        return Client(
            self.transport,
            self.quota,
            auth=self.authenticator(),
            policy=policy,
            waiting=self.waiting,
            requests=self.request_counts,
        )

    @cached_property
    def token_client(self) -> Client:
        """What asks for tokens: without authentication, and beside the source's own quota.

        A thread asks for a token while it holds a place in the quota; taking a second one there
        could wait for ever.
        """
        return Client(self.transport, Quota(Limits(), self.waiting), waiting=self.waiting)

    @cached_property
    def progress(self) -> Progress:
        """What the run tells about itself."""
        return Progress(self.request_counts, self.quota)

    @cached_property
    def run(self) -> Run:
        """The machinery that reads one request after the other; for dry runs."""
        return self._new_run(Fetcher(self.waiting))

    def _new_run(self, fetcher: Fetcher[Page], *, isolate: bool = False) -> Run:
        return Run(
            Extraction(self.client, fetcher),
            cast("FastWriter", self.message_writer),
            cast("dict[str, Any]", self.state),
            config=self.config,
            progress=self.progress,
            state_interval=self.state_interval,
            isolate=isolate,
        )

    # -- running ----------------------------------------------------------------------------

    def sync_all(self) -> None:  # type: ignore[misc]  # final in the SDK; a run needs an end
        """Sync all streams, reading ahead in parallel."""
        threads = self.quota.limits.concurrency + _SPARE_THREADS
        self._sync_with(ParallelFetcher(threads, waiting=self.waiting))

    def sync_serially(self) -> None:
        """Sync all streams, one request after the other; writes the same messages."""
        self._sync_with(Fetcher(self.waiting))

    def _sync_with(self, fetcher: Fetcher[Page]) -> None:
        self._set_compatible_replication_methods()  # may change methods, so before the reading
        self.run = run = self._new_run(fetcher, isolate=True)
        try:
            run.open_ahead(self._roots())
            super().sync_all()
            cast("FastWriter", self.message_writer).flush()  # no STATE follows when none changed
            run.finish()
        except TargetClosedError:
            raise
        except BaseException:
            run.write_state(now=True)  # true at any moment: what was finished is not read again
            raise
        finally:
            fetcher.close()
            self.transport.close()
            cast("FastWriter", self.message_writer).discard()
            del self.run

    def _roots(self) -> list[RestStream]:
        return [
            stream
            for stream in self.streams.values()
            if isinstance(stream, RestStream) and stream.parent is None and stream.wanted
        ]

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Stop soon and in order; at the second signal stop now."""
        del frame
        if not self.waiting.interrupt(signum):
            os._exit(128 + signum)

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Hide the secrets before anything can show them, e.g. a validation message."""
        protect(*secret_values(self.spec, self.config))
        return super()._validate_config(raise_errors=raise_errors)

    # -- the command line -------------------------------------------------------------------

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """Return the command that reports every failure in the same way."""
        inner = super().get_singer_command()
        return ConnectorCommand(
            prepare=lambda: configure_logs(source=cls.spec.source_type),
            name=inner.name,
            callback=inner.callback,
            context_settings=inner.context_settings,
            params=inner.params,
            help=inner.help,
        )

    @classmethod
    def cb_config(
        cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]
    ) -> _ConfigInput:
        """Read the configuration files; what they leave open comes from the environment."""
        try:
            found = super().cb_config(ctx, param, value)
        except (OSError, TypeError, ValueError) as error:
            message = f"The configuration {', '.join(value)!r} cannot be read: {error}."
            raise ConfigurationError(message, next_step="Give a JSON file.") from error
        prefix = f"{cls.name.upper().replace('-', '_')}_"
        ambient = settings_from_environment(cls.config_jsonschema, prefix, cls.spec)
        config = {**found.config, **ambient} if found.parse_env else {**ambient, **found.config}
        config = with_numbers(cls.config_jsonschema, config)
        return replace(found, config=config, parse_env=False)  # singer-sdk reads no decimals
