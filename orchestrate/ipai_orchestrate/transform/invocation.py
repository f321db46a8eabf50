# SPDX-License-Identifier: Apache-2.0
"""The environment dbt runs in, the same for `run_dbt` and for `ipai-dbt`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ipai_orchestrate.exceptions import DatabaseUnavailableError
from ipai_orchestrate.transform.profile import database_label, profile_environment
from ipai_orchestrate.transform.project import Project

# Any number, the same for all: one dbt per database, whatever machine it runs on.
_LOCK_KEY = 0x1_9A1_DB7
_TRY_LOCK = "select pg_try_advisory_xact_lock(%s)"
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Invocation:
    """Where dbt reads, writes and connects."""

    project: Project
    output: Path
    environment: dict[str, str]

    @property
    def run_results(self) -> Path:
        """Where dbt leaves the outcome of each node."""
        return self.output / "run_results.json"


def prepare(project: Project, dsn: str | None) -> Invocation:
    """Collect what dbt needs; without an address the profile's defaults hold (parse, ls)."""
    profile = profile_environment(dsn) if dsn else {}
    output = project.output(database_label(profile) if dsn else "offline")
    output.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "IPAI_DATABASE_URL"}
    environment |= {
        "DBT_PROJECT_DIR": str(project.root),
        "DBT_PROFILES_DIR": str(project.root),
        "DBT_TARGET_PATH": str(output),
        "DBT_LOG_PATH": str(output / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_VERSION_CHECK": "false",
        "DO_NOT_TRACK": "1",
    }
    return Invocation(project, output, environment | profile)


@contextmanager
def only_transform(
    dsn: str, on_wait: Callable[[], None] | None = None
) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Keep other dbt runs on this database waiting, and yield a connection to look around with.

    Two runs would drop each other's views. The lock belongs to a transaction that stays open, so
    that it works through a transaction pooler too and is gone when this process dies.
    """
    try:
        connection = psycopg.connect(dsn, connect_timeout=30, application_name="ipai-transform")
    except psycopg.OperationalError as error:
        message = f"The database of Silver and Gold cannot be reached: {error}"
        raise DatabaseUnavailableError(message) from error
    with connection:
        connection.execute("set local idle_in_transaction_session_timeout = 0")
        while connection.execute(_TRY_LOCK, (_LOCK_KEY,)).fetchone() != (True,):
            if on_wait is not None:
                on_wait()
            time.sleep(_WAIT_SECONDS)
        yield connection
