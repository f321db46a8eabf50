# SPDX-License-Identifier: Apache-2.0
"""`ipai queue` and `ipai quota`: what waits, what failed for good, what sources allow."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import click

from ipai_orchestrate.cli.output import (
    ago,
    answer,
    json_option,
    limit_option,
    print_table,
    say_done,
)
from ipai_orchestrate.cli.plane import find_run, opened_plane
from ipai_orchestrate.control_plane.capacity import (
    Capacity,
    QuotaForecast,
    QuotaLimit,
    WaitingRun,
)


@contextmanager
def _opened() -> Iterator[Capacity]:
    with opened_plane() as (_, plane):
        yield Capacity(plane.connection)


@click.group("queue")
def queue_command() -> None:
    """See what waits and why; queue again what failed for good.

    \b
    Examples:
      ipai queue list
      ipai queue dead
      ipai queue requeue 3f2a
      ipai queue limit github 2
    """


_WHY = {
    "instance": "the instance is paused: ipai instance set {run.instance_id} --status active",
    "run": "the present run of {run.instance_id} ends first",
    "limit": "no more runs of {run.source_type} at once: ipai queue limit {run.source_type}",
    "worker": "next, when a worker for {run.source_type} is free: ipai workers",
}


@queue_command.command("list")
@click.argument("instance_id", metavar="[INSTANCE]", required=False)
@limit_option(100)
@json_option
def list_command(instance_id: str | None, limit: int, as_json: bool) -> None:
    """List queued runs in the order in which workers take them, and what each waits for.

    A run waits for a worker (or a share of its source's quota), its time, a quota that is spent
    (parked), the instance's present run, the limit of its source, or its instance to be active.

    \b
    Examples:
      ipai queue list
      ipai queue list github-acme --json
    """
    with _opened() as capacity:
        found = capacity.waiting(limit, instance_id)
    columns = ("Run", "Instance", "Priority", "Attempt", "Waits for", "Not before", "Why")
    rows = [_waiting(run) for run in found]
    answer(found, as_json, lambda: print_table(columns, rows, "Nothing waits."))


def _waiting(run: WaitingRun) -> tuple[object, ...]:
    attempt = f"{run.attempt + 1} of {run.max_attempts}"
    due = _moment(run.run_after) if run.waits_for in {"time", "parked"} else ""
    return (
        str(run.run_id)[:8],
        run.instance_id,
        run.priority,
        attempt,
        run.waits_for,
        due,
        run.park_reason or _WHY.get(run.waits_for, "").format(run=run),
    )


@queue_command.command("dead")
@click.argument("instance_id", metavar="[INSTANCE]", required=False)
@limit_option(100)
@click.option("--all", "superseded", is_flag=True, help="Also what a later run has made good.")
@json_option
def dead_command(instance_id: str | None, limit: int, superseded: bool, as_json: bool) -> None:
    """List runs that failed for good, newest first.

    \b
    Examples:
      ipai queue dead
      ipai queue dead github-acme --all --json
    """
    with _opened() as capacity:
        found = capacity.dead_runs(limit, instance_id, with_superseded=superseded)
    columns = ("Run", "Instance", "Ended", "Attempts", "Class", "What happened")
    rows = [
        (
            str(run.id)[:8],
            run.instance_id,
            ago(run.ended_at),
            run.attempt,
            run.error_class,
            run.error_summary.splitlines()[0],
        )
        for run in found
    ]
    empty, spare = "Nothing has failed for good.", ("Attempts", "Class", "Ended")
    answer(found, as_json, lambda: print_table(columns, rows, empty, spare))


@queue_command.command("requeue")
@click.argument("run", metavar="RUN")
@click.option("--attempts", type=click.IntRange(min=1), help="Else as many as it had.")
@json_option
def requeue_command(run: str, attempts: int | None, as_json: bool) -> None:
    """Queue a failed run again, with all its attempts; workers take it.

    \b
    Example:
      ipai queue requeue 3f2a
    """
    with _opened() as capacity:
        new = capacity.requeue(find_run(capacity, run), attempts)
    say_done(as_json, f"Queued as {str(new)[:8]}.", run_id=new)


@queue_command.command("limit")
@click.argument("source_type", metavar="SOURCE")
@click.argument("most", metavar="[MOST]", type=click.IntRange(min=1), required=False)
@json_option
def limit_command(source_type: str, most: int | None, as_json: bool) -> None:
    """Let no more than MOST runs of a source be running at once; without MOST, any number.

    \b
    Examples:
      ipai queue limit github 2
      ipai queue limit github
    """
    with _opened() as capacity:
        capacity.limit_source(source_type, most)
    told = f"At most {most} at once." if most else "Not limited any more."
    say_done(as_json, told, source_type=source_type, max_running=most)


@click.group("quota")
def quota_command() -> None:
    """See and set what all runs with one credential may ask of a source together.

    \b
    Examples:
      ipai quota list
      ipai quota set github --credential GITHUB_TOKEN --rate 10 --window 5000/3600
    """


@quota_command.command("list")
@json_option
def quotas_command(as_json: bool) -> None:
    """List the budgets, what is left of each, and when it will be used up at the present pace.

    \b
    Example:
      ipai quota list
    """
    with _opened() as capacity:
        found = capacity.quotas()
    columns = ("Source", "Credential", "Runs", "Rate in use", "Left", "Of", "Renewed", "Used up")
    rows = [_forecast(one) for one in found]
    empty = "No run has drawn on a quota yet. Set one: ipai quota set --help"
    answer(found, as_json, lambda: print_table(columns, rows, empty))


def _forecast(one: QuotaForecast) -> tuple[object, ...]:
    whole = (
        "the spec's" if one.requests_per_second is None else f"{float(one.requests_per_second):g}"
    )
    used_up = one.exhausted_at if one.exceeded_before_reset else None
    return (
        one.source_type,
        one.credential_key,
        one.running_runs,
        f"{float(one.granted_per_second):g} of {whole}",
        one.remaining,
        one.budget,
        _moment(one.reset_at),
        _moment(used_up),
    )


def _moment(when: datetime | None) -> str:
    return "" if when is None else f"{when:%Y-%m-%d %H:%M %Z}"


def _window(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int, int] | None:
    """So many requests in so many seconds, as `5000/3600`."""
    if text is None:
        return None
    requests, _, seconds = text.partition("/")
    if not (requests.isdecimal() and seconds.isdecimal()):
        message = f"{text!r} is no window. Write requests/seconds, e.g. 5000/3600."
        raise click.BadParameter(message, context, parameter)
    return int(requests), int(seconds)


@quota_command.command("set")
@click.argument("source_type", metavar="SOURCE")
@click.option("--credential", default="default", show_default=True, help="As in `quota list`.")
@click.option("--rate", type=float, help="Requests per second.")
@click.option("--concurrency", type=int, help="Requests under way at once.")
@click.option("--window", callback=_window, help="Requests per so many seconds, e.g. 5000/3600.")
@json_option
def set_command(
    source_type: str,
    credential: str,
    rate: float | None,
    concurrency: int | None,
    window: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Set the budget of a credential. What is left out comes from settings and specs again.

    Runs that are running keep their shares; the sum holds as soon as they have ended.

    \b
    Examples:
      ipai quota set github --credential GITHUB_TOKEN --rate 10 --concurrency 8
      ipai quota set google_ads --window 15000/86400
    """
    requests, seconds = window or (None, None)
    limit = QuotaLimit(
        source_type=source_type,
        credential_key=credential,
        requests_per_second=rate,
        concurrency=concurrency,
        window_requests=requests,
        window_seconds=seconds,
    )
    with _opened() as capacity:
        capacity.limit_quota(limit)
    told = "Set. It holds for every run that is claimed from now on."
    say_done(as_json, told, **dataclasses.asdict(limit))
