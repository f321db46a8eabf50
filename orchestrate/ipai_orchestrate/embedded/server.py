# SPDX-License-Identifier: Apache-2.0
"""Create, start, check and stop the PostgreSQL server of one home."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ipai_orchestrate.embedded.binaries import (
    Binaries,
    find_binaries,
    reachable,
    tool_environment,
)
from ipai_orchestrate.embedded.home import Home
from ipai_orchestrate.embedded.locks import FileLock
from ipai_orchestrate.embedded.postmaster import Postmaster, read_postmaster
from ipai_orchestrate.embedded.process_user import ProcessUser, server_user
from ipai_orchestrate.exceptions import ConfigurationError, DatabaseUnavailableError

START_TIMEOUT = 120.0
_STOP_TIMEOUT = 60.0
_LOG_LIMIT = 10_000_000
_LEAST_ROOM = 1 << 24  # one file of PostgreSQL's write-ahead log
_INITDB = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--data-checksums", "-N")
# The first that the system knows: macOS and older Linux have no C.UTF-8.
_LOCALES = ("C.UTF-8", "en_US.UTF-8", "C")


@dataclass(frozen=True)
class Server:
    """The server of one home; every method expects the caller to hold the start lock."""

    home: Home
    user: ProcessUser

    @classmethod
    def of(cls, home: Home) -> Server:
        """Return the server of a home, run by the user that fits this process."""
        return cls(home, server_user())

    def answers(self) -> bool:
        """Whether a server of this very data directory accepts connections on the socket."""
        try:
            with psycopg.connect(self.home.url, connect_timeout=10, autocommit=True) as connection:
                row = connection.execute("show data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and Path(row[0]) == self.home.data

    def start(self) -> None:
        """Create the data directory if needed and start the server; return when it answers."""
        self.home.create(self.user)
        binaries = reachable(find_binaries(), self.user, self.home.server / "binaries")
        version = binaries.version(self.user)
        if self.home.data.exists():
            self._check_major(version, binaries)
        else:
            self._create_data(binaries)
        self._write_settings()
        self._start(binaries)
        self.home.write_url()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it runs; `fast` ends its sessions and writes a checkpoint."""
        self.home.url_file.unlink(missing_ok=True)
        postmaster = read_postmaster(self.home.data)
        if postmaster is None or not postmaster.serves(self.home.data):
            return
        postmaster.signal_stop(mode)
        deadline = time.monotonic() + _STOP_TIMEOUT
        while postmaster.serves(self.home.data):
            if time.monotonic() > deadline:
                message = (
                    f"PostgreSQL (process {postmaster.pid}) did not stop within "
                    f"{_STOP_TIMEOUT:.0f} seconds. Its log: {str(self.home.log)!r}."
                )
                raise DatabaseUnavailableError(message)
            time.sleep(0.02)

    def _check_major(self, version: str, binaries: Binaries) -> None:
        marker = self.home.data / "PG_VERSION"
        if not marker.is_file():
            message = (
                f"Folder {str(self.home.data)!r} holds no database: it has no file PG_VERSION. "
                "Put back what was there, move it away, or set IPAI_HOME to another folder."
            )
            raise ConfigurationError(message)
        made_by = marker.read_text().strip()
        if made_by != version.split(".")[0]:
            message = (
                f"Data directory {str(self.home.data)!r} was made by PostgreSQL {made_by!r}, but "
                f"the binaries in {str(binaries.bin)!r} are {version!r}. Set IPAI_PG_BIN to "
                f"binaries of major {made_by}, or dump there and restore into a new IPAI_HOME."
            )
            raise ConfigurationError(message)

    def _create_data(self, binaries: Binaries) -> None:
        """Run initdb beside the goal and rename: a killed initdb is never taken for a server."""
        for leftover in self.home.server.glob("data.tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        unfinished = self.home.server / f"data.tmp-{os.getpid()}"
        for locale in _LOCALES:
            answer = self.user.run(
                [binaries.tool("initdb"), *_INITDB, f"--locale={locale}", "-D", unfinished],
                environment=tool_environment(),
                timeout=300,
            )
            if answer.returncode == 0 or "invalid locale" not in answer.stdout:
                break
        if answer.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            message = (
                f"Could not create a database in {str(self.home.server)!r} as user "
                f"{self.user.name!r}: {answer.stdout.strip()[-1500:]}"
            )
            raise DatabaseUnavailableError(message)
        with (unfinished / "postgresql.conf").open("a") as file:
            file.write("\n# Written by the launcher at each start; `alter system` wins over it.\n")
            file.write("include_if_exists 'ipai.conf'\n")
        os.sync()  # initdb ran without it (-N): one sync here instead of thousands there
        unfinished.rename(self.home.data)

    def _write_settings(self) -> None:
        path = self.home.data / "ipai.conf"
        lines = [f"{name} = '{value}'\n" for name, value in self._settings().items()]
        path.write_text("".join(lines))
        if self.user.switch:
            os.chown(path, self.user.uid, self.user.gid)

    def _settings(self) -> dict[str, str]:
        # Without time zone files (slim images) PostgreSQL knows GMT alone.
        zones = Path("/usr/share/zoneinfo/UTC").exists()
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.home.socket),
            "unix_socket_permissions": "0700",
            "wal_level": "logical",
            "max_replication_slots": "8",
            "max_slot_wal_keep_size": "1GB",
            "shared_buffers": "64MB",
            "timezone": "UTC" if zones else "GMT",
            "log_timezone": "UTC" if zones else "GMT",
            "jit": "off",
        }
        if sys.platform == "linux":
            settings["recovery_init_sync_method"] = "syncfs"
        return settings

    def _start(self, binaries: Binaries) -> None:
        """Try until it answers: right after a crash the old server's children are still ending."""
        deadline = time.monotonic() + START_TIMEOUT
        self._trim_log()
        log_start = self.home.log.stat().st_size if self.home.log.exists() else 0
        output = ""
        while time.monotonic() < deadline:
            output = self._start_once(binaries)
            if self.answers():
                return
            if "configuration file" in self._log_since(log_start):
                break
            time.sleep(0.25)
        message = (
            f"PostgreSQL did not start in {str(self.home.data)!r}: {self._lack_of_room()}{output} "
            f"{self._log_since(log_start)[-1500:]} (whole log: {str(self.home.log)!r})"
        )
        raise DatabaseUnavailableError(message)

    def _lack_of_room(self) -> str:
        """Say that the disk is full: the log may have had no room to."""
        free = shutil.disk_usage(self.home.data).free
        if free >= _LEAST_ROOM:
            return ""
        return f"The disk is full, {free} bytes are free. Make room, then try again. "

    def _start_once(self, binaries: Binaries) -> str:
        """Start the server unless processes of it still live; return what pg_ctl said."""
        alive = FileLock(self.home.server_lock)
        if not alive.try_lock():
            return "Processes of the previous server are still ending, or it is recovering."
        try:
            self._remove_stale_locks()
            options = ("--wait", "--silent", f"--timeout={START_TIMEOUT:.0f}", "-l", self.home.log)
            answer = self.user.run(
                [binaries.tool("pg_ctl"), "start", "-D", self.home.data, *options],
                environment=tool_environment(),
                timeout=START_TIMEOUT + 30,
                # All processes of the server inherit the lock: it is free when the last has ended,
                # whatever process numbers say (they are reused, and differ between containers).
                pass_fds=[alive.descriptor],
            )
            return answer.stdout.strip()
        finally:
            alive.release()

    def _remove_stale_locks(self) -> None:
        """Remove lock files that name a zombie, a stranger or nobody; PostgreSQL refuses them."""
        for path in (
            self.home.data / "postmaster.pid",
            self.home.socket / ".s.PGSQL.5432.lock",
        ):
            postmaster = Postmaster.read(path)
            if postmaster is None or not postmaster.serves(self.home.data):
                path.unlink(missing_ok=True)

    def _trim_log(self) -> None:
        with suppress(FileNotFoundError):
            if self.home.log.stat().st_size > _LOG_LIMIT:
                self.home.log.replace(self.home.log.with_suffix(".log.1"))

    def _log_since(self, start: int) -> str:
        try:
            with self.home.log.open("rb") as file:
                file.seek(start)
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
