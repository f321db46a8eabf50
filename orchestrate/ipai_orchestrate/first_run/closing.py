# SPDX-License-Identifier: Apache-2.0
"""The end of a first run: where its rows are, and what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console

from ipai_kit.spec import bronze_schema, bronze_table, gold_schema, silver_schema, silver_table
from ipai_orchestrate.demo.layers import gold_rows, stream_rows
from ipai_orchestrate.first_run.answers import SANDBOX_ENV, Answers
from ipai_orchestrate.pipeline.database import Database


@dataclass(frozen=True)
class FirstRows:
    """Rows by table and layer."""

    bronze: Mapping[str, int]
    silver: Mapping[str, int]
    gold: Mapping[str, int]


def find_rows(database: Database, answers: Answers) -> FirstRows:
    """Count what has landed."""
    spec, source = answers.spec, answers.spec.source_type
    with database.connect() as connection:
        rows = stream_rows(connection, spec, answers.instance_id)
        gold = gold_rows(connection, spec, answers.instance_id)
    bronze, silver = bronze_schema(spec.domain), silver_schema(spec.domain)
    return FirstRows(
        {f"{bronze}.{bronze_table(source, one.stream)}": one.bronze for one in rows if one.bronze},
        {f"{silver}.{silver_table(source, one.stream)}": one.silver for one in rows if one.silver},
        {f"{gold_schema(spec.domain)}.{view}": count for view, count in gold.items() if count},
    )


def show_rows(console: Console, rows: FirstRows) -> None:
    """Tell where the rows are; one line per layer and its largest tables."""
    console.print("\n[bold]Where the rows are[/]")
    layers = (("Bronze", rows.bronze), ("Silver", rows.silver), ("Gold", rows.gold))
    for title, tables in layers:
        total = f"{sum(tables.values()):,} rows in {len(tables)} tables"
        console.print(f"  {title}: {total}" if tables else f"  {title}: nothing yet")
        for name, count in sorted(tables.items(), key=lambda one: -one[1])[:3]:
            console.print(f"    {name:<52}{count:>10,}", soft_wrap=True)


def next_commands(answers: Answers, rows: FirstRows | None) -> dict[str, str]:
    """Three commands, each with what it does."""
    found = [*rows.gold, *rows.silver, *rows.bronze] if rows else []
    look = f"ipai db psql -c 'table {found[0]} limit 5'" if found else "ipai instance list"
    if answers.env == SANDBOX_ENV:
        source = answers.spec.source_type
        return {
            look: "look at the rows",
            "ipai runs": "what ran, and how it ended",
            f"ipai init {source}": "set up the real one",
        }
    return {
        look: "look at the rows" if found else "what is set up",
        f"ipai run {answers.instance_id}": "sync: only what has changed is read",
        "ipai up": "scheduler and workers, which run what is due",
    }
