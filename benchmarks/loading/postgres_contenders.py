# SPDX-License-Identifier: Apache-2.0
"""Who loads into Postgres: our target, the peers, and `\\copy` of ready rows as the limit."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loading.contender import Contender, Pipeline, Step, nothing
from loading.environments import (
    DLT,
    MELTANO,
    PIPELINEWISE,
    SLING,
    Environment,
    Environments,
    Peer,
)
from loading.places import PROGRAMS, PostgresTable
from loading.server import Server
from loading.streams import COPY_COLUMNS, Load

OURS = "target-bronze-postgres"
COPY = r"psql \copy of ready rows"
SLING_UPSERT = "sling, upsert by key"
DLT_VARIABLES = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
_STEPS: tuple[Step, Step] = ("first load", "replay")
_HAS_LZ4 = (
    "select exists (select from pg_settings where name = 'default_toast_compression' "
    "and 'lz4' = any (enumvals))"
)


@dataclass(frozen=True)
class Postgres:
    """A server, a folder for configurations, and the peers' environments."""

    server: Server
    folder: Path
    environments: Environments

    def table(self, prefix: str) -> PostgresTable:
        """The table of a stream behind a schema and more."""
        return PostgresTable(self.server, lambda load: f"{prefix}{load.stream}")

    def without(self, *schemas: str) -> Callable[[Load], None]:
        """Drop schemas before a load."""
        names = ", ".join(schemas)
        return lambda _: self.server.execute(f"drop schema if exists {names} cascade")

    def settings(self, name: str, values: Mapping[str, Any]) -> str:
        """Path of a configuration."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(values))
        return str(path)


def our_target(postgres: Postgres) -> str:
    """The target's command."""
    return postgres.environments.ours.command(OURS)


def ours(postgres: Postgres) -> list[Contender]:
    """Upsert into an empty table, the same again, and append."""
    where = {"database_url": postgres.server.url, "run_id": "bench"}
    upsert = [our_target(postgres), "--config", postgres.settings("upsert", where)]
    appending = {**where, "load_method": "append", "source": "append"}
    append = [our_target(postgres), "--config", postgres.settings("append", appending)]
    empty = postgres.without("ipai_bronze_core")
    upserted = postgres.table("ipai_bronze_core.raw_singer_")
    appended = postgres.table("ipai_bronze_core.raw_append_")
    ours_of = partial(Contender, OURS, "ours", problem=postgres.environments.ours.problem)
    return [
        ours_of("first load", upserted, lambda _: [upsert], _messages, empty),
        ours_of("replay", upserted, lambda _: [upsert], _messages),
        ours_of("append", appended, lambda _: [append], _messages, empty),
    ]


def _messages(load: Load) -> Path:
    return load.singer


def _copy_rows(load: Load) -> Path:
    return load.copy


def limit(postgres: Postgres) -> list[Contender]:
    """Rows that need no work any more, into a table of the same columns without any index."""
    server = postgres.server

    def prepare(load: Load) -> None:
        compression = "compression lz4" if server.value(_HAS_LZ4) else ""
        server.execute("create schema if not exists peer_copy")
        server.execute(f"drop table if exists peer_copy.{load.stream}")
        server.execute(
            f"create table peer_copy.{load.stream} (instance_id text, record_key text, "
            f"record jsonb {compression}, emitted_at timestamptz, source text, stream text, "
            "cursor text, run_id text, record_hash bigint)"
        )

    def copy(load: Load) -> Pipeline:
        statement = rf"\copy peer_copy.{load.stream} ({COPY_COLUMNS}) from pstdin"
        return [[server.psql, "-q", server.url, "-c", statement]]

    place = postgres.table("peer_copy.")
    return [Contender(COPY, "limit", "first load", place, copy, _copy_rows, prepare)]


