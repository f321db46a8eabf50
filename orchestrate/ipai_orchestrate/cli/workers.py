# SPDX-License-Identifier: Apache-2.0
"""`ipai workers`: who is at work."""

import socket

import click

from ipai_orchestrate.cli.output import ago, answer, json_option, print_table
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.services import ServiceStatus, list_services

NOBODY_THERE = 75


@click.command("workers", short_help="List workers and schedulers at work.")
@click.option("--all", "everything", is_flag=True, help="Those of the last week that are gone too.")
@click.option(
    "--alive",
    type=click.Choice(["worker", "scheduler"]),
    help="End with 75 unless one of this kind is at work: for health checks and alerts.",
)
@click.option("--here", is_flag=True, help="Only those of this host (or container).")
@json_option
def workers_command(everything: bool, alive: str | None, here: bool, as_json: bool) -> int:
    """List the workers and schedulers that gave a sign of life within the last minute.

    \b
    Examples:
      ipai workers
      ipai workers --all --json
      ipai workers --alive scheduler
      ipai workers --alive worker --here
    """
    with opened_plane() as (_, plane):
        found = list_services(plane.connection, at_work=not everything)
    if here:
        found = [one for one in found if one.name.rpartition(":")[0] == socket.gethostname()]
    columns = ("Name", "Kind", "Login", "State", "Started", "Seen", "Busy", "Sources")
    empty = "Nobody is at work. Start everything: ipai up. Or a worker: ipai worker"
    answer(found, as_json, lambda: print_table(columns, map(_row, found), empty))
    missing = alive and not any(one.kind == alive and one.is_alive for one in found)
    return NOBODY_THERE if missing else 0


def _row(one: ServiceStatus) -> tuple[object, ...]:
    state = "at work" if one.is_alive else "ended" if one.ended_at else "lost"
    busy = f"{one.busy} of {one.capacity}" if one.capacity else ""
    sources = ", ".join(one.sources or ())
    return (
        one.name,
        one.kind,
        one.login,
        state,
        ago(one.started_at),
        ago(one.seen_at),
        busy,
        sources,
    )
