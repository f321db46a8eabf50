# SPDX-License-Identifier: Apache-2.0
"""The end of the demo: what is where, a look at Gold, and what to try next."""

import os
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import Connection
from rich.console import Console
from rich.table import Table

from ipai_kit.spec import ConnectorSpec, bronze_schema, gold_schema, silver_schema
from ipai_orchestrate.demo.layers import Sample, gold_rows, gold_sample, stream_rows
from ipai_orchestrate.pipeline.runner import RunResult
from ipai_orchestrate.progress import UNKNOWN

# The last column must not be null: a week without its figure shows nothing.
SAMPLES = (
    (
        "gold_devops_pull_request_flow",
        (
            "repository",
            "week_start",
            "opened_count",
            "merged_count",
            "first_review_hours_median",
            "cycle_hours_median",
        ),
    ),
    (
        "gold_devops_ci_health",
        ("repository", "week_start", "workflow", "run_count", "flaky_rate", "success_rate"),
    ),
)


def show_closing(
    console: Console, connection: Connection[Any], spec: ConnectorSpec, second: RunResult
) -> None:
    """Show the layers of one instance."""
    instance_id = second.instance_id
    console.print()
    console.print(_layer_table(connection, spec, second))
    gold = gold_rows(connection, spec, instance_id)
    console.print(f"\n[bold]Gold[/] ({gold_schema(spec.domain)})")
    for view, count in gold.items():
        console.print(f"  {view:<34}{count:>8,} rows")
    for view, columns in SAMPLES:
        if gold.get(view):
            schema = gold_schema(spec.domain)
            sample = gold_sample(connection, schema, view, columns, instance_id)
            console.print(f"\n[bold]{view}[/], the newest weeks")
            console.print(_sample_table(sample))
    _show_next(console, spec, second)


def _layer_table(connection: Connection[Any], spec: ConnectorSpec, second: RunResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    rows = stream_rows(connection, spec, second.instance_id)
    found = second.tally.streams
    new = {one.stream: found[one.stream].inserted for one in rows if one.stream in found}
    changed = {one.stream: found[one.stream].updated for one in rows if one.stream in found}
    table.add_column("Stream", "Total")
    for title, total in (
        ("Bronze", sum(one.bronze or 0 for one in rows)),
        ("Silver", sum(one.silver or 0 for one in rows)),
        ("New in sync 2", sum(new.values())),
        ("Changed in sync 2", sum(changed.values())),
    ):
        table.add_column(title, f"{total:,}", justify="right")
    for one in rows:
        counts = (one.bronze, one.silver, new.get(one.stream), changed.get(one.stream))
        table.add_row(one.stream, *[f"{count:,}" if count else UNKNOWN for count in counts])
    return table


def _sample_table(sample: Sample) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in sample.columns:
        is_name = column in {"repository", "workflow", "week_start"}
        # Where it is narrow, headings wrap; what a row is about is never cut.
        table.add_column(
            column.replace("_", " "), justify="left" if is_name else "right", no_wrap=is_name
        )
    for row in sample.rows:
        table.add_row(*[_cell(value) for value in row])
    return table


def _cell(value: object) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, Decimal):
        return f"{value:,.2f}"
    return f"{value:%Y-%m-%d}" if isinstance(value, datetime) else str(value)


def _show_next(console: Console, spec: ConnectorSpec, second: RunResult) -> None:
    schemas = [f(spec.domain) for f in (bronze_schema, silver_schema, gold_schema)]
    address = "IPAI_DATABASE_URL" if os.environ.get("IPAI_DATABASE_URL") else "ipai db url"
    view = f"{gold_schema(spec.domain)}.{SAMPLES[0][0]}"
    console.print("\n[bold]Where it is[/]")
    console.print(f"  Data: schemas {', '.join(schemas)}.")
    console.print("  Runs, state and logs: schema connectors.")
    console.print(f"  Connect: ipai db psql, or any Postgres client with the address of {address}.")
    console.print("\n[bold]Try next[/]")
    for command, what in (
        (f"ipai db psql -c 'table {view}'", ""),
        ("ipai runs", "what ran, and how it ended"),
        (f"ipai logs {second.run_id[:8]}", "the log of the second sync"),
        ("ipai demo --keep", "leave the stand-in running"),
        ("ipai demo --live octokit/rest.js", "the same with a real repository"),
        ("ipai instance add --help", "set up your own"),
    ):
        console.print(f"  {command:<36}" + (f"  [dim]{what}[/]" if what else ""), soft_wrap=True)
