# SPDX-License-Identifier: Apache-2.0
"""Signatures as in Standard Webhooks: HMAC-SHA256 over id, time and body, one per secret."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence

from ipai_orchestrate.exceptions import ConfigurationError

PREFIX = "whsec_"
SHORTEST, LONGEST, GENERATED = 24, 64, 32


def new_secret() -> str:
    """A fresh signing secret in the form that receivers' libraries expect."""
    return PREFIX + base64.b64encode(secrets.token_bytes(GENERATED)).decode()


def signing_key(secret: str, reference: str) -> bytes:
    """The key in a secret `whsec_<base64>`; the error names the reference, never the secret."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"Signing secret {reference!r} is not whsec_<base64>. {_ADVICE}"
        raise ConfigurationError(message) from error
    if not SHORTEST <= len(key) <= LONGEST:
        message = (
            f"Signing secret {reference!r} has {len(key)} bytes, "
            f"not {SHORTEST} to {LONGEST}. {_ADVICE}"
        )
        raise ConfigurationError(message)
    return key


def signed_headers(
    event_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]
) -> dict[str, str]:
    """The three headers; several keys give several signatures, for the time of a rotation."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    signatures = [hmac.digest(key, signed, "sha256") for key in keys]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(signature).decode()}" for signature in signatures
        ),
    }


_ADVICE = "Make one with `ipai webhook secret`."
