# SPDX-License-Identifier: Apache-2.0
"""What the tests of this tap share: a folder, a way to read it, and how rows are counted."""

import contextlib
import io
import json
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ipai_kit.exceptions import ConnectorError
from ipai_kit.logs import configure_logs
from ipai_kit.testing import TapRun
from ipai_kit.testing.runs import selecting
from tap_files.tap import TapFiles

PLACE = "_sdc_source_"


@dataclass
class Reading:
    """What one run of the tap gave."""

    run: TapRun
    error: ConnectorError | None

    @property
    def state(self) -> dict[str, Any]:
        return self.run.state

    def rows(self, stream: str = "rows", *, bare: bool = True) -> list[dict[str, Any]]:
        """The records; without what is said about their file."""
        found = self.run.records.get(stream, [])
        if not bare:
            return found
        return [
            {k: v for k, v in row.items() if not k.startswith(PLACE)}
            for row in found
            if "_sdc_deleted_at" not in row
        ]

    def lines(self, stream: str = "rows") -> list[int]:
        return [row[f"{PLACE}line"] for row in self.run.records.get(stream, [])]

    def rejected(self, stream: str = "rows") -> list[tuple[int, str, str]]:
        found = self.run.records.get(f"{stream}_rejected", [])
        return [(row[f"{PLACE}line"], row["reason"], row["raw"]) for row in found]

    def properties(self, stream: str = "rows") -> dict[str, Any]:
        found = self.run.schemas[stream]["schema"]["properties"]
        return {k: v for k, v in found.items() if not k.startswith("_sdc_")}

    def events(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self.run.events if one.get("event") == name]


def run_files(config: dict[str, Any], state: Any = None, catalog: Any = None) -> Reading:
    """Run the tap in this process; what it ended with is kept beside what it wrote."""
    output, errors, failure = io.BytesIO(), io.StringIO(), None
    stdout = io.TextIOWrapper(output, encoding="utf-8", write_through=True)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root = logging.getLogger()
    logs, level = list(root.handlers), root.level
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(errors):
            configure_logs()
            known = json.loads(json.dumps(state)) if state else None
            tap = TapFiles(config=dict(config), state=known, catalog=catalog)
            try:
                tap.sync_all()
            except ConnectorError as error:
                failure = error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        root.handlers[:] = logs
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    stdout.flush()
    return Reading(TapRun(output.getvalue().splitlines(), errors.getvalue()), failure)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Reading]:
    """Write a file, or some, and read them as the stream `rows`."""

    def write_and_read(
        content: bytes | str | dict[str, bytes] | None = None,
        name: str = "rows.csv",
        *,
        state: Any = None,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> Reading:
        files = content if isinstance(content, dict) else {name: content}
        for one, data in files.items():
            if data is not None:
                raw = data.encode() if isinstance(data, str) else data
                (tmp_path / one).write_bytes(raw)
        path = options.pop("path", name if not isinstance(content, dict) else "*")
        pattern = {"name": "rows", "path": str(tmp_path / path), **options}
        return run_files({"files": [pattern], **(settings or {})}, state)

    return write_and_read


@pytest.fixture
def run() -> Callable[..., Reading]:
    """Run the tap with a whole configuration."""
    return run_files


@pytest.fixture
def all_streams() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A catalog in which everything is selected."""
    return lambda config: selecting(TapFiles(config=config).catalog_dict, None)
