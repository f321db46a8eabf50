# SPDX-License-Identifier: Apache-2.0
"""What the holder of a run's lease may ask beside the queue's own calls."""

from importlib.resources import files
from typing import Any

import psycopg
from psycopg.rows import scalar_row

from ipai_orchestrate.control_plane import ClaimedRun
from ipai_orchestrate.control_plane.errors import translate
from ipai_orchestrate.control_plane.queries import load_queries
from ipai_orchestrate.control_plane.storable import storable_text

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))

Connection = psycopg.Connection[Any]


def hand_back(connection: Connection, run: ClaimedRun, reason: str) -> str | None:
    """Queue the run again, uncounted, for another worker; None when it was to be cancelled."""
    retry_id = _ask(connection, "hand_back", run, reason=storable_text(reason))
    return None if retry_id is None else str(retry_id)


def previous_status(connection: Connection, run: ClaimedRun) -> str | None:
    """How the instance's run before this one ended; None when this is the first."""
    status = _ask(connection, "previous_status", run)
    return None if status is None else str(status)


def _ask(connection: Connection, query: str, run: ClaimedRun, **arguments: object) -> object:
    given = {"run_id": run.id, "lease_token": run.lease_token, **arguments}
    try:
        with connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(_QUERIES[query], given).fetchone()
    except psycopg.Error as error:
        raise translate(error) from error
