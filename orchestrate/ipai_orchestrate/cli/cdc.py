# SPDX-License-Identifier: Apache-2.0
"""`ipai cdc`: what sources keep of their logs for us, before it fills their disks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import click
import psycopg
from rich.markup import escape

from ipai_kit.spec import InstalledConnector
from ipai_orchestrate.cli.output import (
    ago,
    console,
    error_console,
    json_option,
    print_json,
    print_table,
    say_done,
)
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.instances import Instance, connector_of, find_instance
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.slots import SlotAnswer, ask_slot
from ipai_orchestrate.pipeline.start import default_work_root
from ipai_orchestrate.secrets import instance_secrets

_WARNED = 1


@dataclass(frozen=True)
class _Followed:
    """An instance that follows its source's log."""

    instance: Instance
    connector: InstalledConnector
    stored_at: datetime | None
    answer: SlotAnswer


@click.group("cdc", short_help="Show what sources keep of their logs for us.")
def cdc_command() -> None:
    """Look after the replication slots of instances that follow their source's log.

    \b
    Examples:
      ipai cdc status
      ipai cdc drop shop
    """


@cdc_command.command()
@click.argument("instances", metavar="[INSTANCE]...", nargs=-1)
@json_option
def status(instances: tuple[str, ...], as_json: bool) -> int:
    """Show lag, held log and age of each slot; exit code 1 where something needs a look.

    \b
    Examples:
      ipai cdc status
      ipai cdc status shop --json
    """
    with opened_plane() as (database, plane), database.connect() as connection:
        followed = [
            _ask(database, plane, instance, "status")
            for instance in _chosen(connection, plane, instances)
        ]
    if as_json:
        print_json([_as_record(one) for one in followed])
    else:
        _show(followed)
    codes = [one.answer.exit_code or (_WARNED if one.answer.warnings else 0) for one in followed]
    return max(codes, default=0)


@cdc_command.command()
@click.argument("instance_id", metavar="INSTANCE")
@json_option
def drop(instance_id: str, as_json: bool) -> int:
    """Drop the slot and the publication of an instance that is not to run any more.

    The source may then throw its log away. A later run makes a new slot and copies all tables.

    \b
    Example:
      ipai cdc drop shop
    """
    with opened_plane() as (database, plane), database.connect() as connection:
        found = _ask(database, plane, find_instance(connection, instance_id), "drop")
    if found.answer.failure:
        error_console().print(f"[red]Failed[/]: {escape(found.answer.failure)}")
        return found.answer.exit_code
    slot = found.answer.status["slot"]
    told = f"Dropped slot {slot}. It holds no log any more."
    say_done(as_json, told, instance_id=instance_id, slot=slot, dropped=True)
    return 0


def _chosen(
    connection: psycopg.Connection[Any], plane: ControlPlane, names: Sequence[str]
) -> list[Instance]:
    """The named instances, or all that follow a log."""
    if names:
        return [find_instance(connection, name) for name in names]
    every = [find_instance(connection, one.id) for one in plane.instances(limit=1000)]
    return [one for one in every if _follows_a_log(one, plane)]


def _follows_a_log(instance: Instance, plane: ControlPlane) -> bool:
    """Whether its settings or its state say so: a slot outlives a change of the settings."""
    if "LOG_BASED" in json.dumps(instance.config):
        return True
    stored = plane.state_get(instance.id)
    return stored is not None and '"_sdc_lsn"' in json.dumps(stored.state_json)


def _ask(
    database: Database, plane: ControlPlane, instance: Instance, action: Literal["status", "drop"]
) -> _Followed:
    connector = connector_of(instance)
    stored = plane.state_get(instance.id)
    secrets = instance_secrets(database, instance.id)
    answer = ask_slot(connector, instance.config, action, default_work_root(), secrets)
    return _Followed(instance, connector, stored.updated_at if stored else None, answer)


def _as_record(one: _Followed) -> dict[str, Any]:
    return {
        "instance": one.instance.id,
        "stored_at": one.stored_at.isoformat() if one.stored_at else None,
        **one.answer.status,
        "warnings": one.answer.warnings,
    }


def _show(followed: Sequence[_Followed]) -> None:
    rows = [
        (
            one.instance.id,
            one.answer.status.get("slot", ""),
            one.answer.status.get("wal_status") or "none",
            one.answer.status.get("lag_bytes"),
            one.answer.status.get("held_bytes"),
            one.answer.status.get("restart_lsn"),
            ago(one.stored_at),
        )
        for one in followed
    ]
    columns = ("Instance", "Slot", "Log", "Lag, bytes", "Held, bytes", "Held from", "Stored")
    print_table(columns, rows, "No instance follows a log.")
    for one in followed:
        for warning in one.answer.warnings:
            console().print(f"[yellow]{escape(one.instance.id)}[/]: {escape(warning)}")
