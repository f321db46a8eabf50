# SPDX-License-Identifier: Apache-2.0
"""Tokens that end, and where they are kept between runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.logs import protect

__all__ = ["FileTokenStore", "MemoryTokenStore", "Token", "TokenStore"]


@dataclass(frozen=True)
class Token:
    """What the source issued; times in seconds since 1970, None when it never ends.

    An empty access token stands for a connection that has only its refresh token yet.
    """

    access_token: str = field(repr=False)
    expires_at: float | None = None
    refresh_token: str | None = field(default=None, repr=False)
    renew_at: float | None = None

    def due(self, now: float) -> bool:
        """Say whether it is time for a new token."""
        return not self.access_token or (self.renew_at is not None and self.renew_at <= now)


class TokenStore(Protocol):
    """Keeps the newest token. A rotated one must be safe here before it is used."""

    def load(self) -> Token | None:
        """Return the newest token."""
        ...

    def save(self, token: Token) -> None:
        """Keep this token; returns only when it will survive a crash."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Let one at a time renew the token, of all that share the store."""
        ...


class MemoryTokenStore:
    """Keeps a token as long as the process lives."""

    def __init__(self, token: Token | None = None) -> None:
        self._token = token
        self._lock = threading.Lock()

    def load(self) -> Token | None:
        """Return the newest token."""
        return self._token

    def save(self, token: Token) -> None:
        """Keep this token."""
        self._token = token

    def exclusive(self) -> AbstractContextManager[None]:
        """Let one thread at a time renew the token."""
        return _held(self._lock)


class FileTokenStore:
    """Keeps a token in a file that only its owner can read, shared by processes of a machine.

    The file is replaced as a whole: a crash leaves the old token or the new one, never half.
    """

    def __init__(self, path: str | Path, token: Token | None = None) -> None:
        self._path = Path(path)
        self._first = token
        self._lock = threading.Lock()

    def load(self) -> Token | None:
        """Return the newest token."""
        try:
            token = msgspec.json.decode(self._path.read_bytes(), type=Token)
        except FileNotFoundError:
            return self._first
        except msgspec.DecodeError as error:
            message = f"The token file {str(self._path)!r} is not readable."
            raise ConfigurationError(message, next_step="Delete it and sign in again.") from error
        protect(token.access_token, token.refresh_token)
        return token

    def save(self, token: Token) -> None:
        """Keep this token; returns when it is on the disk."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:  # mkstemp made it readable by its owner alone
                file.write(msgspec.json.encode(token))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(self._path.parent)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let one thread of one process at a time renew the token."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock_file = self._path.with_name(f"{self._path.name}.lock")
        with self._lock, lock_file.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@contextlib.contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    with lock:
        yield


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
