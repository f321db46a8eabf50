# SPDX-License-Identifier: Apache-2.0
"""The keys that seal secrets, in a file outside the database; the last one seals, all of them open.

The file has one line per key: its id (a UUID), a space, and 32 random bytes in base64. A PostgreSQL
server reads the same file beside its data directory; so does the embedded server of this package.
"""

import base64
import binascii
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from ipai_orchestrate.embedded.home import home_of
from ipai_orchestrate.exceptions import SecretError

FILE_NAME = "ipai-vault.keys"
KEY_BYTES = 32


@dataclass(frozen=True)
class KeyRing:
    """Keys by id, the oldest first; never shown."""

    keys: Mapping[UUID, bytes] = field(repr=False)

    @property
    def newest(self) -> UUID:
        """The id of the key that seals."""
        return list(self.keys)[-1]

    def key(self, key_id: UUID) -> bytes:
        """The key of that id."""
        try:
            return self.keys[key_id]
        except KeyError as error:
            message = (
                f"Key {str(key_id)!r} is not in the key file. Put it back from where the file is "
                "kept safe, or set IPAI_VAULT_KEYS to the file that has it."
            )
            raise SecretError(message) from error

    def with_new_key(self) -> "KeyRing":
        """The ring with one key more, which seals from now on."""
        return KeyRing({**self.keys, uuid4(): secrets.token_bytes(KEY_BYTES)})

    def only(self, key_ids: Iterable[UUID]) -> "KeyRing":
        """The ring without all other keys; the newest stays."""
        kept = {*key_ids, self.newest}
        return KeyRing({key_id: key for key_id, key in self.keys.items() if key_id in kept})


@dataclass(frozen=True)
class RingFile:
    """Where a ring is kept."""

    path: Path

    def read(self) -> KeyRing:
        """The ring; an error where there is none or others can read it too."""
        try:
            text = self.path.read_text(encoding="ascii")
            status = self.path.stat()
        except FileNotFoundError as error:
            message = (
                f"There is no key file {str(self.path)!r}. Copy it from the machine that sealed "
                "the secrets, or set IPAI_VAULT_KEYS to where it is."
            )
            raise SecretError(message) from error
        except (OSError, UnicodeDecodeError) as error:
            message = f"Key file {str(self.path)!r} cannot be read: {error}."
            raise SecretError(message) from error
        if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & 0o077:
            message = f"Key file {str(self.path)!r} is open to other users. Run: chmod 600 on it."
            raise SecretError(message)
        return _parse(text, self.path)

    def create(self) -> KeyRing:
        """The ring; a new one with one key where there is none."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._write(KeyRing({}).with_new_key(), replace=False)
        return self.read()

    def replace(self, ring: KeyRing) -> None:
        """Write a changed ring, whole or not at all."""
        self._write(ring, replace=True)

    def _write(self, ring: KeyRing, *, replace: bool) -> None:
        """Put the file in place in one step; whoever owns the folder owns the file."""
        folder = self.path.parent
        handle, name = tempfile.mkstemp(dir=folder, prefix=".ipai-vault-")  # mode 0600
        unfinished, owner = Path(name), folder.stat()
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                if os.geteuid() == 0 and owner.st_uid:
                    # By descriptor: the folder's owner could put a link in the place of the name.
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write(_text(ring))
                file.flush()
                os.fsync(file.fileno())
            if replace:
                unfinished.replace(self.path)
            else:
                self._link(unfinished)
        finally:
            unfinished.unlink(missing_ok=True)

    def _link(self, unfinished: Path) -> None:
        try:
            os.link(unfinished, self.path)  # unlike a rename, never over another's file
        except FileExistsError:
            return


def ring_file(environment: Mapping[str, str] | None = None) -> RingFile:
    """IPAI_VAULT_KEYS; else beside the embedded server's data, or in IPAI_HOME for another one."""
    environ = os.environ if environment is None else environment
    if chosen := environ.get("IPAI_VAULT_KEYS"):
        return RingFile(Path(chosen).expanduser())
    home = home_of(environ=environ)
    folder = home.root if environ.get("IPAI_DATABASE_URL") else home.server
    return RingFile(folder / FILE_NAME)


def _text(ring: KeyRing) -> str:
    lines = [f"{one} {base64.b64encode(key).decode()}" for one, key in ring.keys.items()]
    return "\n".join(["# Keys of the vault: without this file no secret opens.", *lines, ""])


def _parse(text: str, path: Path) -> KeyRing:
    keys: dict[UUID, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, _, key = line.partition(" ")
            keys[UUID(name)] = _checked(base64.b64decode(key, validate=True))
        except (ValueError, binascii.Error) as error:
            message = (
                f"Line {number} of key file {str(path)!r} is no key. A line is a UUID, a space "
                "and 32 bytes in base64."
            )
            raise SecretError(message) from error
    if not keys:
        message = f"Key file {str(path)!r} holds no key. Restore it from where it is kept safe."
        raise SecretError(message)
    return KeyRing(keys)


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError(len(key))
    return key
