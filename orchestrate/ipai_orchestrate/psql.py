# SPDX-License-Identifier: Apache-2.0
"""Opens psql on a database without its password showing in the list of processes."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence

from psycopg import pq

from ipai_orchestrate.embedded.binaries import find_binaries
from ipai_orchestrate.exceptions import ConfigurationError


def connection_environment(dsn: str) -> dict[str, str]:
    """The libpq variables that say the same as an address."""
    return {
        option.envvar.decode(): option.val.decode()
        for option in pq.Conninfo.parse(dsn.encode())
        if option.envvar and option.val
    }


def run_psql(dsn: str, arguments: Sequence[str]) -> int:
    """Run psql on this terminal; Ctrl-C is psql's, not ours."""
    environment = {k: v for k, v in os.environ.items() if k != "IPAI_DATABASE_URL"}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        environment |= connection_environment(dsn)
        return subprocess.run([_psql(), *arguments], env=environment, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _psql() -> str:
    """That of PATH, else the embedded server's own."""
    found = shutil.which("psql")
    if found:
        return found
    own = find_binaries().tool("psql")
    if own.exists():
        return str(own)
    message = "psql is not installed. Install PostgreSQL's client, or use `ipai db url` elsewhere."
    raise ConfigurationError(message)
