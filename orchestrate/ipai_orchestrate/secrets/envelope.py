# SPDX-License-Identifier: Apache-2.0
"""Sealing in the client: AES-256-GCM under a data key that a key of the ring wraps (RFC 3394).

A sealed value is bound to its row's id, so that it opens in no other one. Its text is
`gcm1.<wrapped data key>.<value>`; the vault's check and its functions know the form.
"""

import base64
import binascii
import os
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from ipai_orchestrate.exceptions import SecretError
from ipai_orchestrate.secrets.key_ring import KeyRing

FORM = "gcm1"
NONCE_BYTES = 12


@dataclass(frozen=True)
class Sealed:
    """A value only the holder of the ring can open."""

    id: UUID
    secret: str
    key_id: UUID
    nonce: str

    def as_record(self) -> dict[str, str]:
        """The form in which it is stored."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Sealed":
        """Read the form in which it is stored."""
        return cls(
            UUID(str(record["id"])),
            str(record["secret"]),
            UUID(str(record["key_id"])),
            str(record["nonce"]),
        )


def seal(ring: KeyRing, secret_id: UUID, value: str) -> Sealed:
    """Seal a value for the row of that id under the newest key."""
    data_key, nonce = AESGCM.generate_key(bit_length=256), os.urandom(NONCE_BYTES)
    closed = AESGCM(data_key).encrypt(nonce, value.encode(), _bound(secret_id))
    wrapped = aes_key_wrap(ring.key(ring.newest), data_key)
    return Sealed(secret_id, _joined(wrapped, closed), ring.newest, _encoded(nonce))


def unseal(ring: KeyRing, sealed: Sealed) -> str:
    """The value; an error when it was changed, or belongs to another row."""
    try:
        wrapped, closed = _parts(sealed)
        data_key = aes_key_unwrap(ring.key(sealed.key_id), wrapped)
        nonce = base64.b64decode(sealed.nonce, validate=True)
        return AESGCM(data_key).decrypt(nonce, closed, _bound(sealed.id)).decode()
    except (InvalidTag, InvalidUnwrap, ValueError) as error:
        raise SecretError(_spoilt(sealed)) from error


def rewrap(ring: KeyRing, sealed: Sealed) -> Sealed:
    """The same value with its data key under the newest key; the value itself is not opened."""
    try:
        wrapped, closed = _parts(sealed)
        data_key = aes_key_unwrap(ring.key(sealed.key_id), wrapped)
    except (InvalidUnwrap, ValueError) as error:
        raise SecretError(_spoilt(sealed)) from error
    anew = aes_key_wrap(ring.key(ring.newest), data_key)
    return Sealed(sealed.id, _joined(anew, closed), ring.newest, sealed.nonce)


def _bound(secret_id: UUID) -> bytes:
    return f"ipai-vault {secret_id}".encode()


def _joined(wrapped: bytes, closed: bytes) -> str:
    return f"{FORM}.{_encoded(wrapped)}.{_encoded(closed)}"


def _parts(sealed: Sealed) -> tuple[bytes, bytes]:
    form, wrapped, closed = sealed.secret.split(".")
    if form != FORM:
        raise ValueError(form)
    try:
        return base64.b64decode(wrapped, validate=True), base64.b64decode(closed, validate=True)
    except binascii.Error as error:
        raise ValueError(form) from error


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _spoilt(sealed: Sealed) -> str:
    return (
        f"Secret {str(sealed.id)!r} does not open: it was changed, or belongs to another row. "
        "Find out who wrote to vault.secrets, then store the value anew."
    )
