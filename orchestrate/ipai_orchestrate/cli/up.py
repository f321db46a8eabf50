# SPDX-License-Identifier: Apache-2.0
"""`ipai up`: everything on this machine."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import click
import psycopg
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from ipai_orchestrate.catalog import executable
from ipai_orchestrate.cli.commands import main
from ipai_orchestrate.cli.output import error_console
from ipai_orchestrate.cli.service import log_format_option
from ipai_orchestrate.exceptions import OrchestrateError
from ipai_orchestrate.pipeline.database import Connection, Database, opened_database
from ipai_orchestrate.pipeline.stop import Stop, stop_on_signals
from ipai_orchestrate.supervisor import Service, Supervisor

_QUEUE = """
    select count(*) filter (where status = 'running'),
        count(*) filter (where status = 'queued'),
        count(*) filter (where status = 'failed')
    from connectors.connector_runs
    where status in ('running', 'queued') or ended_at > clock_timestamp() - interval '1 day'
"""
LOOK_SECONDS = 2.0


@click.command("up", short_help="Run database, scheduler and workers on this machine.")
@click.option(
    "--workers",
    type=click.IntRange(0, 32),
    default=1,
    show_default=True,
    help="How many worker processes.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="How many runs at once in each worker.",
)
@click.option(
    "--drain-timeout",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long running syncs may go on at the end before they are handed back.",
)
@log_format_option
def up_command(workers: int, concurrency: int, drain_timeout: float, log_format: str) -> int:
    """Run everything on this machine until told to end.

    \b
    Examples:
      ipai up
      ipai up --workers 2 --concurrency 4
      IPAI_DATABASE_URL=postgresql://… ipai up

    Starts the embedded database unless IPAI_DATABASE_URL names another, a scheduler, the workers
    and the notifier of webhooks, and starts each again when it ends. A terminal shows one line of
    status. Ctrl-C or SIGTERM ends all of it: running syncs finish, or after --drain-timeout go back
    to the queue and continue at the next start. Ends with 78 when a service cannot work with its
    settings, and says which.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    with opened_database() as database, stop_on_signals() as stop:
        console = error_console()
        board = _Board(database, console, stop, as_json=as_json)
        services = _services(workers, concurrency, drain_timeout, "json" if as_json else "text")
        supervisor = Supervisor(services, stop, board.say)
        with board.shown():
            return supervisor.run(lambda: board.look(supervisor))


def _services(
    workers: int, concurrency: int, drain_timeout: float, log_format: str
) -> list[Service]:
    ipai = executable("ipai")
    said = ("--log-format", log_format)
    work = ("--concurrency", str(concurrency), "--drain-timeout", str(drain_timeout), *said)
    services = [Service("scheduler", [ipai, "scheduler", *said])]
    services += [
        Service(f"worker-{number}", [ipai, "worker", *work]) for number in range(1, workers + 1)
    ]
    if "notifier" in main.list_commands(click.Context(main)):
        services.append(Service("notifier", [ipai, "notifier", *said]))
    return services


class _Board:
    """What a person sees: the lines of all services above, one line of status below."""

    def __init__(self, database: Database, console: Console, stop: Stop, *, as_json: bool) -> None:
        self._database = database
        self._console = console
        self._stop = stop
        self._as_json = as_json
        self._lock = threading.Lock()
        self._look_due = 0.0
        self._connection: Connection | None = None
        self._status = None if as_json else Status("Starting", console=console)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the status while the block runs, where somebody can see it."""
        try:
            with self._status or nullcontext():
                yield
        finally:
            self._disconnect()

    def say(self, service: str, line: str) -> None:
        """Pass on a line of a service; JSON lines go through as they are."""
        with self._lock:
            if not self._as_json:
                self._console.print(f"[dim]{service}[/] {escape(line)}", soft_wrap=True)
            elif line.startswith("{"):
                click.echo(line, err=True)
            else:
                click.echo(json.dumps({"service": service, "event": line}), err=True)

    def look(self, supervisor: Supervisor) -> None:
        """Bring the line of status up to date."""
        now = time.monotonic()
        if self._status is None or now < self._look_due:
            return
        self._look_due = now + LOOK_SECONDS
        self._status.update(" · ".join([*self._services(supervisor), self._queue()]))

    def _services(self, supervisor: Supervisor) -> list[str]:
        running = [child.service.name for child in supervisor.children if child.is_running]
        if self._stop.signum:
            return ["Ending", f"waiting for {', '.join(running)}"]
        now = time.monotonic()
        down = [
            f"{child.service.name} starts again in {max(child.restart_at - now, 0):.0f} s"
            for child in supervisor.children
            if not child.is_running
        ]
        return ["Up, Ctrl-C ends it", f"{len(running)} services", *down]

    def _queue(self) -> str:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._database.connect()
            found = self._connection.execute(_QUEUE).fetchone()
        except (psycopg.Error, OrchestrateError):
            self._disconnect()
            return "[red]the database does not answer[/]"
        running, waiting, failed = found or (0, 0, 0)
        facts = f"{running} running, {waiting} waiting"
        return f"{facts}, [red]{failed} failed in 24 h[/]" if failed else facts

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
