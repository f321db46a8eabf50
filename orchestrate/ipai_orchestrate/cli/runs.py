# SPDX-License-Identifier: Apache-2.0
"""`ipai runs`, `ipai logs`, `ipai cancel`: what has happened and what happens."""

import json
import time
from dataclasses import asdict
from uuid import UUID

import click
from rich.text import Text

from ipai_orchestrate.cli.output import (
    ago,
    answer,
    console,
    json_option,
    limit_option,
    print_table,
    say_done,
)
from ipai_orchestrate.cli.plane import find_run, opened_plane
from ipai_orchestrate.control_plane import ControlPlane, LogLine, RunSummary
from ipai_orchestrate.progress import LEVEL_STYLES, duration

FOLLOW_SECONDS = 0.5
PAGE = 1000


@click.command("runs")
@click.argument("instance_id", metavar="[INSTANCE]", required=False)
@limit_option(20)
@json_option
def runs_command(instance_id: str | None, limit: int, as_json: bool) -> None:
    """List runs, newest first.

    \b
    Examples:
      ipai runs
      ipai runs github-acme --limit 50 --json
    """
    with opened_plane() as (_, plane):
        found = plane.runs(limit, instance_id)
    columns = ("Run", "Instance", "Mode", "Status", "Started", "Took", "Rows", "What happened")
    rows = [_row(run) for run in found]
    empty = "No runs yet. Start one: ipai run --help"
    spare = ("Mode", "Took", "Rows")
    answer(found, as_json, lambda: print_table(columns, rows, empty, spare))


def _row(run: RunSummary) -> tuple[object, ...]:
    took = ""
    if run.started_at and run.ended_at:
        took = duration((run.ended_at - run.started_at).total_seconds())
    what = (run.error_summary or "").splitlines()
    started = ago(run.started_at or run.queued_at)
    return (
        str(run.id)[:8],
        run.instance_id,
        run.mode,
        run.status,
        started,
        took,
        run.rows_processed,
        what[0] if what else "",
    )


@click.command("logs", short_help="Show the log of a run.")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
@click.option(
    "--level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Lines of this severity and above.",
)
@click.option("--stream", help="Only lines about this stream.")
@json_option
def logs_command(
    run: str | None, follow: bool, level: str, stream: str | None, as_json: bool
) -> None:
    """Show the log of a run: by its id or the start of it, by instance, or the newest.

    \b
    Examples:
      ipai logs -f
      ipai logs 3f2a --level warning
      ipai logs github-acme --json | jq .message
    """
    with opened_plane() as (_, plane):
        run_id = find_run(plane, run)
        seen = 0
        while True:
            over = plane.run_status(run_id).ended_at is not None
            seen = _show_new(plane, run_id, seen, (level, stream), as_json=as_json)
            if over or not follow:
                return
            time.sleep(FOLLOW_SECONDS)


def _show_new(
    plane: ControlPlane, run_id: UUID, seen: int, which: tuple[str, str | None], *, as_json: bool
) -> int:
    while lines := plane.logs(run_id, seen, PAGE, *which):
        for line in lines:
            _show(line, as_json=as_json)
        seen = lines[-1].seq
    return seen


def _show(line: LogLine, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(line), default=str, ensure_ascii=False))
        return
    where = f"{line.source}/{line.stream}" if line.stream else line.source
    style = LEVEL_STYLES.get(line.level, "")
    fields = " ".join(f"{k}={v}" for k, v in line.fields.items() if k not in {"logger", "run_id"})
    parts = [
        (f"{line.at:%H:%M:%S} {where:<24} ", "dim"),
        (line.message, style),
        (f" {fields}", "dim"),
    ]
    console().print(Text.assemble(*parts), soft_wrap=True)


@click.command("cancel", short_help="End a run, keeping what is committed.")
@click.argument("run", metavar="RUN")
@click.option("--reason", help="Kept with the run.")
@json_option
def cancel_command(run: str, reason: str | None, as_json: bool) -> None:
    """End a run: it keeps what is committed, and the next run continues there.

    \b
    Example:
      ipai cancel 3f2a --reason 'wrong repository'
    """
    with opened_plane() as (_, plane):
        run_id = find_run(plane, run)
        outcome = plane.cancel(run_id, reason)
    told = {
        "cancelled": "Cancelled before it started.",
        "running": "Its worker has been told and ends it within seconds.",
        "finished": "Too late: it has ended already.",
    }
    say_done(as_json, told[outcome], run_id=run_id, outcome=outcome, reason=reason)
