# SPDX-License-Identifier: Apache-2.0
"""The log of a table: which files it consists of, and who committed what."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Protocol

from ipai_kit.exceptions import ConfigurationError
from target_bronze_lake.data_file import DataFile
from target_bronze_lake.storage import Storage

DELTA_LOG: Final = "_delta_log"
MANIFESTS: Final = "_manifests"
FLUSH_NOTE: Final = "ipaiFlush"
"""Name under which a commit says which flush of which run it is."""


class CommitConflictError(Exception):
    """Somebody else committed in between: look at the table again."""


@dataclass(frozen=True)
class Commit:
    """What becomes visible at once."""

    files: tuple[DataFile, ...]
    transactions: dict[str, int]
    """The version that each application id reaches by this commit."""
    flush_id: str
    removed: frozenset[str] = frozenset()
    """Paths of files that the new ones replace."""


class TableLog(Protocol):
    """Decides by put-if-absent which commit comes next."""

    def refresh(self) -> None:
        """See what others committed; creates the table when there is none."""

    def transaction(self, app_id: str) -> int | None:
        """The version that an application id has reached."""

    def holds_flush(self, flush_id: str) -> bool:
        """Whether one of the latest commits is this flush."""

    def files(self) -> list[DataFile]:
        """The files that make up the table."""

    def commit(self, commit: Commit) -> None:
        """Make a commit visible; raises CommitConflictError when it must be thought over."""


def refuse_other_form(storage: Storage, path: str, folder: str, form: str) -> None:
    """Stop before a table of the other form is written over."""
    if storage.objects(f"{path}/{folder}"):
        message = f"Table {path!r} has the format {form!r}."
        step = f"Set 'format' to {form!r}, or choose another 'lake_url'."
        raise ConfigurationError(message, next_step=step)


def refuse_replaced(commit: Commit, present: Collection[str]) -> None:
    """Stop before rows are stored twice: somebody else has replaced the same files."""
    if not commit.removed.issubset(present):
        message = "Others replaced the same files in between."
        raise CommitConflictError(message)
