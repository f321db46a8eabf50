# SPDX-License-Identifier: Apache-2.0
"""The failure of change data capture that has a cure of its own.

ConnectorError
└── SlotLostError    (a new slot and a new snapshot)    the log before now cannot be read any more
"""

from __future__ import annotations

from ipai_kit.exceptions import ConnectorError

__all__ = ["SlotLostError"]


class SlotLostError(ConnectorError):
    """The replication slot cannot give what it was kept for."""
