# SPDX-License-Identifier: Apache-2.0
"""Starts dbt so that it cannot outlive the process that waits for it."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ipai_orchestrate.exceptions import ConfigurationError

_WAIT_SECONDS = 1.0
_GRACE_SECONDS = 10.0
_BECOME = str(Path(__file__).parents[1] / "become.py")


def dbt_command(environment: Mapping[str, str]) -> str:
    """Path of dbt: IPAI_DBT, else that of this environment, else the first on PATH.

    dbt may live in an environment of its own, because it pins many packages tightly.
    """
    configured = environment.get("IPAI_DBT")
    scripts = sysconfig.get_path("scripts")
    found = (
        shutil.which(configured, path=environment.get("PATH"))
        if configured
        else shutil.which("dbt", path=scripts) or shutil.which("dbt", path=environment.get("PATH"))
    )
    if found is None:
        message = (
            f"IPAI_DBT names no program: {configured!r}. Set it to the path of dbt."
            if configured
            else "dbt is not installed. Install it with: pip install 'ipai-connectors[transform]'."
        )
        raise ConfigurationError(message)
    return found


def run_lines(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    on_wait: Callable[[], None] | None = None,
) -> int:
    """Run dbt, hand over each line it writes, return its exit code.

    `on_wait` is called every second in which dbt is silent. An exception in either ends dbt.
    """
    with subprocess.Popen(
        _guarded(arguments, environment),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,  # Ctrl-C asks a worker to let its runs finish: dbt must not hear it
    ) as process:
        try:
            for line in _lines(process, on_wait):
                on_line(line.decode("utf-8", "replace"))
            return process.wait()
        except BaseException:
            _end(process)
            raise


def _lines(process: subprocess.Popen[bytes], on_wait: Callable[[], None] | None) -> Iterator[bytes]:
    """Whole lines as they come; a last one without an end counts too."""
    assert process.stdout is not None  # noqa: S101 - opened as a pipe above
    descriptor, pending = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(_WAIT_SECONDS):
                if on_wait is not None:
                    on_wait()
                continue
            chunk = os.read(descriptor, 65536)
            *lines, pending = (pending + chunk).splitlines(keepends=True) or [b""]
            if not chunk:
                break
            if pending.endswith(b"\n"):
                lines, pending = [*lines, pending], b""
            yield from lines
    if pending:
        yield pending


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt dbt, so that it cancels its queries; kill it if it does not hear."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def run_attached(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run dbt on this terminal; a signal to this process ends dbt as well."""
    with subprocess.Popen(_guarded(arguments, environment), env=dict(environment)) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the terminal told dbt as well: let it cancel its queries
            code = process.wait()
    return 128 - code if code < 0 else code


def _guarded(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    command = dbt_command(environment)
    return [sys.executable, "-I", "-S", _BECOME, str(os.getpid()), command, *arguments]
