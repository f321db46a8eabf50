# SPDX-License-Identifier: Apache-2.0
"""The failure of the binary log that has a cure of its own.

ConnectorError
└── LogLostError    (a new snapshot)    the log from the bookmark on is not there any more
"""

from __future__ import annotations

from ipai_kit.exceptions import ConnectorError

__all__ = ["LogLostError"]


class LogLostError(ConnectorError):
    """The server does not have the log from the bookmark on."""
