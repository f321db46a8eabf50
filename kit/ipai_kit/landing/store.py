# SPDX-License-Identifier: Apache-2.0
"""What a target supplies: a place that commits batches."""

from typing import Protocol

from ipai_kit.landing.batch import FlushBatch, StreamReport


class Store(Protocol):
    """A place where batches are committed whole or not at all; used by one thread at a time."""

    def open(self) -> None:
        """Connect, so that wrong settings show before anything is read."""

    def commit(self, batch: FlushBatch) -> list[StreamReport]:
        """Make a batch durable; a batch that was committed before changes nothing.

        Raises ConnectorError when that cannot be done; then nothing of it is visible.
        """

    def finish(self) -> None:
        """Tidy up after the last batch of a complete run."""

    def close(self) -> None:
        """Hang up."""
