# SPDX-License-Identifier: Apache-2.0
"""`ipai status`: the platform at a glance."""

from collections.abc import Callable, Iterable

import click

from ipai_orchestrate.cli.output import (
    ago,
    answer,
    console,
    json_option,
    limit_option,
    print_table,
)
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.monitor.overview import Overview, look
from ipai_orchestrate.progress import duration

_WAITS = {
    "instance": "for an instance that is paused",
    "parked": "for a spent quota",
    "time": "for their time",
    "run": "for the present run of their instance",
    "limit": "for the limit of their source",
    "worker": "for a worker",
}


@click.command("status", short_help="See at a glance what runs, failed and is wrong.")
@click.option(
    "--hours",
    type=click.IntRange(1, 8784),
    default=24,
    show_default=True,
    help="How far back costs and readings of secrets go.",
)
@limit_option(10, "How many failures, alerts and secrets.")
@json_option
def status_command(hours: int, limit: int, as_json: bool) -> None:
    """Show at a glance what runs, waits and failed, and what is wrong.

    Also what the sources took of machines, and who read which secret; each part names the command
    that tells more.

    \b
    Examples:
      ipai status
      ipai status --hours 168 --json
    """
    with opened_plane() as (_, plane):
        seen = look(plane.connection, hours, limit)
    answer(seen, as_json, lambda: _show(seen))


def _show(seen: Overview) -> None:
    out = console()
    out.print(f"At work: {_at_work(seen)}")
    out.print(f"Queue: {_queue(seen)}")
    for title, show in _parts(seen):
        out.print(f"\n[bold]{title}[/]")
        show()


def _at_work(seen: Overview) -> str:
    workers = [one for one in seen.services if one.kind == "worker"]
    schedulers = len(seen.services) - len(workers)
    slots = sum(one.capacity for one in workers)
    told = [
        (
            f"{_count(len(workers), 'worker')} for {_count(slots, 'run')} at once"
            if workers
            else "no worker"
        ),
        _count(schedulers, "scheduler") if schedulers else "no scheduler",
    ]
    way_out = "" if workers and schedulers else ". Start what is missing: ipai up"
    return ", ".join(told) + way_out


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _queue(seen: Overview) -> str:
    if not seen.waiting:
        return "nothing waits"
    parts = [f"{one.runs} {_WAITS.get(one.waits_for, one.waits_for)}" for one in seen.waiting]
    oldest = max(one.oldest_seconds for one in seen.waiting)
    return f"{', '.join(parts)}; the oldest for {duration(oldest)}"


def _parts(seen: Overview) -> Iterable[tuple[str, Callable[[], None]]]:
    past = f"in the last {seen.hours} h"
    yield "Runs", lambda: _running(seen)
    yield "Failed for good (ipai queue dead)", lambda: _failed(seen)
    yield "Alerts (ipai alerts list)", lambda: _alerts(seen)
    yield f"Taken {past} (ipai usage)", lambda: _costs(seen)
    yield f"Secrets read or refused {past} (ipai audit list)", lambda: _secrets(seen)


def _running(seen: Overview) -> None:
    rows = [
        (
            str(one.run_id)[:8],
            one.instance_id,
            ago(one.started_at),
            one.rows_processed,
            one.attempt,
            one.worker,
        )
        for one in seen.running
    ]
    columns = ("Run", "Instance", "Started", "Rows", "Attempt", "Worker")
    print_table(columns, rows, "Nothing.", ("Attempt",))


def _failed(seen: Overview) -> None:
    rows = [
        (
            str(one.id)[:8],
            one.instance_id,
            ago(one.ended_at),
            one.error_class,
            next(iter(one.error_summary.splitlines()), ""),
        )
        for one in seen.failed
    ]
    print_table(("Run", "Instance", "Ended", "Class", "Why"), rows, "Nothing.", ("Class", "Ended"))


def _alerts(seen: Overview) -> None:
    rows = [(one.id, one.severity, ago(one.opened_at), one.summary) for one in seen.alerts]
    is_watched = any(one.kind == "scheduler" for one in seen.services)
    empty = "None." if is_watched else "None, but no scheduler looks: ipai alerts check"
    print_table(("Alert", "Severity", "Opened", "What"), rows, empty, ("Opened",))


def _costs(seen: Overview) -> None:
    rows = [
        (
            one.source,
            one.runs,
            one.failed,
            duration(one.seconds),
            "" if one.cpu_seconds is None else duration(one.cpu_seconds),
            one.rows,
            one.requests,
            one.bytes,
        )
        for one in seen.costs
    ]
    columns = ("Source", "Runs", "Failed", "Time", "CPU", "Rows", "Requests", "Bytes")
    print_table(columns, rows, "Nothing ran.")


def _secrets(seen: Overview) -> None:
    rows = [
        (
            one.secret_name,
            one.actor,
            "refused" if one.action == "deny" else "read",
            one.times,
            ago(one.last_at),
            one.instance_id,
        )
        for one in seen.secrets
    ]
    print_table(("Secret", "Who", "What", "Times", "Last", "For"), rows, "None.")
