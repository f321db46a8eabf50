# SPDX-License-Identifier: Apache-2.0
"""Who writes Parquet and Delta on a local disk: our target, the peers, raw lines as the limit."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loading.contender import Contender, Family, Pipeline
from loading.environments import AUTOMATTIC, DLT, ESTRATEGIA, Environments, Peer
from loading.places import PROGRAMS, LakeFolder
from loading.postgres_contenders import DLT_VARIABLES, dlt_run
from loading.streams import Load

OURS = "target-bronze-lake"
DELTA, PARQUET = f"{OURS}, Delta", f"{OURS}, Parquet"
RAW_PARQUET, RAW_DELTA = "raw lines by pyarrow, Parquet", "raw lines by delta-rs, Delta"
DLT_ARROW = "dlt, arrow, Parquet"


@dataclass(frozen=True)
class Lake:
    """A folder for all that is written, and the peers' environments."""

    folder: Path
    environments: Environments

    def contender(
        self,
        name: str,
        family: Family,
        pipeline: Callable[[Load], Pipeline],
        *,
        stdin: Callable[[Load], Path] | None = None,
        environment: Mapping[str, str] | None = None,
        problem: str = "",
    ) -> Contender:
        """A loader that starts with an empty folder of its own."""
        return Contender(
            name=name,
            family=family,
            step="first load",
            place=LakeFolder(self.data(name)),
            pipeline=pipeline,
            stdin=stdin,
            prepare=lambda _: shutil.rmtree(self.output(name), ignore_errors=True),
            environment=environment or {},
            problem=problem,
        )

    def output(self, name: str) -> Path:
        """Folder of a loader; its rows go to `data` in it."""
        return self.folder / "".join(letter if letter.isalnum() else "_" for letter in name)

    def data(self, name: str) -> Path:
        """Where its rows go."""
        return self.output(name) / "data"

    def settings(self, name: str, values: Mapping[str, Any]) -> str:
        """Path of a configuration."""
        path = self.output(name).with_suffix(".json")
        path.write_text(json.dumps(values))
        return str(path)


def ours(lake: Lake) -> Iterator[Contender]:
    """Delta, and plain Parquet with a manifest."""
    for name, form in ((DELTA, "delta"), (PARQUET, "parquet")):
        values = {"lake_url": lake.data(name).as_uri(), "format": form, "run_id": "bench"}
        command = _fixed(our_target(lake), "--config", lake.settings(name, values))
        problem = lake.environments.ours.problem
        yield lake.contender(name, "ours", command, stdin=_messages, problem=problem)


def our_target(lake: Lake) -> str:
    """The target's command."""
    return lake.environments.ours.command(OURS)


def limits(lake: Lake) -> Iterator[Contender]:
    """Records cut out of the lines and written as one column of text."""
    for name, form in ((RAW_PARQUET, "parquet"), (RAW_DELTA, "delta")):
        program = str(PROGRAMS / "raw_lines.py")
        command = _fixed(
            lake.environments.ours.command("python"), program, form, str(lake.data(name))
        )
        yield lake.contender(name, "limit", command, stdin=_messages)


def peers(lake: Lake) -> Iterator[Contender]:
    """Singer targets for Parquet, and dlt."""
    quiet = {"disable_collection": True, "logging_level": "WARNING"}
    yield _target_parquet(lake, ESTRATEGIA, "target-parquet (estrategiahq)", quiet)
    yield _target_parquet(lake, AUTOMATTIC, "target-parquet (Automattic)", {})
    environment = lake.environments.of(DLT)
    for name, reader in (("dlt, dicts, Parquet", "dicts"), (DLT_ARROW, "arrow")):
        state = str(lake.output(name) / "state")
        place = ("parquet", lake.data(name).as_uri(), "lake", reader, state)
        yield lake.contender(
            name,
            "peer",
            partial(dlt_run, environment, place),
            environment=DLT_VARIABLES,
            problem=environment.problem,
        )


def _target_parquet(lake: Lake, peer: Peer, name: str, more: dict[str, Any]) -> Contender:
    environment = lake.environments.of(peer)
    output = str(lake.data(name))
    values = {"destination_path": output, "compression_method": "snappy", **more}
    path = lake.settings(name, values)
    command = _fixed(environment.command("target-parquet"), "--config", path)
    return lake.contender(name, "peer", command, stdin=_messages, problem=environment.problem)


def _fixed(*command: str) -> Callable[[Load], Pipeline]:
    pipeline: Pipeline = [command]
    return lambda _: pipeline


def _messages(load: Load) -> Path:
    return load.singer
