# SPDX-License-Identifier: Apache-2.0
"""TLS to MariaDB and MySQL, as settings and the options of their drivers ask for it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.address import Address

__all__ = ["tls_options", "untrusted"]

_OFF = {"disable", "disabled", "false"}
_UNVERIFIED = {"require", "required", "trust", "preferred"}
_CHAIN = {"verify-ca", "verify_ca"}
_NO_TLS = (2026, 3159)
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
    return {"ssl": _context(mode, authority, _own_certificate(address))}


def untrusted(error: BaseException) -> str | None:
    """Return why the server cannot be trusted, if that is what an error of the driver says."""
    cause = getattr(error, "original_exception", None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message.rstrip(".")
    if isinstance(cause, ssl.SSLError):
        return str(cause.reason or cause)
    if error.args and error.args[0] in _NO_TLS:
        return str(error.args[-1])
    return None


def _options(address: Address) -> Mapping[str, str]:
    return {name.lower(): value for name, value in address.options.items()}


def _own_certificate(address: Address) -> tuple[str, str | None] | None:
    options = _options(address)
    certificate = options.get("ssl_cert") or options.get("sslcert")
    return (certificate, options.get("ssl_key") or options.get("sslkey")) if certificate else None


def _wish(address: Address) -> tuple[str, str | None]:
    options = _options(address)
    mode = options.get("sslmode") or options.get("ssl_mode") or options.get("usessl") or ""
    authority = options.get("ssl_ca") or options.get("serversslcert") or options.get("sslrootcert")
    return mode.lower(), authority


def _context(
    mode: str, authority: str | None, own: tuple[str, str | None] | None
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        message = f"The file of certificates cannot be read: {authority!r}."
        raise ConfigurationError(message, next_step="Give the path of a PEM file.") from error
    # Certificates that a server made for itself lack what newer Pythons ask for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if own is not None:
        try:
            context.load_cert_chain(*own, password="")
        except OSError as error:
            message = f"The client's certificate or its key cannot be read: {own[0]!r}."
            raise ConfigurationError(
                message, next_step="Give PEM files as ssl_cert and ssl_key, the key unencrypted."
            ) from error
    if mode in _UNVERIFIED:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif mode in _CHAIN:
        context.check_hostname = False
    return context
