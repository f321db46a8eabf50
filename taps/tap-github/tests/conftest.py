# SPDX-License-Identifier: Apache-2.0
"""What the tests of this tap share: a small sandbox and a way to land records as a target does."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from ipai_kit.testing import SandboxUrl, TapRun, run_tap, running_sandbox, selecting
from tap_github.tap import TapGitHub

SMALL = {
    "repos": 2,
    "issues_per_repo": 12,
    "pulls_per_repo": 12,
    "commits_per_repo": 20,
    "runs_per_repo": 15,
    "stars_per_repo": 6,
    "rate_limit": 1_000_000,
}


class Landing:
    """Keeps the last record of each key, as Bronze does."""

    def __init__(self) -> None:
        self.records: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}

    def take(self, run: TapRun) -> None:
        """Land what a run emitted."""
        for stream, records in run.records.items():
            key = run.schemas[stream]["key_properties"]
            landed = self.records.setdefault(stream, {})
            landed.update({tuple(record[name] for name in key): record for record in records})

    def differences(self, url: SandboxUrl, streams: Any = None) -> dict[str, str]:
        """What is not as the sandbox says; gone objects count only after a full read."""
        found = {}
        for stream, key in url.streams().items():
            if streams is not None and stream not in streams:
                continue
            landed = self.records.get(stream, {})
            truth = {tuple(one[name] for name in key): one for one in url.records(stream)}
            wrong = [one for one in truth if landed.get(one) != truth[one]]
            gone = set(landed) - set(truth)
            if wrong or gone:
                found[stream] = f"{len(wrong)} missing or old, {len(gone)} gone, e.g. {wrong[:1]}"
        return found


@pytest.fixture
def github() -> Iterator[SandboxUrl]:
    """A small GitHub."""
    with running_sandbox("github", **SMALL) as url:
        yield url


@pytest.fixture
def read(github: SandboxUrl) -> Callable[..., TapRun]:
    """Run the tap against it; all streams unless some are named."""

    def run(*streams: str, state: Mapping[str, Any] | None = None, **settings: Any) -> TapRun:
        config = {**github.config(), "requests_per_second": 500, **settings}
        config = {name: value for name, value in config.items() if value is not None}
        catalog = selecting(TapGitHub(config=config).catalog_dict, streams or None)
        return run_tap(TapGitHub, config, state=state, catalog=catalog)

    return run


@pytest.fixture
def landing() -> Landing:
    """An empty Bronze."""
    return Landing()


def of_kind(run: TapRun, event: str) -> list[dict[str, Any]]:
    """The log lines of one kind."""
    return [one for one in run.events if one.get("event") == event]


@pytest.fixture
def skipped() -> Callable[[TapRun], dict[str, str]]:
    """Which streams a run reports as left out, and why."""
    return lambda run: {
        one["stream"]: f"{one['reason']} {one.get('next_step', '')}".strip()
        for one in of_kind(run, "stream_skipped")
    }
