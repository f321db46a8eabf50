# SPDX-License-Identifier: Apache-2.0
"""Care for a lake between runs: check it, compact small files, remove replaced ones.

Each prints one line of JSON per table on standard output.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import msgspec

from ipai_kit.exceptions import ConfigurationError, ConnectorError
from ipai_kit.landing.command import read_config, report, warn_of_unknown
from ipai_kit.landing.events import EventLog
from target_bronze_lake.compaction import compact
from target_bronze_lake.dead_letters import PATH
from target_bronze_lake.faults import STORE_ERRORS, explain
from target_bronze_lake.lake_table import LakeTable
from target_bronze_lake.persistence import Result, persist
from target_bronze_lake.row_format import BRONZE, DEAD_LETTERS
from target_bronze_lake.settings import (
    CONFIG_SCHEMA,
    DELTA,
    PARQUET,
    TARGET_NAME,
    VERBS,
    Settings,
    read_settings,
)
from target_bronze_lake.storage import Storage, open_storage, require_conditional_puts
from target_bronze_lake.table_log import DELTA_LOG, MANIFESTS
from target_bronze_lake.vacuum import vacuum

_encode = msgspec.json.Encoder().encode


def maintain(arguments: Sequence[str]) -> int:
    """Perform a verb; returns the exit code."""
    options = _parser().parse_args(arguments)
    place = ""
    try:
        config = read_config(options.config, TARGET_NAME, CONFIG_SCHEMA)
        warn_of_unknown(EventLog(TARGET_NAME), CONFIG_SCHEMA, config)
        settings = read_settings(config, os.environ)
        place = settings.place
        storage = open_storage(settings)
        return max(_perform(options.verb, storage, settings, options.table))
    except ConnectorError as error:
        return report(EventLog(TARGET_NAME), error)
    except STORE_ERRORS as error:
        return report(EventLog(TARGET_NAME), explain(error, place))


def tables_of(storage: Storage) -> list[LakeTable]:
    """Every table of a lake, each in the form in which it is."""
    found: list[LakeTable] = []
    for schema in storage.folders():
        if not schema.startswith("ipai_bronze_"):
            continue
        for name in storage.folders(schema):
            path = f"{schema}/{name}"
            forms = storage.folders(path)
            shape = DEAD_LETTERS if path == PATH else BRONZE
            if DELTA_LOG in forms:
                found.append(LakeTable.at(storage, path, shape, DELTA))
            elif MANIFESTS in forms:
                found.append(LakeTable.at(storage, path, shape, PARQUET))
    return found


def _perform(verb: str, storage: Storage, settings: Settings, only: str | None) -> Iterator[int]:
    """Perform a verb on each table; the exit code that each calls for."""

    def found() -> list[LakeTable]:
        require_conditional_puts(storage)
        return [table for table in tables_of(storage) if only in {None, table.path}]

    tables = _patiently(found, settings)
    if only is not None and not tables:
        message = f"The lake has no table {only!r}."
        raise ConfigurationError(message, next_step="Name it as ipai_bronze_<domain>/raw_<name>.")
    if verb == "check":
        _print({"lake_url": storage.url, "conditional_puts": True, "tables": len(tables)})
    yield 0
    for table in tables:
        yield _care_for(table, verb, settings)


def _care_for(table: LakeTable, verb: str, settings: Settings) -> int:
    """Perform a verb on a table; one that is not ours keeps nobody from caring for the others."""
    try:
        _patiently(table.open, settings)
        _print(_result(table, verb, settings))
    except ConfigurationError as error:
        return report(EventLog(TARGET_NAME), error)
    return 0


def _result(table: LakeTable, verb: str, settings: Settings) -> dict[str, Any]:
    if verb == "optimize":
        patiently = partial(_patiently, settings=settings)
        return asdict(compact(table, settings.target_file_bytes, attempt=patiently))
    if verb == "vacuum":
        return asdict(_patiently(lambda: vacuum(table, settings.retention_hours), settings))
    files = table.log.files()
    rows, size = sum(file.rows for file in files), sum(file.size for file in files)
    return {"table": table.path, "files": len(files), "rows": rows, "bytes": size}


def _patiently(work: Callable[[], Result], settings: Settings) -> Result:
    return persist(work, settings, EventLog(TARGET_NAME).emit)


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(_encode(line).decode() + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=TARGET_NAME, description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument(
        "--config", action="append", default=[], help="JSON file of settings, or ENV"
    )
    parser.add_argument("--table", help="only this one, e.g. ipai_bronze_devops/raw_github_issues")
    return parser
