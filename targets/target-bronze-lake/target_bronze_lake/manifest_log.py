# SPDX-License-Identifier: Apache-2.0
"""Plain Parquet: a numbered manifest says which files are the table.

The next number belongs to whoever puts it first. The newest manifest is the table; a file that no
manifest names is not there.
"""

import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import msgspec
from obstore.exceptions import AlreadyExistsError, NotFoundError

from ipai_kit.exceptions import ConfigurationError
from target_bronze_lake.data_file import DataFile
from target_bronze_lake.row_format import TableShape
from target_bronze_lake.settings import DELTA
from target_bronze_lake.storage import Storage
from target_bronze_lake.table_log import (
    DELTA_LOG,
    MANIFESTS,
    Commit,
    CommitConflictError,
    refuse_other_form,
    refuse_replaced,
)

_REMEMBERED_FLUSHES: Final = 100
_BOUNDS: Final = ("instance_id", "emitted_at", "loaded_at")
_TRUSTED_SECONDS: Final = 3600
"""After this the next number may have come and been vacuumed away: look at the whole list."""


class Manifest(msgspec.Struct, frozen=True):
    """One state of a table."""

    version: int
    committed_at: datetime
    partition: str
    columns: dict[str, str]
    files: tuple[DataFile, ...] = ()
    transactions: dict[str, int] = {}
    flushes: tuple[str, ...] = ()
    """The latest flushes, newest first."""

    @property
    def name(self) -> str:
        """Its file name; names sort as versions do."""
        return manifest_name(self.version)


def manifest_name(version: int) -> str:
    """File name of a version."""
    return f"{version:020}.json"


class ManifestLog:
    """The manifests of one table; remembers the newest it has seen."""

    def __init__(self, storage: Storage, path: str, shape: TableShape) -> None:
        self._storage = storage
        self._path = path
        self._shape = shape
        self._known: Manifest | None = None
        self._looked_at = -math.inf

    @property
    def newest(self) -> Manifest:
        """The table as it was last seen."""
        if self._known is None:
            self.refresh()
        if self._known is None:
            message = f"Table {self._path!r} has no manifest."
            raise ConfigurationError(message, next_step="Check 'lake_url'.")
        return self._known

    def refresh(self) -> None:
        """See what others committed; creates the table when there is none."""
        if self._known is None or time.monotonic() > self._looked_at + _TRUSTED_SECONDS:
            self._known = self._find() or self._create()
        self._looked_at = time.monotonic()
        while (later := self._load(self._known.version + 1)) is not None:
            self._known = later

    def transaction(self, app_id: str) -> int | None:
        """The version that an application id has reached."""
        return self.newest.transactions.get(app_id)

    def holds_flush(self, flush_id: str) -> bool:
        """Whether one of the latest commits is this flush."""
        return flush_id in self.newest.flushes

    def files(self) -> list[DataFile]:
        """The files that make up the table."""
        return list(self.newest.files)

    def commit(self, commit: Commit) -> None:
        """Make a commit visible; raises CommitConflictError when it must be thought over."""
        if time.monotonic() > self._looked_at + _TRUSTED_SECONDS:
            self.refresh()
        before = self.newest
        refuse_replaced(commit, {file.path for file in before.files})
        kept = [file for file in before.files if file.path not in commit.removed]
        manifest = msgspec.structs.replace(
            before,
            version=before.version + 1,
            committed_at=datetime.now(UTC),
            files=(*kept, *map(_slim, commit.files)),
            transactions=before.transactions | commit.transactions,
            flushes=(commit.flush_id, *before.flushes)[:_REMEMBERED_FLUSHES],
        )
        self._put(manifest)

    def _put(self, manifest: Manifest) -> None:
        path = f"{self._path}/{MANIFESTS}/{manifest.name}"
        try:
            self._storage.create(path, msgspec.json.encode(manifest))
        except AlreadyExistsError as error:
            raise CommitConflictError(str(error)) from error
        self._known = manifest

    def _find(self) -> Manifest | None:
        listed = self._storage.objects(f"{self._path}/{MANIFESTS}")
        if not listed:
            return None
        newest = max(found.name for found in listed)
        return self._load(int(newest.partition(".")[0]))

    def _load(self, version: int) -> Manifest | None:
        path = f"{self._path}/{MANIFESTS}/{manifest_name(version)}"
        try:
            return msgspec.json.decode(self._storage.read(path), type=Manifest)
        except (NotFoundError, FileNotFoundError):
            return None

    def _create(self) -> Manifest:
        refuse_other_form(self._storage, self._path, DELTA_LOG, DELTA)
        schema = self._shape.schema
        columns = {field.name: str(_plain_type(field.type)) for field in schema}
        manifest = Manifest(0, datetime.now(UTC), self._shape.day, columns)
        try:
            self._put(manifest)
        except CommitConflictError:
            return self._load(0) or manifest
        return manifest


def _slim(file: DataFile) -> DataFile:
    """A file without what nobody asks of a manifest, which is written anew with every commit."""
    bounds = {name: file.bounds[name] for name in _BOUNDS if name in file.bounds}
    return replace(file, bounds=bounds, nulls={})


def _plain_type(kind: object) -> object:
    return getattr(kind, "value_type", kind)
