# SPDX-License-Identifier: Apache-2.0
"""As whom a worker works: a login of its own that acts as ipai_worker."""

from typing import Any

import psycopg

from ipai_orchestrate.exceptions import ConfigurationError

_WHO = """
    select current_user, session_user, current_user = 'ipai_worker'
        or exists (select from pg_roles where rolname = current_user and rolsuper)
        or pg_has_role(current_user, n.nspowner, 'member')
        or not pg_has_role(session_user, 'ipai_worker', 'member')
    from pg_namespace as n where n.nspname = 'connectors'
"""


def check_login(connection: psycopg.Connection[Any]) -> str:
    """Return the login; refuse one that would own what it loads, closed to all other workers."""
    found = connection.execute(_WHO).fetchone()
    if found is None:
        message = "The control plane of this database is missing. Run `ipai db migrate`."
        raise ConfigurationError(message)
    acting, login, may_work = found
    if not may_work:
        message = (
            f"Login {login!r} acts as {acting!r}: what it loads would be closed to other workers. "
            f"Run once: alter role {login} set role ipai_worker."
        )
        raise ConfigurationError(message)
    return str(login)
