# SPDX-License-Identifier: Apache-2.0
"""`ipai webhook`: who is told what happens, and how that went."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click

from ipai_orchestrate.cli.notifier import allow_option
from ipai_orchestrate.cli.output import (
    ago,
    answer,
    console,
    json_option,
    limit_option,
    print_table,
    say_done,
)
from ipai_orchestrate.exceptions import ConfigurationError, NotFoundError
from ipai_orchestrate.notify import Delivery, Endpoint, Outbox
from ipai_orchestrate.notify.address_guard import AddressGuard
from ipai_orchestrate.notify.chat import CHAT_URL
from ipai_orchestrate.notify.notifier import notifier_name
from ipai_orchestrate.notify.sending import Outcome, Sender
from ipai_orchestrate.notify.signature import new_secret
from ipai_orchestrate.notify.signing_secrets import SigningSecrets
from ipai_orchestrate.pipeline.database import opened_database

RUN_STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
ALERT_STATUSES = ("opened", "resolved")


@contextmanager
def opened_outbox() -> Iterator[Outbox]:
    """The outbox of the database, open for as long as the block runs."""
    with opened_database() as database, database.connect() as connection:
        yield Outbox(connection)


@click.group("webhook")
def webhook_command() -> None:
    """Tell others what happens: signed posts to n8n, chat, your own service.

    \b
    Example:
      export N8N_WEBHOOK_SECRET=$(ipai webhook secret)
      ipai webhook add n8n https://n8n.example.com/webhook/ipai --secret '${N8N_WEBHOOK_SECRET}'
      ipai webhook test n8n
      ipai notifier
    """


@webhook_command.command()
def secret() -> None:
    """Print a fresh signing secret, to be put where notifier and receiver find it.

    \b
    Example:
      ipai webhook secret
    """
    click.echo(new_secret())


@webhook_command.command()
@click.argument("endpoint_id", metavar="ID")
@click.argument("url", metavar="URL")
@click.option(
    "--secret",
    "secret_ref",
    required=True,
    metavar="REFERENCE",
    help="Where the notifier finds the signing secret, e.g. '${N8N_WEBHOOK_SECRET}'.",
)
@click.option("--env", "envs", multiple=True, help="Only this environment; repeatable.")
@click.option("--source", "sources", multiple=True, help="Only this source type; repeatable.")
@click.option("--instance", "instances", multiple=True, help="Only this instance; repeatable.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(RUN_STATUSES + ALERT_STATUSES),
    help="Only runs that become this, or alerts: opened, resolved; repeatable.",
)
@click.option("--description", default="", help="What it is for.")
@click.option(
    "--timeout",
    type=click.IntRange(5, 15),
    default=10,
    show_default=True,
    help="Seconds to wait for its answer.",
)
@click.option(
    "--wait",
    "waits",
    multiple=True,
    type=click.IntRange(0, 604800),
    help="Longest wait in seconds before each further try; by default 5 s to a day, 8 tries.",
)
@json_option
def add(
    endpoint_id: str,
    url: str,
    secret_ref: str,
    envs: tuple[str, ...],
    sources: tuple[str, ...],
    instances: tuple[str, ...],
    statuses: tuple[str, ...],
    description: str,
    timeout: int,
    waits: tuple[int, ...],
    as_json: bool,
) -> None:
    """Add an endpoint, or change the address and filters of one.

    \b
    Examples:
      ipai webhook add alerts https://hooks.example.com/ipai --secret '${ALERTS_SECRET}' \\
        --status failed --env production
      ipai webhook add n8n http://127.0.0.1:5678/webhook/ipai --secret '${N8N_WEBHOOK_SECRET}'

    The secret itself is never stored here: only the name under which the notifier finds it.
    """
    with opened_outbox() as outbox:
        made = outbox.create_endpoint(
            endpoint_id,
            url,
            secret_ref,
            envs=envs,
            sources=sources,
            instances=instances,
            statuses=statuses,
            description=description,
            timeout_seconds=timeout,
            retry_seconds=waits or None,
        )
    text = f"{'Added' if made.created else 'Changed'} {made.id}. Next: ipai webhook test {made.id}"
    answer(made, as_json, lambda: console().print(text))


@webhook_command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List endpoints with how their deliveries stand.

    \b
    Example:
      ipai webhook list
    """
    with opened_outbox() as outbox:
        found = outbox.endpoints()
    columns = ("Endpoint", "Status", "Tells of", "Waiting", "Dead", "Last delivered", "Address")
    rows = [_endpoint_row(one) for one in found]
    empty = "No endpoints yet. Add one: ipai webhook add --help"
    answer(found, as_json, lambda: print_table(columns, rows, empty))


@webhook_command.command("set")
@click.argument("endpoint_id", metavar="ID")
@click.option(
    "--status",
    required=True,
    type=click.Choice(["active", "paused", "disabled"]),
    help="paused: deliveries wait; disabled: nothing is recorded for it.",
)
@json_option
def set_(endpoint_id: str, status: str, as_json: bool) -> None:
    """Pause, disable or resume an endpoint.

    \b
    Example:
      ipai webhook set n8n --status paused
    """
    with opened_outbox() as outbox:
        outbox.set_status(endpoint_id, status)
    told = f"Endpoint {endpoint_id} is {status}."
    say_done(as_json, told, endpoint_id=endpoint_id, status=status)


