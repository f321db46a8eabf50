# SPDX-License-Identifier: Apache-2.0
"""Starts dbt so that it cannot outlive the process that waits for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ipai_orchestrate.exceptions import ConfigurationError

_BECOME = str(Path(__file__).with_name("become.py"))


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
) -> int:
    """Run dbt, hand over each line it writes, return its exit code; an exception here ends it."""
    with subprocess.Popen(
        _guarded(arguments, environment),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                on_line(line)
            return process.wait()
        except BaseException:
            process.kill()
            raise


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
