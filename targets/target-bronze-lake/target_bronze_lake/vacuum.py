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
"""Manifests stay at least so long: a writer looks for the next one by its number.

So does a file that no commit speaks of, however short the retention: one may be about to.
"""


@dataclass(frozen=True)
class Vacuum:
    """What vacuuming a table removed."""

    table: str
    removed: int


def vacuum(table: LakeTable, retention_hours: float) -> Vacuum:
    """Remove what has been of no use for the retention."""
    if isinstance(table.log, DeltaLog):
        return Vacuum(table.path, _vacuum_delta(table, table.log, math.ceil(retention_hours)))
    return Vacuum(table.path, _vacuum_parquet(table, timedelta(hours=retention_hours)))


def _vacuum_delta(table: LakeTable, log: DeltaLog, hours: int) -> int:
    there = {found.path for found in table.storage.objects(table.path)}
    longest = max(hours, math.ceil(SHORTEST_MEMORY / timedelta(hours=1)))
    removed: set[str] = set()
    for retention, full in ((hours, False), (longest, True)):
        if full or retention < longest:
            named = log.table.vacuum(
                retention_hours=retention,
                dry_run=False,
                enforce_retention_duration=False,
                full=full,
            )
            removed.update(f"{table.path}/{name}" for name in named)
            log.refresh()
    log.checkpoint()
    return len(there & removed)


def _vacuum_parquet(table: LakeTable, retention: timedelta) -> int:
    now = datetime.now(UTC)
    orphaned = max(retention, SHORTEST_MEMORY)
    table.log.refresh()
    newest = {file.path for file in table.log.files()}
    listed = table.storage.objects(table.path)
    manifests = sorted(
        (found for found in listed if f"/{MANIFESTS}/" in found.path), key=lambda found: found.path
    )
    needed = newest | _still_read(table, manifests, now - retention)
    replaced = _still_read(table, manifests, None) if retention < SHORTEST_MEMORY else needed
    prefix = f"{table.path}/"
    useless = [
        found
        for found in set(listed).difference(manifests)
        if (name := found.path.removeprefix(prefix)) not in needed
        and found.changed_at <= now - (retention if name in replaced else orphaned)
    ]
    useless += [found for found in manifests[:-1] if found.changed_at <= now - orphaned]
    for found in useless:
        table.storage.delete(found.path)
    return len(useless)


def _still_read(
    table: LakeTable, manifests: list[StoredObject], since: datetime | None
) -> set[str]:
    """Files of every state that was the newest at some time within the retention."""
    paths: set[str] = set()
    for found, replaced_by in itertools.pairwise(manifests):
        if since is None or replaced_by.changed_at > since:
            content = msgspec.json.decode(table.storage.read(found.path), type=Manifest)
            paths.update(file.path for file in content.files)
    return paths
