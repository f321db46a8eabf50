# SPDX-License-Identifier: Apache-2.0
"""What most commands start with: the database and its control plane."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import NotFoundError
from ipai_orchestrate.pipeline.database import Database, opened_database

_ID_START = re.compile(r"(?=.*[0-9a-f])[0-9a-f-]{1,36}", re.IGNORECASE)
_MOST_NAMED = 5


@contextmanager
def opened_plane() -> Iterator[tuple[Database, ControlPlane]]:
    """The database, open for as long as the block runs."""
    with opened_database() as database, database.connect() as connection:
        yield database, ControlPlane(connection)


def find_run(plane: ControlPlane, text: str | None) -> UUID:
    """A run by its id, by the start of it, or by its instance; the newest when nothing is given."""
    message = "There are no runs yet." if text is None else f"No run matches {text!r}."
    if text != "" and (newest := plane.runs(1, text)):
        return newest[0].id
    if text and _ID_START.fullmatch(text):
        found = plane.runs_that_begin(text, _MOST_NAMED)
        if len(found) == 1:
            return found[0]
        if found:
            named = ", ".join(str(one)[: len(text) + 4] for one in found)
            message = f"Several runs begin with {text!r}: {named}."
    raise NotFoundError(message, hint="See `ipai runs`, or start one: ipai run --help")
