# SPDX-License-Identifier: Apache-2.0
"""Where secrets are read from: whatever gives connections."""

from contextlib import AbstractContextManager
from typing import Protocol

from ipai_orchestrate.secrets import calls


class Connectable(Protocol):
    """What gives autocommit connections."""

    def connect(self) -> AbstractContextManager[calls.Connection]:
        """Open one."""
