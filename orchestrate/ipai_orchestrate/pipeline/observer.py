# SPDX-License-Identifier: Apache-2.0
"""Who watches a run while it happens: the terminal, a log shipper, a test, or nobody."""

from typing import Protocol

from ipai_orchestrate.pipeline.log_line import LogLine
from ipai_orchestrate.pipeline.tally import Tally


class Observer(Protocol):
    """Hears everything in order, from one thread."""

    def started(self, run_id: str, instance_id: str, mode: str) -> None:
        """The run has its lease."""

    def said(self, line: LogLine) -> None:
        """A connector, dbt or the runner said something that is no figure."""

    def counted(self, tally: Tally) -> None:
        """The figures have changed."""

    def transforming(self, streams: int) -> None:
        """Bronze is loaded; Silver and Gold follow for this many streams."""


class Nobody:
    """Watches nothing."""

    def started(self, run_id: str, instance_id: str, mode: str) -> None:
        """Nothing."""

    def said(self, line: LogLine) -> None:
        """Nothing."""

    def counted(self, tally: Tally) -> None:
        """Nothing."""

    def transforming(self, streams: int) -> None:
        """Nothing."""
