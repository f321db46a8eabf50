# SPDX-License-Identifier: Apache-2.0
"""TLS to MariaDB and MySQL, as settings and the options of their drivers ask for it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.address import Address

__all__ = ["tls_options"]

_OFF = {"disable", "disabled", "false"}
_UNVERIFIED = {"require", "required", "trust", "preferred"}
_CHAIN = {"verify-ca", "verify_ca"}
_FULL = {"verify-full", "verify_identity", "true"}


def tls_options(address: Address, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return PyMySQL's TLS options: verified unless told otherwise, demanded on the way out."""
    mode, authority = _wish(address)
    if not mode:
        if authority or (address.is_remote and not settings.get("allow_insecure")):
            mode = "verify-full"
        else:
            return {}
    if mode in _OFF:
        if address.is_remote and not settings.get("allow_insecure"):
            message = f"The way to {address.host!r} would not be encrypted."
            raise ConfigurationError(
                message, next_step="Ask for TLS in the URL, or set allow_insecure."
            )
        return {"ssl_disabled": True}
    if mode not in _UNVERIFIED | _CHAIN | _FULL:
        message = f"Option 'sslmode' is unknown: {mode!r}."
        raise ConfigurationError(message, next_step="Use disable, require, verify-ca, verify-full.")
    return {"ssl": _context(mode, authority)}


def _wish(address: Address) -> tuple[str, str | None]:
    options = {name.lower(): value for name, value in address.options.items()}
    mode = options.get("sslmode") or options.get("ssl_mode") or options.get("usessl") or ""
    authority = options.get("ssl_ca") or options.get("serversslcert") or options.get("sslrootcert")
    return mode.lower(), authority


def _context(mode: str, authority: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        message = f"The file of certificates cannot be read: {authority!r}."
        raise ConfigurationError(message, next_step="Give the path of a PEM file.") from error
    if mode in _UNVERIFIED:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif mode in _CHAIN:
        context.check_hostname = False
    return context
