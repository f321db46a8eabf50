# SPDX-License-Identifier: Apache-2.0
"""The operating-system user the embedded server runs as: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipai_orchestrate.exceptions import ConfigurationError, DatabaseUnavailableError

_FALLBACKS = ("postgres", "nobody")


@dataclass(frozen=True)
class ProcessUser:
    """Who runs the server; `switch` is true when this process must change user for it."""

    name: str
    uid: int
    gid: int
    switch: bool

    def run(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        timeout: float,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a server tool as this user, with no supplementary groups and a readable directory."""
        try:
            return subprocess.run(
                [str(part) for part in command],
                user=self.uid if self.switch else None,
                group=self.gid if self.switch else None,
                extra_groups=[] if self.switch else None,
                cwd="/",
                env=dict(environment),
                pass_fds=pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            message = f"Command {str(command[0])!r} did not end within {timeout:.0f} seconds."
            raise DatabaseUnavailableError(message) from error

    def can(self, test_flag: str, path: Path) -> bool:
        """Whether this user passes test(1) on the path, e.g. `-x`; asked as that user."""
        try:
            answer = self.run(
                ["test", test_flag, path], environment={"PATH": os.defpath}, timeout=20
            )
        except OSError:
            return False
        return answer.returncode == 0


def server_user(environ: Mapping[str, str] | None = None) -> ProcessUser:
    """Return the current user, or for root the first of IPAI_PG_OS_USER, postgres, nobody."""
    if os.geteuid() != 0:
        return ProcessUser(str(os.geteuid()), os.geteuid(), os.getegid(), switch=False)
    wanted = (os.environ if environ is None else environ).get("IPAI_PG_OS_USER")
    for name in (wanted,) if wanted else _FALLBACKS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return ProcessUser(name, entry.pw_uid, entry.pw_gid, switch=True)
    message = (
        f"No operating-system user to run PostgreSQL as: {wanted or ' or '.join(_FALLBACKS)!r} "
        "does not exist or is root. Set IPAI_PG_OS_USER to an unprivileged user."
    )
    raise ConfigurationError(message)
