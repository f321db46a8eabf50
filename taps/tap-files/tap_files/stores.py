# SPDX-License-Identifier: Apache-2.0
"""Where files lie: a file system for each kind of address, with the credentials of the settings."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec  # type: ignore[import-untyped]

from ipai_kit.exceptions import ConfigurationError
from tap_files.failures import explained
from tap_files.folders import LocalStore

__all__ = ["KINDS", "kind_of_address", "open_store"]

KINDS = {
    "": "file",
    "file": "file",
    "local": "file",
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "sftp": "sftp",
    "ssh": "sftp",
    "http": "http",
    "https": "http",
}
_EXTRAS = {"s3": "s3", "gcs": "gcs", "sftp": "sftp", "http": "http"}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SECONDS = 30


def kind_of_address(path: str) -> str:
    """Return the kind of store of an address."""
    scheme = urlsplit(path).scheme if "://" in path else ""
    kind = KINDS.get(scheme)
    if kind is None:
        message = f"There is no store {scheme!r} in {path!r}."
        raise ConfigurationError(message, next_step="Use a path, s3, gs, sftp, http or https.")
    return kind


def open_store(path: str, config: Mapping[str, Any]) -> Any:
    """Return the fsspec file system that an address belongs to."""
    kind = kind_of_address(path)
    with explained(path):
        try:
            return _opened(kind, path, config)
        except ImportError as error:
            extra = _EXTRAS.get(kind, "all")
            message = f"Reading {kind} needs a package that is not installed: {error.name!r}."
            step = f"Install 'ipai-connector-files[{extra}]'."
            raise ConfigurationError(message, next_step=step) from error


def _opened(kind: str, path: str, config: Mapping[str, Any]) -> Any:
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if kind == "file":
        return LocalStore(**options)
    if kind == "sftp":
        from tap_files.sftp_store import SftpStore

        return SftpStore(skip_instance_cache=True, **_sftp(path, config))
    if kind == "s3":
        options |= _s3(config)
    elif kind == "gcs":
        # Reading needs nothing but JSON over HTTP: no gRPC, which ignores the endpoint's scheme.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        options |= _gcs(config)
    else:
        options |= _http(path, config)
    return fsspec.filesystem(kind, **options)


def _s3(config: Mapping[str, Any]) -> dict[str, Any]:
    client = {
        "endpoint_url": config.get("s3_endpoint_url"),
        "region_name": config.get("s3_region"),
    }
    options = {
        "key": config.get("s3_access_key_id"),
        "secret": config.get("s3_secret_access_key"),
        "token": config.get("s3_session_token"),
        "client_kwargs": {name: value for name, value in client.items() if value},
        "config_kwargs": {"connect_timeout": _SECONDS, "retries": {"max_attempts": 3}},
    }
    if config.get("anonymous"):
        options["anon"] = True
    return {name: value for name, value in options.items() if value}


def _gcs(config: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if config.get("gcs_credentials"):
        try:
            options["token"] = json.loads(str(config["gcs_credentials"]))
        except ValueError as error:
            message = "Setting 'gcs_credentials' is no JSON."
            step = "Give the service account's key as the file has it."
            raise ConfigurationError(message, next_step=step) from error
    elif config.get("anonymous"):
        options["token"] = "anon"  # noqa: S105 - gcsfs' word for no credentials
    if config.get("gcs_endpoint_url"):
        options["endpoint_url"] = config["gcs_endpoint_url"]
    return options


def _sftp(path: str, config: Mapping[str, Any]) -> dict[str, Any]:
    parts = urlsplit(path)
    if parts.password:
        message = "The address of an SFTP server holds a password."
        raise ConfigurationError(message, next_step="Put it into 'sftp_password'.")
    options: dict[str, Any] = {
        "host": parts.hostname or "",
        "port": parts.port or 22,
        "username": unquote(parts.username or "") or config.get("sftp_user"),
        "password": config.get("sftp_password"),
        "timeout": _SECONDS,
        "host_key_policy": _host_key_policy(config),
        "allow_agent": False,
        "look_for_keys": False,
    }
    if config.get("sftp_private_key"):
        options["pkey"] = _private_key(
            str(config["sftp_private_key"]), config.get("sftp_private_key_passphrase")
        )
    return {name: value for name, value in options.items() if value is not None}


def _host_key_policy(config: Mapping[str, Any]) -> Any:
    """The server must show the key that the settings name: else anybody could be it."""
    if config.get("sftp_accept_any_host_key"):
        return "auto_add"
    from tap_files.host_keys import KnownKey

    return KnownKey(str(config.get("sftp_host_key") or ""))


def _private_key(text: str, passphrase: Any) -> Any:
    import paramiko

    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text), passphrase)
        except (paramiko.SSHException, ValueError):
            continue
    message = "Setting 'sftp_private_key' is no private key that can be read."
    raise ConfigurationError(message, next_step="Give OpenSSH's or PEM text, and its passphrase.")


def _http(path: str, config: Mapping[str, Any]) -> dict[str, Any]:
    parts = urlsplit(path)
    options: dict[str, Any] = {"client_kwargs": {"timeout": _http_timeout()}}
    token = config.get("http_token")
    if not token:
        return options
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        message = f"The token would be sent to {parts.hostname!r} in clear text."
        raise ConfigurationError(message, next_step="Use https.")
    return {**options, "headers": {"Authorization": f"Bearer {token}"}}


def _http_timeout() -> Any:
    """For connecting and for silence, not for the whole of a file as aiohttp has it."""
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=10 * _SECONDS)
