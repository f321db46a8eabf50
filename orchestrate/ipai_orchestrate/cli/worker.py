# SPDX-License-Identifier: Apache-2.0
"""`ipai worker`: performs what is queued."""

import dataclasses
import os
from contextlib import suppress

import click

from ipai_kit.spec import discover_connectors
from ipai_orchestrate.catalog import DEFAULT_TARGET, TRANSFORM, executable
from ipai_orchestrate.cli.output import console, json_option, print_json
from ipai_orchestrate.cli.service import log_format_option, service_journal
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.pipeline.runner import RunOptions
from ipai_orchestrate.pipeline.start import default_work_root
from ipai_orchestrate.pipeline.stop import stop_on_signals
from ipai_orchestrate.transform.process import dbt_command
from ipai_orchestrate.worker import Worker, WorkerOptions
from ipai_orchestrate.worker.shift import DRAIN_SECONDS


@click.command("worker", short_help="Perform what is queued, until told to end.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="How many runs at once.",
)
@click.option(
    "--sources",
    metavar="NAMES",
    help="Only these sources, e.g. github,odoo; by default those installed here.",
)
@click.option("--once", is_flag=True, help="End when nothing is due any more.")
@click.option(
    "--drain-timeout",
    type=click.FloatRange(0),
    default=DRAIN_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long running syncs may go on after SIGTERM before they are handed back.",
)
@click.option("--no-transform", is_flag=True, help="Load Bronze only.")
@click.option(
    "--target",
    default=DEFAULT_TARGET,
    show_default=True,
    metavar="COMMAND",
    help="The target that records are landed by.",
)
@log_format_option
@json_option
def worker_command(
    concurrency: int,
    sources: str | None,
    once: bool,
    drain_timeout: float,
    no_transform: bool,
    target: str,
    log_format: str,
    as_json: bool,
) -> int:
    """Claim runs from the queue and perform them: tap into Bronze, then Silver and Gold.

    \b
    Examples:
      ipai worker --concurrency 4
      ipai worker --sources github,odoo --drain-timeout 300
      ipai worker --once --json

    Any number may work on one database, on any machine. SIGTERM or Ctrl-C: nothing more is claimed,
    running syncs finish; after --drain-timeout, or at a second signal, they are stopped, keep what
    is committed and go back to the queue; a third signal ends them at once. After kill -9 nothing
    is left running, and another worker takes over when the lease has expired.

    Ends with 0 whatever came of the runs: their ends are in `ipai runs`. 75: the database does not
    answer, 78: it is not migrated, or the login lacks the role.
    """
    executable(target)  # before anything is claimed
    chosen = [name.strip() for name in sources.split(",") if name.strip()] if sources else None
    with opened_database() as database, stop_on_signals() as stop:
        options = WorkerOptions(
            run=RunOptions(
                default_work_root(),
                transform="nothing" if no_transform else "changed",
                target=target,
            ),
            concurrency=concurrency,
            sources=chosen or _sources(with_transforms=not no_transform),
            once=once,
            drain_seconds=drain_timeout,
        )
        journal = service_journal(log_format, worker=options.name)
        report = Worker(database, options, stop, journal).work()
    facts = dataclasses.asdict(report)
    if as_json:
        print_json(facts)
    else:
        console().print(", ".join(f"{count} {what}" for what, count in facts.items()))
    return 0


def _sources(*, with_transforms: bool) -> list[str]:
    """What this machine can run: its connectors, and dbt when that is installed."""
    sources = sorted(discover_connectors())
    if with_transforms:
        with suppress(ConfigurationError):
            dbt_command(os.environ)
            sources.append(TRANSFORM)
    return sources
