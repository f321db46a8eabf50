# SPDX-License-Identifier: Apache-2.0
"""`ipai demo`: everything once, in under a minute."""

import click

from ipai_orchestrate.cli.output import console
from ipai_orchestrate.demo import live_plan, sandbox_plan, tell
from ipai_orchestrate.demo.plan import DEFAULT_SIZE
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.pipeline.stop import stop_on_signals


@click.command("demo", short_help="See it work, in under a minute.")
@click.option(
    "--live", metavar="OWNER/REPO", help="A real repository at GitHub; uses GITHUB_TOKEN."
)
@click.option("--keep", is_flag=True, help="Leave the stand-in running afterwards, until Ctrl-C.")
@click.option(
    "--size",
    default=DEFAULT_SIZE,
    show_default=True,
    type=click.IntRange(1, 500),
    help="Repositories of the stand-in.",
)
@click.option("--api-url", help="With --live: GitHub Enterprise, e.g. https://host/api/v3.")
def demo_command(live: str | None, keep: bool, size: int, api_url: str | None) -> int:
    """See it work: a stand-in of GitHub, two syncs, Bronze, Silver and Gold in Postgres.

    \b
    Examples:
      ipai demo
      ipai demo --size 20 --keep
      ipai demo --live octokit/rest.js

    Stop it or kill it at any point, start it again: it goes on, nothing is missing or doubled.
    """
    plan = live_plan(live, api_url) if live else sandbox_plan(size)
    with opened_database() as database, stop_on_signals() as stop:
        return tell(console(), database, plan, stop, keep=keep)
