# SPDX-License-Identifier: Apache-2.0
"""Which PostgreSQL servers the control plane runs on."""

from typing import Any

import psycopg

from ipai_orchestrate.exceptions import ServerTooOldError

OLDEST = 15


def require_supported(connection: psycopg.Connection[Any]) -> None:
    """Refuse a server without what the migrations use; the greeting names its version."""
    version = connection.info.server_version
    if 0 < version < OLDEST * 10_000:
        name = connection.info.parameter_status("server_version") or str(version // 10_000)
        connection.close()
        message = (
            f"PostgreSQL {name!r} is too old: {OLDEST} is the oldest that works. Upgrade the "
            "server, or unset IPAI_DATABASE_URL to use the one that comes with the package."
        )
        raise ServerTooOldError(message)
