# SPDX-License-Identifier: Apache-2.0
"""Delta Lake's log, written by delta-rs."""

import json
import time
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import PrimitiveType
from deltalake.transaction import AddAction
from obstore.exceptions import AlreadyExistsError, NotFoundError

from target_bronze_lake.data_file import Bounds, DataFile, statistics
from target_bronze_lake.foreign_table import refuse_foreign
from target_bronze_lake.row_format import TableShape, plain_values
from target_bronze_lake.settings import PARQUET
from target_bronze_lake.storage import Storage, sync_file
from target_bronze_lake.table_log import (
    DELTA_LOG,
    FLUSH_NOTE,
    MANIFESTS,
    Commit,
    CommitConflictError,
    refuse_other_form,
    refuse_replaced,
)

_CHECKPOINT_EVERY: Final = 100
_DELTA_TYPES: Final = {
    pa.string(): PrimitiveType("string"),
    pa.int32(): PrimitiveType("integer"),
    pa.int64(): PrimitiveType("long"),
    pa.binary(): PrimitiveType("binary"),
    pa.timestamp("us", "UTC"): PrimitiveType("timestamp"),
}


class DeltaLog:
    """The log of one table; remembers the newest version it has seen."""

    def __init__(self, storage: Storage, path: str, shape: TableShape) -> None:
        self._storage = storage
        self._path = path
        self._shape = shape
        self._known: DeltaTable | None = None
        self._tried_after = -1

    @property
    def table(self) -> DeltaTable:
        """The table as it was last seen."""
        if self._known is None:
            self._known = self._open()
        return self._known

    def refresh(self) -> None:
        """See what others committed; creates the table when there is none."""
        if self._known is None:
            self._known = self._open()
        else:
            self._known.update_incremental()
        refuse_foreign(self._path, self._known, delta_schema(self._shape), self._shape.day)

    def transaction(self, app_id: str) -> int | None:
        """The version that an application id has reached."""
        return self.table.transaction_version(app_id)

    def holds_flush(self, flush_id: str) -> bool:
        """Whether a commit since the last attempt is this flush.

        The log is read here: delta-rs' `history` blocks every other thread while it waits.
        """
        wanted = flush_id.encode()
        return any(
            wanted in self._storage.read(self._commit_path(version))
            for version in range(self._tried_after + 1, self.table.version() + 1)
        )

    def files(self) -> list[DataFile]:
        """The files that make up the table."""
        actions = pa.RecordBatchReader.from_stream(self.table.get_add_actions(flatten=True))
        found: list[DataFile] = []
        for batch in actions:
            columns = [plain_values(column) for column in batch.columns]
            for values in zip(*columns, strict=True):
                action = dict(zip(batch.schema.names, values, strict=True))
                found.append(_data_file(self._shape, action))
        return found

    def commit(self, commit: Commit) -> None:
        """Make a commit visible; raises CommitConflictError when it must be thought over."""
        if commit.removed:
            self._exchange(commit)
            return
        table = self.table
        self._tried_after = table.version()
        now = int(time.time() * 1000)
        actions: list[Any] = [
            AddAction(
                path=file.path,
                size=file.size,
                partition_values={self._shape.day: file.day},
                modification_time=now,
                data_change=True,
                stats=json.dumps(statistics(file)),
            )
            for file in commit.files
        ]
        transactions = [Transaction(*item) for item in commit.transactions.items()]
        try:
            table.create_write_transaction(
                actions,
                "append",
                table.schema(),
                partition_by=[self._shape.day],
                commit_properties=CommitProperties(
                    custom_metadata={FLUSH_NOTE: commit.flush_id}, app_transactions=transactions
                ),
            )
        except CommitFailedError as error:
            raise CommitConflictError(str(error)) from error
        table.update_incremental()
        self._sync(self._tried_after, table.version())

    def _exchange(self, commit: Commit) -> None:
        """Replace files by new ones, unless somebody else has replaced one of them.

        delta-rs' own compaction does not look whether a commit in between removed the same files:
        the rows of both would be in the table.
        """
        self._tried_after = self.table.version()
        present = {file.path: file for file in self.files()}
        refuse_replaced(commit, present)
        now = int(time.time() * 1000)
        info = {"timestamp": now, "operation": "OPTIMIZE", FLUSH_NOTE: commit.flush_id}
        actions: list[dict[str, Any]] = [{"commitInfo": info}]
        for path in sorted(commit.removed):
            gone = {"deletionTimestamp": now, "extendedFileMetadata": True}
            actions.append({"remove": self._file_fields(present[path]) | gone})
        for file in commit.files:
            new = {"modificationTime": now, "stats": json.dumps(statistics(file))}
            actions.append({"add": self._file_fields(file) | new})
        lines = "\n".join(json.dumps(action) for action in actions)
        try:
            self._storage.create(self._commit_path(self._tried_after + 1), lines.encode())
        except AlreadyExistsError as error:
            raise CommitConflictError(str(error)) from error
        self.table.update_incremental()
        self.checkpoint()

    def checkpoint(self) -> None:
        """Sum the log up when that is overdue, and remove what is older than its retention.

        delta-rs does so after one commit in a hundred, if it is one of its own.
        """
        path = f"{self._path}/{DELTA_LOG}/_last_checkpoint"
        try:
            last = json.loads(self._storage.read(path))["version"]
        except (NotFoundError, FileNotFoundError):
            last = -1
        if self.table.version() - last >= _CHECKPOINT_EVERY:
            self.table.create_checkpoint()
            self.table.cleanup_metadata()

    def _file_fields(self, file: DataFile) -> dict[str, Any]:
        return {
            "path": file.path,
            "partitionValues": {self._shape.day: file.day},
            "size": file.size,
            "dataChange": False,
        }

    def _open(self) -> DeltaTable:
        url = f"{self._storage.url}/{self._path}"
        try:
            return DeltaTable(url, storage_options=self._storage.options)
        except TableNotFoundError:
            refuse_other_form(self._storage, self._path, MANIFESTS, PARQUET)
        try:
            table = DeltaTable.create(
                url,
                schema=delta_schema(self._shape),
                partition_by=[self._shape.day],
                name=self._path.rpartition("/")[2],
                configuration={"delta.dataSkippingStatsColumns": ",".join(self._shape.measured)},
                storage_options=self._storage.options,
            )
        except (CommitFailedError, DeltaError) as error:
            if "exist" not in str(error):
                raise
            return DeltaTable(url, storage_options=self._storage.options)
        self._sync(-1, 0)
        return table

    def _sync(self, known: int, newest: int) -> None:
        """Bring new commits to the disk: STATE is handed on next."""
        if self._storage.folder is not None:
            for version in range(known + 1, newest + 1):
                sync_file(self._storage.folder / self._commit_path(version))

    def _commit_path(self, version: int) -> str:
        return f"{self._path}/{DELTA_LOG}/{version:020}.json"


def delta_schema(shape: TableShape) -> Schema:
    """A table's schema: what is in its files, and the day that is in their paths."""
    fields = [
        Field(field.name, _DELTA_TYPES[_plain(field.type)], nullable=field.nullable)
        for field in shape.schema
    ]
    return Schema([*fields, Field(shape.day, PrimitiveType("date"), nullable=False)])


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _data_file(shape: TableShape, action: dict[str, Any]) -> DataFile:
    bounds = {
        name.removeprefix("min."): Bounds(low, action[f"max.{name.removeprefix('min.')}"])
        for name, low in action.items()
        if name.startswith("min.") and low is not None
    }
    nulls = {
        name.removeprefix("null_count."): count
        for name, count in action.items()
        if name.startswith("null_count.") and count is not None
    }
    day = str(action[f"partition.{shape.day}"])
    return DataFile(
        action["path"], day, action["size_bytes"], action["num_records"] or 0, bounds, nulls
    )
