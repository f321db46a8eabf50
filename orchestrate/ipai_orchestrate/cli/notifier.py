# SPDX-License-Identifier: Apache-2.0
"""`ipai notifier`: posts events to webhook endpoints."""

import dataclasses

import click

from ipai_orchestrate.cli.output import console, json_option, print_json
from ipai_orchestrate.cli.service import log_format_option, service_journal
from ipai_orchestrate.notify import Notifier, NotifierOptions
from ipai_orchestrate.notify.address_guard import AddressGuard
from ipai_orchestrate.notify.sending import Sender
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.pipeline.stop import stop_on_signals

allow_option = click.option(
    "--allow",
    multiple=True,
    metavar="ORIGIN",
    envvar="IPAI_WEBHOOK_ALLOW",
    help="Origin in your network that may be posted to, e.g. http://127.0.0.1:5678; repeatable.",
)


@click.command("notifier", short_help="Post events to webhook endpoints, until told to end.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="How many posts at once.",
)
@allow_option
@click.option("--once", is_flag=True, help="End when nothing is due any more.")
@click.option(
    "--keep-days",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Drop events older than that.",
)
@log_format_option
@json_option
def notifier_command(
    concurrency: int,
    allow: tuple[str, ...],
    once: bool,
    keep_days: int,
    log_format: str,
    as_json: bool,
) -> int:
    """Post what happened to runs to the webhook endpoints that want it, at least once each.

    \b
    Examples:
      ipai notifier
      ipai notifier --allow http://127.0.0.1:5678
      ipai notifier --once --json

    Any number may work on one database. Endpoints must be https and on the public internet, unless
    their origin is allowed here or in IPAI_WEBHOOK_ALLOW (several, separated by spaces). SIGTERM or
    Ctrl-C: nothing more is claimed, what is under way is finished. What fails is tried again after
    growing waits, then kept as a dead letter: `ipai webhook deliveries --status dead`.
    """
    sender = Sender(AddressGuard.allowing(allow))
    options = NotifierOptions(
        sender=sender, concurrency=concurrency, once=once, keep_days=keep_days
    )
    journal = service_journal(log_format, notifier=options.name)
    with opened_database() as database, stop_on_signals() as stop:
        report = Notifier(database, options, stop, journal).work()
    facts = dataclasses.asdict(report)
    if as_json:
        print_json(facts)
    else:
        console().print(", ".join(f"{count} {what}" for what, count in facts.items()))
    return 0
