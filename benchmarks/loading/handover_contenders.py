# SPDX-License-Identifier: Apache-2.0
"""How records get from a tap to a target: through a kernel pipe, as lines, or as files."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from loading import lake_contenders as lakes
from loading import postgres_contenders as postgreses
from loading.contender import Contender, Pipeline
from loading.lake_contenders import Lake
from loading.places import PROGRAMS, Nowhere
from loading.postgres_contenders import Postgres
from loading.streams import Load, schema_line, state_line

TAP = "tap of JSON lines"
PIPED = "tap | target-bronze-postgres"
FORMS = ("jsonl", "parquet")
_FILE_ROWS = 250_000


def pipe(postgres: Postgres) -> list[Contender]:
    """The tap alone, both joined by a pipe, the target alone."""
    where = {"database_url": postgres.server.url, "run_id": "bench"}
    target = [postgreses.our_target(), "--config", postgres.settings("piped", where)]
    table = postgres.table("ipai_bronze_core.raw_singer_")
    empty = postgres.without("ipai_bronze_core")

    def piped(load: Load) -> Pipeline:
        return [_tap(load), target]

    return [
        Contender(TAP, "ours", "emission", Nowhere(), lambda load: [_tap(load)]),
        Contender(PIPED, "ours", "first load", table, piped, prepare=empty),
        Contender(
            postgreses.OURS, "ours", "first load", table, lambda _: [target], _messages, empty
        ),
    ]


def into_postgres(postgres: Postgres) -> Iterator[Contender]:
    """The target fed with lines, then with files."""
    where = {"database_url": postgres.server.url, "run_id": "bench"}
    command = [postgreses.our_target(), "--config", postgres.settings("handover", where)]
    table = postgres.table("ipai_bronze_core.raw_singer_")
    empty = postgres.without("ipai_bronze_core")
    for name, stdin in _inputs(postgreses.OURS):
        yield Contender(name, "ours", "first load", table, lambda _: [command], stdin, empty)


def into_lake(lake: Lake) -> Iterator[Contender]:
    """The same for a Delta table."""
    for name, stdin in _inputs(lakes.OURS):
        values = {"lake_url": lake.data(name).as_uri(), "format": "delta", "run_id": "bench"}
        command = [lakes.our_target(), "--config", lake.settings(name, values)]
        yield lake.contender(name, "ours", _fixed(command), stdin=stdin)


def file_paths(target: str) -> list[tuple[str, str]]:
    """Names of the ways by files, each with that of the way by lines."""
    (lines, _), *files = _inputs(target)
    return [(name, lines) for name, _ in files]


def write_batches(form: str, load: Load) -> Path:
    """The messages of a tap that exported the records to files, and the files."""
    messages = load.folder / f"batch-{form}.jsonl"
    if messages.exists():
        return messages
    folder = load.folder / form
    program = str(PROGRAMS / "batch_files.py")
    command = [sys.executable, program, str(load.records), str(folder), form, str(_FILE_ROWS)]
    subprocess.run(command, check=True)
    manifest = [path.as_uri() for path in sorted(folder.iterdir())]
    encoding = {"format": form, "compression": "none"}
    batch = {"type": "BATCH", "stream": load.stream, "encoding": encoding, "manifest": manifest}
    end = state_line(load.stream, "2026-01-01T00:00:00Z")
    messages.write_bytes(schema_line(load.kind) + json.dumps(batch).encode() + b"\n" + end)
    return messages


def _inputs(target: str) -> list[tuple[str, Callable[[Load], Path]]]:
    files = [(f"{target}, files of {form}", partial(write_batches, form)) for form in FORMS]
    return [(f"{target}, lines", _messages), *files]


def _tap(load: Load) -> list[str]:
    return [sys.executable, str(PROGRAMS / "tap_lines.py"), str(load.records), str(load.singer)]


def _fixed(command: list[str]) -> Callable[[Load], Pipeline]:
    return lambda _: [command]


def _messages(load: Load) -> Path:
    return load.singer
