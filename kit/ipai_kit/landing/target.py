# SPDX-License-Identifier: Apache-2.0
"""A target as singer-sdk knows it: its command line, configuration, `--about`, standard tests.

No record passes through singer-sdk: a message reader of our own hands the byte stream to the run.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import IO, Any, ClassVar, Final

import click
from singer_sdk.exceptions import (
    MissingKeyPropertiesError,
    RecordsWithoutSchemaException,
)
from singer_sdk.helpers.capabilities import CapabilitiesEnum, PluginCapabilities
from singer_sdk.plugin_base import _ConfigInput
from singer_sdk.singerlib.encoding.base import GenericSingerReader
from singer_sdk.target_base import Target

from ipai_kit.exceptions import ConnectorError
from ipai_kit.landing.command import land, read_environment
from ipai_kit.landing.events import EventLog
from ipai_kit.landing.exceptions import MissingKeyError, RecordBeforeSchemaError
from ipai_kit.landing.program import TargetProgram
from ipai_kit.landing.run import TargetRun
from ipai_kit.landing.stop_signal import StopSignal
from ipai_kit.singer.reader import open_source

_EXIT_CODES: Final = (
    "Exit codes: 0 landed, 65 look at the tap, 70 our bug, 75 try again later, 77 renew"
    " credentials, 78 change a setting, 1 nobody reads the STATE."
)


class RunReader(GenericSingerReader[str]):
    """Gives the whole input to a run, whatever the callbacks."""

    default_input = sys.stdin
    take_input: Callable[[IO[str]], Counter[str]]

    def process_lines(
        self,
        file_input: IO[str] | None,
        callbacks: dict[str, Callable[[dict[str, Any]], None]],  # noqa: ARG002 - singer-sdk's
    ) -> Counter[str]:
        """Read every message; returns how many of each type."""
        return self.take_input(file_input or self.default_input)

    def deserialize_json(self, line: str) -> dict[str, Any]:
        """Never called: lines are decoded in blocks of bytes."""
        raise NotImplementedError


class BronzeTarget(Target):
    """Base of a Bronze target; a subclass names itself, its configuration and its program."""

    program: ClassVar[TargetProgram]
    usage: ClassVar[str]
    """What `--help` says beside the description and the options."""
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.ACTIVATE_VERSION,
        PluginCapabilities.BATCH,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]
    message_reader_class = RunReader

    def __init__(self, **options: Any) -> None:
        self._stop = StopSignal()
        self._run: TargetRun | None = None
        super().__init__(**options)
        reader = self.message_reader
        if isinstance(reader, RunReader):
            reader.take_input = self._take_input

    @classmethod
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        """Leave out singer-sdk's settings for sinks: there are none here."""

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """singer-sdk's command, with a help of our own."""
        command: click.Command = super().get_singer_command()
        command.help = f"{cls.__doc__}\n\n{cls.usage}\n\n{_EXIT_CODES}"
        return command

    @classmethod
    def invoke(  # type: ignore[override]
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: _ConfigInput | None = None,
        file_input: IO[str] | None = None,
    ) -> None:
        """Run from singer-sdk's command line, with the exit codes of our targets."""
        if about:
            super().invoke(about=about, about_format=about_format)
        given = config or _ConfigInput()
        program = cls.program
        ambient = read_environment(program.name, program.config_schema) if given.parse_env else {}
        sys.exit(land(program, {**given.config, **ambient}, file_input or sys.stdin))

    def process_endofpipe(self) -> None:
        """Commit what is left."""
        if self._run is None:
            return
        try:
            self._run.finish()
        except MissingKeyError as error:
            raise MissingKeyPropertiesError(str(error)) from error
        finally:
            self._run.close()

    def _take_input(self, stream: IO[str]) -> Counter[str]:
        landing = self.program.prepare(self.config, os.environ)
        self._run = TargetRun(landing, EventLog(self.program.name), self._stop)
        try:
            self._run.read(open_source(stream, self._stop.wake_descriptor))
        except ConnectorError as error:
            self._run.close()
            if isinstance(error, RecordBeforeSchemaError):
                raise RecordsWithoutSchemaException(str(error)) from error
            raise
        return self._run.intake.counts

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        self._stop.handle(signum, frame)
