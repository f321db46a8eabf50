# SPDX-License-Identifier: Apache-2.0
"""``python -m ipai_kit.sandbox github``: finds a source's stand-in and serves it."""

import argparse
import inspect
import json
import logging
import os
import sys
import types
import typing
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

from starlette.applications import Starlette

from ipai_kit.logs import configure_logs
from ipai_kit.sandbox.faults import FaultError, parse_fault
from ipai_kit.sandbox.server import address, listening_socket, serve

SANDBOX_GROUP = "ipai.sandboxes"
_CONFIGURATION = 78


class OptionError(ValueError):
    """A sandbox, an option or its value does not exist."""


def find_factory(source: str) -> Callable[..., Starlette]:
    """The function that makes the stand-in of a source."""
    found = {entry.name: entry for entry in entry_points(group=SANDBOX_GROUP)}
    if source not in found:
        known = ", ".join(sorted(found)) or "none is installed"
        message = f"No sandbox for source {source!r}. Known: {known}."
        raise OptionError(message)
    factory: Callable[..., Starlette] = found[source].load()
    return factory


def read_options(factory: Callable[..., Starlette], pairs: Sequence[str]) -> dict[str, Any]:
    """Turn ``key=value`` texts into arguments of the factory, by its annotations."""
    kinds = typing.get_type_hints(factory)
    known = list(inspect.signature(factory).parameters)
    options: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or name not in known:
            message = f"Unknown sandbox option {pair!r}. Use key=value with: {', '.join(known)}."
            raise OptionError(message)
        options[name] = _converted(name, text, kinds.get(name, str))
    return options


def _converted(name: str, text: str, kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        if text == "":
            return None
        kind = next(one for one in typing.get_args(kind) if one is not type(None))
    if kind is bool:
        if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        message = f"Sandbox option {name!r} is not true or false: {text!r}. Use one of the two."
        raise OptionError(message)
    try:
        return kind(text) if kind in {int, float} else text
    except ValueError as error:
        message = f"Sandbox option {name!r} is not a number: {text!r}. Use e.g. {name}=10."
        raise OptionError(message) from error


def make_app(
    source: str,
    options: Sequence[str] = (),
    *,
    latency_ms: float = 0.0,
    faults: Sequence[str] = (),
) -> Starlette:
    """The stand-in of a source with its options, latency and faults."""
    factory = find_factory(source)
    app = factory(**read_options(factory, options))
    app.state.sandbox.latency_seconds = latency_ms / 1000
    app.state.sandbox.faults.add(*[parse_fault(fault) for fault in faults])
    return app


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ipai_kit.sandbox",
        description="Serve the stand-in of a source's API on loopback.",
    )
    parser.add_argument("source", help="source type, e.g. github")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to every reply")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND[:ARG][*TIMES][@METHOD /PATH]"
    )
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when orphaned")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; one JSON line on stdout says where."""
    given = _arguments(arguments)
    try:
        app = make_app(given.source, given.option, latency_ms=given.latency_ms, faults=given.fault)
        listener = listening_socket(given.host, given.port)
    except (OptionError, FaultError, OSError) as error:
        sys.stderr.write(json.dumps({"level": "error", "event": str(error)}) + "\n")
        return _CONFIGURATION
    ready = {"url": address(listener), "source": given.source, "pid": os.getpid()}

    def announce() -> None:
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()

    configure_logs(source=given.source)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # callers that hang up are no news
    serve(app, listener, announce, stop_with_parent=given.exit_with_parent)
    return 0
