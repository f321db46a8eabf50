# SPDX-License-Identifier: Apache-2.0
"""`ipai instance`: connectors set up with their settings."""

import dataclasses
from pathlib import Path
from typing import Any

import click
import yaml

from ipai_orchestrate.catalog import installed_connector
from ipai_orchestrate.cli.output import ago, answer, json_option, print_table, say_done
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.exceptions import ConfigurationError, ConflictError
from ipai_orchestrate.instances import (
    Instance,
    connector_of,
    find_instance,
    read_settings,
    save_instance,
)
from ipai_orchestrate.pipeline.database import Database

set_option = click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="A setting; repeat as needed."
)
file_option = click.option(
    "--config",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings from a JSON or YAML file.",
)


@click.group("instance")
def instance_command() -> None:
    """Set up connectors: which source, with which settings.

    \b
    Example:
      ipai instance add github-acme --connector github \\
        --set repositories=acme/api,acme/web --set auth_token='${GITHUB_TOKEN}'

    Settings never hold a secret: give a reference to an environment variable, as auth_token above,
    or to a secret of the vault: '${secret:NAME}', see `ipai secret --help`.
    """


@instance_command.command("add")
@click.argument("instance_id", metavar="ID")
@click.option("--connector", "--source", required=True, help="Source type, e.g. github.")
@set_option
@file_option
@click.option("--env", default="dev", show_default=True, help="dev, staging, production …")
@click.option("--schedule", help="Cron expression, or `default` for the connector's own.")
@json_option
def add(
    instance_id: str,
    connector: str,
    pairs: tuple[str, ...],
    file: Path | None,
    env: str,
    schedule: str | None,
    as_json: bool,
) -> None:
    """Set up a connector under an ID of your choice.

    \b
    Example:
      ipai instance add github-acme --connector github --set repositories=acme/api

    `ipai connectors` lists what is installed and `ipai spec explain github` its settings.
    """
    installed = installed_connector(connector)
    config = _read_file(file) | read_settings(installed.spec(), pairs)
    with opened_plane() as (database, plane):
        if any(one.id == instance_id for one in plane.instances(limit=1000)):
            message = f"Instance {instance_id!r} exists."
            raise ConflictError(message, hint=f"Change it with `ipai instance set {instance_id}`.")
        save_instance(plane, instance_id, installed, config, env=env, schedule=schedule)
        after = _stored(database, instance_id)
    told = f"Added {instance_id}. Next: ipai check {instance_id}, ipai run {instance_id}"
    say_done(as_json, told, **dataclasses.asdict(after))


@instance_command.command("set")
@click.argument("instance_id", metavar="ID")
@set_option
@file_option
@click.option("--unset", multiple=True, metavar="NAME", help="Remove a setting.")
@click.option("--schedule", help="Cron expression, `default`, or empty for none.")
@click.option(
    "--status",
    type=click.Choice(["active", "paused", "archived"]),
    help="paused: nothing of it is started; archived: for good.",
)
@json_option
def set_(
    instance_id: str,
    pairs: tuple[str, ...],
    file: Path | None,
    unset: tuple[str, ...],
    schedule: str | None,
    status: str | None,
    as_json: bool,
) -> None:
    """Change the settings, the schedule or the status of an instance.

    \b
    Examples:
      ipai instance set github-acme --set repositories=acme/api,acme/web
      ipai instance set github-acme --status paused
    """
    with opened_plane() as (database, plane):
        before = _stored(database, instance_id)
        connector = connector_of(before)
        changes = _read_file(file) | read_settings(connector.spec(), pairs)
        config = {k: v for k, v in (before.config | changes).items() if k not in unset}
        when = before.schedule if schedule is None else schedule or None
        if (config, when) != (before.config, before.schedule):
            save_instance(plane, instance_id, connector, config, env=before.env, schedule=when)
        if status and status != before.status:
            plane.set_instance_status(instance_id, status)
        after = _stored(database, instance_id)
    say_done(as_json, f"Changed {instance_id}.", **dataclasses.asdict(after))


@instance_command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all instances with their last run.

    \b
    Example:
      ipai instance list
    """
    with opened_plane() as (_, plane):
        found = plane.instances(limit=1000)
    rows = [
        (i.id, i.source_type, i.env, i.status, i.schedule, i.last_status, ago(i.last_ended_at))
        for i in found
    ]
    columns = ("Instance", "Source", "Env", "Status", "Schedule", "Last run", "Ended")
    empty = "No instances yet. Add one: ipai instance add --help"
    answer(found, as_json, lambda: print_table(columns, rows, empty))


@instance_command.command("show")
@click.argument("instance_id", metavar="ID")
@json_option
def show(instance_id: str, as_json: bool) -> None:
    """Show one instance with its settings; there are no secrets in them.

    \b
    Example:
      ipai instance show github-acme
    """
    with opened_plane() as (database, _):
        found = _stored(database, instance_id)
    answer(found, as_json, lambda: _show(found))


def _stored(database: Database, instance_id: str) -> Instance:
    with database.connect() as connection:
        return find_instance(connection, instance_id)


def _show(found: Instance) -> None:
    facts = [("source", found.source_type), ("env", found.env), ("status", found.status)]
    rows = [*facts, ("schedule", found.schedule or "none"), *found.config.items()]
    print_table(("Setting", found.id), rows, "")


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"File {str(file)!r} is neither JSON nor YAML. Write settings as name: value."
        raise ConfigurationError(message) from error
    if not isinstance(settings, dict):
        message = f"File {str(file)!r} holds no settings by name. Write them as name: value."
        raise ConfigurationError(message)
    return settings
