# SPDX-License-Identifier: Apache-2.0
"""Says of a Postgres address whether the server behind it has to prove who it is.

Only `sslmode=verify-full` does that: `require` encrypts towards whoever answers, and `prefer`,
libpq's default, does without if it is told to. Sockets and loopback need none of it.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final

PRODUCTION: Final = frozenset({"production", "prod"})
VERIFIED: Final = "verify-full"


def unverified_host(
    parameters: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> str | None:
    """The first host that is reached over a network without proof of who it is; None: none.

    `parameters` are those of the address, as libpq parses it. Its mode counts, not that of the
    environment, which connectors do not get.
    """
    mode = parameters.get("sslmode") or (
        VERIFIED if parameters.get("sslrootcert") == "system" else "prefer"
    )
    if mode == VERIFIED:
        return None
    if service := parameters.get("service"):
        return f"service {service}"
    found = environment or {}
    hosts = (
        parameters.get("hostaddr")
        or parameters.get("host")
        or found.get("PGHOSTADDR")
        or found.get("PGHOST")
        or ""
    )
    return next((host for host in str(hosts).split(",") if not _stays_here(host)), None)


def needs_proof(env: str | None) -> bool:
    """Whether an environment of that name is one where servers must prove who they are."""
    return (env or "").strip().lower() in PRODUCTION


def _stays_here(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
