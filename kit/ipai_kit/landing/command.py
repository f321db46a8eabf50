# SPDX-License-Identifier: Apache-2.0
"""The command of a target.

The everyday call, `--config FILE` and standard input, starts without importing singer-sdk, which
takes half a second of processor time; every other option is singer-sdk's own command line.
"""

import gc
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    InternalError,
    TryAgainLaterError,
)
from ipai_kit.landing.events import EventLog
from ipai_kit.landing.program import TargetProgram
from ipai_kit.landing.run import TargetRun
from ipai_kit.landing.settings import misspelt
from ipai_kit.landing.stop_signal import StopSignal
from ipai_kit.singer.reader import open_source

ENVIRONMENT: Final = "ENV"
_ALLOCATIONS_BETWEEN_COLLECTIONS: Final = 500_000


@dataclass(frozen=True)
class PlainCall:
    """Arguments that need nothing of singer-sdk."""

    configs: tuple[str, ...]
    """Files, or `ENV` for the environment."""
    input_file: str | None


def run_command(program: TargetProgram, arguments: Sequence[str] | None = None) -> None:
    """Run a target from its command line; ends the process."""
    call = parse_plain_call(sys.argv[1:] if arguments is None else arguments)
    if call is None:
        module, _, name = program.full_command.partition(":")
        getattr(importlib.import_module(module), name).cli()
        return
    code = _land_files(program, call)
    gc.freeze()  # the process ends: looking for cycles in all that it holds would cost 25 ms
    sys.exit(code)


def parse_plain_call(arguments: Sequence[str]) -> PlainCall | None:
    """The arguments, if they are only configuration files and perhaps an input file."""
    configs: list[str] = []
    inputs: list[str] = []
    rest = list(arguments)
    while rest:
        name, separator, value = rest.pop(0).partition("=")
        if name not in {"--config", "--input"} or not (separator or rest):
            return None
        (configs if name == "--config" else inputs).append(value if separator else rest.pop(0))
    if len(inputs) > 1:
        return None
    return PlainCall(tuple(configs), inputs[0] if inputs else None)


def land(program: TargetProgram, config: Mapping[str, Any], stream: IO[str] | IO[bytes]) -> int:
    """Land a stream of messages; returns the exit code."""
    for name in program.quiet_loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    events = EventLog(program.name)
    # Rows are freed by counting references: looking for cycles among them costs 7 % and finds none.
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
    stop = StopSignal()
    stop.install()
    warn_of_unknown(events, program.config_schema, config)
    try:
        landing = program.prepare(config, os.environ)
        with closing(stop), closing(TargetRun(landing, events, stop)) as run:
            run.read(open_source(stream, stop.wake_descriptor))
            run.finish()
    except ConnectorError as error:
        return report(events, error)
    except Exception as error:  # noqa: BLE001 - the edge of the process
        text = f"The target failed: {type(error).__name__} in {_place(error)}."
        return report(events, InternalError(text, next_step="Report it."))
    return 0


def warn_of_unknown(
    events: EventLog, config_schema: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Warn of settings that have no meaning, most often because they are misspelt."""
    for name, nearest in misspelt(config_schema, config).items():
        hint = f" Did you mean {nearest!r}?" if nearest else ""
        message = f"Setting {name!r} is not known and is ignored.{hint}"
        events.emit(
            "unknown_setting", level="warning", setting=name, nearest=nearest, message=message
        )


def report(events: EventLog, error: ConnectorError) -> int:
    """Log the error that ended a run; returns its exit code."""
    fields: dict[str, Any] = {"stream": error.stream} if error.stream else {}
    if isinstance(error, TryAgainLaterError):
        fields["retry_at"] = error.retry_at.isoformat() if error.retry_at else None
    events.emit(
        "failed",
        level="error",
        error_class=type(error).__name__,
        message=str(error).removesuffix(error.next_step).rstrip(),
        next_step=error.next_step,
        exit_code=error.exit_code,
        **fields,
    )
    return error.exit_code


def _land_files(program: TargetProgram, call: PlainCall) -> int:
    try:
        config = read_config(call.configs, program.name, program.config_schema)
        if call.input_file is None:
            return land(program, config, sys.stdin)
        try:
            with Path(call.input_file).open("rb") as stream:
                return land(program, config, stream)
        except OSError as error:
            message = f"Input {call.input_file!r} cannot be read: {error.strerror}."
            raise ConfigurationError(message, next_step="Check --input.") from error
    except ConnectorError as error:
        return report(EventLog(program.name), error)


def read_config(
    sources: Sequence[str], name: str, config_schema: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge configuration files, of which a later one wins, and last the environment for `ENV`."""
    config: dict[str, Any] = {}
    for path in sources:
        if path == ENVIRONMENT:
            continue
        try:
            content = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Any])
        except OSError as error:
            message = f"Configuration {path!r} cannot be read: {error.strerror}."
            raise ConfigurationError(message, next_step="Check --config.") from error
        except msgspec.DecodeError as error:
            message = f"Configuration {path!r} is not a JSON object: {error}."
            raise ConfigurationError(message, next_step="Correct the file.") from error
        config.update(content)
    return config | (read_environment(name, config_schema) if ENVIRONMENT in sources else {})


def read_environment(name: str, config_schema: Mapping[str, Any]) -> dict[str, str]:
    """Settings from variables `<NAME>_<SETTING>`; an empty one says nothing."""
    prefix = f"{name}_".upper().replace("-", "_")
    variables = {setting: f"{prefix}{setting.upper()}" for setting in config_schema["properties"]}
    return {
        setting: value
        for setting, variable in variables.items()
        if (value := os.environ.get(variable))
    }


def _place(error: BaseException) -> str:
    """File and line of an unexpected error: enough to find it, without any value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
