# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL that comes with the package: one server per IPAI_HOME, shared by all its users.

The first user starts it, everybody joins it, the last to leave stops it, unless `start` pinned it.
Users are counted by kernel locks, so a user that dies by any signal is counted out, and a small
watch stops the server for a last user that died.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ipai_orchestrate.database_tls import require_proof
from ipai_orchestrate.embedded.home import Home, home_of, unusable
from ipai_orchestrate.embedded.locks import FileLock, exclusive
from ipai_orchestrate.embedded.postmaster import read_postmaster
from ipai_orchestrate.embedded.presence import Presence, start_watch
from ipai_orchestrate.embedded.server import START_TIMEOUT, Server
from ipai_orchestrate.exceptions import DatabaseUnavailableError
from ipai_orchestrate.migrations import migrate

__all__ = [
    "ServerStatus",
    "open_database",
    "revive",
    "start",
    "status",
    "stop",
    "stop_if_unused",
    "url",
]

HomePath = str | os.PathLike[str] | None
_LOCK_TIMEOUT = START_TIMEOUT * 2


@dataclass(frozen=True)
class ServerStatus:
    """What is known about the server of one home, without starting it."""

    home: Path
    running: bool
    pinned: bool
    in_use: bool
    pid: int | None
    version: str | None
    url: str | None
    data: Path
    log: Path


@contextmanager
def open_database(home: HomePath = None, *, migrated: bool = True) -> Iterator[str]:
    """Yield the address of the database: IPAI_DATABASE_URL, else the embedded server, up to date.

    A given `home` asks for the embedded server of that home whatever IPAI_DATABASE_URL says.
    Migrations are applied to the embedded server only; elsewhere `ipai db migrate` does it.
    """
    configured = os.environ.get("IPAI_DATABASE_URL")
    if configured and home is None:
        require_proof(configured)
        yield configured
        return
    place = home_of(home)
    user = _join(place)
    try:
        if migrated:
            migrate(place.url)
        yield place.url
    finally:
        _leave(place, user)


def start(home: HomePath = None) -> str:
    """Start the server, or join it, and keep it running after this process; return its address."""
    place = home_of(home)
    user = _join(place)
    try:
        place.keep_marker.touch()
        migrate(place.url)
    finally:
        _leave(place, user)
    return place.url


def stop(home: HomePath = None, *, force: bool = False) -> None:
    """Stop the server; refuse while others use it, unless forced."""
    place = home_of(home)
    if not place.root.is_dir():
        return
    with exclusive(place.start_lock, _LOCK_TIMEOUT):
        alone = FileLock(place.users_lock)
        if not alone.try_lock() and not force:
            message = (
                f"Other processes use the server of {str(place.root)!r}. End them first "
                f"(`fuser {place.users_lock}` names them), or stop with force."
            )
            raise DatabaseUnavailableError(message)
        try:
            place.keep_marker.unlink(missing_ok=True)
            Server.of(place).stop()
        finally:
            alone.release()


def status(home: HomePath = None) -> ServerStatus:
    """Tell whether the server runs, who keeps it, and where it is."""
    place = home_of(home)
    postmaster = read_postmaster(place.data) if place.data.is_dir() else None
    running = postmaster is not None and postmaster.serves(place.data)
    alone = FileLock(place.users_lock)
    in_use = place.users_lock.exists() and not alone.try_lock()
    alone.release()
    return ServerStatus(
        home=place.root,
        running=running,
        pinned=place.keep_marker.exists(),
        in_use=in_use,
        pid=postmaster.pid if postmaster is not None and running else None,
        version=_version(place) if running else None,
        url=place.url if running else None,
        data=place.data,
        log=place.log,
    )


def url(home: HomePath = None) -> str:
    """Return the address the server of this home has when it runs."""
    return home_of(home).url


def revive(home: HomePath = None) -> str:
    """Start the server again if it died under its users; return its address.

    For users that are inside `open_database` and see their connection break.
    """
    place = home_of(home)
    _leave(place, _join(place))
    return place.url


def stop_if_unused(home: HomePath = None) -> None:
    """Stop the server if nobody uses it and it is not pinned; the watch does this for the dead."""
    place = home_of(home)
    if place.root.is_dir():
        with exclusive(place.start_lock, _LOCK_TIMEOUT):
            if not _stop_if_last(place):
                start_watch(place)


def _join(place: Home) -> Presence:
    """Count this process in, starting the server if it does not answer."""
    server = Server.of(place)
    presence = Presence(place)
    try:
        place.create(server.user)
        with exclusive(place.start_lock, _LOCK_TIMEOUT):
            presence.enter(_LOCK_TIMEOUT)
            if not server.answers():
                server.start()
                start_watch(place)
            elif not place.url_file.exists():
                place.write_url()
    except OSError as error:
        presence.leave()
        raise unusable(place, error) from error
    except BaseException:
        presence.leave()
        raise
    return presence


def _leave(place: Home, presence: Presence) -> None:
    """Count this process out; the last one stops the server unless it is pinned."""
    try:
        with exclusive(place.start_lock, _LOCK_TIMEOUT):
            presence.leave_users()
            _stop_if_last(place)
    finally:
        presence.leave()


def _stop_if_last(place: Home) -> bool:
    """Under the start lock: stop the server unless used or pinned; False when it is in use."""
    last = FileLock(place.users_lock)
    if not last.try_lock():
        return False
    try:
        if not place.keep_marker.exists():
            Server.of(place).stop()
    finally:
        last.release()
    return True


def _version(place: Home) -> str | None:
    try:
        with psycopg.connect(place.url, connect_timeout=5, autocommit=True) as connection:
            row = connection.execute("show server_version").fetchone()
    except psycopg.OperationalError:
        return None
    return None if row is None else str(row[0]).split()[0]
