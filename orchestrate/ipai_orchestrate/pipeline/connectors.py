# SPDX-License-Identifier: Apache-2.0
"""How tap and target are started: settings through sealed files, an environment without secrets."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipai_kit.spec import Redactor
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.pipeline.process_group import Launch, bound_to_us
from ipai_orchestrate.pipeline.sealed import sealed_file

_PASSED_ON = [
    "PATH",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
]
DISCOVERY_SECONDS = 300


@dataclass(frozen=True)
class Connector:
    """One tap or target to start: its program, its settings, and the Singer files it gets."""

    program: str
    config: Mapping[str, Any]
    arguments: tuple[str, ...] = ()
    files: Mapping[str, Mapping[str, Any]] | None = None


def child_environment(directory: Path, **own: str) -> dict[str, str]:
    """What a connector may know of its surroundings: no credentials, no database address."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    for name in ("NO_PROXY", "no_proxy"):  # the door to new access tokens is on loopback
        if {"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} & passed_on.keys():
            passed_on[name] = ",".join(filter(None, (passed_on.get(name), "127.0.0.1")))
    return {**passed_on, "TMPDIR": str(directory), **own}


@contextmanager
def launchable(
    connector: Connector, directory: Path, environment: Mapping[str, str]
) -> Iterator[Launch]:
    """Seal the connector's files for as long as the block runs."""
    with ExitStack() as stack:
        command, descriptors = [connector.program], []
        for option, content in {"config": connector.config, **(connector.files or {})}.items():
            sealed = stack.enter_context(sealed_file(json.dumps(content).encode()))
            command += [f"--{option}", sealed.path]
            descriptors.append(sealed.descriptor)
        command += connector.arguments
        yield Launch(command, environment, directory, descriptors)


def discover(tap: Connector, directory: Path, redactor: Redactor) -> dict[str, Any]:
    """Ask a tap for its catalog."""
    asking = Connector(tap.program, tap.config, ("--discover",))
    with launchable(asking, directory, child_environment(directory)) as launch:
        answer = subprocess.run(
            bound_to_us(launch.command),
            env=launch.environment,
            cwd=directory,
            pass_fds=launch.descriptors,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DISCOVERY_SECONDS,
            check=False,
        )
    try:
        catalog: dict[str, Any] = json.loads(answer.stdout)
    except ValueError as error:
        said = redactor.text(answer.stderr.decode("utf-8", "replace")).strip().splitlines()
        reason = _reason(said[-1]) if said else f"exit code {answer.returncode}"
        message = f"Connector {Path(tap.program).name!r} could not list its streams: {reason}"
        raise ConfigurationError(message) from error
    return catalog


def _reason(line: str) -> str:
    """What the last line of a tap's log says; our taps end with a JSON object, others with text."""
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict) or not event.get("message"):
        return line
    return " ".join(str(event[name]) for name in ("message", "next_step") if event.get(name))
