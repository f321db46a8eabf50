# SPDX-License-Identifier: Apache-2.0
"""Where the embedded server keeps its files, and who may reach them.

IPAI_HOME/            owned by the caller
    start.lock        held while one process checks, creates, starts or stops the server
    users.lock        held shared by every process that uses the server
    present.lock      likewise; the watch sleeps on it and wakes when all of them are gone
    watch.lock        held by the watch
    server.lock       held by the server's own processes, through an inherited descriptor
    keep              present while `ipai db start` pins the server
    database_url      address of the running server, mode 0600
    server/           owned by the server's user, mode 0700: data, socket, log, binaries.
                      A link to /var/lib/ipai-servers/<id> when that user cannot reach IPAI_HOME.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ipai_orchestrate.embedded.process_user import ProcessUser
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    DatabaseUnavailableError,
    OrchestrateError,
)

_OUTSIDE = Path("/var/lib/ipai-servers")
# A socket address holds 107 bytes; the name of the socket itself takes 18 of them.
_LONGEST_SOCKET_FOLDER = 80
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@-]+")


@dataclass(frozen=True)
class Home:
    """The paths below one IPAI_HOME."""

    root: Path

    @property
    def start_lock(self) -> Path:
        """Held while one process changes whether the server runs."""
        return self.root / "start.lock"

    @property
    def users_lock(self) -> Path:
        """Held shared by everybody who uses the server."""
        return self.root / "users.lock"

    @property
    def present_lock(self) -> Path:
        """Held shared by everybody who uses the server, until they have quite left."""
        return self.root / "present.lock"

    @property
    def server_lock(self) -> Path:
        """Held by the processes of the server themselves, until the last of them has ended."""
        return self.root / "server.lock"

    @property
    def keep_marker(self) -> Path:
        """Says that the last user must leave the server running."""
        return self.root / "keep"

    @property
    def url_file(self) -> Path:
        """Holds the address of the running server for target and dbt."""
        return self.root / "database_url"

    @property
    def server(self) -> Path:
        """The folder of the server's own user, as that user reaches it."""
        return (self.root / "server").resolve()

    @property
    def data(self) -> Path:
        """The PostgreSQL data directory."""
        return self.server / "data"

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.server / "server.log"

    @property
    def socket(self) -> Path:
        """The folder of the Unix socket: short enough for a socket address, mode 0700."""
        folder = self.server / "socket"
        text = str(folder)
        if len(os.fsencode(text)) <= _LONGEST_SOCKET_FOLDER and _PLAIN_PATH.fullmatch(text):
            return folder
        digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
        return Path("/tmp") / f"ipai-pg-{digest}"  # noqa: S108 - ownership is checked before use

    @property
    def url(self) -> str:
        """The address of the server for libpq, psycopg, SQLAlchemy and dbt alike."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.socket), safe='/')}"

    def create(self, user: ProcessUser) -> None:
        """Make the folders; change owner or mode of nothing that was there before."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o711 if user.switch else 0o700)
        if not self.server.is_dir():
            self._create_server_folder(user)
        _make_private(self.socket, user)

    def write_url(self) -> None:
        """Write the address, whole or not at all."""
        handle, name = tempfile.mkstemp(dir=self.root, prefix=".database_url.")  # mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(self.url + "\n")
        Path(name).replace(self.url_file)

    def _create_server_folder(self, user: ProcessUser) -> None:
        link = self.root / "server"
        if not link.is_symlink() and (not user.switch or user.can("-x", self.root)):
            _make_private(link, user)
            return
        # The server's user cannot pass a parent folder that is not ours to open (e.g. /root).
        _OUTSIDE.mkdir(parents=True, exist_ok=True, mode=0o711)
        if not user.can("-x", _OUTSIDE):
            message = (
                f"User {user.name!r}, who runs PostgreSQL for root, can reach neither "
                f"{str(self.root)!r} nor {str(_OUTSIDE)!r}. Set IPAI_HOME to a folder it can reach."
            )
            raise ConfigurationError(message)
        outside = _OUTSIDE / secrets.token_hex(8)
        _make_private(outside, user)
        link.unlink(missing_ok=True)  # a link whose goal is gone
        link.symlink_to(outside)


def home_of(
    home: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None
) -> Home:
    """Return the given home, else IPAI_HOME, else the system's or the user's state folder."""
    environment = os.environ if environ is None else environ
    chosen = os.fspath(home) if home is not None else environment.get("IPAI_HOME", "")
    if not chosen:
        chosen = "/var/lib/ipai" if os.geteuid() == 0 else "~/.local/share/ipai"
    # Resolved, so that two spellings of one folder are one home: a server is known by its path.
    return Home(Path(chosen).expanduser().resolve())


def unusable(home: Home, error: OSError) -> OrchestrateError:
    """What an error of the file system means to who chose the home."""
    trouble = f"{error.strerror or error}: {str(error.filename or home.root)!r}"
    if error.errno in _FULL:
        return DatabaseUnavailableError(
            f"The disk of IPAI_HOME, {str(home.root)!r}, has no room. {trouble}. "
            "Make some, or set IPAI_HOME to another folder."
        )
    return ConfigurationError(
        f"The embedded server cannot be kept in {str(home.root)!r}. {trouble}. "
        "Set IPAI_HOME to a folder that can be written, or IPAI_DATABASE_URL to another database."
    )


def _make_private(folder: Path, user: ProcessUser) -> None:
    """Make a folder of the server's user with mode 0700, or check that it is one."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in _owners(folder, user, status):
            message = (
                f"Folder {str(folder)!r} belongs to user id {status.st_uid}, not to "
                f"{user.name!r}. Remove it, or set IPAI_HOME to another folder."
            )
            raise ConfigurationError(message) from None
        if status.st_uid == user.uid:
            return
    if user.switch:
        os.chown(folder, user.uid, user.gid, follow_symlinks=False)


def _owners(folder: Path, user: ProcessUser, status: os.stat_result) -> set[int]:
    """Who may own the folder: the server's user, and whoever is just making it for that user."""
    being_made = user.switch and stat.S_IMODE(status.st_mode) == 0o700 and not any(folder.iterdir())
    return {user.uid, os.geteuid()} if being_made else {user.uid}
