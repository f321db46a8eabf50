# SPDX-License-Identifier: Apache-2.0
"""`ipai usage`: what runs took of sources and machines."""

import click

from ipai_orchestrate.cli.output import ago, answer, json_option, limit_option, print_table
from ipai_orchestrate.cli.plane import find_run, opened_plane
from ipai_orchestrate.control_plane import RunCost
from ipai_orchestrate.progress import duration

MEBIBYTE = 1 << 20


@click.command("usage", short_help="Show what runs took: processor, memory, requests, bytes.")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--instance", "instance_id", help="Only runs of this instance.")
@limit_option(20)
@json_option
def usage_command(run: str | None, instance_id: str | None, limit: int, as_json: bool) -> None:
    """Show what runs took, newest first; a run by its id or the start of it, by its streams.

    \b
    Examples:
      ipai usage
      ipai usage --instance github-acme --json
      ipai usage 3f2a

    Processor time and memory are those of tap and target; a stream's time is its share by bytes.
    """
    with opened_plane() as (_, plane):
        run_id = find_run(plane, run) if run else None
        found = plane.run_costs(limit, instance_id, run_id)
    if run and found:
        answer(found[0], as_json, lambda: _show(found[0]))
        return
    columns = ("Run", "Instance", "Started", "Took", "Rows", "Requests", "Bytes", "CPU", "Memory")
    answer(found, as_json, lambda: print_table(columns, map(_row, found), "No run has started."))


def _row(one: RunCost) -> tuple[object, ...]:
    took = "" if one.seconds is None else duration(one.seconds)
    about = (str(one.run_id)[:8], one.instance_id, ago(one.started_at), took)
    counts = (one.rows_processed, one.requests, one.bytes)
    return (*about, *counts, _cpu(one.cpu_seconds), _memory(one))


def _cpu(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f} s"


def _memory(one: RunCost) -> str:
    peak = one.peak_memory_bytes
    return "" if peak is None else f"{peak / MEBIBYTE:.0f} MiB"


def _show(one: RunCost) -> None:
    click.echo(f"Run {one.run_id} of {one.instance_id}, {one.status}")
    parts = [
        (part, _cpu(used["user_seconds"]), _cpu(used["system_seconds"]), _peak(used))
        for part, used in sorted(one.parts.items())
    ]
    print_table(("Part", "Program", "Kernel", "Memory"), parts, "Its processes were not measured.")
    streams = [
        (s["stream"], s["rows"], s["requests"], s["bytes"], _cpu(s["cpu_seconds"]))
        for s in one.streams
    ]
    columns = ("Stream", "Rows", "Requests", "Bytes", "CPU")
    print_table(columns, streams, "It has delivered nothing.")


def _peak(used: dict[str, float]) -> str:
    return f"{used['peak_memory_bytes'] / MEBIBYTE:.0f} MiB"
