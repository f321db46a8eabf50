# SPDX-License-Identifier: Apache-2.0
"""Removes files that no reader can need: replaced long ago, or left behind by a killed run."""

import itertools
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from target_bronze_lake.delta_log import DeltaLog
from target_bronze_lake.lake_table import LakeTable
from target_bronze_lake.manifest_log import Manifest
from target_bronze_lake.storage import StoredObject
from target_bronze_lake.table_log import MANIFESTS

SHORTEST_MEMORY: Final = timedelta(hours=24)
"""Manifests stay at least so long: a writer looks for the next one by its number."""


@dataclass(frozen=True)
class Vacuum:
    """What vacuuming a table removed."""

    table: str
    removed: int


def vacuum(table: LakeTable, retention_hours: float) -> Vacuum:
    """Remove what has been of no use for the retention."""
    if isinstance(table.log, DeltaLog):
        there = {found.path for found in table.storage.objects(table.path)}
        named = table.log.table.vacuum(
            retention_hours=math.ceil(retention_hours),
            dry_run=False,
            enforce_retention_duration=False,
            full=True,
        )
        table.log.refresh()
        return Vacuum(table.path, len(there.intersection(f"{table.path}/{name}" for name in named)))
    return Vacuum(table.path, _vacuum_parquet(table, timedelta(hours=retention_hours)))


def _vacuum_parquet(table: LakeTable, retention: timedelta) -> int:
    now = datetime.now(UTC)
    table.log.refresh()
    newest = {file.path for file in table.log.files()}
    listed = table.storage.objects(table.path)
    manifests = sorted(
        (found for found in listed if f"/{MANIFESTS}/" in found.path), key=lambda found: found.path
    )
    needed = newest | _still_read(table, manifests, now - retention)
    prefix = f"{table.path}/"
    useless = [
        found
        for found in listed
        if found not in manifests
        and found.path.removeprefix(prefix) not in needed
        and found.changed_at <= now - retention
    ]
    useless += [
        found
        for found in manifests[:-1]
        if found.changed_at <= now - max(retention, SHORTEST_MEMORY)
    ]
    for found in useless:
        table.storage.delete(found.path)
    return len(useless)


def _still_read(table: LakeTable, manifests: list[StoredObject], since: datetime) -> set[str]:
    """Files of every state that was the newest at some time within the retention."""
    paths: set[str] = set()
    for found, replaced_by in itertools.pairwise(manifests):
        if replaced_by.changed_at > since:
            content = msgspec.json.decode(table.storage.read(found.path), type=Manifest)
            paths.update(file.path for file in content.files)
    return paths
