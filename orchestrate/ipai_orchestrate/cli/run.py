# SPDX-License-Identifier: Apache-2.0
"""`ipai run`: one sync, here and now."""

import click

from ipai_orchestrate.cli.output import (
    answer,
    console,
    error_console,
    json_option,
    print_json,
)
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.instances import connector_of, find_instance
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.pipeline.dry_run import DryRun, dry_run
from ipai_orchestrate.pipeline.runner import RunOptions
from ipai_orchestrate.pipeline.start import RunRequest, default_work_root, queue_run, run_now
from ipai_orchestrate.pipeline.stop import stop_on_signals
from ipai_orchestrate.progress import progress_for
from ipai_orchestrate.report import as_record, show_dry_run, show_run
from ipai_orchestrate.secrets import instance_secrets


@click.command("run", short_help="Sync an instance, here and now.")
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--full-refresh", is_flag=True, help="Read everything again; what is gone, goes.")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Only this; repeatable.")
@click.option(
    "--no-transform", is_flag=True, help="Load Bronze only; `ipai-dbt build` does the rest later."
)
@click.option(
    "--dry-run", "dry", is_flag=True, help="Read and check every record, store nothing at all."
)
@click.option("--queue", is_flag=True, help="Only queue it: a worker performs it.")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "table", "json"]),
    default="auto",
    help="Progress on standard error: a live table on a terminal, JSON lines elsewhere.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show every log line, not only problems.")
@json_option
def run_command(
    instance_id: str,
    full_refresh: bool,
    streams: tuple[str, ...],
    no_transform: bool,
    dry: bool,
    queue: bool,
    log_format: str,
    verbose: bool,
    as_json: bool,
) -> int:
    """Sync an instance: tap into Bronze, then Silver and Gold of what changed.

    \b
    Examples:
      ipai run github-acme
      ipai run github-acme --stream issues --stream pull_requests
      ipai run github-acme --full-refresh --stream issues
      ipai run github-acme --dry-run
      ipai run github-acme --queue

    Ctrl-C stops the tap and keeps what is committed; a second Ctrl-C ends it at once. Either way,
    and after any crash, the next run continues. Ends with the class of a failure as exit code:
    78 configuration, 77 credentials, 75 try again later, 70 our bug, 65 dead letters, 1 other.
    """
    request = RunRequest(instance_id, streams or None, full_refresh=full_refresh)
    show = progress_for(error_console(), log_format=log_format, verbose=verbose)
    if dry:
        return _dry_run(request, as_json=as_json)
    if queue:
        return _queue(request, as_json=as_json)
    options = RunOptions(default_work_root(), transform="nothing" if no_transform else "changed")
    with opened_database() as database, stop_on_signals() as stop, show:
        result = run_now(database, request, options, stop=stop, observer=show)
    if as_json:
        print_json(as_record(result))
    else:
        show_run(console(), result)
    return result.exit_code


def _queue(request: RunRequest, *, as_json: bool) -> int:
    with opened_plane() as (_, plane):
        run_id = queue_run(plane, request)
    text = f"Queued: {run_id}\nA worker performs it. Follow it: ipai logs {str(run_id)[:8]} -f"
    answer({"run_id": str(run_id)}, as_json, lambda: console().print(text))
    return 0


def _dry_run(request: RunRequest, *, as_json: bool) -> int:
    with opened_plane() as (database, plane), stop_on_signals() as stop:
        with database.connect() as connection:
            instance = find_instance(connection, request.instance_id)
        stored = plane.state_get(request.instance_id)
        state = {} if stored is None or request.full_refresh else stored.state_json
        wanted = DryRun(
            connector_of(instance),
            instance.config,
            state,
            request.streams,
            instance_secrets(database, instance.id),
        )
        result = dry_run(wanted, default_work_root(), stop)
    if as_json:
        print_json(result)
    else:
        show_dry_run(console(), result)
    return result.exit_code
