# SPDX-License-Identifier: Apache-2.0
"""Who hears of which alert: commands of `ipai alerts`."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ipai_orchestrate.cli.output import answer, json_option, print_table, say_done
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.monitor import AlertBook, AlertRoute
from ipai_orchestrate.notify import Outbox
from ipai_orchestrate.notify.chat import CHAT_URL

severity_option = click.option(
    "--severity",
    type=click.Choice(["warning", "critical"]),
    default="warning",
    show_default=True,
    help="critical: only what is critical.",
)
conditions_option = click.option(
    "--condition", "conditions", multiple=True, help="Only this condition; repeatable."
)


@contextmanager
def opened_book() -> Iterator[AlertBook]:
    """The alerts of the database, open for as long as the block runs."""
    with opened_plane() as (_, plane):
        yield AlertBook(plane.connection)


@click.command()
@click.argument("channel_id", metavar="ID")
@click.option(
    "--url",
    "reference",
    required=True,
    metavar="REFERENCE",
    help="Where the notifier finds the chat's address, e.g. '${secret:slack/oncall}'.",
)
@click.option("--owner", "owners", multiple=True, help="Only alerts of this owner; repeatable.")
@conditions_option
@severity_option
@click.option("--env", "envs", multiple=True, help="Only this environment; repeatable.")
@json_option
def channel(
    channel_id: str,
    reference: str,
    owners: tuple[str, ...],
    conditions: tuple[str, ...],
    severity: str,
    envs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Tell people of alerts: Slack, Mattermost, e-mail and what else apprise speaks to.

    \b
    Examples:
      ipai alerts channel oncall --url '${secret:slack/oncall}' --severity critical
      ipai alerts channel data --url '${DATA_MAIL}' --owner data@example.com
      ipai webhook test oncall

    The address, e.g. slack://… or mailtos://…, is a secret as a whole: store it with
    `ipai secret set`, or set a variable of the notifier. `ipai notifier` sends, tries again and
    keeps dead letters.
    """
    with opened_book() as book:
        Outbox(book.connection).create_endpoint(
            channel_id, CHAT_URL, reference, envs=envs, statuses=["opened", "resolved"]
        )
        if owners or conditions or severity != "warning":
            for owner in owners or ("*",):
                book.route(owner, channel_id, conditions=conditions, min_severity=severity)
    told = f"Channel {channel_id} is set. Try it: ipai webhook test {channel_id}"
    say_done(
        as_json,
        told,
        channel=channel_id,
        owners=owners,
        conditions=conditions,
        severity=severity,
        envs=envs,
    )


@click.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@click.option("--owner", default="*", show_default=True, help="Whose alerts; *: everybody's.")
@conditions_option
@severity_option
@click.option("--remove", is_flag=True, help="Take the route of that owner away.")
@json_option
def route(
    endpoint_id: str,
    owner: str,
    conditions: tuple[str, ...],
    severity: str,
    remove: bool,
    as_json: bool,
) -> None:
    """Lead the alerts of an owner to a channel or webhook, which then hears no others.

    \b
    Examples:
      ipai alerts route oncall --severity critical
      ipai alerts route data --owner data@example.com --condition sync_failed
      ipai alerts route data --owner data@example.com --remove
    """
    with opened_book() as book:
        if remove:
            book.unroute(owner, endpoint_id)
        else:
            book.route(owner, endpoint_id, conditions=conditions, min_severity=severity)
    about = {} if remove else {"conditions": conditions, "severity": severity}
    say_done(as_json, "Done.", endpoint_id=endpoint_id, owner=owner, removed=remove, **about)


@click.command()
@json_option
def routes(as_json: bool) -> None:
    """List which owners' alerts go where; endpoints without a route hear all.

    \b
    Example:
      ipai alerts routes
    """
    with opened_book() as book:
        found = book.routes()
    columns = ("Endpoint", "Owner", "Conditions", "Severity", "Made by")
    answer(found, as_json, lambda: print_table(columns, map(_row, found), "There are no routes."))


def _row(one: AlertRoute) -> tuple[object, ...]:
    conditions = ", ".join(one.conditions) if one.conditions else "all"
    return (one.endpoint_id, one.owner, conditions, one.min_severity, one.actor)


@click.command()
@click.argument("instance_id", metavar="INSTANCE")
@click.argument("owner", required=False, default="")
@json_option
def owner(instance_id: str, owner: str, as_json: bool) -> None:
    """Say who is told what is wrong with an instance; nobody named: whom its spec names.

    \b
    Examples:
      ipai alerts owner github-acme platform@example.com
      ipai alerts owner github-acme
    """
    with opened_book() as book:
        book.set_owner(instance_id, owner)
    say_done(as_json, "Done.", instance_id=instance_id, owner=owner or None)


@click.command("test")
@click.argument("instance_id", metavar="[INSTANCE]", required=False)
@click.option("--owner", help="As if it were this one's.")
@click.option(
    "--condition", default="sync_failed", show_default=True, help="As if this were wrong."
)
@severity_option
@click.option("--send", is_flag=True, help="Send each of them a test, too.")
@json_option
def test_command(
    instance_id: str | None,
    owner: str | None,
    condition: str,
    severity: str,
    send: bool,
    as_json: bool,
) -> int:
    """Show who would be told of an alert; ends with 1 when nobody would.

    \b
    Examples:
      ipai alerts test github-acme
      ipai alerts test --owner data@example.com --severity critical --send
    """
    about = {"instance_id": instance_id, "owner": owner}
    with opened_book() as book:
        found = book.recipients(condition=condition, severity=severity, **about)
        if send:
            outbox = Outbox(book.connection)
            for one in found:
                outbox.send_test(one.endpoint_id)
    rows = [(one.endpoint_id, ", ".join(one.owners)) for one in found]
    empty = "Nobody would be told. Add a channel: ipai alerts channel --help"
    answer(found, as_json, lambda: print_table(("Told", "Owners"), rows, empty))
    return 0 if found else 1


COMMANDS: tuple[click.Command, ...] = (channel, route, routes, owner, test_command)
