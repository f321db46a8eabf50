# SPDX-License-Identifier: Apache-2.0
"""What most commands start with: the database and its control plane."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import NotFoundError
from ipai_orchestrate.pipeline.database import Database, opened_database


@contextmanager
def opened_plane() -> Iterator[tuple[Database, ControlPlane]]:
    """The database, open for as long as the block runs."""
    with opened_database() as database, database.connect() as connection:
        yield database, ControlPlane(connection)


def find_run(plane: ControlPlane, text: str | None) -> UUID:
    """A run by its id, by the start of it, or by its instance; the newest when nothing is given."""
    runs = plane.runs(200)
    for run in runs:
        if text is None or str(run.id).startswith(text.lower()) or run.instance_id == text:
            return run.id
    try:
        return UUID(text or "")
    except ValueError as error:
        message = f"No run matches {text!r}." if text else "There are no runs yet."
        raise NotFoundError(
            message, hint="See `ipai runs`, or start one: ipai run --help"
        ) from error
