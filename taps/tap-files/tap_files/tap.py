# SPDX-License-Identifier: Apache-2.0
"""The tap: one stream for each pattern of files in the settings, and one of the files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import click
from singer_sdk import Stream
from singer_sdk.helpers.capabilities import TapCapabilities
from singer_sdk.plugin_base import _ConfigInput

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    TryAgainLaterError,
)
from ipai_kit.tap import ConnectorTap
from tap_files.discovery import Sample, sample_files, stream_schema
from tap_files.inventory import Inventory
from tap_files.patterns import Pattern, read_patterns
from tap_files.preview import preview
from tap_files.stores import kind_of_address, open_store
from tap_files.stream import FileStream

__all__ = ["TapFiles"]

_GRAVEST_FIRST = (CredentialsError, ConfigurationError, ConnectorError, TryAgainLaterError)


class TapFiles(ConnectorTap):
    """Singer tap for files."""

    capabilities = [
        one for one in ConnectorTap.capabilities if one is not TapCapabilities.ACTIVATE_VERSION
    ]

    def __init__(self, **kwargs: Any) -> None:
        self._failures: list[ConnectorError] = []
        self._stores: dict[tuple[str, str], Any] = {}
        super().__init__(**kwargs)

    @cached_property
    def patterns(self) -> list[Pattern]:
        """The checked entries of the setting `files`."""
        return read_patterns(self.config["files"], str(self.config.get("root") or ""))

    def store(self, path: str) -> Any:
        """Return the store of an address; one for all patterns that lie there."""
        place = kind_of_address(path), urlsplit(path).netloc
        if place not in self._stores:
            self._stores[place] = open_store(path, self.config)
        return self._stores[place]

    def discover_streams(self) -> Sequence[Stream]:
        """Return a stream for each pattern, and the stream of all files."""
        streams: list[Stream] = [
            FileStream(self, pattern, self._schema(pattern)) for pattern in self.patterns
        ]
        return [*streams, Inventory(self)]

    def _schema(self, pattern: Pattern) -> dict[str, Any]:
        """Return the catalog's schema; without one, look into the files."""
        known = self.input_catalog.get_stream(pattern.name) if self.input_catalog else None
        if known is not None and known.schema.properties:
            return dict(known.schema.to_dict())
        sample = self.sample(pattern)
        for problem in sample.problems:
            self.progress.note(
                "not_sampled",
                stream=pattern.name,
                reason=problem.message,
                next_step=problem.next_step,
            )
        if sample.unseen:
            self.progress.note("columns_not_seen", stream=pattern.name, column_types=sample.unseen)
        return stream_schema(pattern, sample.properties)

    def sample(self, pattern: Pattern) -> Sample:
        """Look into some files of a pattern."""
        rows, longest = int(self.config["sample_rows"]), int(self.config["max_value_bytes"])
        try:
            store = self.store(pattern.path)
        except ConnectorError as error:
            return Sample(problems=[error])
        return sample_files(pattern, store, rows=rows, longest=longest)

    def note_failure(
        self, stream: str, error: ConnectorError, file: str | None = None, line: int | None = None
    ) -> None:
        """Tell what is wrong with a file; the run goes on and ends with the gravest error."""
        error.stream = error.stream or stream
        if file and file not in error.message:
            error.url = file
        self._failures.append(error)
        self.progress.note(
            "file_failed",
            stream=stream,
            file=file,
            line=line,
            error_class=type(error).__name__,
            reason=error.message,
            next_step=error.next_step,
        )

    def sync_all(self) -> None:  # type: ignore[misc]  # final in the SDK; a run needs an end
        """Sync all streams, the stream of all files last; fail if a file could not be read."""
        streams = dict(self.streams)
        inventory = streams.pop(Inventory.name)
        self._streams = {**streams, Inventory.name: inventory}
        self.sync_serially()
        for kind in _GRAVEST_FIRST:
            for error in self._failures:
                if isinstance(error, kind) and not (
                    kind is ConnectorError and isinstance(error, TryAgainLaterError)
                ):
                    raise error

    # -- the command line -------------------------------------------------------------------

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """Add `--preview` to the options of every tap."""
        command = super().get_singer_command()
        command.params.append(
            click.Option(
                ["--preview"],
                is_flag=True,
                help="Show files, columns, types and first rows of each stream, then stop.",
                callback=cls.cb_preview,
                expose_value=False,
            )
        )
        return command

    @classmethod
    def cb_preview(cls, ctx: click.Context, param: click.Option, value: bool) -> None:
        """Show what the settings lead to."""
        del param
        if not value:
            return
        config: _ConfigInput = ctx.params.get("config", _ConfigInput())
        tap = cls(config=config.config, parse_env_config=config.parse_env, setup_mapper=False)
        problems = preview(tap.patterns, tap.sample, click.echo)
        if problems:
            raise problems[0]
        ctx.exit()


if __name__ == "__main__":
    TapFiles.cli()