def peers(postgres: Postgres) -> Iterator[Contender]:
    """Everybody else, as installed and at their best."""
    basic = {"host": "127.0.0.1", "port": postgres.server.port, "user": "postgres"}
    login = {**basic, "password": "unused"}
    best = {"use_copy": True, "validate_records": False, "batch_size_rows": 100_000}
    meltano = {**login, "database": "postgres"}
    yield from _singer(postgres, MELTANO, "as installed", meltano)
    yield from _singer(postgres, MELTANO, "at its best", {**meltano, **best})
    yield from _singer(postgres, PIPELINEWISE, "", {**login, "dbname": "postgres"})
    yield from _sling(postgres)
    yield from _dlt(postgres, "dlt, default", "dicts")
    yield from _dlt(postgres, "dlt, arrow and ADBC", "arrow")


def _singer(
    postgres: Postgres, peer: Peer, variant: str, settings: dict[str, Any]
) -> Iterator[Contender]:
    """A Singer target; each variant has a schema of its own."""
    environment = postgres.environments.of(peer)
    name = f"{peer.name}, {variant}" if variant else peer.name
    schema = "peer_" + re.sub(r"\W+", "_", name)
    path = postgres.settings(schema, {**settings, "default_target_schema": schema})
    command = [environment.command("target-postgres"), "--config", path]
    for step in _STEPS:
        yield Contender(
            name=name,
            family="peer",
            step=step,
            place=postgres.table(f"{schema}."),
            pipeline=lambda _: [command],
            stdin=_messages,
            prepare=postgres.without(schema) if step == "first load" else nothing,
            problem=environment.problem,
        )


def _sling(postgres: Postgres) -> Iterator[Contender]:
    environment = postgres.environments.of(SLING)
    found = sorted(environment.home.glob("lib/*/site-packages/*/bin/sling-linux-amd64"))
    variables = {
        "SLING_HOME_DIR": str(postgres.folder / "sling"),
        "SLING_DISABLE_TELEMETRY": "true",
        "BENCH": f"{postgres.server.url}?sslmode=disable",
    }
    keyed = ("--mode", "incremental", "--primary-key", "id", "--src-options", "{flatten: true}")
    variants: list[tuple[str, Step, str, tuple[str, ...]]] = [
        *((SLING_UPSERT, step, "peer_sling", keyed) for step in _STEPS),
        ("sling, raw without key", "first load", "peer_sling_raw", ("--mode", "full-refresh")),
    ]
    for name, step, schema, mode in variants:
        yield Contender(
            name=name,
            family="peer",
            step=step,
            place=postgres.table(f"{schema}."),
            pipeline=partial(_sling_run, str(found[0]) if found else "sling", schema, mode),
            prepare=postgres.without(schema) if step == "first load" else nothing,
            environment=variables,
            problem=environment.problem,
        )


def _sling_run(program: str, schema: str, mode: tuple[str, ...], load: Load) -> Pipeline:
    source = ("--src-stream", f"file://{load.records}")
    target = ("--tgt-conn", "BENCH", "--tgt-object", f"{schema}.{load.stream}")
    return [[program, "run", *source, *target, *mode]]


def _dlt(postgres: Postgres, name: str, reader: str) -> Iterator[Contender]:
    environment = postgres.environments.of(DLT)
    schema = f"peer_dlt_{reader}"
    state = postgres.folder / schema
    drop = postgres.without(schema, f"{schema}_staging")
    where = ("postgres", postgres.server.url, schema, reader, str(state))

    def forget(load: Load) -> None:
        drop(load)
        shutil.rmtree(state, ignore_errors=True)

    for step in _STEPS:
        yield Contender(
            name=name,
            family="peer",
            step=step,
            place=postgres.table(f"{schema}."),
            pipeline=partial(dlt_run, environment, where),
            prepare=forget if step == "first load" else nothing,
            environment=DLT_VARIABLES,
            problem=environment.problem,
        )


def dlt_run(environment: Environment, where: tuple[str, ...], load: Load) -> Pipeline:
    """Our program in dlt's environment."""
    program = [environment.command("python"), str(PROGRAMS / "dlt_load.py")]
    return [[*program, str(load.records), load.stream, *where]]
