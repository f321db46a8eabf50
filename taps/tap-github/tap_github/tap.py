# SPDX-License-Identifier: Apache-2.0
"""The tap: settings and quota come from `connector.yaml`, records from `streams.py`."""

from __future__ import annotations

from ipai_kit.rest import Reply, Verdict
from ipai_kit.tap import ConnectorTap
from tap_github.client import classify_github
from tap_github.streams import STREAMS

__all__ = ["TapGitHub"]


class TapGitHub(ConnectorTap):
    """Singer tap for GitHub's REST API."""

    stream_types = STREAMS

    def classify(self, reply: Reply) -> Verdict:
        """Judge a reply by GitHub's rules."""
        return classify_github(reply)


if __name__ == "__main__":
    TapGitHub.cli()
