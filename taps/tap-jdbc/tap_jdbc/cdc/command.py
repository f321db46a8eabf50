# SPDX-License-Identifier: Apache-2.0
"""`tap-jdbc-cdc`: shows what the log is kept for, and lets go of it on request."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

import click
import msgspec

from ipai_kit.command import ConnectorCommand
from ipai_kit.exceptions import ConfigurationError
from ipai_kit.logs import configure_logs, protect
from ipai_kit.spec import secret_values
from ipai_kit.sql.address import address_from_settings, hidden
from ipai_kit.sql.postgres.connection import connect
from tap_jdbc.cdc.publication import Publication
from tap_jdbc.cdc.session import LogSession
from tap_jdbc.cdc.slot import SlotKeeper
from tap_jdbc.cdc.stream import log_settings
from tap_jdbc.tap import TapJdbc

__all__ = ["SlotStatus", "main", "slot_status"]

_GIBIBYTE: Final = 1 << 30
_MOST_HELD: Final = 10 * _GIBIBYTE
"""Bytes of log that a slot may hold back without a warning where the server sets no limit."""
_MOST_OF_LIMIT: Final = 0.5


@dataclass(frozen=True)
class SlotStatus:
    """What a slot holds back, and what is wrong with it."""

    slot: str
    publication: str
    exists: bool = False
    in_use: bool = False
    wal_status: str | None = None
    current_lsn: str | None = None
    confirmed_lsn: str | None = None
    restart_lsn: str | None = None
    lag_bytes: int | None = None
    """Log written since the position that STATE had when the last run began."""
    held_bytes: int | None = None
    """Log that the server keeps on its disk for the slot."""
    limit_bytes: int | None = None
    """What it may keep at most; none where the disk is the limit."""
    idle_seconds: int | None = None
    """Since when nobody read it, from version 17 on."""
    transactions_held: int | None = None
    tables: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def slot_status(session: LogSession, slot: str, publication: str) -> SlotStatus:
    """Ask the server."""
    found = SlotKeeper(session, slot).find()
    tables = tuple(name for (name,) in session.rows("published", publication=publication))
    if found is None:
        warning = f"There is no slot {slot!r}: the next run makes it and copies all tables."
        return SlotStatus(slot, publication, tables=tables, warnings=(warning,))
    row = session.rows("status", slot=slot)[0]
    current, confirmed, restart, lag, held, limit, wal_status, active, idle, age = row
    return SlotStatus(
        slot,
        publication,
        exists=True,
        in_use=active,
        wal_status=wal_status,
        current_lsn=current,
        confirmed_lsn=confirmed,
        restart_lsn=restart,
        lag_bytes=lag,
        held_bytes=held,
        limit_bytes=limit,
        idle_seconds=idle,
        transactions_held=age,
        tables=tables,
        warnings=tuple(_warnings(found.loss, wal_status, held or 0, limit)),
    )


def _warnings(loss: str, wal_status: str | None, held: int, limit: int | None) -> list[str]:
    if loss:
        return [f"The slot is lost ({loss}): the next run copies all tables anew."]
    found = []
    if wal_status == "unreserved":
        found.append("The slot is about to be lost: run its instance now.")
    elif limit is not None and held > limit * _MOST_OF_LIMIT:
        found.append(f"The slot holds {held:,} bytes of log, of {limit:,} at most.")
    elif limit is None and held > _MOST_HELD:
        found.append(
            f"The slot holds {held:,} bytes of log, without limit: run its instance, "
            "drop the slot, or set max_slot_wal_keep_size on the server."
        )
    return found


@click.command(cls=ConnectorCommand, prepare=lambda: configure_logs(source="jdbc"))
@click.argument("action", type=click.Choice(["status", "drop"]))
@click.option("--config", "files", multiple=True, help="Settings of the tap, or ENV.")
def main(action: str, files: tuple[str, ...]) -> None:
    """Show the replication slot of a source as JSON, or drop it with its publication.

    Other databases keep their logs for nobody: there is nothing to show and nothing to drop.
    """
    config = _settings(files)
    address = address_from_settings(config)
    if address.kind != "postgresql" and action == "status":
        click.echo(msgspec.json.encode(asdict(SlotStatus("", ""))))
        return
    if address.kind != "postgresql":
        message = f"Only PostgreSQL has replication slots, not {address.kind!r}."
        raise ConfigurationError(message, url=address.shown)
    settings = log_settings(config)
    allow_insecure = bool(config.get("allow_insecure"))
    session = LogSession(connect(address, allow_insecure=allow_insecure))
    try:
        if action == "drop":
            _drop(session, settings.slot, settings.publication_name)
        status = slot_status(session, settings.slot, settings.publication_name)
    finally:
        session.close()
    click.echo(msgspec.json.encode(asdict(status)))


def _drop(session: LogSession, slot: str, publication: str) -> None:
    keeper = SlotKeeper(session, slot)
    if keeper.find() is not None:
        keeper.drop()
    Publication(session, publication).drop()


def _settings(files: tuple[str, ...]) -> dict[str, Any]:
    context = click.get_current_context()
    found = TapJdbc.cb_config(context, context.command.params[1], files)  # type: ignore[arg-type]
    config = dict(found.config)
    protect(*secret_values(TapJdbc.spec, config), *hidden(str(config.get("url") or "")))
    return config
