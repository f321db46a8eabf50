# SPDX-License-Identifier: Apache-2.0
"""`ipai alerts`: what is wrong, and who looks after it."""

import dataclasses
from datetime import timedelta

import click

from ipai_orchestrate.cli.alert_routes import COMMANDS, opened_book
from ipai_orchestrate.cli.output import (
    ago,
    answer,
    json_option,
    limit_option,
    print_table,
    say_done,
)
from ipai_orchestrate.monitor import Alert, AlertRule
from ipai_orchestrate.services import list_services

_UNWATCHED = (
    "Nobody looks: no scheduler is at work, so this is as it was when one last looked.\n"
    "Look now: ipai alerts check. Start one: ipai scheduler, or all: ipai up"
)


@click.group("alerts")
def alerts_command() -> None:
    """See what is wrong; say that you look after it.

    \b
    Examples:
      ipai alerts list
      ipai alerts ack 17
      ipai alerts set sync_failed --repeat-hours 6
      ipai alerts channel oncall --url '${secret:slack/oncall}' --severity critical
      ipai alerts test github-acme
    """


for command in COMMANDS:
    alerts_command.add_command(command)


@alerts_command.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are over too.")
@limit_option(100)
@json_option
def list_command(everything: bool, limit: int, as_json: bool) -> None:
    """List what is wrong, the worst first.

    \b
    Examples:
      ipai alerts list
      ipai alerts list --all --json
    """
    with opened_book() as book:
        found = book.all(limit, only_open=not everything)
        is_watched = any(one.kind == "scheduler" for one in list_services(book.connection))
    columns = ("Alert", "Severity", "Condition", "Opened", "State", "What")
    answer(found, as_json, lambda: print_table(columns, map(_row, found), "Nothing is wrong."))
    if not is_watched and not as_json:
        click.echo(_UNWATCHED, err=True)


def _row(one: Alert) -> tuple[object, ...]:
    if one.resolved_at:
        state = f"over {ago(one.resolved_at)}"
    else:
        state = f"seen to by {one.acked_by}" if one.acked_by else "open"
    return (str(one.id), one.severity, one.condition, ago(one.opened_at), state, one.summary)


@alerts_command.command("ack")
@click.argument("alert_ids", metavar="ALERT...", type=int, nargs=-1, required=True)
@json_option
def ack_command(alert_ids: tuple[int, ...], as_json: bool) -> None:
    """Say that you look after alerts: they are not repeated, and resolve by themselves.

    \b
    Example:
      ipai alerts ack 17
    """
    with opened_book() as book:
        for alert_id in alert_ids:
            book.ack(alert_id)
    said = "You look after it." if len(alert_ids) == 1 else "You look after them."
    say_done(as_json, said, acknowledged=alert_ids)


@alerts_command.command("check")
@json_option
def check_command(as_json: bool) -> None:
    """Look now, as schedulers do in every round; print what changed.

    \b
    Example:
      ipai alerts check
    """
    with opened_book() as book:
        changes = book.check()
    rows = [(str(c.alert_id), c.change, c.severity, c.condition, c.summary) for c in changes]
    columns = ("Alert", "Change", "Severity", "Condition", "What")
    answer(changes, as_json, lambda: print_table(columns, rows, "Nothing has changed."))


@alerts_command.command("rules")
@json_option
def rules_command(as_json: bool) -> None:
    """List what alerts are raised for, and how often they are repeated.

    \b
    Example:
      ipai alerts rules
    """
    with opened_book() as book:
        rules = book.rules()
    columns = ("Condition", "On", "Repeated every", "Over after", "Grouped within", "Changed by")
    answer(rules, as_json, lambda: print_table(columns, map(_rule, rules), "There are none."))


def _rule(one: AlertRule) -> tuple[object, ...]:
    repeated = "never" if one.repeat_every is None else str(one.repeat_every)
    grouped = "never" if one.group_within is None else str(one.group_within)
    return (one.condition, one.enabled, repeated, str(one.resolve_after), grouped, one.actor)


@alerts_command.command("set")
@click.argument("condition")
@click.option("--on/--off", "enabled", default=None, help="Whether anybody is told.")
@click.option(
    "--repeat-hours", type=click.FloatRange(min=0), help="Tell again after that; 0: never."
)
@click.option(
    "--group-minutes",
    type=click.FloatRange(min=0),
    help="Syncs that fail for one reason within it are one alert; 0: never.",
)
@json_option
def set_command(
    condition: str,
    enabled: bool | None,
    repeat_hours: float | None,
    group_minutes: float | None,
    as_json: bool,
) -> None:
    """Turn an alert on or off, or say how often it is repeated until somebody looks after it.

    \b
    Examples:
      ipai alerts set sync_failed --repeat-hours 6
      ipai alerts set quota_exceeded --off
    """
    repeat = None if repeat_hours is None else timedelta(hours=repeat_hours)
    with opened_book() as book:
        book.set_rule(condition, enabled=enabled, repeat_every=repeat)
        if group_minutes is not None:
            book.set_grouping(condition, timedelta(minutes=group_minutes))
        rule = next(one for one in book.rules() if one.condition == condition)
    say_done(as_json, "Done.", **dataclasses.asdict(rule))
