# SPDX-License-Identifier: Apache-2.0
"""`ipai scheduler`: queues what is due."""

import click

from ipai_orchestrate.cli.service import log_format_option, service_journal
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.pipeline.stop import stop_on_signals
from ipai_orchestrate.scheduler.rounds import Scheduler


@click.command("scheduler", short_help="Queue what is due, until told to end.")
@click.option("--once", is_flag=True, help="Make one round and end, e.g. from cron.")
@log_format_option
def scheduler_command(once: bool, log_format: str) -> int:
    """Queue the runs of schedules when they are due; workers perform them.

    \b
    Examples:
      ipai scheduler
      ipai scheduler --once

    Any number may be at work on one database: each due time becomes one run, whichever is first.
    `ipai schedule` shows what is due when, and changes what happens to due times nobody was there
    for. SIGTERM or Ctrl-C ends it. Ends with 75 if the database does not answer with --once, 78 if
    it is not migrated or the login lacks the role.
    """
    with opened_database() as database, stop_on_signals() as stop:
        scheduler = Scheduler(database, stop, service_journal(log_format))
        if once:
            scheduler.once()
        else:
            scheduler.work()
    return 0
