# SPDX-License-Identifier: Apache-2.0
"""Full-table generations: when is one complete, so that older rows may go?

Taps differ. Those in the style of singer-python activate a version after its records; singer-sdk
and incremental database taps activate it before them, some once per partition. A version activated
before its records is therefore complete only at the clean end of the input, and only if a STATE (or
a second activation) followed its last record; a tap that died in between retires nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ipai_kit.landing.batch import StreamBatch


@dataclass
class Generation:
    """The version of one stream as a run sees it."""

    opened: int | None = None
    is_settled: bool = False
    _seen: set[int] = field(default_factory=set)

    def take(self, stream: StreamBatch, version: int, key: bytes) -> None:
        """Remember that a version delivered a key."""
        stream.generation_keys.setdefault(version, set()).add(key)
        self._seen.add(version)
        self.is_settled = False

    def take_all(self, stream: StreamBatch, version: int, keys: Iterable[bytes]) -> None:
        """Remember that a version delivered some keys."""
        stream.generation_keys.setdefault(version, set()).update(keys)
        self._seen.add(version)
        self.is_settled = False

    def activate(self, version: int) -> bool:
        """Whether the version is complete at this message."""
        if self.opened != version and version in self._seen:
            return True
        self.is_settled = self.opened == version
        self.opened = version
        return False

    def state_passed(self) -> None:
        """A STATE came: what the tap sent before it was whole."""
        self.is_settled = True

    def complete_at_end(self) -> int | None:
        """The version that the clean end of the input completes."""
        return self.opened if self.is_settled else None