@webhook_command.command()
@click.argument("endpoint_id", metavar="ID")
@click.option(
    "--secret",
    "secret_ref",
    required=True,
    metavar="REFERENCE",
    help="Where the notifier finds the new secret.",
)
@click.option(
    "--overlap-hours",
    type=click.FloatRange(0, 720),
    default=24,
    show_default=True,
    help="How long the old secret signs too.",
)
@json_option
def rotate(endpoint_id: str, secret_ref: str, overlap_hours: float, as_json: bool) -> None:
    """Sign with a new secret; for a while with the old one too, so that receivers can follow.

    \b
    Example:
      ipai webhook rotate n8n --secret '${N8N_WEBHOOK_SECRET_2}'
    """
    with opened_outbox() as outbox:
        until = outbox.rotate_secret(endpoint_id, secret_ref, timedelta(hours=overlap_hours))
    told = f"Both secrets sign until {until:%Y-%m-%d %H:%M} UTC, then only the new one."
    say_done(as_json, told, endpoint_id=endpoint_id, both_sign_until=until)


@webhook_command.command()
@click.argument("endpoint_id", metavar="ID")
@json_option
def remove(endpoint_id: str, as_json: bool) -> None:
    """Remove an endpoint with its deliveries.

    \b
    Example:
      ipai webhook remove n8n
    """
    with opened_outbox() as outbox:
        if not outbox.delete_endpoint(endpoint_id):
            message = f"Webhook endpoint {endpoint_id!r} does not exist."
            raise NotFoundError(message, hint="See `ipai webhook list`.")
    say_done(as_json, f"Removed {endpoint_id}.", endpoint_id=endpoint_id, removed=True)


@webhook_command.command()
@click.argument("endpoint_id", metavar="ID")
@allow_option
@json_option
def test(endpoint_id: str, allow: tuple[str, ...], as_json: bool) -> int:
    """Post an event of type webhook.test, now and from here, and say how it went.

    A login that is no worker only queues it: a notifier posts it then.

    \b
    Example:
      ipai webhook test n8n --allow http://127.0.0.1:5678
    """
    sender = Sender(AddressGuard.allowing(allow))
    with opened_outbox() as outbox:
        number = outbox.send_test(endpoint_id)
        _deliver(outbox, sender, number)
        found = next(one for one in outbox.deliveries(endpoint_id) if one.id == number)
    taken = "The endpoint took it." if found.http_status else "A notifier will post it."
    told = f"Delivery {number} is {found.status}. {found.error or taken}"
    answer(found, as_json, lambda: console().print(told))
    return 1 if found.error else 0


def _deliver(outbox: Outbox, sender: Sender, number: int) -> None:
    """Post it from here, unless a notifier is quicker or the login may not: then one will."""
    try:
        claimed = outbox.claim(notifier_name(), 1, per_endpoint=1000, only_delivery=number)
    except ConfigurationError:
        return
    for delivery in claimed:
        try:
            secrets = SigningSecrets()
            if delivery.url == CHAT_URL:
                outcome = sender.tell(delivery, secrets.addresses_of(outbox, delivery))
            else:
                outcome = sender.send(delivery, secrets.keys_of(outbox, delivery))
        except ConfigurationError as error:
            outcome = Outcome(error=str(error))
        outbox.finish(delivery, outcome.http_status, outcome.error, outcome.retry_after_seconds)


@webhook_command.command()
@click.argument("endpoint_id", metavar="[ID]", required=False)
@click.option(
    "--status",
    type=click.Choice(["pending", "sending", "delivered", "dead"]),
    help="Only these; dead: given up.",
)
@limit_option(20)
@json_option
def deliveries(endpoint_id: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List deliveries, newest first.

    \b
    Examples:
      ipai webhook deliveries
      ipai webhook deliveries n8n --status dead --json
    """
    with opened_outbox() as outbox:
        found = outbox.deliveries(endpoint_id, status, limit)
    columns = ("Delivery", "Endpoint", "Event", "Run", "Status", "Tries", "Answer", "What happened")
    rows = [_delivery_row(one) for one in found]
    spare = ("Tries", "Event", "Run")
    answer(found, as_json, lambda: print_table(columns, rows, "No deliveries.", spare))


@webhook_command.command()
@click.argument("numbers", metavar="[DELIVERY]...", nargs=-1, type=int)
@click.option("--dead-of", metavar="ID", help="All dead letters of this endpoint.")
@json_option
def retry(numbers: tuple[int, ...], dead_of: str | None, as_json: bool) -> None:
    """Send deliveries again: those named, or the dead letters of an endpoint.

    \b
    Examples:
      ipai webhook retry 812 815
      ipai webhook retry --dead-of n8n
    """
    if not numbers and not dead_of:
        message = "Nothing is named. Give numbers of `ipai webhook deliveries`, or --dead-of ID."
        raise ConfigurationError(message)
    with opened_outbox() as outbox:
        chosen = outbox.retry(numbers or None, dead_of)
    say_done(as_json, f"{chosen} will be sent again.", retried=chosen)


def _endpoint_row(one: Endpoint) -> tuple[object, ...]:
    filters = [*(one.statuses or ["every status"]), *(one.envs or []), *(one.sources or [])]
    filters += one.instances or []
    status = f"{one.status}: {one.disabled_reason}" if one.disabled_reason else one.status
    last = ago(one.last_delivered_at)
    return (one.id, status, ", ".join(filters), one.pending, one.dead, last, one.url)


def _delivery_row(one: Delivery) -> tuple[object, ...]:
    run = str(one.run_id)[:8] if one.run_id else ""
    tries = f"{one.attempts}/{one.max_attempts}"
    return (
        one.id,
        one.endpoint_id,
        one.event_type,
        run,
        one.status,
        tries,
        one.http_status,
        one.error,
    )
