# SPDX-License-Identifier: Apache-2.0
"""Builds Silver and Gold: decides what is worth building, then starts dbt once for all of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import psycopg

from ipai_kit.spec.names import bronze_table
from ipai_orchestrate.transform.invocation import Invocation, only_transform, prepare
from ipai_orchestrate.transform.process import run_lines
from ipai_orchestrate.transform.project import Project, find_project
from ipai_orchestrate.transform.results import (
    DbtEvent,
    TransformResult,
    first_error,
    parse_event,
    read_run_results,
)

_BUILT = "built_fingerprint"
_EXISTING = """
    select c.relname
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname like any (array['ipai\\_silver\\_%', 'ipai\\_gold\\_%'])
"""


def run_dbt(
    dsn: str,
    *,
    streams: Iterable[tuple[str, str]] | None = None,
    select: Sequence[str] | None = None,
    full_refresh: bool = False,
    variables: Mapping[str, Any] | None = None,
    unit_tests: bool = False,
    threads: int = 2,
    on_event: Callable[[DbtEvent], None] | None = None,
    on_wait: Callable[[], None] | None = None,
) -> TransformResult:
    """Run `dbt build` once and tell what came of it; failures of models and tests do not raise.

    `streams` are the (source, stream) pairs that received rows: only what depends on them is
    built, and nothing at all when there are none. The first build, and the first after the project
    changed, builds everything, since Gold needs all of its tables. `select` is dbt's own syntax.
    `on_wait` is called about every second without news, also while another run holds the database;
    an exception in it or in `on_event` ends dbt.
    """
    project = find_project()
    selected = None if streams is None else _sources(project, streams)
    if selected is not None and not selected and not select:
        return TransformResult(ok=True, skipped="no stream with a Silver model received rows")
    started = time.monotonic()
    invocation = prepare(project, dsn)
    with only_transform(dsn, on_wait) as connection:
        if selected is not None and _must_build_all(invocation, connection):
            selected = None
        arguments = _arguments([*(selected or ()), *(select or ())], full_refresh, variables)
        arguments += ["--threads", str(threads)]
        if not unit_tests:  # they prove the code, not the data
            arguments += ["--exclude-resource-type", "unit_test"]
        result = _execute(invocation, arguments, on_event, on_wait)
        if result.ok and not select and selected is None:
            (invocation.output / _BUILT).write_text(project.fingerprint())
    return TransformResult(
        ok=result.ok,
        nodes=result.nodes,
        seconds=time.monotonic() - started,
        exit_code=result.exit_code,
        error=result.error,
    )


def _sources(project: Project, streams: Iterable[tuple[str, str]]) -> list[str]:
    """Name the streams as dbt selects them, leaving out those no model reads."""
    known = project.sources()
    tables = dict.fromkeys((source, bronze_table(source, stream)) for source, stream in streams)
    return [f"source:{source}.{table}+" for source, table in tables if (source, table) in known]


def _must_build_all(
    invocation: Invocation, connection: psycopg.Connection[tuple[object, ...]]
) -> bool:
    """Whether a model is missing in the database, or the project is not what was last built."""
    existing = {row[0] for row in connection.execute(_EXISTING)}
    if not existing.issuperset(invocation.project.models()):
        return True
    built = invocation.output / _BUILT
    return not built.exists() or built.read_text() != invocation.project.fingerprint()


def _arguments(
    select: Sequence[str], full_refresh: bool, variables: Mapping[str, Any] | None
) -> list[str]:
    arguments = ["build", "--log-format", "json", "--log-level", "info", "--no-use-colors"]
    if select:
        arguments += ["--select", *select]
    if full_refresh:
        arguments += ["--full-refresh"]
    if variables:
        arguments += ["--vars", json.dumps(variables)]
    return arguments


def _execute(
    invocation: Invocation,
    arguments: Sequence[str],
    on_event: Callable[[DbtEvent], None] | None,
    on_wait: Callable[[], None] | None,
) -> TransformResult:
    events: list[DbtEvent] = []

    def receive(line: str) -> None:
        event = parse_event(line)
        if event is not None:
            events.append(event)
            if on_event is not None:
                on_event(event)

    invocation.run_results.unlink(missing_ok=True)
    code = run_lines(arguments, invocation.environment, receive, on_wait)
    return TransformResult(
        ok=code == 0,
        nodes=read_run_results(invocation.run_results),
        exit_code=code,
        error=None if code == 0 else first_error(events),
    )
