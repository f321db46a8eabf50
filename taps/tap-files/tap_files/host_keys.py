# SPDX-License-Identifier: Apache-2.0
"""Which SFTP server is the right one: the one with the key that the settings name."""

from __future__ import annotations

import paramiko

from ipai_kit.exceptions import ConfigurationError

__all__ = ["KnownKey"]


class KnownKey(paramiko.MissingHostKeyPolicy):
    """Accepts the known key, given as `ssh-keyscan` writes it, with or without the host."""

    def __init__(self, known: str) -> None:
        self._known = known.split()

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Raise what to do unless it is the known key."""
        del client
        if key.get_base64() in self._known:
            return
        shown = f"{key.get_name()} {key.get_base64()}"
        if self._known:
            message = f"Server {hostname!r} shows another key than 'sftp_host_key'."
            step = "Find out why before you change the setting."
        else:
            message = f"Server {hostname!r} is not known: 'sftp_host_key' is not set."
            step = f"If this is its key, set it: {shown}."
        raise ConfigurationError(message, next_step=step)
