# SPDX-License-Identifier: Apache-2.0
"""What came of a run, in words and figures, for people and for machines."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ipai_orchestrate.pipeline.dry_run import DryRunResult
from ipai_orchestrate.pipeline.outcome import Failure
from ipai_orchestrate.pipeline.runner import RunResult
from ipai_orchestrate.progress import duration, stream_notes, stream_table

_NEXT_STEPS = {
    "configuration": "Change the setting: ipai instance set {instance} --help",
    "credentials": "Renew the credentials, then check them: ipai check {instance}",
    "try_again_later": "Run it again later: what is loaded is kept.",
    "dead_letters": "The records are in connectors.dead_letters with their reasons.",
    "internal": "This is a bug. Its traceback is in the log: ipai logs {run}",
}
_READ_ON = "Read the log: ipai logs {run}"


def as_record(result: RunResult) -> dict[str, Any]:
    """A run for machines."""
    return {
        "run_id": result.run_id,
        "instance_id": result.instance_id,
        "mode": result.mode,
        "status": _status(result.failure),
        "exit_code": result.exit_code,
        "seconds": round(result.seconds, 3),
        "rows_processed": result.tally.rows,
        "error_class": result.failure and result.failure.error_class,
        "error_summary": result.failure and result.failure.summary,
        "retry_at": result.failure and result.failure.retry_at,
        "streams": [asdict(one) for one in result.tally.streams.values()],
        "transform": result.transform and result.transform.summary(),
    }


def headline(result: RunResult) -> str:
    """A run in one sentence."""
    streams = result.tally.streams.values()
    new, changed = sum(one.inserted for one in streams), sum(one.updated for one in streams)
    same, requests = sum(one.unchanged for one in streams), sum(one.requests for one in streams)
    gone = sum(one.retired for one in streams)
    asked = (f", {gone:,} gone" if gone else "") + (f", {requests:,} requests" if requests else "")
    seconds = result.seconds - (result.transform.seconds if result.transform else 0)
    return (
        f"{result.tally.rows:,} rows in {duration(seconds)}: {new:,} new, {changed:,} "
        f"changed, {same:,} the same{asked}"
    )


def show_run(console: Console, result: RunResult) -> None:
    """Tell a person what came of a run and what to do next."""
    rows = [one for one in result.tally.streams.values() if one.received or one.skips or one.dead]
    if rows:
        console.print(stream_table(rows))
        console.print()
    for note in stream_notes(rows):
        console.print(f"[yellow]Note[/] {escape(note)}")
    if result.transform:
        console.print(escape(result.transform.summary()))
    if result.failure is None:
        console.print(f"[green]Succeeded[/]: {headline(result)}")
        return
    _show_failure(console, result)


def _show_failure(console: Console, result: RunResult) -> None:
    failure = result.failure
    if failure is None:
        return
    if failure.error_class == "cancelled":
        console.print(f"[yellow]{escape(failure.summary)}[/]")
    else:
        console.print(f"[red]Failed[/]: {escape(failure.summary)}")
    console.print(f"Kept: {headline(result)}")
    if failure.retry_at:
        console.print(f"Not before: {failure.retry_at:%Y-%m-%d %H:%M:%S %Z}")
    if failure.error_class != "cancelled":
        step = _NEXT_STEPS.get(failure.error_class, _READ_ON)
        console.print(step.format(instance=result.instance_id, run=result.run_id))


def show_dry_run(console: Console, result: DryRunResult) -> None:
    """Tell what a run would have read."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Stream", "Records", "Invalid", "Note"):
        table.add_column(column, justify="right" if column in {"Records", "Invalid"} else "left")
    for one in result.streams:
        skipped = f"skipped: {one.skipped_reason}" if one.skipped_reason else ""
        note = escape(one.problem or skipped)
        table.add_row(one.stream, f"{one.records:,}", f"{one.invalid:,}", note)
    console.print(table)
    total = sum(one.records for one in result.streams)
    if result.failure:
        console.print(f"\n[red]Failed[/]: {escape(result.failure.summary)}")
    elif result.exit_code:
        console.print(f"\n[red]Not valid[/]: see above. {total:,} records read, nothing stored.")
    else:
        took = duration(result.seconds)
        console.print(f"\n[green]Valid[/]: {total:,} records read in {took}, nothing stored.")


def _status(failure: Failure | None) -> str:
    if failure is None:
        return "succeeded"
    return "cancelled" if failure.error_class == "cancelled" else "failed"
