# SPDX-License-Identifier: Apache-2.0
"""How records get from a tap to a target: through a kernel pipe, as lines, or as files."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from loading import lake_contenders as lakes
from loading import postgres_contenders as postgreses
from loading.contender import Contender, Pipeline
from loading.lake_contenders import Lake
from loading.places import PROGRAMS, Nowhere
from loading.postgres_contenders import Postgres
from loading.streams import Load

TAP = "tap of JSON lines"
PIPED = "tap | target-bronze-postgres"
WAYS = {"lines": "lines", "jsonl": "files of JSON lines", "parquet": "Parquet files"}
_FILE_ROWS = 250_000


def pipe(postgres: Postgres) -> list[Contender]:
    """The tap alone, both joined by a pipe, the target alone."""
    where = {"database_url": postgres.server.url, "run_id": "bench"}
    target = [postgreses.our_target(postgres), "--config", postgres.settings("piped", where)]
    table = postgres.table("ipai_bronze_core.raw_singer_")
    tapped = postgres.table("ipai_bronze_core.raw_bench_")
    empty = postgres.without("ipai_bronze_core")

    def piped(load: Load) -> Pipeline:
        return [_tap(load), target]

    return [
        Contender(TAP, "ours", "emission", Nowhere(), lambda load: [_tap(load)]),
        Contender(PIPED, "ours", "first load", tapped, piped, prepare=empty),
        Contender(
            postgreses.OURS, "ours", "first load", table, lambda _: [target], _messages, empty
        ),
    ]


def into_postgres(postgres: Postgres) -> Iterator[Contender]:
    """The tap hands over lines, then files."""
    where = {"database_url": postgres.server.url, "run_id": "bench"}
    target = [postgreses.our_target(postgres), "--config", postgres.settings("handover", where)]
    table = postgres.table("ipai_bronze_core.raw_bench_")
    empty = postgres.without("ipai_bronze_core")
    for form in WAYS:
        name = path_name(postgreses.OURS, form)
        pipeline = partial(_piped, form, target)
        yield Contender(name, "ours", "first load", table, pipeline, prepare=empty)


def into_lake(lake: Lake) -> Iterator[Contender]:
    """The same for a Delta table."""
    for form in WAYS:
        name = path_name(lakes.OURS, form)
        values = {"lake_url": lake.data(name).as_uri(), "format": "delta", "run_id": "bench"}
        target = [lakes.our_target(lake), "--config", lake.settings(name, values)]
        yield lake.contender(name, "ours", partial(_piped, form, target))


def path_name(target: str, form: str) -> str:
    """How a way from tap to target is called."""
    return f"tap | {target}, {WAYS[form]}"


def write_files(form: str, load: Load) -> Path:
    """What a source would export: a folder of files, made once."""
    folder = load.folder / form
    if not (complete := load.folder / f"{form}.complete").exists():
        program = str(PROGRAMS / "batch_files.py")
        command = [sys.executable, program, str(load.records), str(folder), form, str(_FILE_ROWS)]
        subprocess.run(command, check=True)
        complete.touch()
    return folder


def _piped(form: str, target: list[str], load: Load) -> Pipeline:
    files = [] if form == "lines" else [str(write_files(form, load))]
    return [[*_tap(load), *files], target]


def _tap(load: Load) -> list[str]:
    program = str(PROGRAMS / "tap_lines.py")
    return [sys.executable, program, str(load.records), str(load.singer)]


def _messages(load: Load) -> Path:
    return load.singer
